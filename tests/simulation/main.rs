//! Deterministic simulation: the product's own coordinator in a world of hosts, links and disks that go wrong, in virtual time.
//!
//! Goal: whatever goes wrong, and in whatever order, the invariants of `invariants.rs` hold after each event, and once nothing goes wrong
//! any more every run ends with a true verdict. Method: one seed is one story; the same seed is the same story. Which parts
//! are the product's and which are modelled is said where they stand.
//!
//! `cargo test --test simulation` runs a fixed number of seeds; `make simulate SEEDS=100000` as many as wanted; `make simulate SEED=1234`
//! tells one with its trace.

mod actor;
mod book;
mod clean;
mod disk;
mod host;
mod invariants;
mod kernel;
mod knobs;
mod mutants;
mod operator;
mod process;
mod program;
mod steps;
mod suite;
mod switch;
mod wire;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    suite::main()
}
