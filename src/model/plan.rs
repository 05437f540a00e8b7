//! A playbook resolved against an inventory and what the hosts say now. Immutable and hashed; it leaves nothing to decide.
//!
//! It holds no value and no bare digest of one: values are named by [`ValueId`] and known by [`Fingerprint`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Activation, Become, Fingerprint, Generator, HostName, Millis, Probe, SecretName, Strategy, Unreachable};

/// The version of the plan's format. A reader refuses a later one.
pub const PLAN_VERSION: u32 = 1;

/// One value: a secret, and whose it is where each host has its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ValueId {
    /// Which secret.
    pub secret: SecretName,
    /// Whose value, with `per:`.
    pub owner: Option<HostName>,
}

/// `secret`, or `secret/owner`.
impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            None => write!(f, "{}", self.secret),
            Some(owner) => write!(f, "{}/{owner}", self.secret),
        }
    }
}

impl From<ValueId> for String {
    fn from(id: ValueId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ValueId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let parse = |part: &str| part.parse().map_err(|error| format!("`{text}` does not name a value: {error}"));
        match text.split_once('/') {
            None => Ok(Self { secret: parse(&text)?, owner: None }),
            Some((secret, owner)) => Ok(Self {
                secret: parse(secret)?,
                owner: Some(owner.parse().map_err(|error| format!("`{text}` does not name a value: {error}"))?),
            }),
        }
    }
}

/// All that a run needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The playbook's name.
    pub playbook: String,
    /// Its one sentence.
    pub summary: String,
    /// Each value to be replaced.
    pub values: BTreeMap<ValueId, PlannedValue>,
    /// Each host that takes part.
    pub hosts: BTreeMap<HostName, HostPlan>,
    /// Hosts in the order in which they activate: all of one batch, then the next.
    pub activate_batches: Vec<Vec<HostName>>,
    /// Who moves with whom.
    pub strategy: Strategy,
    /// How long an armed host waits for confirmation.
    pub lease: Millis,
    /// What an unreachable host does to the run.
    pub unreachable: Unreachable,
}

/// One value to be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedValue {
    /// The shape of the new one.
    pub generate: Generator,
    /// The old one, as every host that has it holds it now.
    pub old: Fingerprint,
    /// But for these: they were in quarantine when the others got it, and hold an older one, or are alone with what they know.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub apart: BTreeMap<HostName, Fingerprint>,
}

impl PlannedValue {
    /// The old one as this host holds it.
    #[must_use]
    pub fn old_on(&self, host: &HostName) -> Fingerprint {
        self.apart.get(host).copied().unwrap_or(self.old)
    }
}

/// What happens on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPlan {
    /// Where it is reached: shown, and compared when a plan is done later.
    pub address: String,
    /// How the program gets its rights.
    #[serde(rename = "become")]
    pub become_user: Become,
    /// Its login directory, to which relative paths are relative. For a person who must mend the host by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub login: String,
    /// Where it keeps the state of runs. For a person who must mend the host by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Directories that it searches first for tools, empty for none. For a person who must mend the host by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What watches its time.
    #[serde(default)]
    pub switch: Switch,
    /// What is changed, in this order (and taken back in the reverse one).
    pub changes: Vec<Change>,
    /// What makes the services take it.
    pub activate: Vec<Activation>,
    /// What proves it.
    pub verify: Vec<PlannedProbe>,
}

/// What watches the time of an armed host, and takes it back if nobody confirms it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// A service of systemd, and one that goes back before the services start at boot.
    Systemd,
    /// A process: it does not survive a restart of the host.
    #[default]
    Process,
}

impl Switch {
    /// Its one word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Process => "process",
        }
    }
}

/// One thing that is changed atomically on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A file gets a new content by one rename.
    File {
        /// As the playbook names it.
        path: String,
        /// Where it really is (links followed where that was allowed).
        real_path: String,
        /// Keyed fingerprint of the whole content that inspect saw; the cut is refused if it is another by then.
        content: Fingerprint,
        /// What is put into it.
        edits: Vec<FileEdit>,
    },
    /// A database gets new values in one transaction.
    Sqlite {
        /// Path of the database.
        file: String,
        /// What is written.
        rows: Vec<SqliteRow>,
    },
    /// A program stores one value.
    Command {
        /// Prints the value now held.
        read: Vec<String>,
        /// Stores the value given on standard input.
        write: Vec<String>,
        /// Which value.
        value: ValueId,
    },
}

impl Change {
    /// The values that it holds, in order.
    #[must_use]
    pub fn values(&self) -> Vec<&ValueId> {
        match self {
            Self::File { edits, .. } => edits.iter().map(|edit| &edit.value).collect(),
            Self::Sqlite { rows, .. } => rows.iter().map(|row| &row.value).collect(),
            Self::Command { value, .. } => vec![value],
        }
    }
}

/// One value in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEdit {
    /// Where in the file: a key, or (`None`) the whole content.
    pub dotenv_key: Option<String>,
    /// Which value.
    pub value: ValueId,
}

/// One value in one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteRow {
    /// The `SELECT` of the playbook, still with `:host`.
    pub read: String,
    /// The writing statement of the playbook, still with `:host` and `:secret`.
    pub write: String,
    /// What `:host` stands for.
    pub host: HostName,
    /// Which value.
    pub value: ValueId,
}

/// A probe with nothing left open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedProbe {
    /// What is tried.
    pub probe: Probe,
    /// What its templates call `secret`.
    pub value: Option<ValueId>,
    /// What its templates call `host`.
    pub host: HostName,
}

impl HostPlan {
    /// The values that are put here and that no probe here tells from the old ones: nothing will show that a service took them.
    #[must_use]
    pub fn unproved(&self) -> BTreeSet<&ValueId> {
        let proved =
            |id: &ValueId| self.verify.iter().any(|p| p.probe.check.is_proof() && p.value.as_ref() == Some(id));
        self.changes.iter().flat_map(Change::values).filter(|id| !proved(id)).collect()
    }
}

impl Plan {
    /// The hosts on which some value will not be proved.
    pub fn unproved(&self) -> impl Iterator<Item = &HostName> {
        self.hosts.iter().filter(|(_, host)| !host.unproved().is_empty()).map(|(name, _)| name)
    }

    /// SHA-256 of the plan's canonical JSON, in hex: its identity. A plan holds no value, so a bare hash gives none away.
    #[must_use]
    pub fn hash(&self) -> String {
        hash_of(self)
    }
}

/// SHA-256 of the canonical JSON, in hex.
pub(super) fn hash_of(plan: &impl Serialize) -> String {
    let json = serde_json::to_vec(plan).expect("a plan has only string keys and finite numbers");
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(json) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
