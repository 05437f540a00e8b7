//! One host for one process, as `src/runtime/actor.rs` has it: the same reconnects, the same deadlines, the product's own [`Lease`].

use std::rc::Rc;
use std::time::Duration;

use lockturn::model::{Millis, ReasonKind};
use lockturn::runtime::lease::{HeldLease, Lease};

use super::host::Content;
use super::kernel::Machine;
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

/// `actor::Actor`
pub(crate) struct Actor {
    world: Rc<World>,
    operator: Machine,
    pub(crate) host: usize,
    epoch: u64,
    live: Option<Line>,
    taken: bool,
    lease: HeldLease,
}

impl Actor {
    pub(crate) fn new(world: &Rc<World>, operator: Machine, host: usize, epoch: u64) -> Self {
        let lease = HeldLease::default();
        Self { world: Rc::clone(world), operator, host, epoch, live: None, taken: false, lease }
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
        if self.live.as_ref().is_none_or(Line::is_closed) {
            self.live = None;
            self.live = Some(self.open().await.map_err(|NoAnswer(kind)| kind)?);
        }
        Ok(())
    }

    /// `Actor::open`
    async fn open(&self) -> Result<Line, NoAnswer> {
        let mut line = Line::open(&self.world, self.operator, self.host).await?;
        line.call(&self.world, Request::Hello(self.epoch), START_MAX).await?;
        if self.taken
            && let Reply::No(kind) = line.call(&self.world, Request::LockAgain, STEP_MAX).await?
        {
            return Err(NoAnswer(kind));
        }
        Ok(line)
    }

    /// `Actor::call`
    pub(crate) async fn call(&mut self, request: Request, deadline: u64) -> Result<Reply, CallError> {
        let mut lost = None;
        for _ in 0..=RECONNECTS_MAX {
            if let Err(kind) = self.connect().await {
                return Err(CallError::Lost(lost.unwrap_or(kind)));
            }
            let live = self.live.as_mut().expect("it is connected");
            match live.call(&self.world, request, deadline).await {
                Err(NoAnswer(kind)) => lost = Some(kind),
                Ok(reply) => {
                    self.world.heard(self.host, request, reply);
                    let refused = matches!(reply, Reply::No(_));
                    match request {
                        Request::Lock | Request::LockAgain => self.taken |= !refused,
                        Request::Clean => self.taken &= refused,
                        Request::Confirm => self.lease.set(None),
                        _ => {}
                    }
                    return if let Reply::No(kind) = reply { Err(CallError::Refused(kind)) } else { Ok(reply) };
                }
            }
        }
        Err(CallError::Lost(lost.unwrap_or(ReasonKind::ConnectionLost)))
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
        if live.is_closed() {
            return;
        }
        let answer = live.call(&self.world, Request::Renew(lease.length.secs_ceil()), ASIDE_MAX).await;
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
