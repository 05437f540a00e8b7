//! The moments of a run at which something happens to one worker: each step, and in each that moves files the places where a death
//! would show.

use crate::fleet::Fleet;
use crate::operator::Going;
use crate::stand::{Call, Standing};

/// The worker that it happens to.
pub(super) const WORKER: &str = "worker-2";

/// One moment of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) step: &'static str,
    /// The call at which the host stands still then; none where the step takes long enough by itself.
    pub(super) call: Option<Call>,
    pub(super) then: Then,
    /// Whether it is the one of its step that every run of the tests plays.
    pub(super) first: bool,
}

/// Where the fleet must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nobody was cut.
    Untouched,
    /// On its way there, and not decided.
    Undecided,
    /// Decided to stay.
    Stays,
    /// On its way back.
    Back,
}

use Then::{Back, Stays, Undecided, Untouched};

const fn moment(
    step: &'static str,
    moment: &'static str,
    tool: &'static str,
    pattern: &'static str,
    then: Then,
) -> Moment {
    Moment { step, call: Some(Call { tool, moment, pattern }), then, first: false }
}

const fn while_it_lasts(step: &'static str, then: Then) -> Moment {
    Moment { step, call: None, then, first: true }
}

impl Moment {
    const fn first(self) -> Self {
        Self { first: true, ..self }
    }
}

/// All of them, in the order of a run.
pub(super) const MOMENTS: [Moment; 31] = [
    moment("lock", "before", "sync", "*/taking-*.part", Untouched),
    moment("lock", "before", "sync", "-- /var/lib/lockturn /var/lib/lockturn/*", Untouched),
    moment("lock", "after", "sync", "-- /var/lib/lockturn /var/lib/lockturn/*", Untouched).first(),
    moment("stage", "before", "sync", "*/c1/what */c1 *", Untouched),
    moment("stage", "after", "sync", "*/c1/what */c1 *", Untouched),
    moment("stage", "before", "sync", "-- new keep old . ..", Untouched).first(),
    moment("stage", "after", "sync", "-- new keep old . ..", Untouched),
    moment("arm", "before", "sync", "*/program */login */services", Untouched),
    moment("arm", "before", "sync", "*/lockturn-*.service */multi-user.target.wants *", Untouched),
    moment("arm", "after", "sync", "*/armed.part", Untouched),
    moment("arm", "before", "mv", "*/armed.part */armed", Untouched),
    moment("arm", "after", "mv", "*/armed.part */armed", Untouched).first(),
    moment("cut", "before", "mv", "-fT -- new ../.env", Undecided),
    moment("cut", "after", "mv", "-fT -- new ../.env", Undecided),
    moment("cut", "after", "sync", "-- ..", Undecided).first(),
    while_it_lasts("activate", Undecided),
    while_it_lasts("verify", Undecided),
    moment("confirm", "before", "mv", "*/armed */confirmed", Stays),
    moment("confirm", "after", "mv", "*/armed */confirmed", Stays).first(),
    moment("clean", "before", "sync", "-- /var/lib/lockturn/lock", Stays),
    moment("clean", "after", "sync", "-- /var/lib/lockturn/lock", Stays),
    moment("clean", "before", "rm", "-rf -- /var/lib/lockturn/*", Stays).first(),
    moment("clean", "after", "rm", "-rf -- /var/lib/lockturn/*", Stays),
    moment("revert", "before", "mv", "-fT -- back ../.env", Back),
    moment("revert", "after", "mv", "-fT -- back ../.env", Back),
    moment("revert", "before", "sync", "-- ..", Back).first(),
    moment("revert", "after", "sync", "*/record.part", Back),
    while_it_lasts("reactivate", Back),
    while_it_lasts("reverify", Back),
    moment("clean", "after", "sync", "-- /var/lib/lockturn/lock", Back),
    moment("clean", "before", "rm", "-rf -- /var/lib/lockturn/*", Back).first(),
];

/// A run that is at this moment on the worker. What it stands still with is let go with the second.
pub(super) fn run_to<'a>(fleet: &'a Fleet, at: &Moment) -> (Going, Option<Standing<'a>>) {
    let host = fleet.host(WORKER);
    let stand = |call| Standing::at(host, call);
    let hold = || host.sh("touch /run/hold");
    let mut standing = None;
    if at.then != Back {
        standing = at.call.map(stand);
        if at.step == "activate" {
            hold();
        }
    }
    let mut run = fleet.rotation(&fleet.short());
    if at.then == Back {
        run.until("step-done", WORKER, "activate");
        standing = at.call.map(stand);
        if at.step == "reactivate" {
            hold();
        }
        run.interrupt();
    }
    match &standing {
        Some(standing) => standing.wait(),
        None => run.until("step-began", WORKER, at.step),
    }
    (run, standing)
}
