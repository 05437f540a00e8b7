//! The operator answers for services that cannot prove that they are back.
//!
//! Goal: his word ends a run that would never end otherwise, and is taken for nothing but services. Method: one thing goes wrong on
//! the way back every time, anything else once, and the coordinator dies anywhere.

use lockturn::coordinator::{Next, Run};
use lockturn::model::{Certainty, Event, HostName, Step, Verdict};

use super::{Fault, Sim, check, faults, name};

/// The oracle of a run whose proof was waived: the operator's word is taken for services only, never for what a host holds.
fn check_waived(sim: &Sim, run: &Run, what: &dyn std::fmt::Debug) {
    let unproved: Vec<&HostName> = run.unproved().collect();
    for (host, world) in &sim.world {
        let on_word = unproved.contains(&host);
        assert!(!on_word || !world.new_in_place, "{host} is said to hold the old content: {what:?}");
        if run.verdict() == Some(Verdict::RolledBack) {
            assert!(!world.new_in_place && !world.staged, "{host} is not back, or not clean: {what:?}");
            assert!(on_word || !world.new_running, "nobody answers for {host}: {what:?}");
        }
    }
    if run.verdict() == Some(Verdict::Inconsistent) {
        assert!(run.hosts().values().any(|host| host.trouble().is_some()), "no host is named: {what:?}");
    }
}

#[test]
fn what_cannot_be_proved_on_the_way_back_ends_on_the_operators_word_and_only_that() {
    let back = |step| matches!(step, Step::Revert | Step::Reactivate | Step::Reverify | Step::Clean);
    for lasting in faults().into_iter().filter(|fault| back(fault.step)) {
        let mut sim = Sim::that_cannot_prove(lasting.clone());
        for attempt in 0..2 {
            let run = sim.run(usize::MAX).unwrap();
            assert_eq!(run.verdict(), Some(Verdict::Inconsistent), "attempt {attempt} with {lasting:?}");
            sim.resume();
        }
        let mut mended = sim.clone();
        sim.waive();
        let waived = sim.events.len();
        let run = sim.run(usize::MAX).unwrap();
        check_waived(&sim, &run, &lasting);
        // Whether a host holds the old content it says now, and not only as it was once.
        let asked = Event::StepBegan { host: lasting.host.clone(), step: Step::Revert };
        assert_eq!(sim.events[waived..].contains(&asked), lasting.step != Step::Clean, "{lasting:?}");
        let unproved: Vec<&HostName> = run.unproved().collect();
        if matches!(lasting.step, Step::Reactivate | Step::Reverify) {
            assert_eq!(run.verdict(), Some(Verdict::RolledBack), "{lasting:?}");
            assert_eq!(unproved, [&lasting.host], "{lasting:?}");
        } else {
            assert_eq!(run.verdict(), Some(Verdict::Inconsistent), "{lasting:?}");
            assert_eq!(unproved, Vec::<&HostName>::new(), "{lasting:?}");
        }
        // Where nothing is wrong any more the word is not needed.
        mended.lasting.clear();
        mended.waive();
        let run = mended.run(usize::MAX).unwrap();
        check(&mended, &run, &lasting);
        assert_eq!((run.verdict(), run.unproved().count()), (Some(Verdict::RolledBack), 0), "{lasting:?}");
    }
}

#[test]
fn whichever_step_fails_once_after_the_waiver_the_verdict_is_true() {
    for lasting in faults().into_iter().filter(|fault| matches!(fault.step, Step::Reactivate | Step::Reverify)) {
        for once in faults() {
            let what = (&lasting, once.clone());
            let mut sim = Sim::that_cannot_prove(lasting.clone());
            sim.run(usize::MAX).unwrap();
            sim.waive();
            sim.faults.push(once.clone());
            let run = sim.run(usize::MAX).unwrap();
            check_waived(&sim, &run, &what);
            let refused = matches!(once.step, Step::Revert | Step::Clean) && sim.faults.is_empty();
            let expected = if refused { Verdict::Inconsistent } else { Verdict::RolledBack };
            assert_eq!(run.verdict(), Some(expected), "{what:?}");
            if refused {
                // The word is remembered.
                sim.resume();
                let run = sim.run(usize::MAX).unwrap();
                check_waived(&sim, &run, &what);
                assert_eq!(run.verdict(), Some(Verdict::RolledBack), "{what:?}");
            }
        }
    }
}

