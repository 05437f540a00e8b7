//! A fleet and its coordinators as one state, and everything that may happen next.
//!
//! The coordinators are the product's own `Run`: what is explored is the code that runs. The runtime around it (`drive`, `actor`,
//! `resume`), the network and the hosts are played here.

use std::collections::HashSet;
use std::sync::Mutex;

use lockturn::coordinator::{Host as RunHost, Next, Rest, Run};
use lockturn::model::{Certainty, Decision, Event, HostName, Plan, Reason, ReasonKind, Step};
use stateright::{Model, Property};

use crate::host::{Answer, Asker, Bug, Content, Host};
use crate::plan;

/// What a coordinator believes of a host's lease (`src/runtime/lease.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lease {
    /// The host promised nothing, or said that it waits no longer.
    None,
    /// It may be over: counted from when it was asked for, so it is over here before it is over there.
    Over,
    /// The host surely waits.
    Holds,
}

/// What a host is being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    /// `recover`: take the host, and have it wait.
    Recover,
    Step(Step),
}

/// One coordinator's side of one host (`src/runtime/actor.rs`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Seat {
    pub(crate) asks: Option<Ask>,
    pub(crate) taken: bool,
    /// The run was taken up, and this host is still to be looked at and taken (`src/runtime/take.rs`).
    pub(crate) left_to_take: bool,
    /// The connection is gone: the next request begins a new session, and takes the host again if it had been taken.
    pub(crate) broken: bool,
    pub(crate) lease: Lease,
}

/// One ledger, and the process that works with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Coordinator {
    /// What is durable; the process knows nothing else.
    pub(crate) run: Run,
    /// How often this ledger was taken up, and twice that as the greater part of the number that hosts compare; who of two with the same
    /// count has the greater number is drawn (`src/runtime/epoch.rs`).
    pub(crate) epoch: u16,
    pub(crate) alive: bool,
    pub(crate) seats: Vec<Seat>,
}

/// Everything, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) hosts: Vec<Host>,
    pub(crate) coordinators: Vec<Coordinator>,
    /// How much may still go wrong.
    pub(crate) faults: u8,
    /// A run decided to stay when a host did not wait any more.
    pub(crate) decided_late: bool,
    /// A coordinator changed a host that a newer one had taken.
    pub(crate) stale: bool,
    /// A request that was done twice did something else than once.
    pub(crate) unsteady: bool,
}

/// What may happen. The first number is the coordinator, the second one the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// `drive`: one fact is recorded, or one step begun.
    Think(usize),
    /// The host does what it is asked, and says so.
    Serve(usize, usize),
    /// The host does it, and the connection breaks before the answer: it will be asked again.
    Unheard(usize, usize),
    /// Nothing was heard for so long that nobody waits any more. The request may have got lost, or may be done later.
    GiveUp(usize, usize),
    /// A request that nobody waits for is done now.
    Late(usize, Asker, Step),
    /// The process dies, whatever is under way.
    Crash(usize),
    /// `resume`, when the one before is dead (`StateDir::lock`) or has ended.
    TakeUp(usize),
    /// `resume` elsewhere, with a copy of the state directory, while the first one lives.
    Copy(usize),
    /// The time of an armed host is over.
    Fire(usize),
    /// It goes on its way back.
    GoBack(usize),
}

/// What is explored.
pub(crate) struct Fleet {
    pub(crate) plan: Plan,
    pub(crate) names: Vec<HostName>,
    /// How often a ledger is taken up, and one more.
    pub(crate) epochs: u16,
    /// Who draws the greater number.
    pub(crate) greater: usize,
    /// Whether the state directory may be copied while its coordinator lives.
    pub(crate) copies: bool,
    /// How much goes wrong at most: answers that are lost, processes that die, switches that fire.
    pub(crate) faults: u8,
    pub(crate) bug: Bug,
    pub(crate) properties: fn() -> Vec<Property<Self>>,
    /// States that a faultless way to an end is known of, by their hash.
    pub(crate) mended: Mutex<HashSet<u64>>,
}

