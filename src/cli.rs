//! The command line: one file a verb.
//!
//! Data goes to standard output, everything else to standard error. Each verb ends in an [`Exit`].
//!
//! **Invariant:** the environment is read in `surroundings` only; nothing is printed but through `say`, which survives a closed pipe.

mod again;
mod args;
mod before;
mod completions;
mod demo;
mod drill;
mod error;
mod evidence;
mod exit;
mod files;
mod forgetting;
mod from_hosts;
mod held;
mod history;
mod init;
mod lab;
mod late;
mod memory;
mod overdue;
mod quarantine;
mod resume;
mod rotate;
mod rule_sets;
mod say;
mod seen;
mod selftest;
mod session;
mod status;
mod surroundings;
mod witness;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

pub use args::{Args, Verb};
pub use error::CliError;
pub use exit::Exit;

/// Runs the command that was typed.
#[must_use]
pub fn main() -> ExitCode {
    surroundings::harden();
    let args = Args::typed();
    surroundings::log(args.verbose);
    let (again, output) = (again::Again::of(&args), args.output);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say::err(&format!("error: no threads can be started: {error}\n"));
            return Exit::Bug.into();
        }
    };
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(args))));
    // What still waits for a dead host must not hold up the answer.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    let ended = ended.unwrap_or_else(|_| {
        let bug = CliError::new(Exit::Bug, "a bug in lockturn, told above; a run that was begun is as it was then");
        Err(bug.hint("lockturn runs shows whether one is unfinished; lockturn resume finishes it"))
    });
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            say::err(&again.in_text(&error.render()));
            if output == Some(args::Output::Json) {
                say::out(&again.in_text(&error.json()));
            }
            error.exit.into()
        }
    }
}

async fn run(args: Args) -> Result<Exit, CliError> {
    surroundings::outlive_file_limits();
    files::refuse_limit(&args)?;
    match &args.verb {
        Verb::Init { dir } => init::run(dir),
        Verb::Check { playbooks } => files::check(&args, playbooks),
        Verb::Hosts { selector } => files::hosts(&args, selector),
        Verb::Plan { playbook } => rotate::plan(&args, playbook).await,
        Verb::Rotate { playbook } => rotate::rotate(&args, playbook).await,
        Verb::Drill { playbook, fault } => drill::run(&args, playbook, *fault).await,
        Verb::Resume { run, from_hosts: true } => from_hosts::resume(&args, run.as_deref()).await,
        Verb::Resume { run, from_hosts: false } => resume::resume(&args, run.as_deref()).await,
        Verb::Rollback { run, unproved } => resume::rollback(&args, run.as_deref(), *unproved).await,
        Verb::Quarantine { hosts, reason, even, playbook, manager: managers, show, expires, evidence } => {
            let (reason, show, expires) = (reason.as_deref().unwrap_or_default(), *show, *expires);
            let playbook = playbook.as_deref();
            quarantine::quarantine(
                &args,
                quarantine::Wanted { hosts, reason, even, playbook, managers, show, expires, evidence },
            )
            .await
        }
        Verb::Release { hosts } => quarantine::release(&args, hosts).await,
        Verb::Status { playbook } => status::run(&args, playbook).await,
        Verb::Runs => history::runs(&args),
        Verb::Show { run } => history::show(&args, run),
        Verb::Ledger { .. } => history::verify(&args),
        Verb::Demo { workers } => demo::run(*workers).await,
        Verb::Selftest { rows, full } => selftest::run(&args, rows, *full).await,
        Verb::Lab { verb } => lab::run(verb).await,
        Verb::Completions { shell } => completions::completions(*shell),
        Verb::Man => completions::man(),
        Verb::LabSqlite3 { args } => lab::sqlite3(args),
    }
}
