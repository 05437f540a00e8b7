//! The pure state machines of a run and its hosts: what happened in, what to do next out.
//!
//! ```text
//!              ┌────────────── forward, nobody decided ──────────────┐  decide   ┌── commit ──┐
//!   lock ► stage ► arm ► │barrier│ ► cut ► activate (batch by batch) ► verify ►──►  confirm ► clean ► end
//!                                   └───── any trouble, or the operator ────────►──►  revert ► reactivate ► reverify ► clean ► end
//! ```
//!
//! **Invariant:** no async, no clock, no randomness, no I/O, no `Secret`. The same [`Run::apply`] moves a live run and replays a
//! recorded one, so that what is recorded is all there is. [`Run::next`] is a function of that state alone.
//!
//! Called by `runtime`. Tested in `tests/it/coordinator.rs` by exhaustive battery, and as a whole in `tests/simulation` and `tests/model`.

mod found;
mod host;
mod next;
mod run;

pub use found::way;
pub use host::{Host, Rest};
pub use next::Next;
pub use run::{IllegalMove, Run};
