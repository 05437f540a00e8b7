//! What must hold in every state (faults.md's invariants by their numbers), and what must be reached in some.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use lockturn::coordinator::{Host as RunHost, Next, Run};
use lockturn::model::{Decision, HostState, Step, Verdict};
use stateright::{Model as _, Property};

use crate::fleet::{Fleet, Move, State};
use crate::host::{Bug, Content, Host};

pub(crate) const NO_DEAD_SECRET: &str = "I4: no host has a secret that is dead";
pub(crate) const COPIES_STAY: &str = "I4: both contents stay on a host until it is at one of them for good";
pub(crate) const OLD_DIES_LAST: &str = "I4: the old copies go when every host is confirmed";
pub(crate) const ONE_DECISION: &str = "I1: one decision, and no host hears of another";
pub(crate) const IN_TIME: &str = "I1: the decision to stay falls when every host waits";
pub(crate) const FIRE_XOR_CONFIRM: &str = "I6: a host fires or is confirmed";
pub(crate) const SINGLE_WRITER: &str = "I8: only the newest coordinator changes a host";
pub(crate) const ONCE: &str = "I8: a request that is done twice is done once";
pub(crate) const WAY_TO_AN_END: &str = "I15: from here a run without faults ends, and leaves nothing";

/// What holds also where two processes work with two copies of one ledger.
pub(crate) fn of_copies() -> Vec<Property<Fleet>> {
    vec![
        Property::always(NO_DEAD_SECRET, no_dead_secret),
        Property::always(SINGLE_WRITER, |_, state: &State| !state.stale),
        Property::always(ONCE, |_, state: &State| !state.unsteady),
        Property::sometimes("the older one decides to stay, the newer one to go back", |_, state: &State| {
            let decisions: Vec<_> = state.coordinators.iter().map(|coordinator| coordinator.run.decision()).collect();
            decisions == [Some(Decision::Commit), Some(Decision::Rollback)]
        }),
        Property::sometimes("the newer one finishes", |_, state: &State| {
            state.coordinators.get(1).is_some_and(|newer| newer.run.verdict() == Some(Verdict::Rotated))
        }),
    ]
}

/// What holds as long as one coordinator comes after the other, as the lock of the state directory has it.
pub(crate) fn always() -> Vec<Property<Fleet>> {
    vec![
        Property::always(NO_DEAD_SECRET, no_dead_secret),
        Property::always(COPIES_STAY, copies_stay),
        Property::always(OLD_DIES_LAST, |_, state: &State| {
            let stays = |host: &Host| host.confirmed || !host.staged;
            let goes = state.hosts.iter().any(|host| !host.staged);
            !decided(state, Decision::Commit) || !goes || state.hosts.iter().all(stays)
        }),
        Property::always(ONE_DECISION, one_decision),
        Property::always(FIRE_XOR_CONFIRM, fire_xor_confirm),
        Property::always(IN_TIME, |_, state: &State| !state.decided_late),
        Property::always(SINGLE_WRITER, |_, state: &State| !state.stale),
        Property::always(ONCE, |_, state: &State| !state.unsteady),
        Property::always(WAY_TO_AN_END, has_a_way_to_an_end),
    ]
}

/// The same, and what two faults at most must lead to, so that nothing holds only because nothing happens.
pub(crate) fn always_and_sometimes() -> Vec<Property<Fleet>> {
    let mut properties = always();
    properties.extend([
        Property::sometimes("a run is rotated", |_, state| ended(state, Verdict::Rotated)),
        Property::sometimes("a run is rolled back", |_, state| ended(state, Verdict::RolledBack)),
        Property::sometimes("a run is rotated, and something is to be cleaned", |_, state| {
            ended(state, Verdict::RotatedWithDebt)
        }),
        Property::sometimes("a person must look", |_, state| ended(state, Verdict::Inconsistent)),
        Property::sometimes("a host that had gone back after the decision proves the new value again", |_, state| {
            let proves = |host: &RunHost| host.doing() == Some(Step::Verify);
            decided(state, Decision::Commit) && state.coordinators[0].run.hosts().values().any(proves)
        }),
        Property::sometimes("a run that was taken up is rotated", |_, state| {
            is_taken_up(state) && ended(state, Verdict::Rotated)
        }),
        Property::sometimes("a run that was taken up is rolled back", |_, state| {
            is_taken_up(state) && ended(state, Verdict::RolledBack)
        }),
        Property::sometimes(
            "a request of a dead coordinator is still on its way when another one works",
            |_, state| {
                is_taken_up(state)
                    && state.coordinators[0].alive
                    && state.hosts.iter().any(|host| !host.late.is_empty())
            },
        ),
    ]);
    properties
}

