//! The journal is lost wherever a run was: what the hosts say ends it, all old or all new.

use std::collections::BTreeMap;

use lockturn::coordinator::{Next, Run, way};
use lockturn::model::{Decision, Event, Found, HostName, Stands, Step, Verdict};

use super::{Sim, World, check, faults, name, plan};

fn stands(world: &World) -> Stands {
    match world {
        World { taken: false, .. } => Stands::Nothing,
        World { confirmed: true, .. } => Stands::Confirmed,
        World { was_cut: true, .. } => Stands::Cut,
        World { .. } => Stands::Uncut,
    }
}

impl Sim {
    /// The journal is gone; a new one begins with what the hosts say. None if nobody has anything of the run.
    fn rebuild(&mut self) -> Option<Decision> {
        let found = |world: &World| Found { stands: stands(world), said: String::new() };
        let found: BTreeMap<HostName, Found> = self.world.iter().map(|(name, w)| (name.clone(), found(w))).collect();
        if found.values().all(|said| said.stands == Stands::Nothing) {
            return None;
        }
        let decision = way(&found).expect("hosts that do not lie never contradict each other");
        self.events.truncate(2);
        self.events.push(Event::Rebuilt { operator: "op@there".to_owned(), epoch: 7, hosts: found });
        let run = Run::replay(&self.plan, &self.events).unwrap();
        let Next::Record(decided) = run.next() else { panic!("what the hosts say decides") };
        self.events.push(decided);
        Some(decision)
    }
}

/// Runs to the end from what the hosts say; the verdict is true, and nobody was left on the other side.
fn ends(sim: &mut Sim, what: &dyn std::fmt::Debug) {
    let confirmed = sim.world.values().any(|world| world.confirmed);
    let Some(decision) = sim.rebuild() else { return };
    assert_eq!(decision == Decision::Commit, confirmed, "{what:?}");
    let run = sim.run(usize::MAX).expect("it ends");
    check(sim, &run, what);
    let verdicts = [Verdict::Rotated, Verdict::RolledBack, Verdict::Refused];
    assert!(verdicts.contains(&run.verdict().unwrap()), "{what:?}: {:?}", run.verdict());
    let Some(Event::Rebuilt { hosts: said, .. }) = sim.events.get(2) else { panic!("the journal begins with it") };
    for event in &sim.events[3..] {
        match event {
            // Services are told before they are asked: nobody sees a proof fail where nothing is wrong.
            Event::StepFailed { .. } => panic!("{event:?}: {what:?}"),
            // Services that run as they are to run are not restarted once more, and nobody is asked to remove what is not there.
            Event::StepBegan { host, step } => match said[host].stands {
                Stands::Nothing => panic!("{event:?}: {what:?}"),
                Stands::Uncut | Stands::Confirmed => assert_eq!(*step, Step::Clean, "{host}: {what:?}"),
                Stands::Cut => {}
            },
            _ => {}
        }
    }
    // Who was cleaned before has not shown what it holds.
    let not_seen = said.values().any(|said| said.stands == Stands::Nothing);
    assert_eq!(run.unproved().next().is_some(), not_seen && decision == Decision::Commit, "{what:?}");
}

#[test]
fn wherever_the_journal_is_lost_the_hosts_end_the_run() {
    for fault in std::iter::once(None).chain(faults().into_iter().map(Some)) {
        for until in 2..60 {
            let mut sim = Sim::new(fault.clone().into_iter().collect());
            let ended = sim.run(until).is_some();
            sim.faults.clear();
            ends(&mut sim, &(&fault, until));
            if ended {
                break;
            }
        }
    }
}

#[test]
fn wherever_the_journal_is_lost_and_hosts_have_gone_back_by_themselves_they_end_the_run() {
    let everybody: Vec<HostName> = plan().hosts.keys().cloned().collect();
    for until in 2..60 {
        for fired in 0..8_usize {
            let mut sim = Sim::new(Vec::new());
            let ended = sim.run(until).is_some();
            let gone = everybody.iter().enumerate().filter(|(at, _)| fired >> at & 1 == 1).map(|(_, name)| name);
            gone.for_each(|name| sim.world.get_mut(name).unwrap().fire());
            ends(&mut sim, &(until, fired));
            if ended {
                return;
            }
        }
    }
}

