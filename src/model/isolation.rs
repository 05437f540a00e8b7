//! A run that isolates hosts, or releases them: whom, from whom, and by which addresses.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Activation, Become, EvidencePlan, Generator, HostName, Manager, Millis, PlannedProbe, SqliteRow, ValueId};

/// The version of the format. A reader refuses a later one.
pub const ISOLATION_VERSION: u32 = 1;

/// Which of the two a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Into quarantine.
    Quarantine,
    /// Out of it.
    Release,
}

impl Way {
    /// Its one word: that of the verb.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::Release => "release",
        }
    }
}

/// All that such a run needs to know. Addresses and ports only: the rules are rendered from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IsolationPlan {
    /// [`ISOLATION_VERSION`]; its name tells it from a rotation's plan.
    pub isolation: u32,
    /// Into quarantine or out of it.
    pub way: Way,
    /// Why, in the operator's words.
    pub reason: String,
    /// Whom, and how its peers know it.
    pub hosts: BTreeMap<HostName, Known>,
    /// Who takes part: the hosts themselves, and their peers.
    pub members: BTreeMap<HostName, IsolationMember>,
    /// How long a machine waits for a confirmation before it takes the rules away.
    pub lease: Millis,
    /// From where else the hosts may be managed. Where we come from they see for themselves.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub managers: BTreeSet<Manager>,
    /// What the hosts are to show before they are isolated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidencePlan>,
    /// What becomes worthless of what the hosts know. Without it their secrets are not touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgetting: Option<Forgetting>,
}

/// What is to be forgotten of the isolated hosts, by whom. It holds no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgetting {
    /// The playbook's name.
    pub playbook: String,
    /// Each value that takes the place of one that an isolated host knows, and its shape.
    pub values: BTreeMap<ValueId, Generator>,
    /// Who keeps what they know.
    pub keepers: BTreeMap<HostName, Keeps>,
}

/// What one machine keeps of what the isolated hosts know, and what leads from there to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keeps {
    /// How the program gets its rights there.
    #[serde(rename = "become")]
    pub become_user: Become,
    /// Units that end, and do not begin again by themselves: those that lead to each host.
    pub stop: BTreeMap<HostName, Vec<String>>,
    /// What is written, by database.
    pub rows: BTreeMap<String, Vec<SqliteRow>>,
    /// What makes the services take it.
    pub activate: Vec<Activation>,
    /// What proves it.
    pub verify: Vec<PlannedProbe>,
}

/// How peers know a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// The port of its sshd.
    pub port: u16,
}

/// One machine that takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IsolationMember {
    /// How the program gets its rights there.
    pub become_user: Become,
    /// The login there that goes on to hosts which are managed through it, and to which of them.
    pub way_to: BTreeMap<HostName, String>,
    /// It was in quarantine itself when the run began: nothing can be tried from there.
    pub contained: bool,
}

impl IsolationPlan {
    /// SHA-256 of its canonical JSON, in hex.
    #[must_use]
    pub fn hash(&self) -> String {
        super::plan::hash_of(self)
    }
}

/// What a run does to the network of hosts. Told with `RunBegan`, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Isolates {
    /// Into quarantine or out of it.
    pub way: Way,
    /// Whom.
    pub hosts: BTreeSet<HostName>,
    /// Why, in the operator's words.
    pub reason: String,
    /// How long after the beginning of the run somebody must have decided what comes next. Nothing happens by itself then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Millis>,
}

/// Something that answers from a peer, or does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    /// The host whose address it is.
    pub host: HostName,
    /// The address.
    pub address: IpAddr,
    /// The port of its sshd; none where it is an echo that is asked for.
    pub port: Option<u16>,
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, address, port } = self;
        match port {
            Some(port) => write!(f, "{host} ({address}, port {port})"),
            None => write!(f, "{host} ({address}, echo)"),
        }
    }
}