fn is_taken_up(state: &State) -> bool {
    state.coordinators[0].epoch / 2 > 1
}

fn ended(state: &State, verdict: Verdict) -> bool {
    state.coordinators.iter().any(|coordinator| coordinator.run.verdict() == Some(verdict))
}

fn decided(state: &State, decision: Decision) -> bool {
    state.coordinators.iter().any(|coordinator| coordinator.run.decision() == Some(decision))
}

fn holds(host: &Host, content: Content) -> bool {
    host.file == content && host.running == content
}

/// The old value may be revoked by whoever issued it when a run says `rotated`, the new one when it says `rolled-back`.
fn no_dead_secret(fleet: &Fleet, state: &State) -> bool {
    let old_is_dead = match fleet.bug {
        Bug::RetireAtDecision => decided(state, Decision::Commit),
        _ => ended(state, Verdict::Rotated),
    };
    let new_is_dead = ended(state, Verdict::RolledBack) || ended(state, Verdict::Refused);
    (!old_is_dead || state.hosts.iter().all(|host| holds(host, Content::New)))
        && (!new_is_dead || state.hosts.iter().all(|host| holds(host, Content::Old)))
}

/// Also where another host is in trouble: a host is cleaned only of what neither way needs any more.
fn copies_stay(_: &Fleet, state: &State) -> bool {
    let wanted = match state.coordinators[0].run.decision() {
        None => return state.hosts.iter().all(|host| host.staged),
        Some(Decision::Commit) => Content::New,
        Some(Decision::Rollback) => Content::Old,
    };
    state.hosts.iter().all(|host| host.staged || (holds(host, wanted) && !host.armed && !host.fired))
}

fn one_decision(_: &Fleet, state: &State) -> bool {
    let decision = state.coordinators[0].run.decision();
    let confirmed = state.hosts.iter().any(|host| host.confirmed);
    // Before a decision to go back nobody takes a host back but its own switch.
    let taken_back = state.hosts.iter().any(|host| host.staged && host.file == Content::Old && host.confirmed);
    (!confirmed || decision == Some(Decision::Commit)) && !taken_back
}

fn fire_xor_confirm(fleet: &Fleet, state: &State) -> bool {
    let believed = |run: &Run, h: usize| {
        run.hosts().get(&fleet.names[h]).is_some_and(|host| host.state(run.decision()) == HostState::Confirmed)
    };
    state.hosts.iter().enumerate().all(|(h, host)| {
        let known = state.coordinators.iter().any(|coordinator| believed(&coordinator.run, h));
        !(host.fired && host.confirmed) && (!known || (!host.fired && !host.armed && host.file == Content::New))
    })
}

/// AG EF: whatever went wrong so far, if nothing more does, `resume` brings every host to the same content and leaves nothing there.
fn has_a_way_to_an_end(fleet: &Fleet, state: &State) -> bool {
    let mut way = Vec::new();
    let mut now = state.clone();
    let ends_well = loop {
        let mut hasher = DefaultHasher::new();
        now.hash(&mut hasher);
        way.push(hasher.finish());
        if fleet.mended.lock().unwrap().contains(&hasher.finish()) {
            break true;
        }
        let Some(next) = next_without_faults(&now) else { break ended_well(&now) };
        if way.len() > WAY_MAX {
            break false;
        }
        now = fleet.next_state(&now, next).expect("it changes something");
    };
    if ends_well {
        fleet.mended.lock().unwrap().extend(way);
    }
    ends_well
}

/// Far more than any run takes.
const WAY_MAX: usize = 400;

fn next_without_faults(state: &State) -> Option<Move> {
    let c = state.coordinators.len() - 1;
    let coordinator = &state.coordinators[c];
    let back = state.hosts.iter().position(|host| host.fired && !host.back).map(Move::GoBack);
    let serve = || coordinator.seats.iter().position(|seat| seat.asks.is_some()).map(|h| Move::Serve(c, h));
    let think = || coordinator.thinks().then_some(Move::Think(c));
    let take_up = || {
        let over =
            matches!(coordinator.run.next(), Next::Ended(Verdict::RolledBack | Verdict::Refused | Verdict::Rotated));
        (!over).then_some(Move::TakeUp(c))
    };
    back.or_else(serve).or_else(think).or_else(take_up)
}

fn ended_well(state: &State) -> bool {
    let content = match state.coordinators.last().and_then(|coordinator| coordinator.run.verdict()) {
        Some(Verdict::Rotated) => Content::New,
        Some(Verdict::RolledBack | Verdict::Refused) => Content::Old,
        _ => return false,
    };
    state.hosts.iter().all(|host| holds(host, content) && host.is_clean())
}
