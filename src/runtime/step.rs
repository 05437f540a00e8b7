//! What each step asks of a host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::coordinator::Rest;
use crate::edit;
use crate::host::{CallError, CommandOutput, Request, ScriptKind, SqlRow, stage_sql};
use crate::model::{
    Activation, Change, Common, HostPlan, Millis, PlannedValue, Reason, ReasonKind, Secret, SqliteRow, Step, ValueId,
};

use super::actor::{Actor, STEP_MAX};
use super::drive::Outcome;
use super::inspect::Content;
use super::rest::{Prints, clean, revert};
use super::take::{take_first, told_apart};
use super::vault::{Pair, Vault};
use super::veil::veil;
use super::verify::{Direction, Verifier, keep_waiting};

/// Under this name a host keeps the values of the run until it is cleaned.
pub const KEPT: &str = "values";

/// Under this name it keeps its share of the plan.
pub const KEPT_PLAN: &str = "plan";

/// Room for the connection beyond the time that a service may take by itself.
const MARGIN: Duration = Duration::from_secs(10);

/// All that the steps on one host need besides the host.
#[derive(Clone)]
pub struct Work {
    /// What happens there.
    pub plan: Arc<HostPlan>,
    /// What every host keeps of the whole plan.
    pub common: Arc<Common>,
    /// The values of the plan.
    pub values: Arc<BTreeMap<ValueId, PlannedValue>>,
    /// The values of the run.
    pub vault: Arc<Vault>,
    /// How its values are recognised.
    pub prints: Arc<Prints>,
    /// What the host holds once it is cleaned.
    pub rest: Rest,
    /// Whether the run has decided: nobody waits for this host to do so.
    pub is_decided: bool,
    /// The contents that inspect read there.
    pub contents: Arc<BTreeMap<usize, Content>>,
    /// How long an armed host waits.
    pub lease: Millis,
    /// Tries the probes.
    pub verifier: Verifier,
}

/// Does one step on one host.
pub async fn perform(actor: &mut Actor, work: &Work, step: Step) -> Outcome {
    actor.be_patient(work.is_decided);
    let done = match take_first(actor, work.lease).await {
        Ok(()) => ask(actor, work, step).await,
        Err(error) => Err(error),
    };
    let done = match done {
        Err(error) if error.reason().kind == ReasonKind::Fenced => Err(told_apart(actor, error).await),
        done => done,
    };
    match done {
        Ok(()) => Outcome::Done,
        Err(CallError::Refused(reason)) => Outcome::Failed(veil(reason, work.values())),
        Err(CallError::Lost(reason)) => Outcome::Unknown(veil(reason, work.values())),
    }
}

async fn ask(actor: &mut Actor, work: &Work, step: Step) -> Result<(), CallError> {
    match step {
        Step::Lock => lock(actor, work).await,
        Step::Stage => stage(actor, work).await,
        Step::Arm => actor.arm(work.lease, &work.plan.activate).await,
        Step::Cut => plain(actor, &Request::Cut).await,
        Step::Activate => activate(actor, &work.plan.activate, Direction::Forward).await,
        Step::Reactivate => activate(actor, &work.plan.activate, Direction::Back).await,
        Step::Verify => work.verify(actor, Direction::Forward).await,
        Step::Reverify => work.verify(actor, Direction::Back).await,
        Step::Confirm => plain(actor, &Request::Confirm).await,
        Step::Revert => revert(actor, work).await,
        Step::Clean => clean(actor, work).await,
        Step::Stop | Step::Forget => {
            let reason = Reason::new(ReasonKind::Unclear, format!("`{step}` is no step of a rotation"));
            Err(CallError::Refused(reason))
        }
    }
}

impl Work {
    async fn verify(&self, actor: &mut Actor, direction: Direction) -> Result<(), CallError> {
        self.verifier.verify(actor, &self.plan.verify, &self.vault, direction).await
    }

    fn values(&self) -> impl Iterator<Item = &Secret> {
        let pairs = self.plan.needs().into_iter().filter_map(|id| self.vault.get(id));
        pairs.flat_map(|pair| [&*pair.old, &*pair.new])
    }
}

pub(super) async fn plain(actor: &mut Actor, request: &Request<'_>) -> Result<(), CallError> {
    actor.call(request, STEP_MAX).await.map(drop)
}

