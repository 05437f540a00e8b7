//! The power goes at every moment of a run, and what was not synced with it.

use std::time::Instant;

use crate::fleet::{Fleet, Values, WORKERS};
use crate::operator::Ended;
use crate::tools::say;

use super::moments::{MOMENTS, Moment, Then, WORKER, run_to};
use super::partitions::BOUND;

/// What the other scenarios of this file stand on: a power cut loses what was not synced, also a rename, and keeps what was.
pub(super) fn what_was_not_synced_is_lost(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host(WORKER);
    host.sh("cd /var/lib && for name in synced lost; do mkdir $name; echo old >$name/file; done && sync -f . && \
         echo new >synced/new && sync synced/new && mv synced/new synced/file && sync synced && \
         echo new >lost/new && mv lost/new lost/file && echo more >lost/more");
    host.power_cut(&fleet.network);
    host.boot();
    let held = host.sh("cd /var/lib && cat synced/file lost/file && ls lost && rm -r synced lost");
    assert_eq!(held, "new\nold\nfile\n");
    fleet.holds(&before);
}

/// A host and the coordinator lose their power at the same moment, once in every step before the decision.
pub(super) fn goes_at_every_step(fleet: &Fleet) {
    for at in MOMENTS.iter().filter(|at| at.first && !is_decided(at)) {
        goes_at(fleet, at);
    }
}

/// And once in every step after it, there and back.
pub(super) fn goes_at_every_step_after_the_decision(fleet: &Fleet) {
    for at in MOMENTS.iter().filter(|at| at.first && is_decided(at)) {
        goes_at(fleet, at);
    }
}

/// The same at the other moments of these steps.
pub(super) fn goes_at_every_moment(fleet: &Fleet) {
    for at in MOMENTS.iter().filter(|at| !at.first) {
        goes_at(fleet, at);
    }
}

const fn is_decided(at: &Moment) -> bool {
    matches!(at.then, Then::Stays | Then::Back)
}

/// The coordinator lives and finds out.
pub(super) fn goes_and_the_coordinator_finds_out(fleet: &Fleet) {
    for at in &MOMENTS {
        is_found_out(fleet, at);
    }
}

fn goes_at(fleet: &Fleet, at: &Moment) {
    let before = fleet.begin();
    let host = fleet.host(WORKER);
    let (run, standing) = run_to(fleet, at);
    run.kill();
    host.power_cut(&fleet.network);
    host.boot();
    comes_back_right(fleet, at, &before);
    drop(standing);
    ends_right(fleet, at, &before, None);
    say(&format!("power cut in {} ({:?}): right", at.step, at.call));
}

fn is_found_out(fleet: &Fleet, at: &Moment) {
    let before = fleet.begin();
    let host = fleet.host(WORKER);
    let (run, standing) = run_to(fleet, at);
    let began = Instant::now();
    host.power_cut(&fleet.network);
    host.boot();
    let ended = run.end();
    let (took, code) = (began.elapsed(), ended.code());
    drop(standing);
    assert!(took < BOUND, "{at:?}: it took {} s", took.as_secs());
    // A host that is back before anybody has given it up does what is asked of it again, and nobody was cut yet.
    let went_on = at.then == Then::Untouched && code == Some(0);
    let then = if went_on { Then::Stays } else { at.then };
    ends_right(fleet, &Moment { then, ..*at }, &before, Some(ended));
    started_right(fleet, at, &before);
    say(&format!(
        "power cut in {} ({:?}): right, the run ended with {code:?} after {:.1} s",
        at.step,
        at.call,
        took.as_secs_f32()
    ));
}

/// What the coordinator does when it has found out comes after the first start: that one was with what the host may have.
#[track_caller]
fn started_right(fleet: &Fleet, at: &Moment, before: &Values) {
    let with_old = fleet.first_started_with(WORKER, &before[WORKER]);
    let with_new = fleet.first_started_with(WORKER, &fleet.agreed()[WORKER]) && !with_old;
    assert!(with_old || with_new, "{at:?}: its service was first started with another value");
    assert!(
        with_old || may_be_confirmed(at),
        "{at:?}: it was not confirmed, and its service was started with the new value"
    );
    assert!(at.step != "clean" || with_old == (at.then == Then::Back), "{at:?}: it was confirmed, and had gone back");
}

/// What a host has not confirmed in the moment of a power cut it does not keep.
fn may_be_confirmed(at: &Moment) -> bool {
    at.then == Then::Stays && (at.step == "clean" || at.call.is_some_and(|call| call.moment == "after"))
}

/// The host is whole, and its service was first started with what the host may have.
#[track_caller]
fn comes_back_right(fleet: &Fleet, at: &Moment, before: &Values) {
    let own = fleet.held()[WORKER].0.clone();
    let is_old = own == before[WORKER];
    assert!(is_old || may_be_confirmed(at), "{at:?}: it was not confirmed, and is not back");
    assert!(at.step != "clean" || is_old == (at.then == Then::Back), "{at:?}: it was confirmed, and has gone back");
    assert!(fleet.first_started_with(WORKER, &own), "{at:?}: its service was first started with another value");
}

/// The run, or who takes it up, leads everybody where they must be.
#[track_caller]
pub(super) fn ends_right(fleet: &Fleet, at: &Moment, before: &Values, ended: Option<Ended>) {
    let done = ended.filter(|ended| matches!(ended.code(), Some(0 | 1 | 4)));
    let ended = done.unwrap_or_else(|| fleet.resume());
    match at.then {
        Then::Stays => {
            ended.with(0, &["ROTATED"]);
            let after = fleet.agreed();
            fleet.holds(&after);
            fleet.refuses(before, &WORKERS);
        }
        // The answer of the last step before the cut may have come through, and the next step begun.
        Then::Untouched if ended.code() == Some(4) || at.step != "arm" => {
            ended.with(4, &["nothing was changed"]);
            fleet.holds(before);
        }
        Then::Untouched | Then::Undecided | Then::Back => {
            ended.with(1, &["ROLLED BACK"]);
            fleet.holds(before);
        }
    }
    fleet.is_clean();
}
