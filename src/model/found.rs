//! What a host says of a run whose journal is lost.

use serde::{Deserialize, Serialize};

/// What one host says of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// How far it has come, as far as that decides anything.
    pub stands: Stands,
    /// The same for a person, in the host's own words.
    pub said: String,
}

/// How far a host has come in a run, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stands {
    /// It has nothing of the run: the run never came there, or has cleaned it.
    Nothing,
    /// The run has taken it, and never cut it.
    Uncut,
    /// A cut was begun: it holds the new content, or has gone back by itself, and did not hear that the new content stays.
    Cut,
    /// It heard that the new content stays.
    Confirmed,
}
