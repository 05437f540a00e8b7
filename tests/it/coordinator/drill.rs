//! A drill never stays.
//!
//! Goal: wherever something fails or the coordinator dies in a drill, no host is confirmed and nothing else is decided than to go back;
//! `drilled` is said only of a drill whose own fault took everybody back. Method: as for any run, exhaustively for three hosts.

use lockturn::coordinator::Run;
use lockturn::model::{Decision, Drill, DrillFault, Event, Millis, Reason, ReasonKind, Step, Verdict};

use super::{Fault, Sim, check, faults, name};

fn drill(fault: DrillFault) -> Drill {
    Drill { fault, host: name("worker-1") }
}

fn sim(faults: Vec<Fault>) -> Sim {
    let mut sim = Sim::new(faults);
    sim.events.insert(1, Event::RunIsDrill(drill(DrillFault::Proof)));
    sim
}

fn never_stays(sim: &Sim, what: &dyn std::fmt::Debug) {
    for event in &sim.events {
        let stays = matches!(
            event,
            Event::Decided { decision: Decision::Commit, .. } | Event::StepBegan { step: Step::Confirm, .. }
        );
        assert!(!stays, "{event:?} in a drill: {what:?}");
    }
}

#[test]
fn a_drill_in_which_nothing_else_fails_is_drilled() {
    let mut sim = sim(Vec::new());
    let run = sim.run(usize::MAX).unwrap();
    never_stays(&sim, &"no fault");
    assert_eq!(run.verdict(), Some(Verdict::Drilled));
    let cause = run.cause().unwrap();
    assert_eq!((cause.host.clone(), cause.reason.kind), (Some(name("worker-1")), ReasonKind::Drill));
    let back = super::World { was_cut: true, ..super::World::default() };
    assert!(sim.world.values().all(|world| *world == back), "{:?}", sim.world);
    // All of them had proved the new value before.
    let proved = |event: &&Event| matches!(event, Event::StepDone { step: Step::Verify, .. });
    assert_eq!(sim.events.iter().filter(proved).count(), 3);
}

#[test]
fn whatever_fails_and_wherever_it_dies_a_drill_goes_back() {
    let mut died = 0;
    for fault in faults() {
        for die_at in 3.. {
            let mut sim = sim(vec![fault.clone()]);
            let what = (&fault, die_at);
            let Some(run) = sim.run(die_at) else {
                died += 1;
                let left = sim.events.len();
                sim.resume();
                let run = sim.run(usize::MAX).unwrap();
                never_stays(&sim, &what);
                assert_ne!(run.verdict(), Some(Verdict::Drilled), "one that was left has shown nothing: {what:?}");
                for event in &sim.events[left..] {
                    let Event::StepBegan { step, .. } = event else { continue };
                    let back = matches!(step, Step::Revert | Step::Reactivate | Step::Reverify | Step::Clean);
                    assert!(back, "one that was left goes on to {step}: {what:?}");
                }
                check(&sim, &run, &what);
                continue;
            };
            never_stays(&sim, &what);
            let own = run.cause().is_none_or(|cause| cause.reason.kind == ReasonKind::Drill);
            assert!(own || run.verdict() != Some(Verdict::Drilled), "{what:?}");
            break;
        }
    }
    assert!(died > 500, "only {died} deaths");
}

#[test]
fn a_drill_cannot_be_told_to_stay_nor_a_run_that_goes_on_be_made_one() {
    let mut all = sim(Vec::new());
    all.run(usize::MAX).unwrap();
    let decided = all.events.iter().position(|event| matches!(event, Event::Decided { .. })).unwrap();
    let mut run = Run::replay(&all.plan, &all.events[..decided]).unwrap();
    let stay = Event::Decided { decision: Decision::Commit, cause: None };
    assert!(run.apply(&stay).unwrap_err().because.contains("a drill never stays"));

    let mut plain = Sim::new(Vec::new());
    plain.run(usize::MAX).unwrap();
    let mut run = Run::replay(&plain.plan, &plain.events[..4]).unwrap();
    let too_late = run.apply(&Event::RunIsDrill(drill(DrillFault::Proof))).unwrap_err();
    assert!(too_late.because.contains("the run goes on already"));
    let mut run = Run::replay(&plain.plan, &plain.events[..2]).unwrap();
    let stranger = Drill { fault: DrillFault::Proof, host: name("stranger") };
    assert!(run.apply(&Event::RunIsDrill(stranger)).unwrap_err().because.contains("not in the plan"));
    run.apply(&Event::RunIsDrill(drill(DrillFault::Proof))).unwrap();
    let twice = run.apply(&Event::RunIsDrill(drill(DrillFault::LostHost))).unwrap_err();
    assert!(twice.because.contains("it is one already"));
    let watched = Event::SwitchWatched { host: name("worker-1"), after: Millis(1), back: true };
    assert!(run.apply(&watched).is_err(), "no drill was silent");
}

#[test]
fn a_drill_of_the_switch_is_drilled_only_if_the_switch_was_seen_to_work() {
    for (seen, expected) in
        [(Some(true), Verdict::Drilled), (Some(false), Verdict::RolledBack), (None, Verdict::RolledBack)]
    {
        let mut fresh = Sim::new(Vec::new());
        fresh.events.insert(1, Event::RunIsDrill(drill(DrillFault::LostHost)));
        // Up to the activation of the host that hears nothing more.
        let begins = |sim: &Sim| matches!(sim.events.last(), Some(Event::StepBegan { host, step: Step::Activate }) if *host == name("worker-2"));
        let mut sim = (3..)
            .map(|die_at| {
                let mut sim = fresh.clone();
                assert!(sim.run(die_at).is_none());
                sim
            })
            .find(begins)
            .unwrap();
        let reason = Reason::new(ReasonKind::Drill, "not talked to");
        let certainty = lockturn::model::Certainty::Unknown;
        let silent = Event::StepFailed { host: name("worker-1"), step: Step::Activate, certainty, reason };
        sim.events.push(silent);
        sim.events.push(Event::StepDone { host: name("worker-2"), step: Step::Activate });
        sim.world.get_mut(&name("worker-2")).unwrap().new_running = true;
        if let Some(back) = seen {
            sim.events.push(Event::Decided {
                decision: Decision::Rollback,
                cause: Run::replay(&sim.plan, &sim.events)
                    .map(|run| match run.next() {
                        lockturn::coordinator::Next::Record(Event::Decided { cause, .. }) => cause,
                        other => panic!("{other:?}"),
                    })
                    .unwrap(),
            });
            sim.events.push(Event::SwitchWatched { host: name("worker-1"), after: Millis(1), back });
        }
        let run = sim.run(usize::MAX).unwrap();
        never_stays(&sim, &seen);
        assert_eq!(run.verdict(), Some(expected), "{seen:?}");
        let not_back: Vec<_> = run.not_back_by_themselves().into_iter().map(|host| host.as_str()).collect();
        assert_eq!(not_back, if seen == Some(false) { &["worker-1"][..] } else { &[] }, "{seen:?}");
    }
}
