//! A run that isolates hosts, against hosts that fail, fall silent, lie down and go back by themselves.

use lockturn::model::{Certainty, Event, HostName, Reason, ReasonKind, Step};
use lockturn::quarantine::{Containment, Isolation, Next, Outcome, Role};
use proptest::prelude::*;

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

/// What is really the case on a machine, whoever hears of it.
#[derive(Debug, Clone, Default)]
struct Truth {
    locked: bool,
    staged: bool,
    armed: bool,
    rules: bool,
    confirmed: bool,
    fired: bool,
}

impl Truth {
    /// Does the step, as the program on a host does.
    fn take(&mut self, step: Step) -> Result<(), ReasonKind> {
        match step {
            Step::Lock => self.locked = true,
            Step::Stage => {
                assert!(self.locked && !self.rules || self.confirmed, "staged over rules that are in place: {self:?}");
                // What was confirmed and is not there any more begins anew.
                self.confirmed &= self.rules;
                self.staged = true;
            }
            Step::Arm => {
                assert!(self.staged, "armed with nothing staged");
                (self.armed, self.fired) = (true, false);
            }
            Step::Cut if self.fired => return Err(ReasonKind::Fired),
            Step::Cut => {
                assert!(self.armed, "rules without a way back");
                self.rules = true;
            }
            Step::Confirm if self.fired => return Err(ReasonKind::Fired),
            Step::Confirm if !self.rules && !self.confirmed => return Err(ReasonKind::Changed),
            Step::Confirm => (self.armed, self.confirmed) = (false, true),
            Step::Verify => {
                if !self.rules {
                    return Err(ReasonKind::Changed);
                }
            }
            Step::Revert => {
                assert!(!self.confirmed, "what was confirmed is taken back");
                self.rules = false;
            }
            Step::Clean => {
                assert!(self.confirmed || !self.rules, "rules that nobody holds on to are left behind");
                (self.locked, self.staged, self.armed, self.fired) = (false, false, false, false);
            }
            Step::Activate | Step::Reactivate | Step::Reverify | Step::Stop | Step::Forget => {
                panic!("`{step}` is nothing that rules are changed by")
            }
        }
        Ok(())
    }

    /// Another one who manages rules there takes them away.
    fn flush(&mut self) {
        self.rules &= !self.confirmed;
    }

    /// Nobody confirmed it in time.
    fn fire(&mut self) {
        if self.armed {
            (self.armed, self.rules, self.fired) = (false, false, true);
        }
    }
}

/// What is heard of a step.
#[derive(Debug, Clone, Copy)]
enum Heard {
    Answer,
    Refusal,
    /// Nothing, and it happened.
    LostAfter,
    /// Nothing, and it did not happen.
    LostBefore,
    /// Nothing, and before the next question the machine goes back by itself.
    LostAndFired,
}

struct World {
    run: Isolation,
    truth: Vec<(HostName, Truth)>,
}

impl World {
    fn new(peers: usize) -> Self {
        let mut members: Vec<(HostName, Role)> = (0..peers).map(|n| (name(&format!("peer-{n}")), Role::Peer)).collect();
        members.push((name("a-worker"), Role::Isolated));
        let truth = members.iter().map(|(name, _)| (name.clone(), Truth::default())).collect();
        Self { run: Isolation::new(members), truth }
    }

    fn truth(&mut self, host: &HostName) -> &mut Truth {
        self.truth.iter_mut().find(|(name, _)| name == host).map(|(_, truth)| truth).unwrap()
    }

    fn apply(&mut self, event: &Event) {
        self.run.apply(event).unwrap_or_else(|error| panic!("{error}"));
    }

    fn end(&mut self, host: &HostName, step: Step, heard: Heard) {
        let truth = self.truth(host);
        let said = match heard {
            Heard::Refusal => Err((Certainty::Failed, ReasonKind::CommandFailed)),
            Heard::LostBefore => Err((Certainty::Unknown, ReasonKind::TimedOut)),
            Heard::Answer => truth.take(step).map_err(|kind| (Certainty::Failed, kind)),
            Heard::LostAfter | Heard::LostAndFired => {
                let _unheard = truth.take(step);
                if matches!(heard, Heard::LostAndFired) {
                    truth.fire();
                }
                Err((Certainty::Unknown, ReasonKind::ConnectionLost))
            }
        };
        let host = host.clone();
        self.apply(&match said {
            Ok(()) => Event::StepDone { host, step },
            Err((certainty, kind)) => Event::StepFailed { host, step, certainty, reason: Reason::new(kind, "") },
        });
    }

