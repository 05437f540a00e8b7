//! What can go wrong with a lab.
//!
//! **Invariant:** no variant carries a value of a secret. Tested through the room's other tests.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a lab could not be made, opened or started.
#[derive(Debug)]
pub enum LabError {
    /// A file or directory of the lab could not be used.
    Files {
        /// What was tried, as a verb: `write`, `read`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The directory has something in it that is not what a lab writes.
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// More workers than addresses.
    TooManyWorkers(usize),
    /// No loopback address and port are left for the hosts.
    NoAddress,
    /// The address of a host cannot be listened on.
    Listen {
        /// The host.
        host: String,
        /// Its address and port.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A lab has no host of this name.
    NoSuchHost(String),
}

impl LabError {
    /// Makes the adapter of `map_err` for a file operation.
    pub(super) fn files(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Files { action, path, source }
    }

    /// A file that a lab did not write this way.
    pub(super) fn broken(path: &Path, what: impl fmt::Display) -> Self {
        Self::Broken { path: path.to_owned(), what: what.to_string() }
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            Self::Broken { path, what } => write!(f, "{} is not what a lab writes: {what}", path.display()),
            Self::TooManyWorkers(asked) => {
                write!(f, "a lab has at most {} workers, {asked} were asked for", super::WORKERS_MAX)
            }
            Self::NoAddress => write!(f, "no loopback address and port are free for the hosts of the lab"),
            Self::Listen { host, address, source } => write!(f, "{host} cannot listen on {address}: {source}"),
            Self::NoSuchHost(host) => write!(f, "the lab has no host `{}`", host.escape_debug()),
        }
    }
}

impl std::error::Error for LabError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Files { source, .. } | Self::Listen { source, .. } => Some(source),
            Self::Broken { .. } | Self::TooManyWorkers(_) | Self::NoAddress | Self::NoSuchHost(_) => None,
        }
    }
}
