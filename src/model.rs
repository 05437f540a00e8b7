//! The words of the product, as types: names, values and fingerprints, plans, steps, events and verdicts.
//!
//! **Invariant:** no I/O, no clock, no randomness, no async; every other room may import this one, and it imports none.

mod address;
mod drill;
mod event;
mod evidence;
mod fold;
mod found;
mod isolation;
mod manager;
mod names;
mod plan;
mod playbook;
mod range;
mod reason;
mod secret;
mod selector;
mod share;
mod sql;
mod step;
mod text;
mod time;
mod url;

pub use address::{Address, AddressError};
pub use drill::{Drill, DrillFault};
pub use event::{Cause, Certainty, Decision, EVENT_VERSION, Entry, Event};
pub use evidence::{EvidencePlan, EvidenceTaken, Missing};
pub use fold::{fold, fold_few};
pub use found::{Found, Stands};
pub use isolation::{
    Forgetting, ISOLATION_VERSION, Isolates, IsolationMember, IsolationPlan, Keeps, Known, Reached, Way,
};
pub use manager::{Manager, ManagerError};
pub use names::{GroupName, HostName, NAME_BYTES_MAX, NameError, RunId, SecretName};
pub use plan::{
    Change, FileEdit, HostPlan, PLAN_VERSION, Plan, PlannedProbe, PlannedValue, SqliteRow, Switch, ValueId,
};
pub use playbook::{
    Activation, Become, Check, Expect, Generator, Placement, Playbook, Probe, Put, Rollout, SecretSpec, Strategy,
    Target, UnitAction, Unreachable,
};
pub use range::expand_ranges;
pub use reason::{Reason, ReasonKind};
pub use secret::{Fingerprint, FingerprintKey, Secret, hmac_sha256};
pub use selector::{Effect, Names, Selector, Term};
pub use share::{Common, Share, ShareError, assemble};
pub use sql::{SqlError, SqlPiece, sql_pieces};
pub use step::{HostState, Step, Verdict};
pub use text::{harmless, quote};
pub use time::Millis;
pub use url::Url;
