//! The end of a run, state by state: decide, confirm, fire, retire.
//!
//! Goal: whatever gets lost, comes late or dies, the promises hold in *every* state that can be reached. Method: stateright explores all of
//! them, breadth first, from the moment when every host is armed. The coordinators are the product's own `Run`; hosts, network and the
//! runtime are played (`host.rs`, `fleet.rs`). The promises are in `properties.rs`, together with what must be reached, so that nothing
//! holds only because nothing happens. A fault is an answer that nobody hears (its request is lost, or done at any later time), a process
//! that dies, or a switch that fires; time is that a switch may fire at any moment from which on no coordinator counts on it any more.
//!
//! Not in here: staging, and the lease as a number (`src/runtime/lease.rs`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![expect(clippy::print_stdout, reason = "how many states there were, for whoever asks with --nocapture")]

mod fleet;
mod host;
mod plan;
mod properties;

use stateright::{Checker as _, HasDiscoveries, Model as _};

use fleet::Fleet;
use host::Bug;
use properties::{
    FIRE_XOR_CONFIRM, IN_TIME, NO_DEAD_SECRET, SINGLE_WRITER, WAY_TO_AN_END, always, always_and_sometimes, of_copies,
};

/// Explores everything, and gives the number of states. What must hold held in all of them, what must be reached was.
fn explore(fleet: Fleet) -> usize {
    let (hosts, faults) = (fleet.names.len(), fleet.faults);
    let checker = fleet.checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{hosts} hosts, at most {faults} faults: {states} states, {} moves deep", checker.max_depth());
    checker.assert_properties();
    states
}

/// The model finds a way to a state in which the property does not hold.
fn finds(fleet: Fleet, property: &'static str) {
    let (bug, hosts) = (fleet.bug, fleet.names.len());
    let checker = fleet.checker().finish_when(HasDiscoveries::AnyOf([property].into())).spawn_bfs().join();
    let way = checker.assert_any_discovery(property).into_actions();
    println!("{bug:?}, {hosts} hosts, {property:?} ends in {} moves: {way:?}", way.len());
}

fn finds_with_a_bug(bug: Bug, properties: &[&'static str]) {
    for hosts in [2, 3] {
        for property in properties {
            finds(Fleet::new(hosts, 1, bug, always), property);
        }
    }
}

#[test]
fn two_hosts_and_any_three_faults() {
    assert_eq!(explore(Fleet::new(2, 3, Bug::None, always_and_sometimes)), 36_262);
}

#[test]
fn three_hosts_and_any_two_faults() {
    assert_eq!(explore(Fleet::new(3, 2, Bug::None, always_and_sometimes)), 40_371);
}

#[test]
fn four_hosts_and_any_one_fault() {
    assert_eq!(explore(Fleet::new(4, 1, Bug::None, always)), 7_446);
}

#[test]
fn an_old_value_that_dies_at_the_decision_is_missed() {
    finds_with_a_bug(Bug::RetireAtDecision, &[NO_DEAD_SECRET]);
}

#[test]
fn a_switch_that_is_taken_away_without_a_look_is_missed() {
    finds_with_a_bug(Bug::BlindDisarm, &[NO_DEAD_SECRET, FIRE_XOR_CONFIRM, WAY_TO_AN_END]);
}

#[test]
fn a_host_that_obeys_whoever_speaks_is_found() {
    finds_with_a_bug(Bug::NoEpochCheck, &[SINGLE_WRITER]);
}

#[test]
fn a_lease_that_is_believed_for_too_long_is_found() {
    finds_with_a_bug(Bug::LongLease, &[IN_TIME]);
}

/// A run is taken up elsewhere with a *copy* of the state directory while its first coordinator lives. The two ledgers may decide
/// differently; hosts obey the newer one, a confirmed host stays, and what either says at its end is true.
#[test]
fn two_copies_of_the_ledger_and_no_fault() {
    assert_eq!(explore(Fleet::new(2, 0, Bug::None, of_copies).with_copies()), 2_616);
}

/// Nor does one that lost an answer, or was away for too long, say at its end what the other one has made untrue.
#[test]
fn two_copies_of_the_ledger_and_any_one_fault() {
    assert_eq!(explore(Fleet::new(2, 1, Bug::None, of_copies).with_copies()), 228_807);
}

#[test]
fn two_copies_of_the_ledger_and_any_one_fault_where_the_first_draws_the_greater_number() {
    assert_eq!(explore(Fleet::new(2, 1, Bug::None, of_copies).with_copies().first_is_greater()), 347_941);
}

/// The older one has gone back and proved it, the newer one comes forward again and cleans everything away; then the older one finds
/// nothing left to clean, and must not say `rolled-back`.
#[test]
fn one_who_believes_that_nothing_was_there_to_be_cleaned_is_found() {
    finds(Fleet::new(2, 1, Bug::BlindClean, of_copies).with_copies(), NO_DEAD_SECRET);
}
