//! Files of an inventory into hosts and groups, and selectors into hosts.
//!
//! ```text
//!   YAML, INI, `--list` JSON, programs ──► Gathered (who says what) ──► groups in groups, whose word goes first ──► Inventory
//! ```
//!
//! All that Ansible reads is read as Ansible reads it (`tests/real/inventory_ansible.rs` compares). Unknown `ansible_` variables are its
//! own business; any other unknown variable is worth a warning, because it may be a known one misspelt.
//!
//! **Invariant:** all errors of all files at once; no literal secret is accepted or shown. Tested in `tests/it/files.rs`.

mod gathered;
mod hosts;
mod ini;
mod list;
mod program;
mod resolve;
mod select;
mod sources;
mod ssh_args;
mod vars;
mod words;
mod yaml;

pub use hosts::{Host, Inventory, Jump};
