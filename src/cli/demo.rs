//! `demo`: the whole story on an embedded fleet, with real SSH, real shells and real services.

use std::path::Path;

use clap::Parser as _;

use crate::lab::Fault;

use super::{Args, CliError, Exit, Verb, lab, rotate, say};

/// `demo`.
pub(super) async fn run(workers: u32) -> Result<Exit, CliError> {
    let dir = scratch("demo")?;
    let told = story(&dir, workers).await;
    // The fleet's secrets are made up, but nothing is left lying about.
    let _best_effort = std::fs::remove_dir_all(&dir);
    told
}

/// A new directory for an embedded fleet, which nobody else can look into.
pub(super) fn scratch(verb: &str) -> Result<std::path::PathBuf, CliError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let name = format!("lockturn-{verb}-{}", ulid::Ulid::from_bytes(crate::runtime::random::bytes()));
    let dir = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .map_err(|error| CliError::new(Exit::Refused, format!("{}: {error}", dir.display())))?;
    Ok(dir)
}

async fn story(dir: &Path, workers: u32) -> Result<Exit, CliError> {
    say::err(&format!(
        "An embedded fleet: 1 control plane and {workers} workers that check HMACs, each behind its own SSH server.\n"
    ));
    let fleet = lab::start(&dir.join("lab"), workers).await?;
    say::err("\n— 1. Rotate their shared secrets, in lockstep and with proof —\n\n");
    let first = rotate_once(dir).await?;
    expect(first, Exit::Done)?;
    let stubborn = if workers == 1 { "worker-1" } else { "worker-2" };
    say::err(&format!(
        "\n— 2. {stubborn} now refuses every new secret, though its health says 200: the whole fleet must go back —\n\n"
    ));
    fleet
        .set_fault(stubborn, Fault::RefusesNewSecret)
        .map_err(|error| CliError::new(Exit::Bug, format!("the lab: {error}")))?;
    let second = rotate_once(dir).await?;
    expect(second, Exit::RolledBack)?;
    fleet.stop().await;
    say::err(
        "\nThe second part was meant to go back: there is nothing to mend. All of this was made up and is removed now: no ledger knows these runs.\n\
         \n— What to try next —\n\
         lockturn lab up --hosts 20          keep such a fleet, break it, rotate it\n\
         lockturn init                       an inventory and a playbook of your own\n\
         lockturn plan playbooks/NAME.yml    what a rotation would change, read only\n",
    );
    Ok(Exit::Done)
}

/// The very command that an operator would type.
async fn rotate_once(dir: &Path) -> Result<Exit, CliError> {
    let at = |name: &str| dir.join(name).display().to_string();
    let playbook = at("lab/playbooks/worker-secret.yml");
    let words = ["lockturn", "--yes", "-i", &at("lab/inventory.yml"), "--state", &at("state"), "rotate", &playbook]
        .map(str::to_owned);
    let args = Args::try_parse_from(words).map_err(|error| CliError::new(Exit::Bug, error.to_string()))?;
    let Verb::Rotate { playbook } = &args.verb else { unreachable!("it was typed as rotate") };
    rotate::rotate(&args, playbook).await
}

fn expect(is: Exit, should_be: Exit) -> Result<(), CliError> {
    if is == should_be {
        return Ok(());
    }
    Err(CliError::new(is, format!("the demo should have ended with exit {}, not {}", should_be.code(), is.code())))
}
