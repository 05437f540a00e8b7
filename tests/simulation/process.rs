//! A coordinator's process: `src/cli/rotate.rs`, `src/cli/resume.rs` and `src/runtime/drive.rs` around the product's own
//! [`Run`], which is not modelled.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use lockturn::coordinator::{Host, Next, Run};
use lockturn::model::{Decision, Event, Millis, RunId, Step, Verdict};
use lockturn::runtime::lease::HeldLease;

use super::actor::{Actor, Announced, STEP_MAX, Witness};
use super::book::Book;
use super::kernel::{Machine, OUTSIDE, Process, Queue, Turn};
use super::mutants::Mutant;
use super::steps::{Futile, Outcome, perform};
use super::wire::Request;
use super::world::World;

/// `fleet::KEEP`
const KEEP: u64 = 2_000;

/// `epoch::EACH`
const EACH: u64 = 1 << 14;

/// What an operator types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Rotate,
    Resume,
    Rollback,
    RollbackUnproved,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Verdict(Verdict),
    /// Nothing was changed, and there is no run.
    Refused,
    /// `rollback` of a run that decided to stay: nothing was changed.
    Decided,
    /// Exit 5.
    Locked,
    /// A newer coordinator has the run.
    Newer,
    /// The hosts know more than the ledger.
    Older,
    /// The run is over.
    Over,
    /// The journal failed.
    Journal,
    /// Left in the middle.
    Abandoned,
    /// From outside.
    Killed,
}

/// A process, as whoever started it sees it.
#[derive(Clone)]
pub(crate) struct Coordinator {
    pub(crate) process: Process,
    pub(crate) ended: Rc<Queue<Ended>>,
    pub(crate) interrupts: Rc<Queue<()>>,
    book: Rc<Book>,
    over: Rc<Cell<bool>>,
}

impl Coordinator {
    /// Types a command on a machine.
    pub(crate) fn start(world: &Rc<World>, machine: Machine, book: &Rc<Book>, verb: Verb) -> Self {
        let kernel = &world.kernel;
        let process = Process { machine, number: kernel.fresh() };
        let this = Self {
            process,
            ended: Queue::new(kernel),
            interrupts: Queue::new(kernel),
            book: Rc::clone(book),
            over: Rc::default(),
        };
        world.note(|| format!("operator {machine}: {verb:?}"));
        if !book.lock() {
            this.over.set(true);
            this.ended.put(Ended::Locked);
            return this;
        }
        let (of, me) = (Rc::clone(world), this.clone());
        kernel.spawn(process, async move {
            let ended = match verb {
                Verb::Rotate => me.rotate(&of).await,
                Verb::Resume | Verb::Rollback | Verb::RollbackUnproved => me.take_up(&of, verb).await,
            };
            me.end(&of, ended);
        });
        this
    }

