//! A host that is isolated after the run began gets nothing more of it, wherever the run was left, and keeps nobody from the end.

use std::collections::BTreeSet;

use lockturn::coordinator::Run;
use lockturn::model::{Decision, Event, HostName, HostState, Verdict};

use super::{Sim, check, name, plan};

fn left_out(host: &HostName) -> Event {
    Event::HostsLeftOut { hosts: BTreeSet::from([host.clone()]) }
}

/// The hosts that anything was begun on since the run was last taken up.
fn touched(sim: &Sim) -> BTreeSet<&HostName> {
    let last = sim.events.iter().rposition(|event| matches!(event, Event::Resumed { .. })).unwrap();
    let hosts = sim.events[last..].iter().filter_map(|event| match event {
        Event::StepBegan { host, .. } => Some(host),
        _ => None,
    });
    hosts.collect()
}

#[test]
fn it_gets_nothing_and_the_others_come_to_an_end_and_so_does_it_once_it_is_released() {
    let mut verdicts = BTreeSet::new();
    for isolated in plan().hosts.keys() {
        for die_at in 2.. {
            let mut sim = Sim::new(Vec::new());
            if sim.run(die_at).is_some() {
                break;
            }
            let what = format!("{isolated}, dead after {die_at}");
            let before = sim.world[isolated];
            sim.resume();
            sim.events.push(left_out(isolated));
            let run = sim.run(usize::MAX).unwrap();
            let verdict = run.verdict().unwrap();
            verdicts.insert(verdict.label());
            assert!(!touched(&sim).contains(isolated), "{what}: it got something");
            assert_eq!(sim.world[isolated], before, "{what}");
            assert_eq!(run.hosts()[isolated].state(run.decision()), HostState::Quarantined, "{what}");
            assert!(matches!(verdict, Verdict::Rotated | Verdict::RolledBack | Verdict::Refused), "{what}: {verdict}");
            let commit = run.decision() == Some(Decision::Commit);
            for (other, world) in sim.world.iter().filter(|(other, _)| *other != isolated) {
                assert!(!world.staged && !world.armed, "{what}: {other} is not clean");
                assert_eq!((world.new_in_place, world.new_running), (commit, commit), "{what}: {other}");
            }
            assert_eq!(run.owed_by_isolated(), run.hosts()[isolated].left_over(), "{what}");

            // Its switch had its time; then it is let out, and the run taken up once more.
            sim.world.get_mut(isolated).unwrap().fire();
            if !run.owed_by_isolated() {
                let again = Event::Resumed { operator: "op@there".to_owned() };
                assert!(run.clone().apply(&again).is_err(), "{what}: it is over");
                continue;
            }
            sim.resume();
            let run = sim.run(usize::MAX).unwrap();
            let of_isolated = BTreeSet::from([isolated]);
            assert!(touched(&sim).is_subset(&of_isolated), "{what}: others were asked once more");
            check(&sim, &run, &what);
            assert_eq!(run.decision() == Some(Decision::Commit), commit, "{what}: it changed its mind");
            assert_eq!(run.left_out().count(), 0, "{what}");
        }
    }
    assert_eq!(verdicts.into_iter().collect::<Vec<_>>(), ["refused", "rolled-back", "rotated"]);
}

#[test]
fn what_was_not_decided_goes_back_and_says_why() {
    let worker = name("worker-1");
    for die_at in 2.. {
        let mut sim = Sim::new(Vec::new());
        if sim.run(die_at).is_some() {
            break;
        }
        let decided = sim.events.iter().any(|event| matches!(event, Event::Decided { .. }));
        sim.resume();
        sim.events.push(left_out(&worker));
        let run = sim.run(usize::MAX).unwrap();
        if decided {
            assert_eq!(run.decision(), Some(Decision::Commit));
        } else {
            let cause = run.cause().unwrap();
            assert_eq!((cause.host.as_ref(), cause.reason.kind.label()), (Some(&worker), "quarantined"));
        }
    }
    let sim = Sim::new(Vec::new());
    let mut run = Run::replay(&sim.plan, &sim.events).unwrap();
    let before = run.clone();
    assert!(run.apply(&left_out(&name("nobody"))).is_err());
    assert_eq!(run, before);
}
