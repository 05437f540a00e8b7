//! One host for one process, as `src/runtime/actor.rs` has it: the same reconnects, the same deadlines, the product's own [`Lease`].

use std::rc::Rc;
use std::time::Duration;

use lockturn::model::{Millis, ReasonKind};
use lockturn::runtime::lease::{HeldLease, Lease};

use super::host::Content;
use super::kernel::Machine;
use super::mutants::Mutant;
use super::wire::{Line, NoAnswer, Reply, Request, is_reachable};
use super::world::World;

/// `actor::STEP_MAX`
pub(crate) const STEP_MAX: u64 = 60_000;
/// `actor::ASIDE_MAX`
const ASIDE_MAX: u64 = 10_000;
/// `actor::RECONNECTS_MAX`
const RECONNECTS_MAX: u32 = 2;
/// `ssh::Settings::start`
const START_MAX: u64 = 30_000;
/// `verify::TRY_MAX`
pub(crate) const TRY_MAX: u64 = 10_000;

/// `host::CallError`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallError {
    Refused(ReasonKind),
    Lost(ReasonKind),
}

struct Live {
    line: Line,
    fenced: bool,
}

/// `take::Announced`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Announced {
    pub(crate) stays: bool,
    pub(crate) cut: bool,
    pub(crate) cleaned: bool,
}

/// `take::Witness`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Witness {
    Gone,
    Newer,
    Ours,
    Older,
}

/// `actor::Actor`
pub(crate) struct Actor {
    world: Rc<World>,
    operator: Machine,
    pub(crate) host: usize,
    epoch: u64,
    live: Option<Live>,
    taken: bool,
    left_to_take: Option<Announced>,
    lease: HeldLease,
}

impl Actor {
    pub(crate) fn new(world: &Rc<World>, operator: Machine, host: usize, epoch: u64) -> Self {
        let lease = HeldLease::default();
        Self { world: Rc::clone(world), operator, host, epoch, live: None, taken: false, left_to_take: None, lease }
    }

    pub(crate) const fn lease(&self) -> &HeldLease {
        &self.lease
    }

    /// `clock::boot_now`: it goes on while this machine sleeps, so it is the clock of the world.
    fn now(&self) -> Millis {
        Millis(self.world.kernel.now())
    }

    /// `Actor::connect`
    pub(crate) async fn connect(&mut self) -> Result<(), ReasonKind> {
        if self.live.as_ref().is_none_or(|live| live.line.is_closed()) {
            self.live = None;
            self.live = Some(self.open().await.map_err(|NoAnswer(kind)| kind)?);
        }
        Ok(())
    }

    /// `Actor::open`
    async fn open(&self) -> Result<Live, NoAnswer> {
        let mut line = Line::open(&self.world, self.operator, self.host).await?;
        line.call(&self.world, Request::Hello(self.epoch), START_MAX).await?;
        let mut fenced = false;
        if self.taken {
            match line.call(&self.world, Request::LockAgain, STEP_MAX).await? {
                Reply::No(ReasonKind::Fenced) => fenced = true,
                Reply::No(kind) => return Err(NoAnswer(kind)),
                _ => {}
            }
        }
        Ok(Live { line, fenced })
    }

