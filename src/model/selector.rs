//! An expression that names hosts: `workers:!worker-3`, `worker-[01:10]`, `zone=eu`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An expression that names hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Selector(String);

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