    /// One process, to its end. What is not heard of well is told by `heard`.
    fn play(&mut self, heard: &mut dyn FnMut() -> Heard) -> Outcome {
        let mut under_way: Vec<(HostName, Step)> = Vec::new();
        for _ in 0..1_000 {
            match self.run.next() {
                Next::Begin(steps) => {
                    for (host, step) in steps {
                        self.apply(&Event::StepBegan { host: host.clone(), step });
                        under_way.push((host, step));
                    }
                }
                Next::Wait => {
                    let (host, step) = under_way.remove(0);
                    self.end(&host, step, heard());
                }
                Next::Ended(outcome) => return outcome,
            }
        }
        panic!("it does not end");
    }

    fn resume(&mut self) {
        self.apply(&Event::Resumed { operator: "me@here".to_owned() });
    }

    /// What is said is true.
    fn is_honest(&self, outcome: Outcome) {
        for (host, truth) in &self.truth {
            let member = &self.run.members()[host];
            if member.containment() == Containment::Enforced {
                assert!(truth.rules && truth.confirmed, "{host} is said to be enforced: {truth:?}");
            }
            assert!(!truth.rules || truth.armed || truth.confirmed, "{host} has rules with no way back: {truth:?}");
        }
        let peers = || self.truth.iter().filter(|(host, _)| host.as_str().starts_with("peer"));
        if outcome == Outcome::Quarantined {
            assert!(peers().all(|(_, truth)| truth.rules && truth.confirmed));
        }
    }
}

fn heard() -> impl Strategy<Value = Heard> {
    prop_oneof![
        6 => Just(Heard::Answer),
        1 => Just(Heard::Refusal),
        1 => Just(Heard::LostAfter),
        1 => Just(Heard::LostBefore),
        1 => Just(Heard::LostAndFired),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]
    #[test]
    fn whatever_happens_what_is_said_is_true_and_a_resume_ends_it(
        peers in 1..4_usize,
        processes in prop::collection::vec((prop::collection::vec(heard(), 0..40), any::<bool>()), 1..5),
    ) {
        let mut world = World::new(peers);
        for (process, flushed) in processes {
            let mut heard = process.into_iter();
            let outcome = world.play(&mut || heard.next().unwrap_or(Heard::LostBefore));
            world.is_honest(outcome);
            for (_, truth) in &mut world.truth {
                truth.fire();
                if flushed {
                    truth.flush();
                }
            }
            world.resume();
        }
        // The faults are over. A machine that had gone back says so once; then it begins anew.
        let mut outcome = world.play(&mut || Heard::Answer);
        world.is_honest(outcome);
        if outcome != Outcome::Quarantined || !world.is_done() {
            world.resume();
            outcome = world.play(&mut || Heard::Answer);
        }
        prop_assert_eq!(outcome, Outcome::Quarantined);
        prop_assert!(world.is_done(), "{:?}", world.run);
    }
}

impl World {
    fn is_done(&self) -> bool {
        let members = self.run.members();
        members.values().all(|member| member.containment() == Containment::Enforced && !member.left_over())
    }
}

#[test]
fn all_goes_well() {
    let mut world = World::new(3);
    let Next::Begin(first) = world.run.next() else { panic!("nothing begins") };
    let order: Vec<&str> = first.iter().map(|(host, _)| host.as_str()).collect();
    assert_eq!(order, ["peer-0", "peer-1", "peer-2", "a-worker"], "peers are sent off first");
    assert_eq!(world.play(&mut || Heard::Answer), Outcome::Quarantined);
    assert!(world.is_done());
}

/// Plays this many steps of one machine alone, while nobody else is heard of.
fn alone(world: &mut World, host: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        let Next::Begin(begin) = world.run.next() else { return steps };
        for (host, step) in &begin {
            world.apply(&Event::StepBegan { host: host.clone(), step: *step });
        }
        let Some((host, step)) = begin.into_iter().find(|(name, _)| name.as_str() == host) else { return steps };
        world.end(&host, step, Heard::Answer);
        steps.push(step);
    }
}

#[test]
fn nobody_waits_for_anybody() {
    for one in ["peer-1", "a-worker"] {
        let mut world = World::new(3);
        let steps = alone(&mut world, one);
        let whole =
            [Step::Lock, Step::Stage, Step::Arm, Step::Cut, Step::Lock, Step::Confirm, Step::Verify, Step::Clean];
        assert_eq!(steps, whole, "{one} was held up by machines that do not answer");
        assert_eq!(world.run.next(), Next::Wait);
        assert_eq!(world.run.members()[&name(one)].containment(), Containment::Enforced);
    }
}

