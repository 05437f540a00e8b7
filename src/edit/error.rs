//! Why a value cannot be read or replaced.

use std::fmt;

use crate::model::{Reason, ReasonKind};

/// Why a value cannot be read or replaced. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditError {
    /// The key is not there.
    Missing {
        /// Which key.
        key: String,
    },
    /// The key stands more than once; readers differ on which one counts.
    Ambiguous {
        /// Which key.
        key: String,
        /// Where it stands.
        lines: Vec<usize>,
    },
    /// Readers would read this differently.
    Unclear {
        /// Which key.
        key: String,
        /// Where it stands.
        line: usize,
        /// What they differ on.
        what: &'static str,
    },
    /// It is not the kind of text that it should be.
    NotText {
        /// What it has instead.
        what: &'static str,
    },
}

impl EditError {
    /// The same, as a reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        let kind = match self {
            Self::Missing { .. } => ReasonKind::Missing,
            Self::Ambiguous { .. } => ReasonKind::Ambiguous,
            Self::Unclear { .. } | Self::NotText { .. } => ReasonKind::Unclear,
        };
        Reason::new(kind, self.to_string())
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { key } => write!(f, "there is no key `{key}`"),
            Self::Ambiguous { key, lines } => {
                let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "the key `{key}` stands more than once (lines {}); readers differ on which counts",
                    lines.join(", ")
                )
            }
            Self::Unclear { key, line, what } => write!(f, "`{key}` in line {line}: {what}"),
            Self::NotText { what } => write!(f, "the file is no .env file: it has {what}"),
        }
    }
}

impl std::error::Error for EditError {}
