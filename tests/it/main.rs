//! Tests that need nothing but a Rust toolchain.

mod coordinator;
mod dotenv;
mod host_program;
mod journal;
mod lab;
mod plan;
mod walls;
