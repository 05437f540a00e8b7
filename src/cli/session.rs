//! What every verb that talks to hosts begins with: the state directory, its lock, the ledger, the voices and Ctrl-C.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::journal::{Journal, JournalError, RunSummary, StateDir, StateLock};
use crate::model::{FingerprintKey, RunId};
use crate::report::{Aside, Json, Plain, Progress, Reporter};
use crate::runtime::random;
use crate::ssh::{Connector, Keys, Settings};

use super::again::Again;
use super::args::Output;
use super::{Args, CliError, Exit, surroundings};

/// All that a run needs around it.
pub(super) struct Session {
    pub(super) journal: Journal,
    pub(super) key: Arc<FingerprintKey>,
    pub(super) reporter: Box<dyn Reporter>,
    pub(super) since: Instant,
    pub(super) connector: Arc<Connector>,
    pub(super) cancel: CancellationToken,
    pub(super) operator: String,
    pub(super) again: Again,
    lock: Option<StateLock>,
}

impl Session {
    /// Takes the state directory for this process.
    ///
    /// # Errors
    /// Whatever is wrong with it; nothing was changed anywhere.
    pub(super) fn open(args: &Args) -> Result<Self, CliError> {
        let dir = state_dir(args)?;
        let started = crate::runtime::clock::iso_now();
        let holder = format!("{}, process {}, since {started}", surroundings::operator(), std::process::id());
        let lock = dir.lock(&holder).map_err(journal)?;
        let ledger = Journal::open(&dir).map_err(journal)?;
        Self::with(args, &dir, ledger, Some(lock))
    }

    /// For verbs that only look: they wait for nobody, and nobody waits for them.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub(super) fn open_to_look(args: &Args) -> Result<Self, CliError> {
        let dir = state_dir(args)?;
        match Journal::open_to_read(&dir).map_err(journal)? {
            Some(ledger) if dir.has_key() => Self::with(args, &dir, ledger, None),
            // The very first command here: what is made is made by one process.
            _ => Self::open(args),
        }
    }

    fn with(args: &Args, dir: &StateDir, ledger: Journal, lock: Option<StateLock>) -> Result<Self, CliError> {
        let key = dir.fingerprint_key(random::bytes).map_err(journal)?;
        let keys = Keys::new(Box::new(surroundings::ask_passphrase), surroundings::agent());
        Ok(Self {
            journal: ledger,
            key: Arc::new(key),
            reporter: Box::new(Aside::new(reporter(args))),
            since: Instant::now(),
            connector: Arc::new(Connector::new(Settings::default(), keys)),
            cancel: CancellationToken::new(),
            operator: surroundings::operator(),
            again: Again::of(args),
            lock,
        })
    }

    /// Says to whoever looks that the run goes on in this process.
    pub(super) fn works_on(&self, run: &RunId) {
        if let Some(lock) = &self.lock {
            lock.works_on(run);
        }
    }

    /// The run that is unfinished, if any.
    pub(super) fn unfinished(&self) -> Result<Option<RunId>, CliError> {
        let runs = self.journal.runs().map_err(journal)?;
        // One that isolates a host is over once another one is about the same host.
        let standing = super::quarantine::standing(&self.journal)?;
        let stands = |run: &RunSummary| match &run.isolates {
            Some(isolates) => {
                isolates.hosts.iter().all(|host| standing.get(host).is_some_and(|(last, _)| *last == run.run))
            }
            None => true,
        };
        Ok(runs.into_iter().rev().find(|run| run.is_unfinished() && stands(run)).map(|run| run.run))
    }

    /// The rotation that is unfinished, if any: runs that isolate hosts are in nobody's way.
    pub(super) fn unfinished_rotation(&self) -> Result<Option<RunId>, CliError> {
        let runs = self.journal.runs().map_err(journal)?;
        Ok(runs.into_iter().rev().find(|run| run.is_unfinished() && run.isolates.is_none()).map(|run| run.run))
    }
}

/// The state directory.
pub(super) fn state_dir(args: &Args) -> Result<StateDir, CliError> {
    StateDir::open(&surroundings::state(args)?).map_err(journal)
}

/// Who works on this run just now, in his own words; none if nobody does.
pub(super) fn holder_of(args: &Args, run: &RunId) -> Result<Option<String>, CliError> {
    let at_work = state_dir(args)?.at_work();
    Ok(at_work.filter(|at_work| at_work.run.as_ref() == Some(run)).map(|at_work| at_work.holder))
}

