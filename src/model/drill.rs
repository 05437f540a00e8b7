//! A drill: a run that rehearses the way back on real hosts, and is never allowed to stay.

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

impl Drill {
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
