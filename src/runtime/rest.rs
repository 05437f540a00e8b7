//! What a host holds that has nothing of the run any more, and nobody says who cleaned it: the request of ours to which no answer came, or
//! another coordinator with a copy of the ledger, which may have decided otherwise. So nothing is said of it before it is looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::coordinator::Rest;
use crate::host::{CallError, Request};
use crate::model::{Change, Fingerprint, FingerprintKey, Reason, ReasonKind, ValueId};

use super::actor::{Actor, STEP_MAX};
use super::inspect::{Problem, read_command, read_file, read_rows};
use super::step::Work;
use super::take::{OLDER, told_apart};

/// How the values of a run are recognised where nobody keeps them any more.
#[derive(Clone)]
pub struct Prints {
    /// The ledger's key.
    pub key: Arc<FingerprintKey>,
    /// The new values. Those of the old ones are in the plan.
    pub new: BTreeMap<ValueId, Fingerprint>,
}

/// Takes every change back. On a host that has nothing of the run any more there is none: it is back if it holds the old values.
pub(super) async fn revert(actor: &mut Actor, work: &Work) -> Result<(), CallError> {
    // A host that died in the middle may be locked by an older epoch of this run: take it again, then go back.
    match actor.call(&Request::LockAgain, STEP_MAX).await {
        Ok(_) => actor.call(&Request::Revert, STEP_MAX).await.map(drop),
        Err(error) => match told_apart(actor, error).await {
            CallError::Refused(reason) if reason.kind == ReasonKind::NothingLeft => {
                if !holds_what_is_left(actor, work).await? {
                    return Err(CallError::Refused(reason));
                }
                // Its services are told, and asked, like those of any host.
                actor.is_nobodys().await;
                Ok(())
            }
            error => Err(error),
        },
    }
}

/// Removes what the run has left there; where that is nothing, looks whether the host holds what this run leaves it with.
pub(super) async fn clean(actor: &mut Actor, work: &Work) -> Result<(), CallError> {
    let held = match actor.call(&Request::LockAgain, STEP_MAX).await {
        Err(CallError::Refused(reason)) if reason.kind == ReasonKind::Fenced => false,
        taken => taken.map(|_| true)?,
    };
    // Where another coordinator works the host says so.
    let untouched = work.rest == Rest::Untouched;
    actor.call(if untouched { &Request::CleanUntouched } else { &Request::Clean }, STEP_MAX).await?;
    // An answer to the session that held the host: then it was held until it was cleaned.
    if (held && !actor.is_fenced()) || holds_what_is_left(actor, work).await? {
        return Ok(());
    }
    let wanted = if work.rest == Rest::New { "the new value" } else { "the old value" };
    let detail = format!("another coordinator has cleaned this host, and it does not hold {wanted}: {OLDER}");
    Err(CallError::Refused(Reason::new(ReasonKind::NothingLeft, detail)))
}

/// Whether every place holds what this run leaves there.
async fn holds_what_is_left(actor: &mut Actor, work: &Work) -> Result<bool, CallError> {
    actor.is_nobodys().await;
    let host = actor.who().host.clone();
    for change in &work.plan.changes {
        let held = match held(actor, &work.prints.key, change).await {
            Ok(held) => held,
            Err(Problem::Host(reason)) => return Err(CallError::Lost(reason)),
            // What cannot be read holds no value of ours.
            Err(Problem::Place(_)) if work.rest == Rest::Untouched => continue,
            Err(Problem::Place(reason)) => return Err(CallError::Refused(reason)),
        };
        let right = |(id, print): (&ValueId, Fingerprint)| {
            let (old, new) = (work.values.get(id).map(|value| value.old_on(&host)), work.prints.new.get(id).copied());
            match work.rest {
                Rest::New => new.is_none_or(|new| new == print),
                Rest::Old => old.is_none_or(|old| old == print),
                Rest::Untouched => new != Some(print),
            }
        };
        if !change.values().into_iter().zip(held).all(right) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The fingerprints of what stands in each place of a change.
async fn held(actor: &mut Actor, key: &FingerprintKey, change: &Change) -> Result<Vec<Fingerprint>, Problem> {
    let values = match change {
        Change::File { real_path, edits, .. } => {
            let keys: Vec<_> = edits.iter().map(|edit| edit.dotenv_key.as_deref()).collect();
            let request = Request::ReadFile { path: real_path, follow: false, replace: false };
            read_file(actor, &request, &keys, key).await?.2
        }
        Change::Sqlite { file, rows } => {
            let rows: Vec<_> = rows.iter().map(|row| (row.read.as_str(), row.host.as_str())).collect();
            read_rows(actor, file, &rows).await?
        }
        Change::Command { read, .. } => vec![read_command(actor, read).await?],
    };
    Ok(values.iter().map(|value| key.fingerprint(value)).collect())
}
