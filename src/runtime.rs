//! The loop that performs what the coordinator wants, and all that it needs for it.
//!
//! Effects live here: connections, time, randomness. What to do is the coordinator's word, what happened goes to the journal before
//! anything else is done.
//!
//! **Invariant:** time is read in `clock`, randomness in `random`, and values stay in the [`Vault`].

pub mod actor;
pub mod addresses;
mod attempt;
pub mod clock;
pub mod contain;
pub mod drive;
pub mod epoch;
pub mod evidence;
pub mod fleet;
pub mod forget;
pub mod inspect;
pub mod isolate;
pub mod lease;
pub mod left;
pub mod mint;
pub mod random;
pub mod rehearse;
pub mod rest;
mod silence;
pub mod step;
pub mod take;
pub mod vault;
pub mod veil;
pub mod verify;

pub use fleet::{Fleet, Surroundings};
pub use vault::{Pair, Vault};
