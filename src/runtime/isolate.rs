//! What each step of a run that isolates hosts asks of a machine.
//!
//! **Invariant:** the connection that loaded rules is closed before they are confirmed: whoever confirms has come in through them.

mod proof;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::host::{CallError, CommandOutput, Kept, KeptState, Request, ScriptKind, SeenFrom};
use crate::model::{Event, HostName, IsolationPlan, Reached, Reason, ReasonKind, RunId, Secret, Step, Way};
use crate::quarantine::{Learned, staged, tables};
use crate::ssh::Connector;

use super::actor::{Actor, STEP_MAX, Who};
use super::drive::Outcome;
use super::forget::Forgetter;

/// Where machines keep what a quarantine needs: apart from rotations, so that neither is in the other's way.
pub const STATE: &str = "/var/lib/lockturn-quarantine";

/// How long a program there may take.
const PROGRAM_SECONDS: u64 = 6;

/// How long a host is left open for its peers to prove that they drop it, and how long peers wait for a released one to be open: while it
/// drops everybody itself, nobody can tell. Who takes longer is not proved in this process.
const OTHERS_FIRST_MAX: Duration = Duration::from_secs(30);

/// All machines of the run.
pub struct Isolator {
    actors: BTreeMap<HostName, Arc<Mutex<Actor>>>,
    work: Work,
    /// Those who are waited for and still at it: peers before the host closes, the released host before peers try it.
    busy: Arc<watch::Sender<BTreeSet<HostName>>>,
    /// Those who are to forget what the isolated hosts know.
    forgetter: Forgetter,
}

/// What all steps need.
#[derive(Clone)]
struct Work {
    plan: Arc<IsolationPlan>,
    before: Arc<std::sync::Mutex<BTreeMap<HostName, Vec<Reached>>>>,
    facts: mpsc::UnboundedSender<Event>,
}

impl Isolator {
    /// Machines that are not connected yet. `before` is what the ledger has of what peers reached; new facts go to `facts`.
    #[must_use]
    pub fn new(
        whos: Vec<Who>,
        plan: Arc<IsolationPlan>,
        (run, epoch): (&RunId, u64),
        connector: &Arc<Connector>,
        cancel: &CancellationToken,
        before: BTreeMap<HostName, Vec<Reached>>,
        facts: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let actor = |who: Who| {
            let who = Who { state_dir: STATE.to_owned(), ..who };
            let name = who.host.clone();
            let actor = Actor::new(who, run.clone(), epoch, Arc::clone(connector), cancel.clone());
            (name, Arc::new(Mutex::new(actor)))
        };
        let awaited = |name: &&HostName| plan.hosts.contains_key(*name) == (plan.way == Way::Release);
        let busy = plan.members.keys().filter(awaited).cloned().collect();
        Self {
            actors: whos.into_iter().map(actor).collect(),
            work: Work { plan, before: Arc::new(std::sync::Mutex::new(before)), facts },
            busy: Arc::new(watch::Sender::new(busy)),
            forgetter: Forgetter::default(),
        }
    }

    /// With those who are to forget what the isolated hosts know.
    #[must_use]
    pub fn with(self, forgetter: Forgetter) -> Self {
        Self { forgetter, ..self }
    }

    /// Begins a step. The future owns all that it needs; it is bounded in time by itself.
    pub fn begin(&self, host: &HostName, step: Step) -> BoxFuture<'static, Outcome> {
        if matches!(step, Step::Stop | Step::Forget) {
            return self.forgetter.begin(host, step);
        }
        let Some(actor) = self.actors.get(host).cloned() else {
            let reason = Reason::new(ReasonKind::Missing, format!("`{host}` is in the run and not in the inventory"));
            return Box::pin(async { Outcome::Unknown(reason) });
        };
        let (work, host, busy) = (self.work.clone(), host.clone(), Arc::clone(&self.busy));
        Box::pin(async move {
            if work.waits(&host, step) {
                let mut left = busy.subscribe();
                let _late = tokio::time::timeout(OTHERS_FIRST_MAX, left.wait_for(BTreeSet::is_empty)).await;
            }
            let outcome = perform(&mut *actor.lock().await, &work, &host, step).await;
            if step == Step::Verify || !matches!(outcome, Outcome::Done) {
                busy.send_if_modified(|busy| busy.remove(&host));
            }
            outcome
        })
    }

    /// Ends all programs and connections.
    pub async fn leave(self) {
        let leaving = self.actors.into_values().filter_map(Arc::into_inner).map(|actor| actor.into_inner().leave());
        futures::future::join_all(leaving).await;
        self.forgetter.leave().await;
    }
}

async fn perform(actor: &mut Actor, work: &Work, host: &HostName, step: Step) -> Outcome {
    let done = match step {
        Step::Lock => plain(actor, &Request::Lock).await,
        Step::Stage => stage(actor, work, host).await,
        Step::Arm => actor.arm(work.plan.lease, &[]).await,
        Step::Cut => {
            let cut = plain(actor, &Request::Cut).await;
            actor.hang_up().await;
            cut
        }
        Step::Confirm => plain(actor, &Request::Confirm).await,
        Step::Verify => verify(actor, work, host).await,
        Step::Revert => plain(actor, &Request::Revert).await,
        Step::Clean => plain(actor, &Request::Clean).await,
        Step::Activate | Step::Reactivate | Step::Reverify | Step::Stop | Step::Forget => {
            let reason = Reason::new(ReasonKind::Unclear, format!("`{step}` changes no rules"));
            Err(CallError::Refused(reason))
        }
    };
    match done {
        Ok(()) => Outcome::Done,
        Err(CallError::Refused(reason)) => Outcome::Failed(reason),
        Err(CallError::Lost(reason)) => Outcome::Unknown(reason),
    }
}