impl Fleet {
    pub(crate) fn new(hosts: usize, faults: u8, bug: Bug, properties: fn() -> Vec<Property<Self>>) -> Self {
        let plan = plan::of(hosts);
        let names = plan.hosts.keys().cloned().collect();
        Self { plan, names, epochs: 2, greater: 1, copies: false, faults, bug, properties, mended: Mutex::default() }
    }

    pub(crate) const fn with_copies(mut self) -> Self {
        self.copies = true;
        self
    }

    /// The other one of two that took up two copies has the greater number.
    pub(crate) const fn first_is_greater(mut self) -> Self {
        self.greater = 0;
        self
    }

    fn number(&self, count: u16, who: usize) -> u16 {
        2 * count + u16::from(who == self.greater)
    }
}

impl Model for Fleet {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let run = Run::replay(&self.plan, &plan::until_armed(&self.plan)).expect("what is recorded is legal");
        let seat = Seat { asks: None, taken: true, left_to_take: false, broken: false, lease: Lease::Holds };
        let seats = vec![seat; self.names.len()];
        let first = self.number(1, 0);
        let mut first = State {
            hosts: vec![Host::armed(first); self.names.len()],
            coordinators: vec![Coordinator { run, epoch: first, alive: true, seats }],
            faults: self.faults,
            decided_late: false,
            stale: false,
            unsteady: false,
        };
        first.think(0, &self.names);
        vec![first]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        for (c, coordinator) in state.coordinators.iter().enumerate() {
            if coordinator.thinks() {
                moves.push(Move::Think(c));
            }
            for (h, seat) in coordinator.seats.iter().enumerate() {
                let Some(ask) = seat.asks else { continue };
                if !ask.waits_for(&state.hosts[h]) {
                    moves.push(Move::Serve(c, h));
                    // Where one coordinator is alone, asking again is the same as being late: [`State::perform`] looks.
                    if self.copies {
                        moves.push(Move::Unheard(c, h));
                    }
                }
                moves.push(Move::GiveUp(c, h));
            }
            if coordinator.alive && coordinator.run.verdict().is_none() {
                moves.push(Move::Crash(c));
            }
            if coordinator.epoch / 2 < self.epochs && coordinator.resumed(&self.names).is_some() {
                moves.push(Move::TakeUp(c));
            }
            if self.copies && state.coordinators.len() == 1 && coordinator.alive {
                moves.push(Move::Copy(c));
            }
        }
        for (h, host) in state.hosts.iter().enumerate() {
            let late = host.late.iter().filter(|(_, step)| !host.busy(*step));
            moves.extend(late.map(|(who, step)| Move::Late(h, *who, *step)));
            if host.armed {
                moves.push(Move::Fire(h));
            }
            if host.fired && !host.back {
                moves.push(Move::GoBack(h));
            }
        }
    }

    fn next_state(&self, before: &State, action: Move) -> Option<State> {
        let mut state = before.clone();
        if matches!(action, Move::Unheard(..) | Move::GiveUp(..) | Move::Crash(_) | Move::Fire(_)) {
            state.faults = state.faults.checked_sub(1)?;
        }
        match action {
            Move::Think(c) => state.think(c, &self.names),
            Move::Serve(c, h) => state.serve(c, h, self),
            Move::Unheard(c, h) => {
                let _unheard = state.ask(c, h, self.bug);
                state.coordinators[c].seats[h].broken = true;
            }
            Move::GiveUp(c, h) => state.give_up(c, h, self),
            Move::Late(h, asker, step) => {
                state.hosts[h].late.remove(&(asker, step));
                let _nobody_listens = state.perform(h, asker, step, self.bug);
            }
            Move::Crash(c) => state.crash(c, self.bug),
            Move::TakeUp(c) => state.coordinators[c] = state.coordinators[c].resumed(&self.names)?,
            Move::Copy(c) => {
                let copied = Coordinator { alive: false, ..state.coordinators[c].clone() };
                let copied = copied.resumed(&self.names)?;
                let epoch = self.number(copied.epoch / 2, state.coordinators.len());
                state.coordinators.push(Coordinator { epoch, ..copied });
            }
            Move::Fire(h) => state.fire(h, self.bug),
            Move::GoBack(h) => state.hosts[h].go_back(),
        }
        // What a coordinator wants next follows from what it knows, and a death before it is sent is one before the host does it. The
        // decision alone is a moment of its own.
        for c in 0..state.coordinators.len() {
            while state.coordinators[c].thinks() && !state.coordinators[c].is_about_to_decide() {
                state.think(c, &self.names);
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        (self.properties)()
    }
}

impl Ask {
    /// Whether the host answers only later.
    pub(crate) fn waits_for(self, host: &Host) -> bool {
        matches!(self, Self::Step(step) if host.busy(step))
    }
}

impl Coordinator {
    /// Whether there is something to record or to begin. `go` begins when `recover` has ended on every host.
    pub(crate) fn thinks(&self) -> bool {
        self.alive
            && self.seats.iter().all(|seat| seat.asks != Some(Ask::Recover))
            && matches!(self.run.next(), Next::Record(_) | Next::Begin { .. })
    }

    fn is_about_to_decide(&self) -> bool {
        matches!(self.run.next(), Next::Record(Event::Decided { .. }))
    }

    /// `Fleet::all_wait`.
    fn all_wait(&self) -> bool {
        self.seats.iter().all(|seat| seat.lease == Lease::Holds)
    }

    /// The process that takes this ledger up, if it may: it tells every host that may have something of the run that it is the newest.
    pub(crate) fn resumed(&self, names: &[HostName]) -> Option<Self> {
        if self.alive && self.run.verdict().is_none() {
            return None;
        }
        let mut run = self.run.clone();
        run.apply(&Event::Resumed { operator: String::new() }).ok()?;
        let involved = |name| run.hosts().get(name).is_some_and(RunHost::left_over);
        let seat = |name| Seat {
            asks: involved(name).then_some(Ask::Recover),
            taken: false,
            left_to_take: involved(name),
            broken: false,
            lease: Lease::None,
        };
        let seats = names.iter().map(seat).collect();
        Some(Self { run, epoch: self.epoch + 2, alive: true, seats })
    }
}

impl State {
    fn asker(&self, who: usize) -> Asker {
        Asker { who, epoch: self.coordinators[who].epoch }
    }

    /// `drive`: what the coordinator wants is recorded before anything is sent.
    pub(crate) fn think(&mut self, c: usize, names: &[HostName]) {
        let Self { hosts, coordinators, decided_late, .. } = self;
        let coordinator = &mut coordinators[c];
        let new = match coordinator.run.next() {
            Next::Record(Event::Decided { decision: Decision::Commit, .. }) if !coordinator.all_wait() => {
                vec![Event::LeaseLapsed]
            }
            Next::Record(Event::Decided { decision, .. }) => {
                *decided_late |= decision == Decision::Commit && hosts.iter().any(|host| !host.armed);
                // Why is nothing that anybody acts upon: one state and not many.
                vec![Event::Decided { decision, cause: None }]
            }
            Next::Record(event) => vec![event],
            Next::Begin { step, hosts } => {
                for (name, seat) in names.iter().zip(&mut coordinator.seats) {
                    if hosts.contains(name) {
                        seat.asks = Some(Ask::Step(step));
                    }
                }
                hosts.into_iter().map(|host| Event::StepBegan { host, step }).collect()
            }
            Next::Wait | Next::Hurry | Next::Ended(_) => Vec::new(),
        };
        new.iter().for_each(|event| coordinator.run.apply(event).expect("what the coordinator wants is legal"));
    }

    /// `Actor::call`, once. An error is one that the host said; nothing at all if the host could not be taken again.
    fn ask(&mut self, c: usize, h: usize, bug: Bug) -> Option<Answer> {
        let asker = self.asker(c);
        let ask = self.coordinators[c].seats[h].asks.expect("it is asked something");
        let forward = matches!(ask, Ask::Step(Step::Activate | Step::Verify));
        let seat = &mut self.coordinators[c].seats[h];
        // `Actor::open`, and `revert` of `step.rs`.
        let fenced = seat.broken && seat.taken && self.hosts[h].lock(asker, bug).is_err();
        // Whether there is something to clean, or to take back, the host itself knows.
        if fenced && !matches!(ask, Ask::Step(Step::Clean | Step::Revert)) {
            return Some(Err(ReasonKind::Fenced));
        }
        seat.broken = false;
        if seat.left_to_take
            && let Err(no) = self.take(c, h, bug)
        {
            return Some(Err(no));
        }
        if ask == Ask::Step(Step::Revert)
            && let Err(no) = self.hosts[h].lock(asker, bug)
        {
            // `revert` of `src/runtime/rest.rs`
            let back = self.hosts[h].holder.is_none() && self.hosts[h].file == Content::Old;
            let seat = &mut self.coordinators[c].seats[h];
            seat.taken &= !back;
            return Some(if back { Ok(()) } else { Err(no) });
        }
        let seat = &mut self.coordinators[c].seats[h];
        seat.taken |= ask == Ask::Step(Step::Revert);
        // `keep_waiting`.
        if forward && seat.lease == Lease::Over {
            let renewed = self.hosts[h].renew(asker, bug);
            seat.lease = if renewed.is_ok() { Lease::Holds } else { Lease::None };
            if renewed.is_err() {
                return Some(renewed);
            }
        }
        let Ask::Step(step) = ask else { return Some(Ok(())) };
        if step == Step::Clean {
            return Some(self.clean(c, h, bug));
        }
        Some(self.perform(h, asker, step, bug))
    }

    /// `take_first`: looked at, then taken and asked to wait. (That it is looked at once more is one moment here.)
    fn take(&mut self, c: usize, h: usize, bug: Bug) -> Answer {
        let asker = self.asker(c);
        let (host, coordinator) = (&mut self.hosts[h], &mut self.coordinators[c]);
        let known = coordinator.run.hosts().values().nth(h).expect("there are as many");
        let stays = coordinator.run.decision() == Some(Decision::Commit);
        if (host.confirmed && !stays) || (host.staged && host.file == Content::New && !known.moved()) {
            return Err(ReasonKind::Fenced);
        }
        let seat = &mut coordinator.seats[h];
        match host.lock(asker, bug) {
            // Nothing of the run is there: from here on nothing is done but to look for what is to be cleaned.
            Err(_) if host.holder.is_none() => seat.broken = true,
            Err(newer) => return Err(newer),
            Ok(()) => seat.lease = if host.renew(asker, bug).is_ok() { Lease::Holds } else { Lease::None },
        }
        (seat.left_to_take, seat.taken) = (false, true);
        Ok(())
    }

    /// `clean` of `src/runtime/rest.rs`: where nothing of the run is there it is looked at what the host holds.
    fn clean(&mut self, c: usize, h: usize, bug: Bug) -> Answer {
        let asker = self.asker(c);
        let held = self.hosts[h].lock(asker, bug).is_ok();
        self.perform(h, asker, Step::Clean, bug)?;
        let run = &self.coordinators[c].run;
        let known = run.hosts().values().nth(h).expect("there are as many");
        let right = match known.rest(run.decision()) {
            Rest::New => self.hosts[h].file == Content::New,
            Rest::Old | Rest::Untouched => self.hosts[h].file == Content::Old,
        };
        if held || right || bug == Bug::BlindClean { Ok(()) } else { Err(ReasonKind::Fenced) }
    }

    fn perform(&mut self, h: usize, asker: Asker, step: Step, bug: Bug) -> Answer {
        let before = self.hosts[h].clone();
        let answer = self.hosts[h].perform(asker, step, bug);
        let changed = self.hosts[h] != before && !matches!(step, Step::Activate | Step::Reactivate);
        self.stale |= changed && before.epoch() > asker.epoch;
        let mut twice = self.hosts[h].clone();
        self.unsteady |= twice.perform(asker, step, bug) != answer || twice != self.hosts[h];
        answer
    }

    fn serve(&mut self, c: usize, h: usize, fleet: &Fleet) {
        let answer = self.ask(c, h, fleet.bug);
        let seat = &mut self.coordinators[c].seats[h];
        let Some(Ask::Step(step)) = seat.asks.take() else { return };
        // What `Actor::call` learns from answers.
        match (step, &answer) {
            (Step::Confirm, Some(_)) => seat.lease = Lease::None,
            (Step::Arm, Some(Ok(()))) => seat.lease = Lease::Holds,
            (Step::Clean, Some(Ok(()))) => seat.taken = false,
            _ => {}
        }
        seat.broken |= answer.is_none();
        self.tell(c, h, step, answer, fleet);
    }

    fn give_up(&mut self, c: usize, h: usize, fleet: &Fleet) {
        let asked = self.coordinators[c].seats[h].asks.take();
        self.coordinators[c].seats[h].broken = true;
        self.leave_behind(c, h, asked, fleet.bug);
        if let Some(Ask::Step(step)) = asked {
            self.tell(c, h, step, None, fleet);
        }
    }

    /// A request that nobody waits for may still be done, by a session that holds the host.
    fn leave_behind(&mut self, c: usize, h: usize, asked: Option<Ask>, bug: Bug) {
        let asker = self.asker(c);
        let holds = self.hosts[h].holder == Some(asker) || bug == Bug::NoEpochCheck;
        if let Some(Ask::Step(step)) = asked
            && holds
            && !matches!(step, Step::Verify | Step::Reverify)
        {
            self.hosts[h].late.insert((asker, step));
        }
    }

    fn tell(&mut self, c: usize, h: usize, step: Step, answer: Option<Answer>, fleet: &Fleet) {
        let host = fleet.names[h].clone();
        let failed = |host, certainty, kind| Event::StepFailed { host, step, certainty, reason: Reason::new(kind, "") };
        let event = match answer {
            Some(Ok(())) => Event::StepDone { host, step },
            // A run asks of a reason only whether the host had gone back by itself, and whether it is another's.
            Some(Err(ReasonKind::Fired)) => failed(host, Certainty::Failed, ReasonKind::Fired),
            // `told_apart`
            Some(Err(ReasonKind::Fenced)) if self.hosts[h].holder.is_none() => {
                failed(host, Certainty::Failed, ReasonKind::NothingLeft)
            }
            Some(Err(ReasonKind::Fenced)) => failed(host, Certainty::Failed, ReasonKind::Fenced),
            Some(Err(_)) => failed(host, Certainty::Failed, ReasonKind::Unclear),
            None => failed(host, Certainty::Unknown, ReasonKind::ConnectionLost),
        };
        self.coordinators[c].run.apply(&event).expect("what was begun may end");
    }

    fn crash(&mut self, c: usize, bug: Bug) {
        self.coordinators[c].alive = false;
        for h in 0..self.hosts.len() {
            let asked = self.coordinators[c].seats[h].asks.take();
            self.leave_behind(c, h, asked, bug);
            // What a process that is dead believed is gone with it.
            self.coordinators[c].seats[h] =
                Seat { asks: None, taken: false, left_to_take: false, broken: false, lease: Lease::None };
        }
    }

    fn fire(&mut self, h: usize, bug: Bug) {
        self.hosts[h].fire();
        for coordinator in &mut self.coordinators {
            let lease = &mut coordinator.seats[h].lease;
            if *lease == Lease::Holds && bug != Bug::LongLease {
                *lease = Lease::Over;
            }
        }
    }
}
