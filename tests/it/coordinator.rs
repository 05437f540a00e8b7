//! The coordinator against a model of hosts that shares no code with it.
//!
//! Goal: whatever step fails or loses its answer, on whichever host, and wherever the coordinator dies, the run ends, and the
//! end is what the hosts really hold. Method: drive `Run::next` with scripted hosts, exhaustively for three hosts.

mod drill;
mod found;
mod isolated;
mod rivals;
mod waiver;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use lockturn::coordinator::{Next, Run};
use lockturn::model::{
    Become, Certainty, Decision, Event, HostName, HostPlan, HostState, Millis, PLAN_VERSION, Plan, Reason, ReasonKind,
    RunId, Step, Strategy, Switch, Unreachable, Verdict,
};

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

fn plan() -> Plan {
    let host = || HostPlan {
        address: "127.0.0.1:22".to_owned(),
        become_user: Become::None,
        switch: Switch::Process,
        login: "/home/op".to_owned(),
        state: "/var/lib/lockturn".to_owned(),
        path: String::new(),
        changes: Vec::new(),
        activate: Vec::new(),
        verify: Vec::new(),
    };
    let hosts = ["control", "worker-1", "worker-2"];
    Plan {
        version: PLAN_VERSION,
        playbook: "p".to_owned(),
        summary: String::new(),
        values: BTreeMap::new(),
        hosts: hosts.iter().map(|h| (name(h), host())).collect(),
        activate_batches: vec![vec![name("worker-1"), name("worker-2")], vec![name("control")]],
        strategy: Strategy::Lockstep,
        lease: Millis::from_secs(120),
        unreachable: Unreachable::Abort,
    }
}

/// What a host really holds, and what its service really runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct World {
    staged: bool,
    new_in_place: bool,
    new_running: bool,
    armed: bool,
    fired: bool,
    confirmed: bool,
    /// The run has something here.
    taken: bool,
    /// It was cut once.
    was_cut: bool,
}

impl World {
    /// Nobody confirmed it in time.
    fn fire(&mut self) {
        if self.armed {
            *self = Self { armed: false, fired: true, new_in_place: false, new_running: false, ..*self };
        }
    }
}

/// What goes wrong: this step, there, this way, and whether the step happened all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    step: Step,
    host: HostName,
    certainty: Certainty,
    happened: bool,
}

#[derive(Clone)]
struct Sim {
    plan: Plan,
    events: Vec<Event>,
    world: BTreeMap<HostName, World>,
    faults: Vec<Fault>,
    /// What goes wrong every time.
    lasting: Vec<Fault>,
    /// Hosts whose switch fires just before they are asked to do this.
    fires: Vec<(Step, HostName)>,
    /// Hosts that start again just before they are asked to go back: their services run with whatever is in place.
    restarts: Vec<HostName>,
}

impl Sim {
    fn new(faults: Vec<Fault>) -> Self {
        let plan = plan();
        let world = plan.hosts.keys().map(|h| (h.clone(), World::default())).collect();
        let run: RunId = "01J".parse().unwrap();
        let began = Event::RunBegan {
            run,
            plan: plan.hash(),
            playbook: "p".to_owned(),
            hosts: 3,
            operator: "op@here".to_owned(),
            version: "0".to_owned(),
        };
        let events = vec![began, Event::ValuesMinted { values: BTreeMap::new() }];
        Self { plan, events, world, faults, lasting: Vec::new(), fires: Vec::new(), restarts: Vec::new() }
    }

    fn effect(world: &mut World, step: Step) {
        match step {
            Step::Stage => world.staged = true,
            Step::Arm => (world.armed, world.fired) = (true, false),
            Step::Confirm => (world.armed, world.confirmed) = (false, true),
            Step::Cut => (world.new_in_place, world.was_cut) = (true, true),
            Step::Activate => world.new_running = world.new_in_place,
            Step::Revert => world.new_in_place = false,
            Step::Reactivate => world.new_running = world.new_in_place,
            Step::Clean => (world.staged, world.armed, world.taken) = (false, false, false),
            Step::Lock => world.taken = true,
            Step::Verify | Step::Reverify | Step::Stop | Step::Forget => {}
        }
    }

