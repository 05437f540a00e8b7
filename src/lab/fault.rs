//! What a host of the lab does wrong on purpose.
//!
//! **Invariant:** a fault is one word in the host's file `fault`; no file is no fault, and neither is a word that is not known, but that is said.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::harmless;

/// The file in a host's directory that names its fault.
const FILE: &str = "fault";

/// What can be written there.
const KNOWN: &str = "none, refuses-new-secret, fails-to-start, healthy-but-wrong, slow-restart MILLISECONDS, down";

/// What was complained of already: the file is read at each connection.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A misbehaviour of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It behaves.
    None,
    /// The service starts and is healthy, but takes only the secret that it had at its last start without a fault.
    RefusesNewSecret,
    /// The service does not start with a secret other than the one that it had at its last start without a fault.
    FailsToStart,
    /// The service starts and is healthy, but refuses every secret once its own has changed.
    HealthyButWrong,
    /// A restart takes this long.
    SlowRestart(Duration),
    /// The host drops every connection.
    Down,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::RefusesNewSecret => f.write_str("refuses-new-secret"),
            Self::FailsToStart => f.write_str("fails-to-start"),
            Self::HealthyButWrong => f.write_str("healthy-but-wrong"),
            Self::SlowRestart(time) => write!(f, "slow-restart {}", time.as_millis()),
            Self::Down => f.write_str("down"),
        }
    }
}

impl Fault {
    /// Reads the words that `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let fault = match words.next().unwrap_or("none") {
            "none" => Self::None,
            "refuses-new-secret" => Self::RefusesNewSecret,
            "fails-to-start" => Self::FailsToStart,
            "healthy-but-wrong" => Self::HealthyButWrong,
            "slow-restart" => Self::SlowRestart(Duration::from_millis(words.next()?.parse().ok()?)),
            "down" => Self::Down,
            _ => return None,
        };
        words.next().is_none().then_some(fault)
    }

    /// The fault of the host in this directory, now. A word that is not known is complained of once.
    pub(super) fn of_host(directory: &Path) -> Self {
        let path = directory.join(FILE);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        Self::parse(&text).unwrap_or_else(|| {
            let complaint =
                format!("{}: no fault is called `{}`; known are {KNOWN}", path.display(), harmless(text.trim()));
            let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
            if said.insert(complaint.clone()) {
                let _nobody_listens = writeln!(std::io::stderr(), "warning: {complaint}");
            }
            Self::None
        })
    }

    /// Makes it the fault of the host in this directory.
    pub(super) fn write(self, directory: &Path) -> std::io::Result<()> {
        let path = directory.join(FILE);
        match self {
            Self::None => match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            fault => std::fs::write(path, format!("{fault}\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        let slow = Fault::SlowRestart(Duration::from_millis(70));
        for fault in
            [Fault::None, Fault::RefusesNewSecret, Fault::FailsToStart, Fault::HealthyButWrong, slow, Fault::Down]
        {
            assert_eq!(Fault::parse(&format!("{fault}\n")), Some(fault));
        }
        assert_eq!(Fault::parse(""), Some(Fault::None));
        for known in KNOWN.replace("MILLISECONDS", "70").split(", ") {
            assert!(Fault::parse(known).is_some(), "{known}");
        }
        assert_eq!(Fault::parse("slow-restart soon"), None);
        assert_eq!(Fault::parse("down down"), None);
    }
}
