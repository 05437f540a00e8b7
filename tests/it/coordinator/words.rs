//! The words that the operator reads.

use std::collections::{BTreeMap, BTreeSet};

use lockturn::coordinator::Run;
use lockturn::model::{Certainty, Decision, Drill, DrillFault, Event, HostState, Step, Verdict};

use super::{Sim, name};

/// The word for a host, once the run has ended, is what that host holds and what its services run; so is what is said to be left there.
pub(super) fn are_true(sim: &Sim, run: &Run, what: &dyn std::fmt::Debug) {
    for (name, host) in run.hosts() {
        let state = host.state(run.decision());
        let is = (sim.world[name].new_in_place, sim.world[name].new_running);
        match state {
            HostState::Pending | HostState::Staged | HostState::Armed | HostState::Reverted => {
                assert_eq!(is, (false, false), "{name} is {state}: {what:?}");
            }
            HostState::Confirmed => assert_eq!(is, (true, true), "{name} is {state}: {what:?}"),
            HostState::InDoubt | HostState::Inconsistent => {
                assert_eq!(run.verdict(), Some(Verdict::Inconsistent), "{name} is {state}: {what:?}");
            }
            state => panic!("the run has ended and {name} is {state}: {what:?}"),
        }
        assert!(host.left_over() || !sim.world[name].taken, "nothing is said to be left on {name}: {what:?}");
        assert!(host.moved() || !sim.world[name].new_in_place, "{name} is said to be as it was: {what:?}");
    }
    nobody_is_restarted_for_nothing(sim, what);
    nobody_goes_ahead(sim, what);
    let verdict = run.verdict().unwrap();
    let may_go_on = matches!(verdict, Verdict::RotatedWithDebt | Verdict::Inconsistent);
    if !may_go_on {
        assert!(!run.hosts().values().any(|host| host.left_over()), "{verdict}, and something is left: {what:?}");
    }
    let resumed = run.clone().apply(&Event::Resumed { operator: "op@there".to_owned() });
    assert_eq!(resumed.is_ok(), may_go_on, "{verdict}, and resumed: {what:?}");
    if verdict == Verdict::Refused {
        assert!(!run.hosts().values().any(|host| host.moved()), "{verdict}, and a host may be changed: {what:?}");
    }
}

/// Services that nobody told of the new content are told of the old one only if they turn out to have the new one all the same.
fn nobody_is_restarted_for_nothing(sim: &Sim, what: &dyn std::fmt::Debug) {
    let mut told = BTreeSet::new();
    for event in &sim.events {
        match event {
            // What a dead coordinator had told them nobody knows.
            Event::Rebuilt { hosts, .. } => told.extend(hosts.keys()),
            Event::StepBegan { host, step: Step::Activate } | Event::StepFailed { host, step: Step::Reverify, .. } => {
                told.insert(host);
            }
            Event::StepBegan { host, step: Step::Reactivate } => assert!(told.contains(host), "{host}: {what:?}"),
            _ => {}
        }
    }
}

/// No host begins a step while another one that answers is still busy with an earlier one.
fn nobody_goes_ahead(sim: &Sim, what: &dyn std::fmt::Debug) {
    let (mut doing, mut lost) = (BTreeMap::new(), BTreeSet::new());
    for event in &sim.events {
        match event {
            Event::StepBegan { host, step } => {
                let behind = doing.iter().find(|(other, busy)| *busy != step && !lost.contains(*other));
                assert_eq!(behind, None, "{host} begins {step}: {what:?}");
                doing.insert(host, *step);
            }
            Event::StepDone { host, .. } => {
                doing.remove(host);
                lost.remove(host);
            }
            Event::StepFailed { host, certainty, .. } => {
                doing.remove(host);
                if *certainty == Certainty::Unknown {
                    lost.insert(host);
                } else {
                    lost.remove(host);
                }
            }
            Event::Resumed { .. } => {
                doing.clear();
                lost.clear();
            }
            _ => {}
        }
    }
}

#[test]
fn a_run_that_was_left_goes_the_way_that_was_said() {
    let drill = Event::RunIsDrill(Drill { fault: DrillFault::Proof, host: name("worker-1") });
    let (mut forward, mut back) = (0, 0);
    for (is_drill, interrupted) in [(false, false), (false, true), (true, false), (true, true)] {
        for die_at in 3.. {
            let what = (is_drill, interrupted, die_at);
            let mut sim = Sim::new(Vec::new());
            if is_drill {
                sim.events.insert(1, drill.clone());
            }
            if sim.run(die_at).is_some() {
                break;
            }
            if interrupted {
                sim.events.push(Event::Interrupted);
            }
            let left = Run::replay(&sim.plan, &sim.events).unwrap();
            assert_eq!(left.drill().is_some(), is_drill, "{what:?}");
            // Before the first cut some new values lie nowhere but in the coordinator that died.
            let cut = sim.events.iter().any(|event| matches!(event, Event::StepBegan { step: Step::Cut, .. }));
            let goes_back = left.decision().is_none() && (is_drill || interrupted || !cut);
            assert_eq!(left.would_go_back(), goes_back, "{what:?}");
            sim.resume();
            let run = sim.run(usize::MAX).unwrap();
            let goes = if goes_back { Decision::Rollback } else { Decision::Commit };
            assert_eq!(run.decision(), Some(left.decision().unwrap_or(goes)), "{what:?}");
            *(if goes_back { &mut back } else { &mut forward }) += 1;
        }
    }
    assert!(forward > 20 && back > 20, "forward {forward}, back {back}");
}
