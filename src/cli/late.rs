//! A host that is held by a run which is over: the first `lock` of a coordinator that was killed was on its way all the while, and came when
//! the run had been ended and cleaned. It left a bare lock, with nothing to be taken back, that would hold the host for ever.

use crate::host::Request;
use crate::model::{Reason, ReasonKind, RunId};
use crate::runtime::actor::{Actor, STEP_MAX, Who};
use crate::runtime::take::shown;

use super::CliError;
use super::resume::next_epoch;
use super::session::{Session, journal};

/// A bare lock that nobody needs.
pub(super) struct Late {
    run: RunId,
    actor: Actor,
}

impl Late {
    /// What these runs have left on a host, if it is such a lock: of one run, that this ledger knows to be over. Changes nothing.
    pub(super) async fn look(session: &Session, who: Who, left: &[String]) -> Result<Option<Self>, CliError> {
        let [run] = left else { return Ok(None) };
        let runs = session.journal.runs().map_err(journal)?;
        let over = runs.into_iter().find(|known| known.run.as_str() == run && !known.is_unfinished());
        let Some(run) = over.filter(|run| run.isolates.is_none()).map(|over| over.run) else { return Ok(None) };
        let entries = session.journal.entries(&run).map_err(journal)?;
        let (connector, cancel) = (session.connector.clone(), session.cancel.clone());
        let mut late = Self { actor: Actor::new(who, run.clone(), next_epoch(&entries), connector, cancel), run };
        Ok(late.is_bare().await.then_some(late))
    }

    async fn is_bare(&mut self) -> bool {
        let shown = shown(&mut self.actor).await;
        shown.is_ok_and(|shown| shown.is_some_and(|which| which.held.is_empty() && which.record == "none"))
    }

    /// What it is, for the operator.
    pub(super) fn describe(&self) -> String {
        let (host, run) = (&self.actor.who().host, &self.run);
        format!("{host}: a request of the run {run} came late, and holds the host; that run is over, so the lock goes")
    }

    /// Takes it away, if it is still what it was.
    ///
    /// # Errors
    /// If it is not, or the host cannot be asked.
    pub(super) async fn take_away(mut self) -> Result<(), Reason> {
        let asked = self.actor.call(&Request::LockAgain, STEP_MAX).await.map_err(|error| error.reason().clone());
        asked?;
        if !self.is_bare().await {
            return Err(Reason::new(ReasonKind::HostLocked, format!("the run {} holds this host", self.run)));
        }
        self.actor.call(&Request::Clean, STEP_MAX).await.map_err(|error| error.reason().clone())?;
        self.actor.leave().await;
        Ok(())
    }
}
