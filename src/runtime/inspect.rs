//! Reading what a host holds now, before anything is planned. Changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::edit;
use crate::host::{CallError, CommandOutput, FileFacts, HelloFacts, Request, inspect_sql, parse_inspected};
use crate::model::{FingerprintKey, Reason, ReasonKind, Secret, ValueId};
use crate::plan::{ChangeFacts, DraftChange, DraftHost, HostFacts};

use super::actor::{Actor, STEP_MAX, Who};

/// How long a program that only prints a value may take, in seconds.
const READ_SECONDS: u64 = 30;

/// Why a host is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A change is planned: what cannot be changed is refused.
    Change,
    /// Somebody wants to see it.
    Look,
}

/// What was read on one host: what the plan may know of it, and the bytes that only the run may have.
pub struct Inspected {
    /// Runs that have left something there.
    pub left: Vec<String>,
    /// For the plan.
    pub facts: HostFacts,
    /// The value at each place.
    pub values: BTreeMap<ValueId, Arc<Secret>>,
    /// The content of each file, by the position of its change.
    pub contents: BTreeMap<usize, Content>,
}

/// The content of a file that will be replaced.
#[derive(Clone)]
pub struct Content {
    /// Its bytes.
    pub bytes: Arc<Secret>,
    /// Their SHA-256 in hex: the host compares it before the cut. It never leaves the coordinator and the host.
    pub sha256: String,
}

/// Reads all that the draft names on this host.
///
/// # Errors
/// Only if the host cannot be asked at all; what is wrong with one place is in the facts.
pub async fn inspect(
    actor: &mut Actor,
    draft: &DraftHost,
    key: &FingerprintKey,
    purpose: Purpose,
) -> Result<Inspected, Reason> {
    let HelloFacts { login, state, switch, .. } = actor.connect().await?.clone();
    let Who { endpoint, become_user, path, .. } = actor.who();
    let facts = HostFacts {
        address: format!("{}:{}", endpoint.address, endpoint.port),
        become_user: *become_user,
        login,
        state,
        path: path.clone(),
        switch,
        changes: Vec::new(),
        probes: super::verify::hindrances(actor, &draft.verify).await?,
    };
    let left = super::left::runs_left(actor).await?;
    let mut inspected = Inspected { left, facts, values: BTreeMap::new(), contents: BTreeMap::new() };
    for (position, change) in draft.changes.iter().enumerate() {
        let read = match change {
            DraftChange::File { path, follow, edits } => {
                let keys: Vec<_> = edits.iter().map(|edit| edit.dotenv_key.as_deref()).collect();
                let request = Request::ReadFile { path, follow: *follow, replace: purpose == Purpose::Change };
                read_file(actor, &request, &keys, key).await.map(|(file, content, values)| {
                    inspected.contents.insert(position, content);
                    (Some(file), values)
                })
            }
            DraftChange::Sqlite { file, rows } => {
                let rows: Vec<_> = rows.iter().map(|row| (row.read.as_str(), row.host.as_str())).collect();
                read_rows(actor, file, &rows).await.map(|values| (None, values))
            }
            DraftChange::Command { read, .. } => read_command(actor, read).await.map(|value| (None, vec![value])),
        };
        let held = match read {
            Err(Problem::Host(reason)) => return Err(reason),
            Err(Problem::Place(reason)) => Err(reason),
            Ok((file, values)) => {
                let fingerprints = values.iter().map(|value| key.fingerprint(value)).collect();
                for (id, value) in change.values().into_iter().zip(values) {
                    inspected.values.insert(id.clone(), Arc::new(value));
                }
                Ok(ChangeFacts { file, values: fingerprints })
            }
        };
        inspected.facts.changes.push(held);
    }
    Ok(inspected)
}

/// What is in the way: this place, or the whole host.
pub(super) enum Problem {
    /// This place.
    Place(Reason),
    /// The whole host.
    Host(Reason),
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(reason) => Self::Place(reason),
            CallError::Lost(reason) => Self::Host(reason),
        }
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        Self::Place(reason)
    }
}

pub(super) type FileRead = ((String, crate::model::Fingerprint), Content, Vec<Secret>);

pub(super) async fn read_file(
    actor: &mut Actor,
    request: &Request<'_>,
    keys: &[Option<&str>],
    key: &FingerprintKey,
) -> Result<FileRead, Problem> {
    let file = FileFacts::parse(&actor.call(request, STEP_MAX).await?)?;
    let values = keys
        .iter()
        .map(|key| edit::read(&file.content, *key).map_err(|error| error.reason()))
        .collect::<Result<_, _>>()?;
    let sha256 = Sha256::digest(file.content.expose()).iter().map(|byte| format!("{byte:02x}")).collect();
    let fingerprint = key.fingerprint(&file.content);
    Ok(((file.real_path, fingerprint), Content { bytes: Arc::new(file.content), sha256 }, values))
}

pub(super) async fn read_rows(actor: &mut Actor, file: &str, rows: &[(&str, &str)]) -> Result<Vec<Secret>, Problem> {
    let unusable = |error: crate::host::SqlError| Reason::new(ReasonKind::Unclear, error.to_string());
    let sql = inspect_sql(rows.iter().copied()).map_err(unusable)?;
    let printed = actor.call(&Request::Sqlite { file, sql: &sql }, STEP_MAX).await?;
    let values = parse_inspected(&printed, rows.len())?;
    let named = values.into_iter().zip(rows).map(|(value, (_, host))| {
        value.map_err(|reason| Reason::new(reason.kind, format!("for `{host}`: {}", reason.detail)))
    });
    Ok(named.collect::<Result<_, _>>()?)
}

pub(super) async fn read_command(actor: &mut Actor, words: &[String]) -> Result<Secret, Problem> {
    let input = Secret::new(Vec::new());
    let request = Request::Command { seconds: READ_SECONDS, words, input: &input };
    let output = CommandOutput::parse(&actor.call(&request, STEP_MAX).await?)?;
    if output.status != 0 {
        let detail = format!("`{}` ended with status {}", words.join(" "), output.status);
        return Err(Reason::new(ReasonKind::CommandFailed, detail).into());
    }
    let bytes = output.output.expose();
    Ok(Secret::new(bytes.strip_suffix(b"\n").unwrap_or(bytes).to_vec()))
}
