//! Text of a playbook into the model, all errors at once.
//!
//! **Invariant:** an unknown key is an error, because a misspelt `verify` would be a rotation without proof; no literal secret is accepted
//! or shown. What the format knows and this version does not is refused by name. Tested in `tests/it/files.rs`.

mod forget;
mod probes;
mod read;
mod targets;
mod words;

pub use read::{parse, point_at, read};
