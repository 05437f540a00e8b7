//! Tests that need nothing but a Rust toolchain.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../support/canary.rs"]
mod canary;
mod changed;
mod check;
mod contained;
mod coordinator;
mod copies;
mod damaged;
mod demo;
mod docs;
mod dotenv;
mod drill;
mod elsewhere;
mod evidence;
mod evidence_runs;
mod failures;
mod files;
mod fleet;
mod forgotten;
mod from_hosts;
mod host_program;
mod host_rivals;
mod inventory;
mod isolated;
mod isolation;
mod journal;
mod killed;
mod lab;
mod late;
mod lease;
mod meanwhile;
mod mended;
mod mutants;
mod older;
mod operators;
mod panic;
mod plan;
mod progress;
mod quarantine;
mod rehearsed;
mod report;
mod selftest;
#[path = "../support/services.rs"]
mod services;
mod ssh;
mod starting;
mod starved;
mod stopped;
#[path = "../support/fleet.rs"]
mod support;
mod three_am;
mod unanswered;
mod unheard;
mod waived;
mod walls;
mod zoo;