    /// Runs until the end, or until so many events are recorded (the coordinator dies there).
    fn run(&mut self, die_at: usize) -> Option<Run> {
        let mut run = Run::replay(&self.plan, &self.events).expect("what was recorded is legal");
        let mut waiting: Vec<(HostName, Step)> = Vec::new();
        for _ in 0..200 {
            if self.events.len() >= die_at && run.verdict().is_none() {
                return None;
            }
            let new = match run.next() {
                Next::Ended(_) => return Some(run),
                Next::Record(event) => vec![event],
                Next::Begin { step, hosts } => {
                    if step == Step::Cut && run.decision().is_none() {
                        // One that a dead coordinator had cut may have gone back by itself.
                        let can = |w: &World| w.staged && (w.armed || w.fired);
                        assert!(self.world.values().all(can), "somebody moves before everybody can");
                    }
                    if step == Step::Clean && run.decision() == Some(Decision::Commit) {
                        // Should the ledger be lost, they tell of the decision.
                        let out: Vec<_> = run.left_out().collect();
                        assert!(self.world.iter().all(|(name, w)| w.confirmed || out.contains(&name)), "too soon");
                    }
                    waiting.extend(hosts.iter().map(|h| (h.clone(), step)));
                    hosts.into_iter().map(|host| Event::StepBegan { host, step }).collect()
                }
                Next::Wait | Next::Hurry => {
                    let (host, step) = waiting.pop().expect("the run waits for something");
                    vec![self.perform(host, step)]
                }
            };
            for event in new {
                run.apply(&event).expect("what the coordinator wants is legal");
                self.events.push(event);
            }
        }
        panic!("the run does not end: {:?}", self.events);
    }

    fn perform(&mut self, host: HostName, step: Step) -> Event {
        let world = self.world.get_mut(&host).unwrap();
        if let Some(at) = self.fires.iter().position(|(before, who)| (*before, who) == (step, &host)) {
            self.fires.remove(at);
            world.fire();
        }
        if let (Step::Revert, Some(at)) = (step, self.restarts.iter().position(|who| *who == host)) {
            self.restarts.remove(at);
            world.new_running = world.new_in_place;
        }
        let says_no = match step {
            Step::Reverify if world.new_running => Some(ReasonKind::NewRefused),
            Step::Cut | Step::Confirm if world.fired => Some(ReasonKind::Fired),
            Step::Verify if !world.new_running => Some(ReasonKind::NewRefused),
            _ => None,
        };
        if let Some(kind) = says_no {
            let reason = Reason::new(kind, "no");
            return Event::StepFailed { host, step, certainty: Certainty::Failed, reason };
        }
        let found = self.faults.iter().position(|f| f.step == step && f.host == host);
        let lasting = || self.lasting.iter().find(|f| f.step == step && f.host == host).cloned();
        let Some(fault) = found.map(|i| self.faults.remove(i)).or_else(lasting) else {
            Self::effect(world, step);
            return Event::StepDone { host, step };
        };
        if fault.happened {
            Self::effect(world, step);
        }
        let reason = Reason::new(ReasonKind::ConnectionLost, "gone");
        Event::StepFailed { host, step, certainty: fault.certainty, reason }
    }

    fn resume(&mut self) {
        self.events.push(Event::Resumed { operator: "op@there".to_owned() });
    }

    /// The operator answers for the services.
    fn waive(&mut self) {
        self.resume();
        self.events.push(Event::ProofWaived { operator: "op@there".to_owned() });
    }

    /// A run that goes back because of one host, with something that goes wrong on the way every time.
    fn that_cannot_prove(lasting: Fault) -> Self {
        let first = Fault { step: Step::Verify, host: name("worker-1"), certainty: Certainty::Failed, happened: false };
        let mut sim = Self::new(vec![first]);
        sim.lasting = vec![lasting];
        sim
    }
}

fn faults() -> Vec<Fault> {
    let mut all = Vec::new();
    for step in Step::ALL.iter().filter(|step| !matches!(step, Step::Stop | Step::Forget)) {
        for host in plan().hosts.keys() {
            for (certainty, happened) in
                [(Certainty::Failed, false), (Certainty::Unknown, false), (Certainty::Unknown, true)]
            {
                all.push(Fault { step: *step, host: host.clone(), certainty, happened });
            }
        }
    }
    all
}

