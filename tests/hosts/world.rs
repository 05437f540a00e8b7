//! A world of their own for the hosts: namespaces for processes, mounts and network, in which this program starts itself again.
//!
//! **Invariant:** whatever happens in there ends with it. When this process ends, by a panic or Ctrl-C or `kill -9`, the kernel ends
//! every process of the hosts, and with them their mounts, loop devices, bridges and firewall rules. Nothing on the machine is touched.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use super::base;
use super::tools::{command, exists, run, say};

/// Set inside; its value names the hosts' control groups.
const INSIDE: &str = "LOCKTURN_TEST_HOSTS_INSIDE";

/// Where inside everything lives: memory that goes with the world.
pub(crate) const WORK: &str = "/run";

/// How many files systemds may watch together: each host needs some twenty, and the usual limit is 128 for all of them.
const WATCHES: u32 = 1024;

/// The programs without which no host can be made, with their Debian packages.
const NEEDED: [(&str, &str); 10] = [
    ("debootstrap", "debootstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("mkfs.ext4", "e2fsprogs"),
    ("ssh-keygen", "openssh-client"),
    ("cc", "gcc"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("perl", "perl-base"),
];

/// The name of the hosts' control groups, if we are inside.
pub(crate) fn inside() -> Option<String> {
    std::env::var(INSIDE).ok()
}

/// Makes the bases, then the world, and starts this program in it.
pub(crate) fn enter() -> ExitCode {
    if let Err(why) = possible() {
        say(&format!("real hosts cannot be made here: {why}"));
        return ExitCode::FAILURE;
    }
    base::make_all();
    let group = format!("lockturn-test-hosts-{}", std::process::id());
    // `setpriv` ends `unshare` when we end, and `unshare` ends the first process of the world, and that one all others.
    let ended = command("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env(INSIDE, &group)
        .status();
    forget_groups();
    match ended {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("the namespaces cannot be made: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("this boots machines in containers and must run as root; `sudo make test-hosts`".to_owned());
    }
    let lacking: Vec<&str> =
        NEEDED.iter().filter(|(program, _)| !exists(program)).map(|(_, package)| *package).collect();
    if lacking.is_empty() { Ok(()) } else { Err(format!("apt-get install {}", lacking.join(" "))) }
}

/// The first things inside: memory for everything, and a network that leads nowhere else.
pub(crate) fn furnish() {
    run("mount", &["-t", "tmpfs", "-o", "mode=755", "tmpfs", WORK]);
    run("ip", &["link", "set", "lo", "up"]);
    let watches = Path::new("/proc/sys/fs/inotify/max_user_instances");
    let now: u32 = fs::read_to_string(watches).unwrap().trim().parse().unwrap();
    if now < WATCHES {
        fs::write(watches, WATCHES.to_string()).unwrap();
    }
}

/// Removes the control groups of worlds that have ended, ours among them. One in use cannot be removed.
fn forget_groups() {
    for top in ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"] {
        for entry in fs::read_dir(top).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("lockturn-test-hosts-") {
                forget(&entry.path());
            }
        }
    }
}

fn forget(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            forget(&entry.path());
        }
    }
    let _in_use = fs::remove_dir(group);
}