#[test]
fn a_journal_that_is_lost_twice_is_as_lost_as_once() {
    for until in (6..50).step_by(3) {
        for again in 4..40 {
            let mut sim = Sim::new(Vec::new());
            let _ended = sim.run(until);
            if sim.rebuild().is_none() {
                continue;
            }
            let ended = sim.run(again).is_some();
            ends(&mut sim, &(until, again));
            if ended {
                break;
            }
        }
    }
}

#[test]
fn what_cannot_both_be_decides_nothing() {
    use Stands::{Confirmed, Cut, Nothing, Uncut};
    let said = |all: [Stands; 3]| -> BTreeMap<HostName, Found> {
        let found = |stands| Found { stands, said: String::new() };
        plan().hosts.into_keys().zip(all.map(found)).collect()
    };
    for (all, wanted) in [
        ([Confirmed, Confirmed, Confirmed], Some(Decision::Commit)),
        ([Confirmed, Cut, Cut], Some(Decision::Commit)),
        ([Nothing, Nothing, Confirmed], Some(Decision::Commit)),
        ([Cut, Cut, Cut], Some(Decision::Rollback)),
        ([Nothing, Uncut, Cut], Some(Decision::Rollback)),
        ([Confirmed, Uncut, Cut], None),
        ([Confirmed, Nothing, Cut], None),
        ([Uncut, Confirmed, Nothing], None),
    ] {
        let found = said(all);
        assert_eq!(way(&found).ok(), wanted, "{all:?}");
        let mut sim = Sim::new(Vec::new());
        sim.events.push(Event::Rebuilt { operator: "op@there".to_owned(), epoch: 7, hosts: found });
        assert_eq!(Run::replay(&sim.plan, &sim.events).is_ok(), wanted.is_some(), "{all:?}");
    }
}

#[test]
fn a_journal_begins_with_what_the_hosts_say_or_never_hears_it() {
    let mut sim = Sim::new(Vec::new());
    let _ended = sim.run(8);
    let found = Found { stands: Stands::Cut, said: String::new() };
    let hosts: BTreeMap<HostName, Found> = plan().hosts.into_keys().map(|name| (name, found.clone())).collect();
    let rebuilt = |hosts| Event::Rebuilt { operator: "op@there".to_owned(), epoch: 7, hosts };
    let mut run = Run::replay(&sim.plan, &sim.events).unwrap();
    assert!(run.apply(&rebuilt(hosts.clone())).unwrap_err().because.contains("not where this ledger begins"));
    let goes_back = Event::Decided { decision: Decision::Rollback, cause: None };
    for before in [&sim.events[..1], &[&sim.events[..2], &[goes_back]].concat()] {
        let mut run = Run::replay(&sim.plan, before).unwrap();
        assert!(run.apply(&rebuilt(hosts.clone())).unwrap_err().because.contains("not where this ledger begins"));
    }
    let mut run = Run::replay(&sim.plan, &sim.events[..2]).unwrap();
    let mut fewer = hosts.clone();
    fewer.remove(&name("control"));
    assert!(run.apply(&rebuilt(fewer)).unwrap_err().because.contains("not every host"));
    assert!(!run.is_rebuilt());
    run.apply(&rebuilt(hosts)).unwrap();
    assert!(run.is_rebuilt());
    // What they say leaves no choice.
    let stays = Event::Decided { decision: Decision::Commit, cause: None };
    assert!(run.apply(&stays).unwrap_err().because.contains("the hosts said otherwise"));
    let begins = Event::StepBegan { host: name("control"), step: Step::Cut };
    assert!(run.apply(&begins).is_err(), "nothing goes forward before that is decided");
}