#[test]
fn what_the_host_itself_says_changes_no_verdict() {
    let mut world = World::new(2);
    let outcome = world.play_with(|host| if host == "a-worker" { Heard::LostBefore } else { Heard::Answer });
    assert_eq!(outcome, Outcome::Quarantined, "its peers hold, though it is off");
    assert_eq!(world.run.members()[&name("a-worker")].containment(), Containment::Unreachable);
    let mut world = World::new(2);
    let outcome = world.play_with(|host| if host == "peer-0" { Heard::LostBefore } else { Heard::Answer });
    assert_eq!(outcome, Outcome::Partial { enforced: 1, peers: 2 }, "the host's own rules make up for no peer");
    assert_eq!(World::new(0).play(&mut || Heard::Answer), Outcome::Partial { enforced: 0, peers: 0 });
}

impl World {
    fn play_with(&mut self, heard: impl Fn(&str) -> Heard) -> Outcome {
        loop {
            match self.run.next() {
                Next::Begin(steps) => {
                    for (host, step) in steps {
                        self.apply(&Event::StepBegan { host: host.clone(), step });
                        self.end(&host, step, heard(host.as_str()));
                    }
                }
                Next::Wait => panic!("nothing is under way"),
                Next::Ended(outcome) => return outcome,
            }
        }
    }
}

#[test]
fn rules_that_stay_open_stay_and_are_said_to_be_unverified() {
    let mut world = World::new(1);
    let peer = name("peer-0");
    while let Next::Begin(steps) = world.run.next() {
        for (host, step) in steps {
            world.apply(&Event::StepBegan { host: host.clone(), step });
            let leaks = host == peer && step == Step::Verify;
            world.end(&host, step, if leaks { Heard::Refusal } else { Heard::Answer });
        }
    }
    assert_eq!(world.run.members()[&peer].containment(), Containment::Unverified);
    assert!(world.truth(&peer).rules, "it leaks, so it was opened altogether");
    world.resume();
    assert_eq!(world.play(&mut || Heard::Answer), Outcome::Quarantined);
}

#[test]
fn what_somebody_took_away_is_seen_and_put_back_by_the_next_process() {
    let mut world = World::new(2);
    assert_eq!(world.play(&mut || Heard::Answer), Outcome::Quarantined);
    for host in ["peer-0", "a-worker"] {
        world.truth(&name(host)).flush();
    }
    world.resume();
    assert_eq!(world.play(&mut || Heard::Answer), Outcome::Quarantined);
    assert!(world.is_done() && world.truth.iter().all(|(_, truth)| truth.rules && !truth.armed), "{:?}", world.truth);

    // Who takes them away again at once is not argued with: it is said, until the next one looks.
    world.truth(&name("peer-0")).flush();
    world.resume();
    let changed = Reason::new(ReasonKind::Changed, "");
    let mut looked = 0;
    while let Next::Begin(steps) = world.run.next() {
        for (host, step) in steps {
            world.apply(&Event::StepBegan { host: host.clone(), step });
            if host == name("peer-0") && step == Step::Verify {
                looked += 1;
                let certainty = Certainty::Failed;
                world.apply(&Event::StepFailed { host, step, certainty, reason: changed.clone() });
            } else {
                world.end(&host, step, Heard::Answer);
            }
        }
    }
    assert_eq!(looked, 2, "before it was put back, and after");
    assert_eq!(world.run.members()[&name("peer-0")].containment(), Containment::Unverified);
    assert_eq!(world.run.outcome(), Outcome::Partial { enforced: 1, peers: 2 });
}

#[test]
fn who_says_stop_is_obeyed_and_what_is_not_confirmed_goes_by_itself() {
    let mut world = World::new(1);
    let Next::Begin(steps) = world.run.next() else { panic!("nothing begins") };
    for (host, step) in &steps {
        world.apply(&Event::StepBegan { host: host.clone(), step: *step });
    }
    world.apply(&Event::Interrupted);
    assert_eq!(world.run.next(), Next::Wait, "what was begun is waited for");
    for (host, step) in &steps {
        world.end(host, *step, Heard::Answer);
    }
    assert_eq!(world.run.next(), Next::Ended(Outcome::Partial { enforced: 0, peers: 1 }));
    world.resume();
    assert_eq!(world.play(&mut || Heard::Answer), Outcome::Quarantined);
}

#[test]
fn what_cannot_follow_is_refused() {
    let mut run = World::new(1).run;
    let peer = name("peer-0");
    for event in [
        Event::StepBegan { host: peer.clone(), step: Step::Cut },
        Event::StepDone { host: peer.clone(), step: Step::Lock },
        Event::StepBegan { host: name("nobody"), step: Step::Lock },
        Event::LeaseLapsed,
    ] {
        let before = run.clone();
        assert!(run.apply(&event).is_err(), "{event:?}");
        assert_eq!(run, before);
    }
}