async fn plain(actor: &mut Actor, request: &Request<'_>) -> Result<(), CallError> {
    actor.call(request, STEP_MAX).await.map(drop)
}

async fn stage(actor: &mut Actor, work: &Work, host: &HostName) -> Result<(), CallError> {
    let learned = learn(actor, &work.plan, host).await?;
    let refused =
        |error: crate::quarantine::RulesError| CallError::Refused(Reason::new(ReasonKind::Unclear, error.to_string()));
    for (at, (table, load)) in staged(&work.plan, host, &learned).map_err(refused)?.into_iter().enumerate() {
        let parts =
            [("table", Secret::new(format!("{table}\n").into_bytes())), ("load", Secret::new(load.into_bytes()))];
        let request = Request::StageScript { number: at + 1, kind: ScriptKind::Rules, target: "", parts: &parts };
        plain(actor, &request).await?;
    }
    plain(actor, &Request::Rehearse).await?;
    if work.plan.way == Way::Quarantine && work.is_tried_from(host) {
        let answered = proof::answering(actor, &work.plan, host).await?;
        // It is a fact: whoever listens makes it durable before it hears of the step.
        let _unheard = work.facts.send(Event::ReachedBefore { host: host.clone(), answered: answered.clone() });
        work.before().insert(host.clone(), answered);
    }
    Ok(())
}

/// What the machine knows that its rules need. Changes nothing.
///
/// # Errors
/// If it does not answer.
pub async fn learn(actor: &mut Actor, plan: &IsolationPlan, host: &HostName) -> Result<Learned, CallError> {
    let mut learned = Learned::default();
    if plan.way == Way::Release {
        return Ok(learned);
    }
    if plan.hosts.contains_key(host) {
        let said = actor.call(&Request::SeenFrom, STEP_MAX).await?;
        let SeenFrom { address, port } = SeenFrom::parse(&said).map_err(CallError::Refused)?;
        let address = address.parse().map_err(|error: crate::quarantine::AddressError| {
            let detail = format!("it says that we come from an address that is none: {error}");
            CallError::Refused(Reason::new(ReasonKind::AnswerBroken, detail))
        })?;
        learned.seen_from = Some((address, port));
    }
    let logins: BTreeSet<&String> =
        plan.members.get(host).into_iter().flat_map(|member| member.way_to.values()).collect();
    for login in logins {
        let output = program(actor, &["id", "-u", "--", login]).await?;
        let number = std::str::from_utf8(output.output.expose()).ok().and_then(|text| text.trim().parse().ok());
        learned.users.extend(number.filter(|_| output.status == 0).map(|number: u32| (login.clone(), number)));
    }
    Ok(learned)
}

/// The rules are as they were loaded, and what they forbid is tried in vain; or they are gone, and traffic flows again.
async fn verify(actor: &mut Actor, work: &Work, host: &HostName) -> Result<(), CallError> {
    let refused = |kind, detail: String| Err(CallError::Refused(Reason::new(kind, detail)));
    let said = actor.call(&Request::Kept, STEP_MAX).await?;
    let Kept(kept) = Kept::parse(&said).map_err(CallError::Refused)?;
    for table in tables(&work.plan, host) {
        let state = kept.iter().find(|(name, _)| *name == table.to_string()).map(|(_, state)| *state);
        match (work.plan.way, state) {
            (Way::Quarantine, Some(KeptState::InPlace)) | (Way::Release, None) => {}
            (Way::Quarantine, _) => {
                return refused(ReasonKind::Changed, format!("the table {table} is not as it was loaded"));
            }
            (Way::Release, Some(_)) => {
                return refused(ReasonKind::Changed, format!("the table {table} is still there"));
            }
        }
    }
    if !work.is_tried_from(host) {
        return Ok(());
    }
    let before = work.before().get(host).cloned().unwrap_or_default();
    match work.plan.way {
        Way::Quarantine => proof::is_closed(actor, &work.plan, host, &before).await,
        Way::Release => proof::flows_again(actor, &work.plan, host, &before).await,
    }
}

impl Work {
    /// Whether it is tried from there what the rules forbid, or forbid no more. A host in quarantine reaches nobody anyway, and its own
    /// word changes nothing; that it is managed was tried by coming there.
    fn is_tried_from(&self, host: &HostName) -> bool {
        let contained = self.plan.members.get(host).is_some_and(|member| member.contained);
        !contained && !self.plan.hosts.contains_key(host)
    }

    /// Whom this step of a machine waits for: as long as the host itself drops everybody, nobody can tell who else does.
    fn waits(&self, host: &HostName, step: Step) -> bool {
        match self.plan.way {
            Way::Quarantine => step == Step::Arm && self.plan.hosts.contains_key(host),
            Way::Release => step == Step::Verify && self.is_tried_from(host),
        }
    }

    fn before(&self) -> std::sync::MutexGuard<'_, BTreeMap<HostName, Vec<Reached>>> {
        self.before.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A program of that machine's own, and what it answered.
async fn program(actor: &mut Actor, words: &[&str]) -> Result<CommandOutput, CallError> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let (seconds, input) = (PROGRAM_SECONDS, Secret::new(Vec::new()));
    let request = Request::Command { seconds, words: &words, input: &input };
    let said = actor.call(&request, STEP_MAX).await?;
    CommandOutput::parse(&said).map_err(CallError::Refused)
}
