//! `lab`: an embedded fleet to play with.

use std::io::Read as _;
use std::path::Path;

use crate::lab::{Lab, LabError, RunningLab};
use crate::runtime::random;

use super::args::LabVerb;
use super::session::interrupts;
use super::{CliError, Exit, say};

/// In this file a running lab leaves its process id.
const PID: &str = "run/pid";

/// `lab up|down|status`.
pub(super) async fn run(verb: &LabVerb) -> Result<Exit, CliError> {
    match verb {
        LabVerb::Up { hosts, dir } => up(*hosts, dir).await,
        LabVerb::Down { dir } => down(dir),
        LabVerb::Status { dir } => {
            let up = running(dir);
            say::out(&up.map_or("down\n".to_owned(), |pid| format!("up, process {pid}\n")));
            Ok(if up.is_some() { Exit::Done } else { Exit::Refused })
        }
    }
}

/// Makes a lab, or opens the one that is there, and starts it.
pub(super) async fn start(dir: &Path, workers: u32) -> Result<RunningLab, CliError> {
    let failed = |error: LabError| CliError::new(Exit::Refused, format!("the lab: {error}"));
    let binary = std::env::current_exe()
        .map_err(|error| CliError::new(Exit::Bug, format!("this program does not find itself: {error}")))?;
    let workers = usize::try_from(workers).unwrap_or(usize::MAX);
    let lab = if dir.join("inventory.yml").exists() {
        Lab::open(dir)
    } else {
        Lab::create(dir, workers, &binary, &mut random::fill)
    };
    lab.map_err(failed)?.start().await.map_err(failed)
}

async fn up(workers: u32, dir: &Path) -> Result<Exit, CliError> {
    if let Some(pid) = running(dir) {
        return Err(CliError::new(Exit::Locked, format!("the lab in {} is up already, process {pid}", dir.display())));
    }
    let mut interrupts = interrupts()?;
    let lab = start(dir, workers).await?;
    let pid = dir.join(PID);
    std::fs::write(&pid, std::process::id().to_string())
        .map_err(|error| CliError::new(Exit::Refused, format!("{}: {error}", pid.display())))?;
    let at = dir.display();
    say::out(&format!(
        "up: {} hosts in {at}; Ctrl-C or `lockturn lab down --dir {at}` stops it\n\
         try, elsewhere:\n  lockturn -i {at}/inventory.yml --state {at}/state rotate {at}/playbooks/worker-secret.yml\n  \
         echo refuses-new-secret > {at}/hosts/worker-1/fault    and rotate again\n",
        lab.lab().hosts().len()
    ));
    let _asked = interrupts.recv().await;
    let _gone = std::fs::remove_file(&pid);
    lab.stop().await;
    Ok(Exit::Done)
}

fn down(dir: &Path) -> Result<Exit, CliError> {
    let Some(pid) = running(dir) else {
        return Err(CliError::new(Exit::Refused, format!("no lab is up in {}", dir.display())));
    };
    let process = rustix::process::Pid::from_raw(pid).expect("it was found running");
    rustix::process::kill_process(process, rustix::process::Signal::TERM)
        .map_err(|error| CliError::new(Exit::Refused, format!("process {pid}: {error}")))?;
    say::out("down\n");
    Ok(Exit::Done)
}

/// The process of the lab, if it is one of ours and lives.
fn running(dir: &Path) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(dir.join(PID)).ok()?.trim().parse().ok()?;
    // The number may be somebody else's by now.
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    words.contains(&&b"lab"[..]).then_some(pid)
}

/// The stand-in for sqlite3.
pub(super) fn sqlite3(args: &[String]) -> Result<Exit, CliError> {
    let mut sql = String::new();
    let failed = |error: &dyn std::fmt::Display| CliError::rendered(Exit::RolledBack, format!("Error: {error}"));
    std::io::stdin().read_to_string(&mut sql).map_err(|error| failed(&error))?;
    crate::lab::sqlite3(args, &sql, &mut std::io::stdout()).map_err(|error| failed(&error))?;
    Ok(Exit::Done)
}
