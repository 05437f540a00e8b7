//! What can be wrong with the state directory and the ledger in it.

use std::fmt;
use std::path::PathBuf;

/// Why the ledger could not be read or written.
#[derive(Debug)]
pub enum JournalError {
    /// A file operation failed.
    Io {
        /// On which path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read the state directory.
    Exposed {
        /// Which path.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// The state directory is another user's: what we write into it they could not read.
    Foreign {
        /// Which path.
        path: PathBuf,
        /// The user it belongs to.
        owner: u32,
    },
    /// The ledger was removed or replaced while we wrote it.
    Gone {
        /// Which path.
        path: PathBuf,
    },
    /// Another process works with this state directory.
    Locked {
        /// Its own words: who, process, since when.
        holder: String,
    },
    /// The database said no.
    Database(rusqlite::Error),
    /// The ledger was written by a later version.
    Later {
        /// The version that it has.
        version: u32,
    },
    /// A write failed before: nothing more is written.
    Poisoned,
    /// What is stored cannot be what was written.
    Broken(Broken),
    /// There is no such run.
    NoSuchRun(String),
}

impl JournalError {
    /// Whether it is only that another process has the ledger open, and does not let go of it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Database(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy))
    }
}

/// The first entry that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its number, from 1.
    pub seq: u64,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Exposed { path, mode } => {
                write!(f, "{} has mode {mode:o}; others must not be able to look into it", path.display())
            }
            Self::Foreign { path, owner } => write!(f, "{} belongs to the user {owner}, who is not us", path.display()),
            Self::Gone { path } => write!(f, "{} was removed or replaced while it was written", path.display()),
            Self::Locked { holder } => write!(f, "another run holds the state directory: {holder}"),
            Self::Database(error) => write!(f, "the ledger: {error}"),
            Self::Later { version } => write!(f, "the ledger has format {version}, which this version does not know"),
            Self::Poisoned => f.write_str("the ledger could not be written before; nothing more is written"),
            Self::Broken(broken) => write!(f, "entry {} of the ledger is broken: {}", broken.seq, broken.why),
            Self::NoSuchRun(run) => write!(f, "there is no run `{run}`"),
        }
    }
}

impl std::error::Error for JournalError {}

impl From<rusqlite::Error> for JournalError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}
