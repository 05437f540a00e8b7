//! A host of a run that was left, as whoever takes the run up takes it.
//!
//! Every effect on a host was announced in the ledger first. So a host that shows one which the ledger has not announced proves that this
//! is not the ledger of the run as it went on, and nothing that it says may be built upon.
//!
//! **Invariant:** a host is looked at before it is taken, because one who knows less than the host does must not be its newest coordinator;
//! and once more when it is taken, because until then an earlier coordinator may have gone on. Until both are done no step is done there.

use crate::coordinator::{Host, Run};
use crate::host::{CallError, Held, Request, Which};
use crate::model::{Decision, HostName, Millis, Reason, ReasonKind};

use super::actor::{Actor, STEP_MAX};
use super::left::runs_left;

/// What the ledger had announced about a host when the run was taken up.
#[derive(Debug, Clone, Copy)]
pub struct Announced {
    stays: bool,
    cut: bool,
    cleaned: bool,
}

/// What a host shows of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    /// Nothing of it is there.
    Gone,
    /// A newer coordinator has it, or has had it.
    Newer(Reason),
    /// It is ours: what it holds, and how far it has written down that it came.
    Holds(Which),
}

/// Who shows it was put back by somebody, or was copied, and then the run went on elsewhere.
pub const OLDER: &str = "this ledger is older than the run";

impl Announced {
    /// What this run tells of a host.
    #[must_use]
    pub fn of(run: &Run, host: &HostName) -> Self {
        let known = run.hosts().get(host);
        let (cut, cleaned) = (known.is_some_and(Host::moved), known.is_some_and(Host::may_be_cleaned));
        // Where the hosts were asked in place of a lost ledger, one may have been half cleaned before.
        Self { stays: run.decision() == Some(Decision::Commit), cut, cleaned: cleaned || run.is_rebuilt() }
    }

    /// What a host shows that was not announced.
    #[must_use]
    pub fn against(self, host: &HostName, which: &Which) -> Option<String> {
        if which.is_confirmed() && !self.stays {
            return Some(format!(
                "{host} was told that the new value stays, and the ledger has no such decision: {OLDER}"
            ));
        }
        if which.is_cleaned() && !self.cleaned {
            return Some(format!("{host} is half cleaned, and the ledger does not know who cleans it: {OLDER}"));
        }
        (which.held.contains(&Held::New) && !self.cut)
            .then(|| format!("{host} holds the new value, and the ledger does not know that it was cut: {OLDER}"))
    }
}

/// Asks a host; one that cannot say what it holds shows nothing.
///
/// # Errors
/// If it does not answer.
pub async fn shown(actor: &mut Actor) -> Result<Option<Which>, CallError> {
    match actor.call(&Request::Which, STEP_MAX).await {
        Ok(said) => Ok(Which::parse(&said).ok()),
        Err(CallError::Refused(_)) => Ok(None),
        Err(lost) => Err(lost),
    }
}

/// Takes a host that was looked at, and has it wait for us if it is still armed; none if it cannot say what it holds.
///
/// # Errors
/// If it does not answer, or cannot be taken for another reason than those that a [`Witness`] tells.
pub async fn take(actor: &mut Actor, lease: Millis) -> Result<Option<Witness>, CallError> {
    if let Err(error) = actor.call(&Request::LockAgain, STEP_MAX).await {
        return match told_apart(actor, error).await {
            CallError::Refused(reason) if reason.kind == ReasonKind::Fenced => Ok(Some(Witness::Newer(reason))),
            CallError::Refused(reason) if reason.kind == ReasonKind::NothingLeft => Ok(Some(Witness::Gone)),
            error => Err(error),
        };
    }
    // One that is armed no more says what became of it to its next step.
    let _later = actor.wait_longer(lease).await;
    Ok(shown(actor).await?.map(Witness::Holds))
}

/// Of a host that is not ours any more: whether a newer coordinator has it, or it has nothing of the run. From here on it is asked
/// nothing but what one may ask who does not hold it.
pub(super) async fn told_apart(actor: &mut Actor, error: CallError) -> CallError {
    if error.reason().kind != ReasonKind::Fenced {
        return error;
    }
    actor.is_nobodys().await;
    let left = runs_left(actor).await;
    actor.is_ours().await;
    let gone = left.is_ok_and(|left| left.iter().all(|run| run != actor.run().as_str()));
    let anothers = |reason: Reason| {
        let kind = if gone { ReasonKind::NothingLeft } else { ReasonKind::Fenced };
        Reason { kind, ..reason }
    };
    match error {
        CallError::Refused(reason) => CallError::Refused(anothers(reason)),
        CallError::Lost(reason) => CallError::Lost(anothers(reason)),
    }
}

/// Takes a host before its next step, if it could not be asked when the run was taken up.
pub(super) async fn take_first(actor: &mut Actor, lease: Millis) -> Result<(), CallError> {
    let Some(announced) = actor.left_to_take() else { return Ok(()) };
    let host = actor.who().host.clone();
    let against = |which: &Which| match announced.against(&host, which) {
        Some(said) => Err(CallError::Refused(Reason::new(ReasonKind::Fenced, said))),
        None => Ok(()),
    };
    if let Some(which) = shown(actor).await? {
        against(&which)?;
    }
    match take(actor, lease).await? {
        Some(Witness::Newer(reason)) => return Err(CallError::Refused(reason)),
        Some(Witness::Holds(which)) => against(&which)?,
        Some(Witness::Gone) | None => {}
    }
    actor.leave_to_take(None);
    Ok(())
}