    /// `kill -9`
    pub(crate) fn kill(&self, world: &World) {
        if !self.over.get() {
            world.note(|| "the coordinator is killed".to_owned());
            world.kernel.kill(|process| process == self.process);
            self.end(world, Ended::Killed);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    fn end(&self, world: &World, ended: Ended) {
        world.note(|| format!("operator {}: {ended:?}", self.process.machine));
        self.over.set(true);
        self.book.let_go(world);
        let process = self.process;
        // Tasks of a process end with it.
        if ended != Ended::Killed {
            world.kernel.kill(|other| other == process);
        }
        self.ended.put(ended);
    }

    async fn append(&self, world: &Rc<World>, events: Vec<Event>) -> Result<(), Ended> {
        let (of, me) = (Rc::clone(world), self.clone());
        let die = move |after: u64| {
            let (of, me) = (Rc::clone(&of), me.clone());
            of.count("coordinator killed at a record");
            if after == 0 {
                me.kill(&of);
            } else {
                let number = of.kernel.fresh();
                Rc::clone(&of).kernel.spawn(Process { machine: OUTSIDE, number }, async move {
                    of.kernel.sleep(after).await;
                    me.kill(&of);
                });
            }
        };
        match self.book.append(world, events, &die).await {
            Err(_) if world.is(Mutant::RetriesFsync) => Ok(()),
            Err(_) => {
                world.count("journal failed, the process stopped");
                Err(Ended::Journal)
            }
            Ok(()) => Ok(()),
        }
    }

    /// `rotate::begin`, after the hosts were connected and read.
    async fn rotate(&self, world: &Rc<World>) -> Ended {
        let fleet = Fleet::new(world, self.process.machine, EACH);
        for actor in &fleet.actors {
            if actor.lock().await.connect().await.is_err() {
                return Ended::Refused;
            }
        }
        let run: RunId = "01J".parse().expect("it is a name");
        let began = Event::RunBegan {
            run,
            plan: world.plan.hash(),
            playbook: world.plan.playbook.clone(),
            hosts: world.plan.hosts.len() as u64,
            operator: "op@here".to_owned(),
            version: "0".to_owned(),
        };
        let first = vec![began, Event::ValuesMinted { values: std::collections::BTreeMap::new() }];
        let mut state = Run::new(&world.plan);
        for event in &first {
            state.apply(event).expect("a run begins so");
        }
        if let Err(ended) = self.append(world, first).await {
            return ended;
        }
        self.go(world, state, fleet, true).await
    }

    /// `resume::take_up`
    async fn take_up(&self, world: &Rc<World>, verb: Verb) -> Ended {
        let mut entries = self.book.events();
        if entries.is_empty() {
            return Ended::Refused;
        }
        if world.is(Mutant::ForgetsTheDecision) {
            let decided = entries.iter().position(|event| matches!(event, Event::Decided { .. }));
            entries.truncate(decided.unwrap_or(entries.len()));
        }
        let mut state = match Run::replay(&world.plan, &entries) {
            Ok(state) => state,
            Err(error) => {
                world.violated(Some(("I15", format!("the journal tells a run that cannot be: {error}"))));
                return Ended::Over;
            }
        };
        let back = verb != Verb::Resume;
        if back && state.decision() == Some(Decision::Commit) {
            return Ended::Decided;
        }
        let operator = "op@there".to_owned();
        let resumed = Event::Resumed { operator: operator.clone() };
        if state.apply(&resumed).is_err() {
            return Ended::Over;
        }
        let mut events = vec![resumed];
        let interrupted = (back && state.decision().is_none()).then_some(Event::Interrupted);
        let waived = (verb == Verb::RollbackUnproved).then_some(Event::ProofWaived { operator });
        for event in interrupted.into_iter().chain(waived) {
            if let Err(error) = state.apply(&event) {
                world.violated(Some(("I15", error.to_string())));
                return Ended::Over;
            }
            events.push(event);
        }
        let taken_up = entries.iter().filter(|event| matches!(event, Event::Resumed { .. })).count() as u64;
        // `epoch::next`
        let epoch = (taken_up + 2) * EACH + world.kernel.between(0, EACH - 1);
        if let Err(ended) = self.append(world, events).await {
            return ended;
        }
        let fleet = Fleet::new(world, self.process.machine, epoch);
        let vault = match self.recover(world, &fleet, &state).await {
            Ok(vault) => vault,
            Err(ended) => {
                world.count(match ended {
                    Ended::Older => "the ledger was older than the run",
                    Ended::Newer => "a newer coordinator was there",
                    _ => "interrupted before it was taken up",
                });
                return ended;
            }
        };
        self.go(world, state, fleet, vault).await
    }

    /// `resume::recover` and `resume::finish`: whether some host gave the values back.
    async fn recover(&self, world: &Rc<World>, fleet: &Fleet, state: &Run) -> Result<bool, Ended> {
        let involved: Vec<usize> = state
            .hosts()
            .iter()
            .filter(|(_, host)| Host::left_over(host))
            .map(|(name, _)| world.number(name))
            .collect();
        let known = |number: usize| {
            let host = &state.hosts()[world.name(number)];
            let stays = state.decision() == Some(Decision::Commit);
            Announced { stays, cut: host.moved(), cleaned: host.may_be_cleaned() }
        };
        let said = Queue::new(&world.kernel);
        for &number in &involved {
            let (said, actor, known) = (Rc::clone(&said), Rc::clone(&fleet.actors[number]), known(number));
            world.kernel.spawn(self.process, async move {
                let mut actor = actor.lock().await;
                actor.leave_to_take(Some(known));
                said.put((number, actor.shows_more(known).await));
            });
        }
        let (mut answered, mut older) = (Vec::new(), false);
        for _ in &involved {
            let (number, shown) = self.unless_interrupted(&said).await.map_err(|()| Ended::Abandoned)?;
            older |= shown == Ok(true);
            answered.extend(shown.is_ok().then_some(number));
        }
        if older {
            return Err(Ended::Older);
        }
        let said = Queue::new(&world.kernel);
        for &number in &answered {
            let (said, of) = (Rc::clone(&said), Rc::clone(world));
            let (actor, known) = (Rc::clone(&fleet.actors[number]), known(number));
            world.kernel.spawn(self.process, async move {
                let mut actor = actor.lock().await;
                let taken = actor.take(known, of.plan.lease).await;
                let ours = matches!(taken, Ok(Witness::Ours | Witness::Older | Witness::Gone));
                if ours {
                    actor.leave_to_take(None);
                }
                let kept = ours && actor.call(Request::Fetch, STEP_MAX).await.is_ok();
                said.put((number, taken.ok(), kept));
            });
        }
        let (mut vault, mut witnesses) = (false, Vec::new());
        for _ in &answered {
            let (number, witness, kept) = self.unless_interrupted(&said).await.map_err(|()| Ended::Abandoned)?;
            witnesses.extend(witness.map(|witness| (number, witness)));
            vault |= kept;
        }
        if witnesses.iter().any(|(_, witness)| *witness == Witness::Older) || self.all_gone(world, &witnesses) {
            return Err(Ended::Older);
        }
        if witnesses.iter().any(|(_, witness)| *witness == Witness::Newer) {
            return Err(Ended::Newer);
        }
        Ok(vault)
    }

    /// `witness::contradiction`
    fn all_gone(&self, world: &World, witnesses: &[(usize, Witness)]) -> bool {
        let entries = self.book.events();
        let cleans = |event: &Event| matches!(event, Event::StepBegan { step: Step::Clean, .. });
        let taken = |number: usize| {
            let locked = |event: &Event| matches!(event, Event::StepDone { host, step: Step::Lock } if world.number(host) == number);
            entries.iter().any(locked)
        };
        let mut taken = witnesses.iter().filter(|(number, _)| taken(*number)).peekable();
        !entries.iter().any(cleans) && taken.peek().is_some() && taken.all(|(_, witness)| *witness == Witness::Gone)
    }

    async fn unless_interrupted<T>(&self, queue: &Queue<T>) -> Result<T, ()> {
        poll_fn(|_| match self.interrupts.poll_take() {
            Poll::Ready(()) => Poll::Ready(Err(())),
            Poll::Pending => queue.poll_take().map(Ok),
        })
        .await
    }

    /// `rotate::go`, `drive::drive`
    async fn go(&self, world: &Rc<World>, mut run: Run, fleet: Fleet, vault: bool) -> Ended {
        let fleet = Rc::new(fleet);
        self.keep_leases(world, &fleet);
        let steps = Queue::new(&world.kernel);
        let mut asked_to_stop = 0;
        loop {
            let new = match run.next() {
                Next::Ended(verdict) => return Ended::Verdict(verdict),
                Next::Record(Event::Decided { decision: Decision::Commit, .. }) if !fleet.all_wait(world) => {
                    world.count("lease lapsed before the decision");
                    vec![Event::LeaseLapsed]
                }
                Next::Record(Event::RunEnded { .. }) if world.is(Mutant::SaysRotated) => {
                    vec![Event::RunEnded { verdict: Verdict::Rotated }]
                }
                Next::Record(event) => vec![event],
                Next::Begin { step, hosts } => {
                    let numbers: Vec<usize> = hosts.iter().map(|host| world.number(host)).collect();
                    let began: Vec<Event> = hosts.into_iter().map(|host| Event::StepBegan { host, step }).collect();
                    let early = world.is(Mutant::EffectBeforeRecord);
                    if early {
                        self.begin(world, &fleet, vault, (&run, step), &numbers, &steps);
                    }
                    if let Err(ended) = self.commit(world, &mut run, began).await {
                        return ended;
                    }
                    if !early {
                        self.begin(world, &fleet, vault, (&run, step), &numbers, &steps);
                    }
                    continue;
                }
                wait @ (Next::Wait | Next::Hurry) => {
                    if wait == Next::Hurry {
                        fleet.futile.set();
                    }
                    match self.unless_interrupted(&steps).await {
                        Err(()) => {
                            asked_to_stop += 1;
                            if asked_to_stop > 1 {
                                return Ended::Abandoned;
                            }
                            vec![Event::Interrupted]
                        }
                        Ok(first) => std::iter::once(first).chain(std::iter::from_fn(|| steps.try_take())).collect(),
                    }
                }
            };
            if let Err(ended) = self.commit(world, &mut run, new).await {
                return ended;
            }
        }
    }

    /// `drive::commit`: legal, then durable.
    async fn commit(&self, world: &Rc<World>, run: &mut Run, events: Vec<Event>) -> Result<(), Ended> {
        for event in &events {
            if let Err(error) = run.apply(event) {
                world.violated(Some(("I15", format!("the coordinator wants what cannot be: {error}"))));
                return Err(Ended::Abandoned);
            }
        }
        self.append(world, events).await
    }

    fn begin(
        &self,
        world: &Rc<World>,
        fleet: &Rc<Fleet>,
        vault: bool,
        (run, step): (&Run, Step),
        hosts: &[usize],
        steps: &Rc<Queue<Event>>,
    ) {
        for &number in hosts {
            let rest = run.hosts()[world.name(number)].rest(run.decision());
            let (of, fleet, steps) = (Rc::clone(world), Rc::clone(fleet), Rc::clone(steps));
            world.kernel.spawn(self.process, async move {
                let mut actor = fleet.actors[number].lock().await;
                let outcome = perform(&of, &mut actor, vault, &fleet.futile, (step, rest)).await;
                let host = of.name(number).clone();
                steps.put(match outcome {
                    Outcome::Done => Event::StepDone { host, step },
                    Outcome::Failed(certainty, reason) => Event::StepFailed { host, step, certainty, reason },
                });
            });
        }
    }

    /// `Fleet::keep_leases`
    fn keep_leases(&self, world: &Rc<World>, fleet: &Fleet) {
        for actor in &fleet.actors {
            let (of, actor) = (Rc::clone(world), Rc::clone(actor));
            world.kernel.spawn(self.process, async move {
                loop {
                    of.kernel.sleep(KEEP).await;
                    if let Some(mut actor) = actor.try_lock() {
                        actor.renew_aside().await;
                    }
                }
            });
        }
    }
}

/// `runtime::Fleet`
struct Fleet {
    actors: Vec<Rc<Turn<Actor>>>,
    leases: Vec<HeldLease>,
    futile: Futile,
}

impl Fleet {
    fn new(world: &Rc<World>, machine: Machine, epoch: u64) -> Self {
        let mut leases = Vec::new();
        let actors = (0..world.knobs.hosts).map(|host| {
            let actor = Actor::new(world, machine, host, epoch);
            leases.push(actor.lease().clone());
            Rc::new(Turn::new(&world.kernel, actor))
        });
        let actors = actors.collect();
        Self { actors, leases, futile: Futile::new(world) }
    }

    /// `Perform::all_wait`
    fn all_wait(&self, world: &World) -> bool {
        let now = Millis(world.kernel.now());
        let holds = |lease: &HeldLease| lease.get().is_some_and(|lease| lease.holds(now, Duration::ZERO));
        world.is(Mutant::LeaseNotLookedAt) || self.leases.iter().all(holds)
    }
}
