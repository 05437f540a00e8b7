//! What each step asks of a host: `src/runtime/step.rs` and `src/runtime/verify.rs`.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use lockturn::coordinator::Rest;
use lockturn::model::{Certainty, Millis, Reason, ReasonKind, Step};
use lockturn::probe::{Direction, Stability, Streak};

use super::actor::{Actor, CallError, STEP_MAX, TRY_MAX};
use super::host::Content;
use super::kernel::Queue;
use super::mutants::Mutant;
use super::wire::{Reply, Request};
use super::world::World;

/// How long a restart may take, and `step::MARGIN` beyond it.
const ACTIVATE_MAX: u64 = 30_000 + 10_000;
/// Of each probe, as playbooks have them by default.
const INTERVAL: u64 = 1_000;
const DEADLINE: u64 = 30_000;
const SUCCESSES: u32 = 2;
const STABLE_FOR: Millis = Millis::from_secs(3);

/// `Fleet::futile`: set once the run goes back whatever its hosts still show.
pub(crate) struct Futile {
    set: Cell<bool>,
    told: Rc<Queue<()>>,
}

impl Futile {
    pub(crate) fn new(world: &World) -> Self {
        Self { set: Cell::new(false), told: Queue::new(&world.kernel) }
    }

    pub(crate) fn set(&self) {
        if !self.set.replace(true) {
            self.told.put(());
        }
    }

    /// On the way back every answer is needed.
    async fn wait(&self, direction: Direction) {
        poll_fn(|_| {
            if self.set.get() && direction == Direction::Forward {
                return Poll::Ready(());
            }
            if self.told.poll_take().is_ready() {
                let forward = self.set.get() && direction == Direction::Forward;
                return if forward { Poll::Ready(()) } else { Poll::Pending };
            }
            Poll::Pending
        })
        .await;
    }
}

/// `step::perform`
pub(crate) async fn perform(
    world: &Rc<World>,
    actor: &mut Actor,
    vault: bool,
    futile: &Futile,
    (step, rest): (Step, Rest),
) -> Outcome {
    let done = match actor.take_first(world.plan.lease).await {
        Ok(()) => ask(world, actor, vault, futile, (step, rest)).await,
        Err(error) => Err(error),
    };
    let done = match done {
        Err(error) => Err(actor.told_apart(error).await),
        done => done,
    };
    match done {
        Ok(()) => Outcome::Done,
        Err(CallError::Lost(_)) if world.is(Mutant::LostIsSuccess) => Outcome::Done,
        Err(CallError::Lost(_)) if world.is(Mutant::WaitsForever) => std::future::pending().await,
        Err(CallError::Refused(kind)) => Outcome::Failed(Certainty::Failed, Reason::new(kind, "")),
        Err(CallError::Lost(kind)) => Outcome::Failed(Certainty::Unknown, Reason::new(kind, "")),
    }
}

async fn ask(
    world: &Rc<World>,
    actor: &mut Actor,
    vault: bool,
    futile: &Futile,
    (step, rest): (Step, Rest),
) -> Result<(), CallError> {
    match step {
        Step::Lock => lock(actor).await,
        Step::Stage => stage(world, actor).await,
        Step::Arm if world.is(Mutant::BarrierMinusOne) && actor.host + 1 == world.knobs.hosts => Ok(()),
        Step::Arm => actor.arm(world.plan.lease).await,
        Step::Cut => plain(actor, Request::Cut).await,
        Step::Activate => activate(actor, Direction::Forward).await,
        Step::Reactivate => activate(actor, Direction::Back).await,
        Step::Verify => verify(world, actor, vault, futile, Direction::Forward).await,
        Step::Reverify => verify(world, actor, vault, futile, Direction::Back).await,
        Step::Confirm if world.is(Mutant::RevokesEarly) => plain(actor, Request::Clean).await,
        Step::Confirm => plain(actor, Request::Confirm).await,
        Step::Revert => revert(actor, rest).await,
        Step::Clean => clean(actor, rest).await,
        Step::Stop | Step::Forget => unreachable!("no step of a rotation"),
    }
}

/// `drive::Outcome`
pub(crate) enum Outcome {
    Done,
    Failed(Certainty, Reason),
}

async fn plain(actor: &mut Actor, request: Request) -> Result<(), CallError> {
    actor.call(request, STEP_MAX).await.map(drop)
}

async fn lock(actor: &mut Actor) -> Result<(), CallError> {
    plain(actor, Request::Lock).await?;
    plain(actor, Request::KeepPlan).await
}

async fn stage(world: &World, actor: &mut Actor) -> Result<(), CallError> {
    for number in 0..world.knobs.changes {
        plain(actor, Request::StageFile(number)).await?;
    }
    plain(actor, Request::Keep).await?;
    plain(actor, Request::Rehearse).await
}

