//! The program that runs on a host, and how we talk with it.
//!
//! One constant POSIX program goes over standard input to `/bin/sh -s`; from then on one framed request, one framed reply.
//! The specification is [`crate::docs::protocol`].
//!
//! **Invariant:** no text is ever templated into shell; what a host says is bounded and strictly parsed.
//! Tested in `tests/it/host_program.rs` under `/bin/sh`, in `tests/real/host_program.rs` under other shells.

mod evidence;
mod reply;
mod request;
mod session;
mod sql;

pub use crate::model::SqlError;
pub use evidence::{EVIDENCE, EVIDENCE_PROGRAM, EvidenceEnd, EvidenceError, EvidenceItem, EvidenceSession};
pub use reply::{CommandOutput, FileFacts, Held, HelloFacts, Kept, KeptState, SeenFrom, UnitFacts, Which};
pub use request::{Request, ScriptKind};
pub use session::{CallError, HostProgram, Nonce, PROGRAM};
pub use sql::{SqlRow, inspect_sql, parse_inspected, stage_sql};