    /// `Actor::is_fenced`
    pub(crate) fn is_fenced(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.fenced)
    }

    /// `Actor::is_nobodys`, `Actor::is_ours`
    pub(crate) fn is_ours(&mut self, ours: bool) {
        (self.taken, self.live) = (ours, None);
    }

    /// `Actor::leave_to_take`
    pub(crate) const fn leave_to_take(&mut self, announced: Option<Announced>) {
        self.left_to_take = announced;
    }

    /// `Actor::call`
    pub(crate) async fn call(&mut self, request: Request, deadline: u64) -> Result<Reply, CallError> {
        let mut lost = None;
        for _ in 0..=RECONNECTS_MAX {
            if let Err(kind) = self.connect().await {
                return Err(CallError::Lost(lost.unwrap_or(kind)));
            }
            let live = self.live.as_mut().expect("it is connected");
            if live.fenced && !matches!(request, Request::Clean | Request::CleanUntouched) {
                let fenced = ReasonKind::Fenced;
                return Err(if lost.is_some() { CallError::Lost(fenced) } else { CallError::Refused(fenced) });
            }
            match live.line.call(&self.world, request, deadline).await {
                Err(NoAnswer(kind)) => lost = Some(kind),
                Ok(reply) => {
                    self.world.heard(self.host, request, reply);
                    let refused = matches!(reply, Reply::No(_));
                    match request {
                        Request::Lock | Request::LockAgain => self.taken |= !refused,
                        Request::Clean | Request::CleanUntouched => self.taken &= refused,
                        Request::Confirm => self.lease.set(None),
                        _ => {}
                    }
                    return if let Reply::No(kind) = reply { Err(CallError::Refused(kind)) } else { Ok(reply) };
                }
            }
        }
        Err(CallError::Lost(lost.unwrap_or(ReasonKind::ConnectionLost)))
    }

    /// `take::shown`, `Announced::against`: whether the host shows what was not announced.
    pub(crate) async fn shows_more(&mut self, known: Announced) -> Result<bool, CallError> {
        match self.call(Request::Which, STEP_MAX).await {
            Ok(Reply::Which { .. }) if self.world.is(Mutant::CleansWhatWasCut) => Ok(false),
            Ok(Reply::Which { confirmed, cleaning, new }) => {
                Ok((confirmed && !known.stays) || (cleaning && !known.cleaned) || (new && !known.cut))
            }
            Ok(_) | Err(CallError::Refused(_)) => Ok(false),
            Err(lost) => Err(lost),
        }
    }

    /// `take::take`, and once more a look.
    pub(crate) async fn take(&mut self, known: Announced, lease: Millis) -> Result<Witness, CallError> {
        if let Err(error) = self.call(Request::LockAgain, STEP_MAX).await {
            return match self.told_apart(error).await {
                CallError::Refused(ReasonKind::Fenced) => Ok(Witness::Newer),
                CallError::Refused(ReasonKind::NothingLeft) => Ok(Witness::Gone),
                error => Err(error),
            };
        }
        let _later = self.wait_longer(lease).await;
        Ok(if self.shows_more(known).await? { Witness::Older } else { Witness::Ours })
    }

    /// `take::take_first`
    pub(crate) async fn take_first(&mut self, lease: Millis) -> Result<(), CallError> {
        let Some(known) = self.left_to_take else { return Ok(()) };
        self.world.count("taken by its next step");
        if self.shows_more(known).await? || matches!(self.take(known, lease).await?, Witness::Newer | Witness::Older) {
            return Err(CallError::Refused(ReasonKind::Fenced));
        }
        self.left_to_take = None;
        Ok(())
    }

    /// `take::told_apart`
    pub(crate) async fn told_apart(&mut self, error: CallError) -> CallError {
        let (CallError::Refused(ReasonKind::Fenced) | CallError::Lost(ReasonKind::Fenced)) = error else {
            return error;
        };
        self.is_ours(false);
        let left = self.call(Request::Leftovers, STEP_MAX).await;
        self.is_ours(true);
        let kind = if left == Ok(Reply::Left(false)) { ReasonKind::NothingLeft } else { ReasonKind::Fenced };
        match error {
            CallError::Refused(_) => CallError::Refused(kind),
            CallError::Lost(_) => CallError::Lost(kind),
        }
    }

    /// `Actor::arm`
    pub(crate) async fn arm(&mut self, length: Millis) -> Result<(), CallError> {
        let asked = self.now();
        self.call(Request::Arm(length.secs_ceil()), STEP_MAX).await?;
        self.lease.set(Some(Lease { length, asked }));
        Ok(())
    }

    /// `Actor::renew_for`
    pub(crate) async fn renew_for(&mut self, longer: u64) -> Result<(), CallError> {
        let now = self.now();
        match self.lease.get() {
            Some(lease) if lease.is_due(now) || !lease.holds(now, Duration::from_millis(longer)) => {
                self.wait_longer(lease.length).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// `Actor::wait_longer`
    pub(crate) async fn wait_longer(&mut self, length: Millis) -> Result<(), CallError> {
        let asked = self.now();
        let answer = self.call(Request::Renew(length.secs_ceil()), STEP_MAX).await;
        self.waits_since(asked, length, answer.map(drop))
    }

    /// `Actor::renew_aside`
    pub(crate) async fn renew_aside(&mut self) {
        let asked = self.now();
        let due = self.lease.get().filter(|lease| lease.is_due(asked));
        let (Some(lease), Some(live)) = (due, self.live.as_mut()) else { return };
        if live.line.is_closed() {
            return;
        }
        let answer = live.line.call(&self.world, Request::Renew(lease.length.secs_ceil()), ASIDE_MAX).await;
        let answer = match answer {
            Ok(Reply::No(kind)) => Err(CallError::Refused(kind)),
            Ok(_) => Ok(()),
            Err(NoAnswer(kind)) => Err(CallError::Lost(kind)),
        };
        let _said_later = self.waits_since(asked, lease.length, answer);
    }

    /// `Actor::waits_since`
    fn waits_since(&mut self, asked: Millis, length: Millis, answer: Result<(), CallError>) -> Result<(), CallError> {
        match answer {
            Ok(()) => self.lease.set(Some(Lease { length, asked })),
            Err(CallError::Refused(_)) => self.lease.set(None),
            Err(CallError::Lost(_)) => {}
        }
        answer
    }

    /// One try of a proof, new accepted and old refused or the other way round (`verify::try_values` over `attempt::attempt`): it goes
    /// through the connection and not through the shell.
    pub(crate) async fn probe(&mut self, wanted: Content) -> Result<bool, CallError> {
        self.connect().await.map_err(CallError::Lost)?;
        if self.is_fenced() {
            return Err(CallError::Refused(ReasonKind::Fenced));
        }
        let (kernel, there_and_back) = (&self.world.kernel, 1 + self.world.knobs.delay.min(TRY_MAX / 2));
        if !is_reachable(&self.world, self.operator, self.host) {
            kernel.sleep(TRY_MAX).await;
            return Ok(false);
        }
        kernel.sleep(kernel.between(1, there_and_back)).await;
        let proved = self.world.host(self.host, |host| host.up && host.proves(wanted));
        kernel.sleep(kernel.between(1, there_and_back)).await;
        let heard = proved && is_reachable(&self.world, self.operator, self.host);
        if heard && wanted == Content::New {
            self.world.eyes.borrow_mut().heard_proof(self.host);
        }
        Ok(heard)
    }
}
