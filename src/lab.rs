//! The embedded fleet, to try things out: one control plane and its workers, played by an SSH server inside one process.
//!
//! Every host is a directory. Commands run there with the real `/bin/sh`, files are real files, the database is a real SQLite
//! file; only `systemctl`, `sqlite3` and the two HTTP services are played, so playbooks and the host program run unchanged.
//!
//! **Invariant:** a lab listens on loopback only, and lets in nobody but the holder of its own client key.
//! Tested in `tests/it/lab.rs`.

mod create;
mod error;
mod exec;
mod fault;
mod http;
mod running;
mod server;
mod service;
mod sqlite;
mod systemctl;
mod texts;
mod tunnel;

pub use create::{Lab, LabHost, Role, WORKERS_MAX};
pub use error::LabError;
pub use fault::Fault;
pub use running::RunningLab;
pub use sqlite::{SqliteError, sqlite3};
