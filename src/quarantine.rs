//! What isolates a host: rules for itself and for its peers, and whom it may not be done to by mistake.
//!
//! The design is [`crate::docs::quarantine`]. Rules are rendered from addresses, ports and numbers, and from nothing that anybody could have
//! written: no text of an inventory or of a host gets into them but a host's name, which is letters, digits, `.`, `_` and `-`.
//!
//! **Invariant:** no I/O; the same data give the same text.
//! Tested in `tests/it/quarantine.rs` and `tests/it/isolation.rs`, against the real `nft` and in real network namespaces in `tests/real/quarantine.rs`.

mod flow;
mod guard;
mod keeper;
mod member;
mod rules;
mod run;
mod staged;

pub use crate::model::{Address, AddressError, Manager, ManagerError};
pub use flow::{NoFlow, flows};
pub use guard::{Danger, Fleet, dangers, inventory_host_in};
pub use keeper::{Keeper, Memory};
pub use member::{Containment, Member, Role};
pub use rules::{HostRules, Management, PeerRules, RulesError, Table, WayIn};
pub use run::{IllegalStep, Isolation, Next, Outcome};
pub use staged::{Learned, roles, staged, tables};