/// Takes the host, and leaves there what a coordinator without a journal needs to know.
async fn lock(actor: &mut Actor, work: &Work) -> Result<(), CallError> {
    plain(actor, &Request::Lock).await?;
    let share = Secret::new(work.common.share(&work.values, &work.plan).to_json());
    plain(actor, &Request::Keep { name: KEPT_PLAN, bytes: &share }).await
}

async fn stage(actor: &mut Actor, work: &Work) -> Result<(), CallError> {
    for (position, change) in work.plan.changes.iter().enumerate() {
        stage_change(actor, work, position, change).await?;
    }
    let kept = work.vault.to_keep(work.plan.needs());
    plain(actor, &Request::Keep { name: KEPT, bytes: &kept }).await?;
    plain(actor, &Request::Rehearse).await
}

async fn stage_change(actor: &mut Actor, work: &Work, position: usize, change: &Change) -> Result<(), CallError> {
    let number = position + 1;
    match change {
        Change::File { real_path, edits, .. } => {
            let before = work.contents.get(&position).ok_or_else(value_lost)?;
            let mut content = before.bytes.duplicate();
            for file_edit in edits {
                let new = &pair(&work.vault, &file_edit.value)?.new;
                content = edit::replace(&content, file_edit.dotenv_key.as_deref(), new)
                    .map_err(|error| CallError::Refused(error.reason()))?;
            }
            let request = Request::StageFile { number, path: real_path, sha256: &before.sha256, content: &content };
            plain(actor, &request).await
        }
        Change::Sqlite { file, rows } => {
            let rows: Vec<&SqliteRow> = rows.iter().collect();
            stage_rows(actor, &work.vault, number, file, &rows).await
        }
        Change::Command { read, write, value } => {
            let Pair { old, new } = pair(&work.vault, value)?;
            let words = |words: &[String]| Secret::new((words.join("\n") + "\n").into_bytes());
            let parts =
                [("read", words(read)), ("write", words(write)), ("old", old.duplicate()), ("new", new.duplicate())];
            let request = Request::StageScript { number, kind: ScriptKind::Command, target: "", parts: &parts };
            plain(actor, &request).await
        }
    }
}

/// Stages the scripts that write these rows of one database, if each still holds what it held.
pub(super) async fn stage_rows(
    actor: &mut Actor,
    vault: &Vault,
    number: usize,
    database: &str,
    rows: &[&SqliteRow],
) -> Result<(), CallError> {
    let bound = rows
        .iter()
        .map(|row| {
            let Pair { old, new } = pair(vault, &row.value)?;
            Ok(SqlRow { read: &row.read, write: &row.write, host: row.host.as_str(), old, new })
        })
        .collect::<Result<Vec<_>, CallError>>()?;
    let unusable =
        |error: crate::host::SqlError| CallError::Refused(Reason::new(ReasonKind::Unclear, error.to_string()));
    let parts = stage_sql(&bound).map_err(unusable)?;
    plain(actor, &Request::StageScript { number, kind: ScriptKind::Sqlite, target: database, parts: &parts }).await
}

fn pair<'a>(vault: &'a Vault, id: &ValueId) -> Result<&'a Pair, CallError> {
    vault.get(id).ok_or_else(value_lost)
}

fn value_lost() -> CallError {
    CallError::Refused(Reason::new(ReasonKind::ValueLost, "the values of this run are not in memory any more"))
}

pub(super) async fn activate(
    actor: &mut Actor,
    activations: &[Activation],
    direction: Direction,
) -> Result<(), CallError> {
    for activation in activations {
        let (Activation::Systemd { deadline, .. } | Activation::Command { deadline, .. }) = activation;
        // One after the other may take longer than any of them.
        keep_waiting(actor, direction, deadline.duration() + MARGIN).await?;
        match activation {
            Activation::Systemd { action, unit, deadline } => {
                let request = Request::ActivateUnit { action: *action, unit, seconds: deadline.secs_ceil() };
                actor.call(&request, deadline.duration() + MARGIN).await?;
            }
            Activation::Command { run, deadline } => {
                let input = Secret::new(Vec::new());
                let request = Request::Command { seconds: deadline.secs_ceil(), words: run, input: &input };
                let answer = actor.call(&request, deadline.duration() + MARGIN).await?;
                let output = CommandOutput::parse(&answer).map_err(CallError::Refused)?;
                if output.status != 0 {
                    let detail = format!("`{}` ended with status {}", run.join(" "), output.status);
                    return Err(CallError::Refused(Reason::new(ReasonKind::CommandFailed, detail)));
                }
            }
        }
    }
    Ok(())
}
