//! The command line: one file a verb.
//!
//! Data goes to standard output, everything else to standard error. Each verb ends in an [`Exit`].

mod args;
mod error;
mod exit;

pub use args::{Args, Verb};
pub use error::CliError;
pub use exit::Exit;
