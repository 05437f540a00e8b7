//! Inventory, playbook and what the hosts say into a plan that leaves nothing to decide.
//!
//! ```text
//!   playbook + who a selector names ──► Draft (what to look at) ──► the hosts are read ──► Facts ──► Plan
//! ```
//!
//! **Invariant:** pure. A draft names what must be read on each host; the runtime reads it and brings back fingerprints.
//! All problems of all hosts are returned together. Tested in `tests/it/plan.rs`.

mod draft;
mod forget;
mod limit;
mod settle;

pub use draft::{Draft, DraftChange, DraftError, DraftHost, draft};
pub use limit::LimitError;
pub use settle::{ChangeFacts, HostFacts, HostProblem, settle};