/// What is left to whoever lost the journal.
pub(super) const ANEW: &str =
    "a run that was not finished is finished from what its hosts know: lockturn resume --from-hosts --state NEW-DIR";

/// What the journal said before this command sent anything.
pub(super) fn journal(error: JournalError) -> CliError {
    let refused = CliError::new(Exit::Refused, format!("{error}; nothing was changed"));
    match error {
        JournalError::Locked { .. } => CliError::new(Exit::Locked, error.to_string()),
        JournalError::NoSuchRun(_) => CliError::new(Exit::Usage, error.to_string())
            .hint("lockturn runs lists them")
            .hint("should the ledger that knew it be lost: lockturn resume --from-hosts"),
        JournalError::Exposed { path, .. } => refused.hint(format!("chmod -R go= {}", path.display())),
        JournalError::Foreign { .. } => {
            refused.hint("run lockturn as that user, or name another directory with --state")
        }
        JournalError::Later { .. } => refused.hint("use the version of lockturn that wrote it"),
        JournalError::Database(_) if error.is_busy() => {
            refused.hint("let it end, or end it, and say this once more: the ledger itself is as it should be")
        }
        JournalError::Broken(_) => refused
            .hint("something else changed the ledger: keep a copy, find out what it was, then --state NEW-DIR")
            .hint(ANEW),
        JournalError::Io { .. } | JournalError::Database(_) | JournalError::Gone { .. } | JournalError::Poisoned => {
            refused.hint("mend the state directory, or name another one with --state").hint(ANEW)
        }
    }
}

/// What the journal said in the middle of a run. The hosts are as they are.
pub(super) fn journal_failed(error: &JournalError, run: &RunId) -> CliError {
    let stopped = CliError::new(Exit::PersonMustLook, format!("{error}; nothing more was sent to any host"));
    match error {
        JournalError::Gone { .. } => stopped
            .hint(format!("its hosts know the run: lockturn resume --from-hosts {run} --state NEW-DIR"))
            .hint("if that cannot be: the commands above take it back by hand"),
        _ => stopped.hint(format!("make the state directory writable again, then: lockturn resume {run}")),
    }
}

/// The run whose name begins so.
pub(super) fn find_run(ledger: &Journal, beginning: &str) -> Result<RunId, CliError> {
    let mut found = ledger.runs_like(beginning).map_err(journal)?;
    match (found.pop(), found.pop()) {
        (Some(run), None) => Ok(run),
        (None, _) => Err(journal(JournalError::NoSuchRun(beginning.to_owned()))),
        (Some(one), Some(other)) => {
            Err(CliError::new(Exit::Usage, format!("several runs begin with `{beginning}`: {other}, {one}, …"))
                .hint("lockturn runs lists them"))
        }
    }
}

fn reporter(args: &Args) -> Box<dyn Reporter> {
    match args.output {
        Some(Output::Json) => Box::new(Json::new(std::io::stdout())),
        Some(Output::Plain) => Box::new(Plain::new(std::io::stderr())),
        // A bar that cannot be drawn would swallow the lines above it.
        Some(Output::Human) | None if surroundings::can_redraw() => Box::new(Progress::new()),
        Some(Output::Human) | None => Box::new(Plain::new(std::io::stderr())),
    }
}

/// Does what changes nothing, unless the operator asks to stop.
pub(super) async fn unless_stopped<T>(
    interrupts: &mut mpsc::Receiver<()>,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    tokio::select! {
        biased;
        Some(()) = interrupts.recv() => Err(CliError::new(Exit::Refused, "interrupted; nothing was changed")),
        done = work => done,
    }
}

/// One message for each time that the operator asks to stop: Ctrl-C, `kill`, or a terminal that went away.
pub(super) fn interrupts() -> Result<mpsc::Receiver<()>, CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let (tell, told) = mpsc::channel(8);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // `nohup` means it.
        if surroundings::is_ignored(kind) {
            continue;
        }
        let mut asked = signal(kind)
            .map_err(|error| CliError::new(Exit::Bug, format!("signals cannot be listened to: {error}")))?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while asked.recv().await.is_some() {
                // Nobody listens any more once the run has ended.
                let _unheard = tell.send(()).await;
            }
        });
    }
    Ok(told)
}
