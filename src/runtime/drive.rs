//! The loop: ask the coordinator, make it durable, do it, tell the coordinator.
//!
//! **Invariant:** an event is in the ledger before the effect that it announces leaves. When the ledger fails, nothing more is sent.

use std::time::Instant;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::coordinator::{IllegalMove, Next, Run};
use crate::journal::{Journal, JournalError};
use crate::model::{
    Certainty, Decision, Entry, Event, HostName, IsolationPlan, Plan, Reason, ReasonKind, RunId, Step, Verdict,
};
use crate::report::Reporter;

use super::clock;

/// How a step ended on one host.
#[derive(Debug)]
pub enum Outcome {
    /// The host said that it is done.
    Done,
    /// The host said no.
    Failed(Reason),
    /// Nobody knows.
    Unknown(Reason),
}

/// Whoever can do a step on a host.
pub trait Perform {
    /// Begins a step. The future owns all that it needs; it is bounded in time by itself.
    fn begin(&mut self, run: &Run, host: &HostName, step: Step) -> BoxFuture<'static, Outcome>;

    /// The run goes back whatever the steps under way find: those that only look may end at once.
    fn hurry(&mut self);

    /// The operator asked to stop: what is waited for on purpose is not waited for any more.
    fn interrupted(&mut self) {}

    /// Whether every host still waits for our confirmation, and will until it hears of it.
    fn all_wait(&self) -> bool;
}

/// Why a run stopped without a verdict. The hosts are as they are; `resume` goes on from there.
#[derive(Debug)]
pub enum DriveError {
    /// The ledger could not be written: nothing more was sent.
    Journal(JournalError),
    /// The operator insisted.
    Abandoned,
    /// A bug in lockturn.
    Illegal(IllegalMove),
}

/// What a run speaks through while it goes.
pub struct Voices<'a> {
    /// Remembers.
    pub journal: &'a mut Journal,
    /// Speaks.
    pub reporter: &'a mut dyn Reporter,
    /// Since when `elapsed` counts.
    pub since: Instant,
}

impl Voices<'_> {
    /// Makes these facts durable, then says them.
    ///
    /// # Errors
    /// If they are not durable.
    pub fn record(&mut self, run: &RunId, events: Vec<Event>) -> Result<(), JournalError> {
        let entries: Vec<Entry> = events.into_iter().map(|event| clock::entry(self.since, event)).collect();
        tokio::task::block_in_place(|| self.journal.append(run, &entries))?;
        for entry in &entries {
            self.reporter.entry(entry);
        }
        Ok(())
    }

    /// Makes a run and its first facts durable, then says them.
    ///
    /// # Errors
    /// If they are not durable.
    pub fn begin(&mut self, run: &RunId, plan: &Plan, operator: &str, first: Vec<Event>) -> Result<(), JournalError> {
        let entries: Vec<Entry> = first.into_iter().map(|event| clock::entry(self.since, event)).collect();
        tokio::task::block_in_place(|| self.journal.begin_run(run, plan, operator, &entries))?;
        for entry in &entries {
            self.reporter.entry(entry);
        }
        Ok(())
    }

    /// As [`Voices::begin`], for a run that isolates hosts or releases them.
    ///
    /// # Errors
    /// If they are not durable.
    pub fn begin_isolation(
        &mut self,
        run: &RunId,
        plan: &IsolationPlan,
        operator: &str,
        first: Vec<Event>,
    ) -> Result<(), JournalError> {
        let entries: Vec<Entry> = first.into_iter().map(|event| clock::entry(self.since, event)).collect();
        tokio::task::block_in_place(|| self.journal.begin_isolation(run, plan, operator, &entries))?;
        for entry in &entries {
            self.reporter.entry(entry);
        }
        Ok(())
    }

    /// Says a note; it is not remembered.
    pub fn note(&mut self, event: Event) {
        self.reporter.entry(&clock::entry(self.since, event));
    }
}

/// Drives a run to its end.
///
/// `interrupts` yields once for each time that the operator asked to stop: the first one takes the run to its nearest safe end, the
/// second one leaves it where it is.
///
/// # Errors
/// If the run stopped without a verdict.
pub async fn drive(
    id: &RunId,
    run: &mut Run,
    voices: &mut Voices<'_>,
    performer: &mut dyn Perform,
    notes: &mut mpsc::UnboundedReceiver<Event>,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<Verdict, DriveError> {
    let mut steps: JoinSet<(HostName, Step, Outcome)> = JoinSet::new();
    let mut asked_to_stop = 0_u32;
    loop {
        let new = match run.next() {
            Next::Ended(verdict) => return Ok(verdict),
            // A coordinator that slept may find that hosts have gone back: then it is too late to decide that they stay.
            Next::Record(Event::Decided { decision: Decision::Commit, .. }) if !performer.all_wait() => {
                vec![Event::LeaseLapsed]
            }
            Next::Record(event) => vec![event],
            Next::Begin { step, hosts } => {
                let began = hosts.iter().map(|host| Event::StepBegan { host: host.clone(), step }).collect();
                commit(id, run, voices, began)?;
                for host in hosts {
                    let doing = performer.begin(run, &host, step);
                    steps.spawn(async move { (host, step, guarded(doing).await) });
                }
                continue;
            }
            wait @ (Next::Wait | Next::Hurry) => {
                if wait == Next::Hurry {
                    performer.hurry();
                }
                tokio::select! {
                    biased;
                    Some(()) = interrupts.recv() => {
                        asked_to_stop += 1;
                        match asked_to_stop {
                            1 => {
                                performer.interrupted();
                                vec![Event::Interrupted]
                            }
                            _ => return Err(DriveError::Abandoned),
                        }
                    }
                    Some(told) = notes.recv() => {
                        if told.is_note() {
                            voices.note(told);
                            continue;
                        }
                        vec![told]
                    }
                    Some(ended) = steps.join_next() => ended_together(ended, &mut steps),
                }
            }
        };
        commit(id, run, voices, new)?;
    }
}

fn commit(id: &RunId, run: &mut Run, voices: &mut Voices<'_>, events: Vec<Event>) -> Result<(), DriveError> {
    // Legality first, on a copy of nothing: `apply` changes the run only if the event is legal, and an event that the ledger
    // then refuses ends the loop, so the run in memory is never used again.
    for event in &events {
        run.apply(event).map_err(DriveError::Illegal)?;
    }
    voices.record(id, events).map_err(DriveError::Journal)
}

pub(super) type Ended = Result<(HostName, Step, Outcome), tokio::task::JoinError>;

/// Everything that has ended by now, so that a large fleet costs one durable write and not one a host.
pub(super) fn ended_together(first: Ended, steps: &mut JoinSet<(HostName, Step, Outcome)>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut next = Some(first);
    while let Some(ended) = next {
        let (host, step, outcome) = ended.expect("a step catches its own panics and is never aborted");
        events.push(match outcome {
            Outcome::Done => Event::StepDone { host, step },
            Outcome::Failed(reason) => Event::StepFailed { host, step, certainty: Certainty::Failed, reason },
            Outcome::Unknown(reason) => Event::StepFailed { host, step, certainty: Certainty::Unknown, reason },
        });
        next = steps.try_join_next();
    }
    events
}

/// A bug in one step is that host's unknown outcome: the others go on, and the fleet goes back.
pub(super) async fn guarded(doing: BoxFuture<'static, Outcome>) -> Outcome {
    use futures::FutureExt as _;
    match std::panic::AssertUnwindSafe(doing).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Unknown(Reason::new(ReasonKind::AnswerBroken, "a bug in lockturn ended the step")),
    }
}
