//! The loop of a run that isolates hosts or releases them: as [`super::drive`], without a barrier and without a decision.
//!
//! **Invariant:** an event is in the ledger before the effect that it announces leaves. When the ledger fails, nothing more is sent.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::coordinator::IllegalMove;
use crate::model::{Event, HostName, RunId, Step, Verdict, Way};
use crate::quarantine::{Isolation, Next, Outcome as Whole};

use super::drive::{DriveError, Outcome, Voices, ended_together, guarded};
use super::isolate::Isolator;

/// Drives such a run to its end.
///
/// `interrupts` yields once for each time that the operator asked to stop: the first one lets end what was begun, the second one leaves
/// it where it is. Rules that nobody confirmed go by themselves.
///
/// # Errors
/// If the run stopped without a verdict.
pub async fn contain(
    (id, way): (&RunId, Way),
    run: &mut Isolation,
    voices: &mut Voices<'_>,
    isolator: &Isolator,
    facts: &mut mpsc::UnboundedReceiver<Event>,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<Verdict, DriveError> {
    let mut steps: JoinSet<(HostName, Step, Outcome)> = JoinSet::new();
    let mut asked_to_stop = 0_u32;
    loop {
        let new = match run.next() {
            Next::Ended(_) => {
                let verdict = verdict(way, run);
                commit(id, run, voices, vec![Event::RunEnded { verdict }])?;
                return Ok(verdict);
            }
            Next::Begin(begin) => {
                let began = begin.iter().map(|(host, step)| Event::StepBegan { host: host.clone(), step: *step });
                commit(id, run, voices, began.collect())?;
                for (host, step) in begin {
                    let doing = isolator.begin(&host, step);
                    steps.spawn(async move { (host, step, guarded(doing).await) });
                }
                continue;
            }
            Next::Wait => tokio::select! {
                biased;
                Some(()) = interrupts.recv() => {
                    asked_to_stop += 1;
                    match asked_to_stop {
                        1 => vec![Event::Interrupted],
                        _ => return Err(DriveError::Abandoned),
                    }
                }
                Some(fact) = facts.recv() => vec![fact],
                Some(ended) = steps.join_next() => ended_together(ended, &mut steps),
            },
        };
        commit(id, run, voices, new)?;
    }
}

/// What may be said of the run as it stands.
#[must_use]
pub fn verdict(way: Way, run: &Isolation) -> Verdict {
    match (way, run.outcome(), run.released()) {
        (Way::Quarantine, Whole::Quarantined, _) => Verdict::Quarantined,
        (Way::Release, _, Whole::Quarantined) => Verdict::Released,
        (Way::Quarantine, Whole::Partial { .. }, _) | (Way::Release, _, Whole::Partial { .. }) => Verdict::Partial,
    }
}

/// Makes these facts of the run durable, then says them.
///
/// # Errors
/// If they are not durable, or cannot be.
pub fn commit(id: &RunId, run: &mut Isolation, voices: &mut Voices<'_>, events: Vec<Event>) -> Result<(), DriveError> {
    for event in &events {
        run.apply(event)
            .map_err(|error| DriveError::Illegal(IllegalMove { event: error.event, because: error.because }))?;
    }
    voices.record(id, events).map_err(DriveError::Journal)
}
