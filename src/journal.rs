//! The ledger: append-only, hash-chained, durable before the effect.
//!
//! One directory holds it all: `ledger.db` (SQLite), `fingerprint.key`, `lock`. Mode 0700, files 0600.
//!
//! **Invariant:** an entry is never changed or removed; after one failed write nothing more is written. It holds names,
//! fingerprints and reasons, never a value. Tested in `tests/it/journal.rs`.

mod chain;
mod error;
mod ledger;
mod state_dir;

pub use error::{Broken, JournalError};
pub use ledger::{Journal, RunSummary};
pub use state_dir::{AtWork, StateDir, StateLock};