async fn activate(actor: &mut Actor, direction: Direction) -> Result<(), CallError> {
    keep_waiting(actor, direction, ACTIVATE_MAX).await?;
    actor.call(Request::ActivateUnit, ACTIVATE_MAX).await.map(drop)
}

/// `rest::revert`
async fn revert(actor: &mut Actor, rest: Rest) -> Result<(), CallError> {
    let Err(error) = plain(actor, Request::LockAgain).await else { return plain(actor, Request::Revert).await };
    match actor.told_apart(error).await {
        CallError::Refused(ReasonKind::NothingLeft) if holds_what_is_left(actor, rest).await? => {
            actor.is_ours(false);
            Ok(())
        }
        error => Err(error),
    }
}

/// `rest::clean`
async fn clean(actor: &mut Actor, rest: Rest) -> Result<(), CallError> {
    let held = match plain(actor, Request::LockAgain).await {
        Err(CallError::Refused(ReasonKind::Fenced)) => false,
        taken => taken.map(|()| true)?,
    };
    plain(actor, if rest == Rest::Untouched { Request::CleanUntouched } else { Request::Clean }).await?;
    if (held && !actor.is_fenced()) || holds_what_is_left(actor, rest).await? {
        return Ok(());
    }
    Err(CallError::Refused(ReasonKind::NothingLeft))
}

/// `rest::holds_what_is_left`
async fn holds_what_is_left(actor: &mut Actor, rest: Rest) -> Result<bool, CallError> {
    actor.is_ours(false);
    match actor.call(Request::Read, STEP_MAX).await? {
        Reply::Holds { old, new } => Ok(match rest {
            Rest::New => new,
            Rest::Old => old,
            Rest::Untouched => !new,
        }),
        _ => Ok(false),
    }
}

/// `verify::keep_waiting`
async fn keep_waiting(actor: &mut Actor, direction: Direction, longer: u64) -> Result<(), CallError> {
    match (direction, actor.renew_for(longer).await) {
        (Direction::Back, Err(CallError::Refused(_))) => Ok(()),
        (_, renewed) => renewed,
    }
}

/// `Verifier::verify`: the unit first, then the proof.
async fn verify(
    world: &Rc<World>,
    actor: &mut Actor,
    vault: bool,
    futile: &Futile,
    direction: Direction,
) -> Result<(), CallError> {
    for proof in [false, true] {
        until_right(world, actor, vault, futile, direction, proof).await?;
    }
    Ok(())
}

/// `Verifier::until_right`
async fn until_right(
    world: &Rc<World>,
    actor: &mut Actor,
    vault: bool,
    futile: &Futile,
    direction: Direction,
    proof: bool,
) -> Result<(), CallError> {
    let kernel = &world.kernel;
    let machine = kernel.process().machine;
    let began = kernel.steady(machine);
    let mut streak = Streak::new(SUCCESSES);
    let mut stability = Stability::default();
    loop {
        keep_waiting(actor, direction, INTERVAL + 2 * TRY_MAX).await?;
        let now = Millis(kernel.steady(machine) - began);
        let right = if proof {
            if !vault {
                return Err(CallError::Refused(ReasonKind::ValueLost));
            }
            let wanted = if direction == Direction::Forward { Content::New } else { Content::Old };
            let left = DEADLINE.saturating_sub(now.0).clamp(1, TRY_MAX);
            let mut futile_first = false;
            let tried = kernel.timeout(left, until_futile(futile, direction, actor.probe(wanted), &mut futile_first));
            let tried = tried.await;
            if futile_first {
                return Err(CallError::Refused(ReasonKind::Fleet));
            }
            tried.flatten().transpose()?.unwrap_or(false)
        } else {
            match actor.call(Request::Unit, STEP_MAX).await? {
                Reply::Unit { active, invocation } => stability.look(now, active, &invocation.to_string(), STABLE_FOR),
                _ => false,
            }
        };
        if streak.count(right) {
            return Ok(());
        }
        if kernel.steady(machine) - began + INTERVAL > DEADLINE {
            return Err(CallError::Refused(if proof { ReasonKind::NewRefused } else { ReasonKind::ServiceFailed }));
        }
        if kernel.timeout(INTERVAL, futile.wait(direction)).await.is_some() {
            return Err(CallError::Refused(ReasonKind::Fleet));
        }
    }
}

/// Nobody waits for an answer that changes nothing.
async fn until_futile<T>(
    futile: &Futile,
    direction: Direction,
    tried: impl Future<Output = T>,
    was_futile: &mut bool,
) -> Option<T> {
    let (mut tried, mut wait) = (std::pin::pin!(tried), std::pin::pin!(futile.wait(direction)));
    poll_fn(|cx| match tried.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => wait.as_mut().poll(cx).map(|()| {
            *was_futile = true;
            None
        }),
    })
    .await
}