/// The oracle: what the verdict promises, and the word for each host, is what the hosts hold.
fn check(sim: &Sim, run: &Run, what: &dyn std::fmt::Debug) {
    let new = sim.world.values().filter(|w| w.new_in_place && w.new_running).count();
    let old = sim.world.values().filter(|w| !w.new_in_place && !w.new_running).count();
    let clean = sim.world.values().all(|w| !w.staged);
    match run.verdict().unwrap() {
        Verdict::Rotated => assert!(new == 3 && clean, "{what:?}"),
        Verdict::RotatedWithDebt => assert!(new == 3, "{what:?}"),
        Verdict::RolledBack | Verdict::Drilled | Verdict::Refused => assert!(old == 3 && clean, "{what:?}"),
        Verdict::Inconsistent => {
            let named = run.hosts().values().filter(|h| h.trouble().is_some()).count();
            assert!(named > 0, "a person must look, and no host is named: {what:?}");
        }
        verdict @ (Verdict::Quarantined | Verdict::Released | Verdict::Partial) => panic!("{verdict}: {what:?}"),
    }
    words::are_true(sim, run, what);
}

#[test]
fn without_faults_every_host_is_rotated_and_clean() {
    let mut sim = Sim::new(Vec::new());
    let run = sim.run(usize::MAX).unwrap();
    assert_eq!(run.verdict(), Some(Verdict::Rotated));
    assert!(run.hosts().values().all(|h| h.state(run.decision()) == HostState::Confirmed));
    check(&sim, &run, &"no fault");
}

