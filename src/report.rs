//! What people and machines get to see of a run.
//!
//! **Invariant:** sees events only, holds no value, and never stops a run: when nobody listens any more it falls silent.
//! Tested through `tests/it/fleet.rs` and `tests/it/report.rs`.

mod aside;
mod by_hand;
mod evidence;
mod forgotten;
mod found;
mod hint;
mod isolation;
mod json;
mod plain;
mod plan;
mod progress;
mod span;
mod summary;

pub use aside::Aside;
pub use by_hand::{by_hand, where_by_hand};
pub use evidence::{describe_evidence, evidence_line, summarise_evidence};
pub use found::describe_found;
pub use hint::hint;
pub use isolation::{isolation_goes_on, summarise_isolation};
pub use json::Json;
pub use plain::Plain;
pub use plan::describe;
pub use progress::Progress;
pub use span::Span;
pub use summary::{Summary, summarise};

use crate::model::Entry;

/// Whoever tells others what happens.
pub trait Reporter: Send {
    /// Something happened.
    fn entry(&mut self, entry: &Entry);

    /// Nothing more will happen.
    fn finish(&mut self) {}
}

/// `1 host`, `2 hosts`.
#[must_use]
pub fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
