//! A drill: a run that rehearses the way back on real hosts, and is never allowed to stay.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::HostName;

/// What goes wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillFault {
    /// Every host proves the new value, and then the proof of one is declared failed.
    Proof,
    /// After the cut the coordinator does not talk to one host until its lease has ended.
    LostHost,
    /// After the cut the coordinator does not talk to any host until every lease has ended.
    DeadCoordinator,
}

impl DrillFault {
    /// Its one word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Proof => "proof",
            Self::LostHost => "lost-host",
            Self::DeadCoordinator => "dead-coordinator",
        }
    }
}

/// What a drill does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// What goes wrong on purpose.
    pub fault: DrillFault,
    /// On which host; where it is on all of them, the first that is told of.
    pub host: HostName,
}

/// The fault, and where it is on one host: which.
impl fmt::Display for Drill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            DrillFault::Proof | DrillFault::LostHost => write!(f, "{}, {}", self.fault.label(), self.host),
            DrillFault::DeadCoordinator => f.write_str(self.fault.label()),
        }
    }
}

impl Drill {
    /// What it made happen, once that has happened.
    #[must_use]
    pub fn made_happen(&self) -> String {
        let host = &self.host;
        match self.fault {
            DrillFault::Proof => format!("the drill: the proof of {host} was declared failed"),
            DrillFault::LostHost => format!("the drill: {host} was not talked to after the cut"),
            DrillFault::DeadCoordinator => "the drill: no host was talked to after the cut".to_owned(),
        }
    }

    /// Whether the coordinator falls silent for this host after the cut.
    #[must_use]
    pub fn silences(&self, host: &HostName) -> bool {
        match self.fault {
            DrillFault::Proof => false,
            DrillFault::LostHost => self.host == *host,
            DrillFault::DeadCoordinator => true,
        }
    }
}