#[test]
fn whichever_step_fails_once_the_verdict_is_true() {
    let mut seen = BTreeSet::new();
    for fault in faults() {
        let mut sim = Sim::new(vec![fault.clone()]);
        let run = sim.run(usize::MAX).unwrap();
        check(&sim, &run, &fault);
        seen.insert(run.verdict().unwrap());
    }
    // Steps back are reached only after another fault: see the next test. Here four ends are possible.
    let expected =
        [Verdict::RolledBack, Verdict::Refused, Verdict::RotatedWithDebt, Verdict::Inconsistent, Verdict::Rotated];
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn whichever_second_step_fails_the_verdict_is_true_and_resume_mends_it() {
    let mut inconsistent = 0;
    for first in faults() {
        for second in faults() {
            let what = (first.clone(), second.clone());
            let mut sim = Sim::new(vec![first.clone(), second]);
            let run = sim.run(usize::MAX).unwrap();
            check(&sim, &run, &what);
            if matches!(run.verdict(), Some(Verdict::Inconsistent | Verdict::RotatedWithDebt)) {
                inconsistent += 1;
                sim.faults.clear();
                sim.resume();
                let run = sim.run(usize::MAX).unwrap();
                check(&sim, &run, &what);
                assert_ne!(run.verdict(), Some(Verdict::Inconsistent), "resume does not mend {what:?}");
            }
        }
    }
    assert!(inconsistent > 100, "the battery does not reach the ends that it is for: {inconsistent}");
}

#[test]
fn wherever_the_coordinator_dies_resume_ends_the_run_with_a_true_verdict() {
    let (mut deaths, mut verdicts) = (0, BTreeSet::new());
    for fault in faults() {
        for die_at in 3.. {
            let mut sim = Sim::new(vec![fault.clone()]);
            if sim.run(die_at).is_some() {
                break;
            }
            deaths += 1;
            sim.resume();
            let run = sim.run(usize::MAX).unwrap();
            check(&sim, &run, &(&fault, die_at));
            verdicts.insert(run.verdict().unwrap());
        }
    }
    assert!(deaths > 1_000, "only {deaths} deaths");
    assert!(verdicts.contains(&Verdict::Rotated) && verdicts.contains(&Verdict::RolledBack));
}

#[test]
fn wherever_the_coordinator_dies_twice_every_step_there_and_back_is_repeated_and_the_verdict_is_true() {
    let mut repeated = BTreeSet::new();
    for first in [None, Some(Step::Cut), Some(Step::Verify), Some(Step::Confirm)] {
        let fault = |step| Fault { step, host: name("worker-1"), certainty: Certainty::Unknown, happened: true };
        for once in 3.. {
            let mut sim = Sim::new(first.map(fault).into_iter().collect());
            if sim.run(once).is_some() {
                break;
            }
            sim.resume();
            for twice in sim.events.len() + 1.. {
                let mut sim = sim.clone();
                if sim.run(twice).is_some() {
                    break;
                }
                sim.resume();
                let run = sim.run(usize::MAX).unwrap();
                check(&sim, &run, &(first, once, twice));
                let mut begun = BTreeSet::new();
                for event in &sim.events {
                    if let Event::StepBegan { host, step } = event
                        && !begun.insert((host, *step))
                    {
                        repeated.insert((host.clone(), *step));
                    }
                }
            }
        }
    }
    // Before the barrier a run that is taken up goes back, so nothing there is done twice.
    let early = [Step::Lock, Step::Stage, Step::Arm, Step::Stop, Step::Forget];
    let wanted = Step::ALL.iter().filter(|step| !early.contains(step));
    let never: Vec<_> = plan()
        .hosts
        .keys()
        .flat_map(|host| wanted.clone().map(|step| (host.clone(), *step)))
        .filter(|pair| !repeated.contains(pair))
        .collect();
    assert_eq!(never, [], "never repeated");
}

#[test]
fn a_host_that_goes_back_by_itself_before_the_decision_takes_everybody_back() {
    for step in [Step::Cut, Step::Activate, Step::Verify] {
        for host in plan().hosts.keys() {
            let mut sim = Sim::new(Vec::new());
            sim.fires.push((step, host.clone()));
            let run = sim.run(usize::MAX).unwrap();
            assert_eq!(run.verdict(), Some(Verdict::RolledBack), "{host} fired before {step}");
            check(&sim, &run, &(step, host));
        }
    }
}

#[test]
fn a_host_that_goes_back_by_itself_after_the_decision_is_brought_forward_again() {
    for host in plan().hosts.keys() {
        let mut sim = Sim::new(Vec::new());
        sim.fires.push((Step::Confirm, host.clone()));
        let run = sim.run(usize::MAX).unwrap();
        assert_eq!(run.verdict(), Some(Verdict::Rotated), "{host}");
        check(&sim, &run, host);
        // One that never stays is a thing for a person; the others are not held up by it.
        let mut sim = Sim::new(Vec::new());
        sim.fires = vec![(Step::Confirm, host.clone()); 4];
        let run = sim.run(usize::MAX).unwrap();
        assert_eq!(run.verdict(), Some(Verdict::Inconsistent), "{host}");
        let confirmed = run.hosts().values().filter(|h| h.state(run.decision()) == HostState::Confirmed).count();
        assert_eq!(confirmed, 2, "{host}");
        // Once whatever kept it from staying has ended, the run does too.
        sim.resume();
        let run = sim.run(usize::MAX).unwrap();
        assert_eq!(run.verdict(), Some(Verdict::Rotated), "{host}");
    }
}

#[test]
fn a_coordinator_that_dies_while_it_brings_a_host_forward_again_leaves_nothing_that_resume_cannot_finish() {
    let mut again = 0;
    for die_at in 3.. {
        let mut sim = Sim::new(Vec::new());
        sim.fires.push((Step::Confirm, name("worker-1")));
        if sim.run(die_at).is_some() {
            break;
        }
        let decided = sim.events.iter().any(|event| matches!(event, Event::Decided { .. }));
        // Both, whether hosts go back meanwhile or not.
        for fires in [false, true] {
            let mut sim = Sim {
                plan: sim.plan.clone(),
                events: sim.events.clone(),
                world: sim.world.clone(),
                ..Sim::new(Vec::new())
            };
            if fires {
                sim.world.values_mut().for_each(World::fire);
            }
            sim.resume();
            let run = sim.run(usize::MAX).unwrap();
            check(&sim, &run, &(die_at, fires));
            if decided {
                again += 1;
                assert_eq!(run.verdict(), Some(Verdict::Rotated), "the decision stands: {die_at} {fires}");
            }
        }
    }
    assert!(again > 10, "only {again} deaths after the decision");
}

#[test]
fn wherever_the_coordinator_dies_for_longer_than_the_lease_resume_ends_the_run_with_a_true_verdict() {
    let mut healed = 0;
    for die_at in 3.. {
        let mut sim = Sim::new(Vec::new());
        if sim.run(die_at).is_some() {
            break;
        }
        sim.world.values_mut().for_each(World::fire);
        let decided = sim.events.iter().any(|event| matches!(event, Event::Decided { .. }));
        sim.resume();
        let run = sim.run(usize::MAX).unwrap();
        check(&sim, &run, &die_at);
        if decided {
            healed += 1;
            assert_eq!(run.verdict(), Some(Verdict::Rotated), "the decision stands: {die_at}");
        }
    }
    assert!(healed > 5, "only {healed} deaths after the decision");
}

#[test]
fn services_that_took_the_new_value_by_themselves_are_told_of_the_old_one() {
    for host in plan().hosts.keys() {
        // One host fails in the cut; another one starts again, and its service with it, before it is taken back.
        let mut sim =
            Sim::new(faults().into_iter().filter(|f| f.step == Step::Cut && &f.host == host).take(1).collect());
        sim.restarts = plan().hosts.keys().filter(|other| *other != host).cloned().collect();
        let run = sim.run(usize::MAX).unwrap();
        assert_eq!(run.verdict(), Some(Verdict::RolledBack), "{host}");
        check(&sim, &run, host);
    }
}

#[test]
fn a_lease_that_lapsed_is_no_time_to_decide_that_hosts_stay() {
    let mut sim = Sim::new(Vec::new());
    let whole = sim.run(usize::MAX).map(|_| sim.events.clone()).unwrap();
    let decided = whole.iter().position(|event| matches!(event, Event::Decided { .. })).unwrap();
    let mut sim = Sim::new(Vec::new());
    assert!(sim.run(decided).is_none());
    sim.events.push(Event::LeaseLapsed);
    let run = sim.run(usize::MAX).unwrap();
    assert_eq!(run.verdict(), Some(Verdict::RolledBack));
    check(&sim, &run, &"lapsed");
    let mut run = Run::replay(&sim.plan, &whole[..=decided]).unwrap();
    assert!(run.apply(&Event::LeaseLapsed).unwrap_err().to_string().contains("has decided"));
}

#[test]
fn an_interrupt_before_the_decision_takes_everybody_back_and_after_it_changes_nothing() {
    let whole = {
        let mut sim = Sim::new(Vec::new());
        sim.run(usize::MAX).unwrap();
        sim.events
    };
    let decided_at = whole.iter().position(|e| matches!(e, Event::Decided { .. })).unwrap();
    for die_at in 3..whole.len() {
        let mut sim = Sim::new(Vec::new());
        assert!(sim.run(die_at).is_none());
        sim.resume();
        sim.events.push(Event::Interrupted);
        let run = sim.run(usize::MAX).unwrap();
        check(&sim, &run, &die_at);
        let expected = if die_at <= decided_at { Decision::Rollback } else { Decision::Commit };
        assert_eq!(run.decision(), Some(expected), "interrupted after {die_at} events");
    }
}

#[test]
fn what_cannot_follow_is_rejected_by_name() {
    let plan = plan();
    let mut run = Run::new(&plan);
    let began = Sim::new(Vec::new()).events;
    let early = run.apply(&began[1]).unwrap_err();
    assert_eq!(early.to_string(), "`values-minted` cannot happen here: the run has not begun");
    run.apply(&began[0]).unwrap();
    assert!(run.apply(&began[0]).unwrap_err().to_string().contains("the run has begun already"));
    run.apply(&began[1]).unwrap();
    let twice = run.apply(&began[1]).unwrap_err();
    assert_eq!(twice.to_string(), "`values-minted` cannot happen here: a run has one set of values");
    let cut = Event::StepBegan { host: name("control"), step: Step::Cut };
    let jump = run.apply(&cut).unwrap_err();
    assert_eq!(
        jump.to_string(),
        "`step-began` cannot happen here: `control` must not be cut before every host is armed"
    );
    let confirm = Event::StepBegan { host: name("control"), step: Step::Confirm };
    assert!(run.apply(&confirm).unwrap_err().to_string().contains("which is pending"));
    let commit = Event::Decided { decision: Decision::Commit, cause: None };
    assert!(run.apply(&commit).unwrap_err().to_string().contains("not every host has proved the new value"));
    let stranger = Event::StepBegan { host: name("stranger"), step: Step::Lock };
    assert!(run.apply(&stranger).unwrap_err().to_string().contains("not in the plan"));
}

#[test]
fn after_the_first_failure_nobody_is_waited_for_and_only_that_one_is_the_cause() {
    let mut sim = Sim::new(Vec::new());
    assert!(sim.run(30).is_none());
    let mut run = Run::replay(&sim.plan, &sim.events).unwrap();
    let mut moves = 0..100;
    while run.next() != (Next::Begin { step: Step::Verify, hosts: sim.plan.hosts.keys().cloned().collect() }) {
        moves.next().expect("it comes to the proof");
        let event = match run.next() {
            Next::Begin { step, hosts } => Event::StepBegan { host: hosts[0].clone(), step },
            Next::Wait => {
                let (host, doing) = run.hosts().iter().find_map(|(name, host)| Some((name, host.doing()?))).unwrap();
                Event::StepDone { host: host.clone(), step: doing }
            }
            next => panic!("{next:?}"),
        };
        run.apply(&event).unwrap();
    }
    let failed = |host: &str, kind| Event::StepFailed {
        host: name(host),
        step: Step::Verify,
        certainty: Certainty::Failed,
        reason: Reason::new(kind, ""),
    };
    for host in sim.plan.hosts.keys() {
        run.apply(&Event::StepBegan { host: host.clone(), step: Step::Verify }).unwrap();
    }
    assert_eq!(run.next(), Next::Wait);
    run.apply(&failed("worker-2", ReasonKind::NewRefused)).unwrap();
    assert_eq!(run.next(), Next::Hurry);
    run.apply(&failed("control", ReasonKind::Fleet)).unwrap();
    run.apply(&failed("worker-1", ReasonKind::Fleet)).unwrap();
    match run.next() {
        Next::Record(Event::Decided { decision: Decision::Rollback, cause: Some(cause) }) => {
            assert_eq!(cause.host, Some(name("worker-2")));
        }
        next => panic!("{next:?}"),
    }
}

#[test]
fn a_host_that_was_lost_is_not_waited_for_on_the_way_back() {
    let mut sim = Sim::new(vec![Fault {
        step: Step::Activate,
        host: name("worker-1"),
        certainty: Certainty::Unknown,
        happened: true,
    }]);
    sim.run(usize::MAX).unwrap();
    let decided = sim.events.iter().position(|event| matches!(event, Event::Decided { .. })).unwrap();
    let mut run = Run::replay(&sim.plan, &sim.events[..=decided]).unwrap();
    let mut begun = Vec::new();
    // Whatever is begun is done at once, but worker-1 never answers.
    loop {
        assert!(begun.len() < 20, "it does not end: {begun:?}");
        match run.next() {
            Next::Begin { step, hosts } => {
                for host in hosts {
                    begun.push((host.clone(), step));
                    run.apply(&Event::StepBegan { host: host.clone(), step }).unwrap();
                    if host != name("worker-1") {
                        run.apply(&Event::StepDone { host, step }).unwrap();
                    }
                }
            }
            Next::Wait => break,
            next => panic!("{next:?}"),
        }
    }
    let of =
        |host: &str| begun.iter().filter(|(name, _)| name.as_str() == host).map(|(_, step)| *step).collect::<Vec<_>>();
    assert_eq!(of("worker-1"), [Step::Revert]);
    assert_eq!(of("worker-2"), [Step::Revert, Step::Reactivate, Step::Reverify, Step::Clean]);
    // It answers after all, and goes the whole way.
    run.apply(&Event::StepDone { host: name("worker-1"), step: Step::Revert }).unwrap();
    assert_eq!(run.next(), Next::Begin { step: Step::Reactivate, hosts: vec![name("worker-1")] });
}
