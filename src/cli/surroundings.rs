//! The one place where the environment of the process is read and its limits are set.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

use crate::runtime::Surroundings;

use super::{Args, CliError, Exit};

/// No core dump and no debugger of the same user gets at the values; many hosts need many descriptors.
pub(super) fn harden() {
    // Each of these may be forbidden already, which is as good.
    let _refused = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _refused = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let files = getrlimit(Resource::Nofile);
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
}

/// Logs to standard error. russh's own logs show key material in detail levels, so they are kept at warnings whatever is asked.
pub(super) fn log(verbose: u8) {
    let level = ["warn", "lockturn=info", "lockturn=debug"][usize::from(verbose.min(2))];
    let filter = EnvFilter::new(format!("{level},russh=warn,hyper=warn"));
    let _set_before = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// The operator's home.
fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// Who runs this: `user@machine`.
pub(super) fn operator() -> String {
    let machine = rustix::system::uname();
    format!("{}@{}", user(), machine.nodename().to_string_lossy())
}

fn user() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "root".to_owned())
}

/// What the inventory leaves open.
pub(super) fn of_operator(args: &Args) -> Surroundings {
    Surroundings { user: user(), home: home(), known_hosts: args.known_hosts.clone() }
}

/// The SSH agent's socket.
pub(super) fn agent() -> Option<PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()).map(PathBuf::from)
}

/// Where runs are remembered.
pub(super) fn state(args: &Args) -> PathBuf {
    args.state.clone().unwrap_or_else(|| {
        let base = std::env::var_os("XDG_STATE_HOME").filter(|dir| !dir.is_empty());
        base.map_or_else(|| home().join(".local/state"), PathBuf::from).join("lockturn")
    })
}

/// Asks for a passphrase, if a person is there.
pub(super) fn ask_passphrase(key: &Path) -> Option<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    super::say::err(&format!("passphrase of {}: ", key.display()));
    let terminal = std::io::stdin();
    let before = rustix::termios::tcgetattr(&terminal).ok()?;
    let mut silent = before.clone();
    silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
    rustix::termios::tcsetattr(&terminal, rustix::termios::OptionalActions::Flush, &silent).ok()?;
    let mut line = Zeroizing::new(String::new());
    let read = terminal.read_line(&mut line);
    let _restored = rustix::termios::tcsetattr(&terminal, rustix::termios::OptionalActions::Flush, &before);
    super::say::err("\n");
    read.ok().map(|_| Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Asks yes or no.
///
/// # Errors
/// If nobody can be asked.
pub(super) fn confirm(question: &str) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::new(Exit::Refused, "nobody can be asked here, and nothing was changed")
            .hint("read the plan above, then say --yes"));
    }
    super::say::err(&format!("{question} [y/N] "));
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    Ok(read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Whether standard error is a terminal that can redraw.
pub(super) fn can_redraw() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
