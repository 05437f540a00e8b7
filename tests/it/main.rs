//! Tests that need nothing but a Rust toolchain.

mod coordinator;
