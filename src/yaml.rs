//! YAML into a tree with places, and diagnostics that point into the operator's file.
//!
//! **Invariant:** nothing stops at the first problem; a text that could be a secret is never echoed.
//! Tested through `tests/it/files.rs`.

mod diagnostic;
mod literal;
mod node;
mod reader;

pub use diagnostic::{Diagnostic, Diagnostics, Severity, Shown};
pub use literal::{assigns_a_secret, holds_a_secret, names_a_secret};
pub use node::{Budget, Key, Node, Place, Value, parse};
pub use reader::{Fields, Item, Problems, Spot, closest};
