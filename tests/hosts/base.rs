//! What a host is made of: a minimal Debian, made once and kept, and never written to again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::tools::{command, say};

/// A Debian that hosts run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Debian 12: OpenSSH 9.2, systemd 252, sudo 1.9.13.
    Bookworm,
    /// Debian 13: OpenSSH 10.0, systemd 257, sudo 1.9.16.
    Trixie,
}

/// Beyond the minimal system: what a host has, and what nanoclaw needs.
const PACKAGES: &str = "systemd,systemd-sysv,libpam-systemd,dbus,openssh-server,nftables,iproute2,procps,sqlite3,sudo,acl,attr,\
                        e2fsprogs,python3,iputils-ping";

impl Suite {
    const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// Where its base is. Another list of packages is another base.
    pub(crate) fn base(self) -> PathBuf {
        let list: String = Sha256::digest(PACKAGES).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        cache().join(format!("{}-{list}", self.name()))
    }
}

/// Bases outlive the build directory, because one takes a minute or two.
fn cache() -> PathBuf {
    let of = |name| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
    cache.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned()).join("lockturn-test-hosts")
}

/// Makes the bases that are not there yet, together.
pub(crate) fn make_all() {
    fs::create_dir_all(cache()).unwrap();
    std::thread::scope(|scope| {
        for suite in [Suite::Bookworm, Suite::Trixie] {
            scope.spawn(move || make(suite));
        }
    });
}

fn make(suite: Suite) {
    let base = suite.base();
    // Two test runs at once make one base: the second waits for the first.
    let lock = File::create(base.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if base.exists() {
        return;
    }
    say(&format!("making the {} base, once (a minute or two): {}", suite.name(), base.display()));
    let part = base.with_extension("part");
    let log = base.with_extension("log");
    // Whatever a run that was ended left behind; `--one-file-system` because it may have left something mounted there.
    let _ = command("rm").args(["-rf", "--one-file-system"]).arg(&part).status();
    let made = command("debootstrap")
        .args(["--variant=minbase", &format!("--include={PACKAGES}"), suite.name()])
        .arg(&part)
        .arg(mirror())
        .stdout(File::create(&log).unwrap())
        .stderr(File::options().append(true).open(&log).unwrap())
        .status();
    let tail = fs::read_to_string(&log).unwrap_or_default();
    let tail: Vec<&str> = tail.lines().rev().take(15).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    assert!(made.is_ok_and(|status| status.success()), "debootstrap {}:\n{}", suite.name(), tail.join("\n"));
    strip(&part);
    fs::rename(&part, &base).unwrap();
}

/// Removes what every host must have of its own, and what no host needs.
fn strip(base: &Path) {
    for entry in fs::read_dir(base.join("etc/ssh")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("ssh_host_") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    fs::write(base.join("etc/machine-id"), "").unwrap();
    for dir in ["var/cache/apt", "var/lib/apt/lists"] {
        fs::remove_dir_all(base.join(dir)).unwrap();
    }
}

/// The Debian mirror that this machine itself uses.
fn mirror() -> String {
    let apt = Path::new("/etc/apt");
    let mut files = vec![apt.join("sources.list")];
    let more = fs::read_dir(apt.join("sources.list.d")).into_iter().flatten().flatten().map(|entry| entry.path());
    files.extend(more);
    // `debian.sources` is where Debian's own installer writes it; a third party's file is no mirror of Debian.
    files.sort_by_key(|file| !file.ends_with("debian.sources"));
    let found = files.iter().filter_map(|file| fs::read_to_string(file).ok()).find_map(|text| mirror_in(&text));
    found.expect("the apt sources of this machine name no Debian mirror")
}

/// The first mirror in a text of either format of apt's sources.
fn mirror_in(text: &str) -> Option<String> {
    let words = text.lines().map(str::trim).filter(|line| !line.starts_with('#')).flat_map(str::split_ascii_whitespace);
    let mirror = words
        .map(|word| word.trim_end_matches('/'))
        .find(|word| word.contains(":/") && (word.ends_with("/debian") || word.starts_with("mirror+file:")))?;
    match mirror.strip_prefix("mirror+file:") {
        Some(list) => mirror_in(&fs::read_to_string(list).ok()?),
        None => Some(mirror.to_owned()),
    }
}
