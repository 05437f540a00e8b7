//! Text of an inventory into hosts and groups, and selectors into hosts.
//!
//! The shape is that of an Ansible YAML inventory, so an existing one works. Unknown `ansible_` variables are its own business; any
//! other unknown variable is worth a warning, because it may be a known one misspelt.
//!
//! **Invariant:** all errors of all files at once; no literal secret is accepted or shown. Tested in `tests/it/files.rs`.

mod hosts;
mod read;
mod select;
mod vars;

pub use hosts::{Host, Inventory, Jump};
