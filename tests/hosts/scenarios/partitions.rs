//! A worker hears nothing, is not heard, or neither, from a moment of a run on: everybody else goes on to an end in bounded time, the
//! worker is named, and once the way is open again `resume` mends it.

use std::time::{Duration, Instant};

use crate::fleet::{Fleet, Values};
use crate::network::Way;
use crate::operator::Ended;
use crate::tools::say;

use super::moments::{MOMENTS, Moment, Then, WORKER, run_to};
use super::power::ends_right;

/// A host that does not answer may hold up the others for no longer than this, on a machine that is not busy; see `Actor` and the
/// keepalives of `ssh/policy.rs`: 40 s until it is given up, and two more tries to connect in each of two steps.
pub(super) const BOUND: Duration = Duration::from_secs(240);

/// In one step, on the way forward or back.
fn moment(step: &str, back: bool) -> &'static Moment {
    let found = MOMENTS.iter().find(|at| at.first && at.step == step && (at.then == Then::Back) == back);
    found.expect("every step has its moment")
}

/// All ways in one step.
pub(super) fn in_step(fleet: &Fleet, step: &str, back: bool) {
    for way in [Way::In, Way::Out, Way::Both] {
        at(fleet, moment(step, back), way);
    }
}

/// The host has been cut and its answer is lost.
pub(super) fn the_cut_is_not_heard(fleet: &Fleet) {
    at(fleet, moment("cut", false), Way::Out);
}

/// It is decided, and the host does not hear of it any more.
pub(super) fn the_decision_is_not_heard(fleet: &Fleet) {
    at(fleet, moment("confirm", false), Way::In);
}

fn at(fleet: &Fleet, at: &Moment, way: Way) {
    let before = fleet.begin();
    let (run, standing) = run_to(fleet, at);
    fleet.network.cut_off(&fleet.host(WORKER).port(), way);
    let began = Instant::now();
    drop(standing);
    let ended = run.end();
    let took = began.elapsed();
    assert!(took < BOUND, "{at:?}, {way:?}: it took {} s", took.as_secs());
    let code = ended.code();
    others_are_there(fleet, at, &before);
    says_the_truth(at, way, &ended);
    fleet.network.mend();
    fleet.host(WORKER).sh("rm -f /run/hold");
    ends_right(fleet, at, &before, Some(ended));
    say(&format!(
        "partition {way:?} in {} ({:?}): ended with {code:?} after {:.1} s",
        at.step,
        at.then,
        took.as_secs_f32()
    ));
}

/// The others have what was decided.
#[track_caller]
fn others_are_there(fleet: &Fleet, at: &Moment, before: &Values) {
    for (name, (own, row)) in fleet.held().into_iter().filter(|(name, _)| name != "os") {
        let new = at.then == Then::Stays;
        assert!((row != before[&name]) == new, "{at:?}: the control plane's row of {name}");
        assert!(name == WORKER || (own != before[&name]) == new, "{at:?}: {name}");
    }
}

/// It cannot have heard that the worker is where it should be.
#[track_caller]
fn says_the_truth(at: &Moment, way: Way, ended: &Ended) {
    match ended.code() {
        // The last answer of all is not lost.
        Some(0 | 1) if at.step == "clean" && way == Way::In => {}
        Some(6) => {
            // Where it was never cut, what is not known is what is left there.
            let named = [format!("{WORKER}  in-doubt"), format!("left-overs    {WORKER}")];
            let named = named.iter().any(|words| ended.said.contains(words));
            assert!(named && ended.said.contains(" resume "), "{}", ended.said);
        }
        Some(7) => assert!(ended.said.contains(WORKER), "{}", ended.said),
        code => panic!("{code:?}:\n{}", ended.said),
    }
}