#[test]
fn wherever_the_coordinator_dies_with_a_waiver_resume_ends_the_run_with_a_true_verdict() {
    let mut deaths = 0;
    for lasting in faults().into_iter().filter(|fault| matches!(fault.step, Step::Reactivate | Step::Reverify)) {
        let mut given_up = Sim::that_cannot_prove(lasting.clone());
        given_up.run(usize::MAX).unwrap();
        given_up.waive();
        for die_at in given_up.events.len().. {
            let mut sim = given_up.clone();
            if sim.run(die_at).is_some() {
                break;
            }
            deaths += 1;
            sim.resume();
            let run = sim.run(usize::MAX).unwrap();
            check_waived(&sim, &run, &(&lasting, die_at));
            assert_eq!(run.verdict(), Some(Verdict::RolledBack), "{lasting:?}, dead at {die_at}");
            assert_eq!(run.unproved().collect::<Vec<_>>(), [&lasting.host], "{lasting:?}, dead at {die_at}");
        }
        // The same of a run that was left before it had decided anything.
        for die_at in 3.. {
            let mut sim = Sim::that_cannot_prove(lasting.clone());
            if sim.run(die_at).is_some() {
                break;
            }
            if sim.events.iter().any(|event| matches!(event, Event::Decided { .. })) {
                continue;
            }
            deaths += 1;
            sim.resume();
            let operator = "op@there".to_owned();
            sim.events.extend([Event::Interrupted, Event::ProofWaived { operator }]);
            let run = sim.run(usize::MAX).unwrap();
            check_waived(&sim, &run, &(&lasting, die_at));
            assert!(matches!(run.verdict(), Some(Verdict::RolledBack | Verdict::Refused)), "{lasting:?}, {die_at}");
        }
    }
    assert!(deaths > 500, "only {deaths} deaths");
}

#[test]
fn a_host_that_does_not_answer_is_not_waited_for_by_those_who_are_proved() {
    for certainty in [Certainty::Failed, Certainty::Unknown] {
        let silent = name("worker-2");
        let lasting = Fault { step: Step::Reactivate, host: silent.clone(), certainty, happened: false };
        let fresh = Sim::that_cannot_prove(lasting);
        // Left as soon as it is on its way back, waived, and up to where somebody is asked for the old value.
        let left = |sim: &Sim, until| {
            let mut sim = sim.clone();
            assert!(sim.run(until).is_none());
            sim
        };
        let back = |sim: &Sim| matches!(sim.events.last(), Some(Event::Decided { .. }));
        let mut sim = (3..).map(|until| left(&fresh, until)).find(back).unwrap();
        sim.waive();
        let asked = Event::StepBegan { host: silent, step: Step::Reverify };
        let sim = (sim.events.len()..).map(|until| left(&sim, until)).find(|sim| sim.events.contains(&asked)).unwrap();
        let mut run = Run::replay(&sim.plan, &sim.events).unwrap();
        let others = vec![name("control"), name("worker-1")];
        for host in &others {
            run.apply(&Event::StepDone { host: host.clone(), step: Step::Reverify }).unwrap();
        }
        let next = match certainty {
            Certainty::Unknown => Next::Begin { step: Step::Clean, hosts: others },
            // It does answer, and will soon say what there is to say.
            Certainty::Failed => Next::Wait,
        };
        assert_eq!(run.next(), next, "{certainty:?}");
    }
}

#[test]
fn a_proof_is_waived_on_the_way_back_only() {
    let waived = Event::ProofWaived { operator: "op@there".to_owned() };
    let mut sim = Sim::new(Vec::new());
    sim.run(usize::MAX).unwrap();
    let whole = sim.events.clone();
    let decided = whole.iter().position(|event| matches!(event, Event::Decided { .. })).unwrap();
    for until in 1..whole.len() {
        let mut run = Run::replay(&sim.plan, &whole[..until]).unwrap();
        let no = run.apply(&waived).unwrap_err().to_string();
        assert_eq!(no, "`proof-waived` cannot happen here: the run is not on its way back", "after {until} events");
        if until > decided || run.hosts().values().any(|host| host.doing().is_some()) {
            continue;
        }
        run.apply(&Event::Interrupted).unwrap();
        run.apply(&waived).unwrap();
        let no = run.apply(&whole[decided]).unwrap_err().to_string();
        assert_eq!(no, "`decided` cannot happen here: the operator asked to stop", "after {until} events");
    }
}
