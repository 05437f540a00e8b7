//! Tests that need nothing but a Rust toolchain.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod coordinator;
mod docs;
mod dotenv;
mod files;
mod fleet;
mod host_program;
mod journal;
mod lab;
mod plan;
mod report;
mod ssh;
mod walls;
