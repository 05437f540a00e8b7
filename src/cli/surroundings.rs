//! The one place where the environment of the process is read and its limits are set.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getpid, getrlimit, kill_process, set_dumpable_behavior, setrlimit,
};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use tokio::signal::unix::SignalKind;
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
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A standard error that takes nothing more must not end a run: complaining of it there would panic.
    let _set_before = log.log_internal_errors(false).try_init();
}

/// Whether whoever started us wants this signal to be ignored, as `nohup` does. Linux says so; elsewhere nobody is asked.
pub(super) fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}

/// A file that may not grow any more (`ulimit -f`) is an error of that file, not the end of this process.
pub(super) fn outlive_file_limits() {
    /// `SIGXFSZ` on every Unix.
    const FILE_SIZE: i32 = 25;
    // Listened to once, it never ends the process again; nobody needs to hear it.
    let _forbidden = tokio::signal::unix::signal(SignalKind::from_raw(FILE_SIZE));
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
    Surroundings { user: user(), home: home(), identity_file: usual_key(), known_hosts: args.known_hosts.clone() }
}

/// The key that ssh would use where nobody names one and no agent has any.
fn usual_key() -> Option<PathBuf> {
    if agent().is_some() {
        return None;
    }
    let usual = ["id_ed25519", "id_ecdsa", "id_rsa"].map(|name| home().join(".ssh").join(name));
    usual.into_iter().find(|path| path.exists())
}

/// The SSH agent's socket.
pub(super) fn agent() -> Option<PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()).map(PathBuf::from)
}

/// Where runs are remembered.
///
/// # Errors
/// If nobody says where: without a home it would be the root of this machine.
pub(super) fn state(args: &Args) -> Result<PathBuf, CliError> {
    let said = |name: &str| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let usual = || said("XDG_STATE_HOME").or_else(|| said("HOME").map(|home| home.join(".local/state")));
    args.state.clone().or_else(|| usual().map(|base| base.join("lockturn"))).ok_or_else(|| {
        CliError::new(Exit::Refused, "nobody says where runs are remembered: HOME is not set; nothing was changed")
            .hint("name a directory with --state")
    })
}

/// Asks for a passphrase, if a person is there.
pub(super) fn ask_passphrase(key: &Path) -> Option<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    super::say::err(&format!("passphrase of {}: ", key.display()));
    let typed = typed_in_secret();
    super::say::err("\n");
    match typed {
        Ok(line) => String::from_utf8(line.to_vec()).ok().map(Zeroizing::new),
        Err(Stopped) => {
            // Now that the terminal is as it was: whoever listens for it ends the run, and otherwise the process ends here.
            let _told = kill_process(getpid(), Signal::INT);
            std::thread::sleep(INTERRUPT_HEARD);
            None
        }
    }
}

/// How long whoever listens for Ctrl-C may take to hear it.
const INTERRUPT_HEARD: Duration = Duration::from_secs(1);

/// Nobody will type any more: Ctrl-C, Ctrl-D, or the terminal went away.
struct Stopped;

/// One line from the terminal, which shows nothing of it. Keys that would end or stop the process are read like all others, so that
/// it never leaves the terminal silent.
fn typed_in_secret() -> Result<Zeroizing<Vec<u8>>, Stopped> {
    let terminal = std::io::stdin();
    let before = tcgetattr(&terminal).map_err(|_| Stopped)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN);
    tcsetattr(&terminal, OptionalActions::Flush, &silent).map_err(|_| Stopped)?;
    let mut line = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX));
    let read = loop {
        let mut byte = [0];
        match rustix::io::read(&terminal, &mut byte) {
            Ok(1) => {}
            Ok(_) => break Err(Stopped),
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => break Err(Stopped),
        }
        match byte[0] {
            b'\r' | b'\n' => break Ok(()),
            CTRL_C | CTRL_D => break Err(Stopped),
            CTRL_U => line.clear(),
            BACKSPACE | DELETE => drop(line.pop()),
            typed if line.len() < PASSPHRASE_BYTES_MAX => line.push(typed),
            _ => {}
        }
    };
    let _restored = tcsetattr(&terminal, OptionalActions::Flush, &before);
    read.map(|()| line)
}

/// A longer one would be moved about in memory, and is a mistake.
const PASSPHRASE_BYTES_MAX: usize = 1024;

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const CTRL_U: u8 = 0x15;
const DELETE: u8 = 0x7f;

/// Asks yes or no.
///
/// # Errors
/// If nobody can be asked.
pub(super) fn confirm(question: &str) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::new(Exit::Refused, "nobody can be asked here, and nothing was changed")
            .hint("read what stands above, then say --yes"));
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
