//! YAML into a tree with places, and diagnostics that point into the operator's file.
//!
//! **Invariant:** nothing stops at the first problem; a text that could be a secret is never echoed.
//! Tested through `tests/it/files.rs`.

mod diagnostic;
mod node;
mod reader;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use node::{Key, Node, Place, Value, parse};
pub use reader::{Fields, Item, Problems, closest};
