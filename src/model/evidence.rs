//! What a host showed of itself before it was isolated: what is wanted, and what there is of it. Names, numbers and hashes, never contents.

use serde::{Deserialize, Serialize};

use super::{HostName, Millis, Reason};

/// What is wanted of each host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidencePlan {
    /// The directory on this machine; below it one for the run, and in that one for each host.
    pub directory: String,
    /// How long it may take, for all hosts together: afterwards they are isolated, whatever there is by then.
    pub time: Millis,
    /// How many bytes are taken from each host.
    pub bytes: u64,
    /// To whom it is encrypted (`age1…`); to nobody, and then it lies there as it came.
    pub recipients: Vec<String>,
}

/// What was taken from a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceTaken {
    /// The host.
    pub host: HostName,
    /// Where it lies, below the run's directory.
    pub place: String,
    /// How many items there are, those included of which a part is missing.
    pub items: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// SHA-256 of the file `SHA256SUMS`, which has those of all others; none where it could not be written.
    pub sums: Option<String>,
    /// What is missing, wholly or in part, and why.
    pub missing: Vec<Missing>,
}

/// Items that are missing, wholly or in part, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// Which.
    pub items: Vec<String>,
    /// Why.
    pub reason: Reason,
}
