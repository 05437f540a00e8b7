//! The words that the operator reads.

use lockturn::coordinator::Run;
use lockturn::model::{Decision, Drill, DrillFault, Event, HostState, Verdict};

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
    let verdict = run.verdict().unwrap();
    if !matches!(verdict, Verdict::RotatedWithDebt | Verdict::Inconsistent) {
        assert!(!run.hosts().values().any(|host| host.left_over()), "{verdict}, and something is left: {what:?}");
    }
    if verdict == Verdict::Refused {
        assert!(!run.hosts().values().any(|host| host.moved()), "{verdict}, and a host may be changed: {what:?}");
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
            sim.resume();
            let run = sim.run(usize::MAX).unwrap();
            match left.decision() {
                // It is no question any more.
                Some(decision) => {
                    assert!(!left.would_go_back(), "{what:?}");
                    assert_eq!(run.decision(), Some(decision), "{what:?}");
                }
                None => assert_eq!(left.would_go_back(), run.decision() == Some(Decision::Rollback), "{what:?}"),
            }
            *(if left.would_go_back() { &mut back } else { &mut forward }) += 1;
        }
    }
    assert!(forward > 20 && back > 20, "forward {forward}, back {back}");
}
