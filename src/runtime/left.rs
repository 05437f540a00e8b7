//! What a host has left of a run, for a coordinator without a journal. Changes nothing.

use crate::host::{CallError, Held, Request, Which};
use crate::model::{Found, Reason, ReasonKind, RunId, Secret, Share, Stands, harmless};

use super::actor::{Actor, STEP_MAX};
use super::step::{KEPT, KEPT_PLAN};
use super::{Vault, epoch};

/// A host that has had more sessions is not telling the truth, and could go on for ever.
const SESSIONS_MAX: u64 = 10_000;

/// What a host has left of a run.
pub struct Left {
    /// The number of the newest coordinator that has been there.
    pub epoch: u64,
    /// How far it came.
    pub found: Found,
    /// It knows of no change: nothing was staged yet, or its `clean` died in the middle. So it is only cleaned.
    pub bare: bool,
    /// Its share of the plan; none if the run was left just after it had taken the host.
    pub share: Option<Share>,
    /// The values that it keeps; none before all of them were staged.
    pub values: Vault,
}

/// The runs that have left something on a host.
///
/// # Errors
/// If it cannot be asked.
pub async fn runs_left(actor: &mut Actor) -> Result<Vec<String>, Reason> {
    let left = actor.call(&Request::Leftovers, STEP_MAX).await.map_err(|error| error.reason().clone())?;
    Ok(String::from_utf8_lossy(left.expose()).lines().map(harmless).collect())
}

/// What a host has left of this run, if anything.
///
/// # Errors
/// If it cannot be asked, or keeps what this program did not write.
pub async fn look(actor: &mut Actor, run: &RunId) -> Result<Option<Left>, Reason> {
    if !runs_left(actor).await?.iter().any(|left| left == run.as_str()) {
        return Ok(None);
    }
    let epoch = newest_epoch(actor).await?;
    let mut confirmed = kept(actor, "confirmed").await?.is_some();
    // The host writes `uncut` when it is first armed, and empties it before it is first cut; while it cuts it has another name. That one is
    // looked for first: where nobody cuts any more its switch may give it back its own just now.
    let cutting = kept(actor, "cutting").await?.is_some();
    let was_cut = cutting || kept(actor, "uncut").await?.is_some_and(|uncut| uncut.is_empty());
    let which = match actor.call(&Request::Which, STEP_MAX).await {
        Ok(which) => Ok(Which::parse(&which)?),
        Err(CallError::Refused(reason)) => Err(reason),
        Err(CallError::Lost(reason)) => return Err(reason),
    };
    // Changes are there from before it is armed until it is cleaned: without any there is nothing to be taken back. Nor is there on one
    // whose clean has begun: that it was confirmed, or is back, was certain before.
    let cleaning = which.as_ref().is_ok_and(Which::is_cleaned);
    confirmed |= which.as_ref().is_ok_and(Which::is_confirmed);
    let bare = cleaning || which.as_ref().is_ok_and(|which| which.held.is_empty());
    let holds_new = which.as_ref().is_ok_and(|which| which.held.contains(&Held::New));
    let stands = match (confirmed, !bare && (was_cut || holds_new)) {
        (true, _) => Stands::Confirmed,
        (false, true) => Stands::Cut,
        (false, false) => Stands::Uncut,
    };
    let share = kept(actor, KEPT_PLAN).await?;
    let share = share.map(|json| Share::from_json(json.expose())).transpose();
    let mut values = Vault::default();
    if let Some(kept) = kept(actor, KEPT).await? {
        values.take_kept(&kept).map_err(|_| broken("the values"))?;
    }
    let share = share.map_err(|why| broken(&format!("its share of the plan ({why})")))?;
    Ok(Some(Left { epoch, found: Found { stands, said: said(which) }, bare, share, values }))
}

/// The number of the newest coordinator that has been there: each session leaves a file of its own, numbered from 1. An earlier lockturn
/// had one for all, without a number.
async fn newest_epoch(actor: &mut Actor) -> Result<u64, Reason> {
    let earlier = kept(actor, "session").await?;
    let (mut turn, mut newest) = (1_u64, earlier.as_ref().map_or(Ok(0), epoch_of)?);
    while let Some(session) = kept(actor, &format!("session{turn}")).await? {
        newest = newest.max(epoch_of(&session)?);
        turn += 1;
        if turn > SESSIONS_MAX {
            return Err(broken("it has had too many coordinators"));
        }
    }
    Ok(newest)
}

fn epoch_of(session: &Secret) -> Result<u64, Reason> {
    let text = std::str::from_utf8(session.expose()).unwrap_or_default();
    let epoch = text.split_whitespace().next().and_then(|word| word.parse().ok());
    epoch.filter(|number| *number < epoch::MAX).ok_or_else(|| broken("the number of a coordinator"))
}

/// What the host keeps under this name.
async fn kept(actor: &mut Actor, name: &str) -> Result<Option<Secret>, Reason> {
    match actor.call(&Request::Fetch { name }, STEP_MAX).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(CallError::Refused(reason)) if reason.kind == ReasonKind::Missing => Ok(None),
        Err(CallError::Refused(reason) | CallError::Lost(reason)) => Err(reason),
    }
}

fn broken(what: &str) -> Reason {
    Reason::new(ReasonKind::AnswerBroken, format!("what the host kept cannot be read: {what}"))
}

/// In a few words for a person.
fn said(which: Result<Which, Reason>) -> String {
    let Which { held, record } = match which {
        Ok(which) => which,
        Err(reason) => return reason.to_string(),
    };
    let came = match record.as_str() {
        "none" => "taken".to_owned(),
        "cleaning" => "half cleaned".to_owned(),
        "cleaning confirmed" => "confirmed, half cleaned".to_owned(),
        "fired reverted" => "went back by itself".to_owned(),
        "reverted" => "taken back".to_owned(),
        other => harmless(other),
    };
    let count = |wanted: Held| held.iter().filter(|held| **held == wanted).count();
    let words =
        [(Held::Old, "old"), (Held::New, "new"), (Held::Other, "neither old nor new"), (Held::Missing, "missing")];
    let holds = words.into_iter().filter_map(|(held, word)| match count(held) {
        0 => None,
        all if all == count(Held::Old) + count(Held::New) + count(Held::Other) + count(Held::Missing) => {
            Some(word.to_owned())
        }
        some => Some(format!("{some} {word}")),
    });
    let holds = holds.collect::<Vec<_>>().join(", ");
    if holds.is_empty() { came } else { format!("{came}; holds {holds}") }
}
