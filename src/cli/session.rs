//! What every verb that talks to hosts begins with: the state directory, its lock, the ledger, the voices and Ctrl-C.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::journal::{Journal, JournalError, StateDir, StateLock};
use crate::model::{FingerprintKey, RunId};
use crate::report::{Json, Plain, Progress, Reporter};
use crate::runtime::random;
use crate::ssh::{Connector, Keys, Settings};

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
    _lock: StateLock,
}

impl Session {
    /// Takes the state directory for this process.
    pub(super) fn open(args: &Args) -> Result<Self, CliError> {
        let dir = state_dir(args)?;
        let operator = surroundings::operator();
        let started = crate::runtime::clock::iso_now();
        let holder = format!("{operator}, process {}, since {started}", std::process::id());
        let lock = dir.lock(&holder).map_err(journal)?;
        let key = dir.fingerprint_key(random::bytes).map_err(journal)?;
        let journal = Journal::open(&dir).map_err(journal)?;
        let keys = Keys::new(Box::new(surroundings::ask_passphrase), surroundings::agent());
        Ok(Self {
            journal,
            key: Arc::new(key),
            reporter: reporter(args),
            since: Instant::now(),
            connector: Arc::new(Connector::new(Settings::default(), keys)),
            cancel: CancellationToken::new(),
            operator,
            _lock: lock,
        })
    }

    /// The run that is unfinished, if any.
    pub(super) fn unfinished(&self) -> Result<Option<RunId>, CliError> {
        let runs = self.journal.runs().map_err(journal)?;
        Ok(runs.into_iter().rev().find(crate::journal::RunSummary::is_unfinished).map(|summary| summary.run))
    }
}

/// The state directory.
pub(super) fn state_dir(args: &Args) -> Result<StateDir, CliError> {
    StateDir::open(&surroundings::state(args)).map_err(journal)
}

/// What the journal said, as the command's end.
pub(super) fn journal(error: JournalError) -> CliError {
    let message = error.to_string();
    match error {
        JournalError::Locked { .. } => CliError::new(Exit::Locked, message),
        JournalError::Exposed { path, .. } => {
            CliError::new(Exit::Refused, message).hint(format!("chmod -R go= {}", path.display()))
        }
        JournalError::NoSuchRun(_) => CliError::new(Exit::Usage, message).hint("lockturn runs lists them"),
        JournalError::Later { .. } => CliError::new(Exit::Refused, message).hint("use the version that wrote it"),
        JournalError::Io { .. } | JournalError::Database(_) | JournalError::Poisoned => {
            CliError::new(Exit::PersonMustLook, format!("{message}; nothing more was sent to any host"))
                .hint("mend the state directory, then: lockturn resume")
        }
        JournalError::Broken(_) => CliError::new(Exit::PersonMustLook, message)
            .hint("the ledger was changed by something else; keep a copy before anything is done"),
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

/// One message for each time that the operator asks to stop: Ctrl-C, `kill`, or a terminal that went away.
pub(super) fn interrupts() -> Result<mpsc::Receiver<()>, CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let (tell, told) = mpsc::channel(8);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
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
