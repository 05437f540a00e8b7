//! A host that lacks what others have: a /tmp that one can use, GNU's tools, a tool at all, a disk that reads or takes anything; and how
//! open its files are for a moment.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use lockturn::host::{CallError, FileFacts, Request};
use lockturn::model::ReasonKind;
use tokio::process::Command;

use super::host_faults::{SHELLS, as_root, mounted, shell, there_and_back, to_the_barrier};
use super::host_program::shell_host::{Home, ShellHost};
use super::sshd::fleet::{Fleet, write_program};

/// Away from /tmp.
fn elsewhere() -> Home {
    Home::below(Path::new("/var/tmp"))
}

#[tokio::test]
async fn a_tmp_that_nobody_can_use_does_not_matter() {
    for shell in SHELLS {
        let home = elsewhere();
        let line = "mount -t tmpfs -o ro,noexec none /tmp; ! touch /tmp/x 2>/dev/null; TMPDIR=/tmp; export TMPDIR";
        let (mut host, _disk) = mounted(shell, &home, line).await;
        fs::write(home.path("file"), "old").unwrap();
        let path = home.path("file");
        there_and_back(&mut host, path.to_str().unwrap(), &path, &format!("{shell:?} without /tmp")).await;
    }
}

#[tokio::test]
async fn tools_of_busybox_are_as_good() {
    for shell in [SHELLS[0], SHELLS[3]] {
        let home = Home::new();
        fs::create_dir(home.path("tools")).unwrap();
        let made = std::process::Command::new("busybox").args(["--install", "-s"]).arg(home.path("tools")).status();
        assert!(made.is_ok_and(|made| made.success()), "busybox is missing; `make test` installs it");
        assert!(home.path("tools/sha256sum").exists() && home.path("tools/timeout").exists());
        let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
        host.hello(1, ".lockturn", "tools").await.unwrap();
        let path = home.path("file");
        fs::write(&path, "old").unwrap();
        let read = host.ok(&Request::ReadFile { path: "file", follow: false, replace: true }).await;
        assert_eq!(FileFacts::parse(&read).unwrap().content.expose(), b"old");
        there_and_back(&mut host, path.to_str().unwrap(), &path, &format!("{shell:?} with busybox")).await;
    }
}

#[tokio::test]
async fn a_host_without_a_tool_is_refused_by_its_name() {
    as_root();
    for tool in ["sha256sum", "setsid"] {
        let home = elsewhere();
        let mut command = Command::new("unshare");
        // A host without systemd, and without this.
        let line = format!(
            "mkdir empty; mount --bind empty /run; mount --bind /dev/null \"$(readlink -f \"$(command -v {tool})\")\"; exec dash -s"
        );
        command.args(["-m", "sh", "-ec", &line]);
        match ShellHost::on(command, &home, "01RUN", 1).await {
            Err(CallError::Refused(reason)) => {
                assert_eq!(reason.kind, ReasonKind::ToolMissing);
                assert!(reason.detail.contains(tool), "{reason}");
            }
            Err(lost) => panic!("{tool}: {lost:?}"),
            Ok(_) => panic!("{tool} is not missed"),
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_read_only_on_the_way_back_is_told_and_gone_back_on_later() {
    let home = Home::new();
    let (mut host, disk) = mounted(SHELLS[0], &home, "mount -t tmpfs disk disk; printf old >disk/file").await;
    let path = home.path("disk/file").display().to_string();
    to_the_barrier(&mut host, &path, b"old", b"new").await.unwrap();
    host.ok(&Request::Cut).await;
    let remount = |how: &str| {
        let pid = host_pid(&disk);
        shell(&format!("nsenter -m -t {pid} mount -o remount,{how} {}", home.path("disk").display()));
    };
    remount("ro");
    assert_eq!(host.refused(&Request::Revert).await, ReasonKind::ReadOnly);
    assert_eq!(fs::read(disk.join("file")).unwrap(), b"new");
    remount("rw");
    host.ok(&Request::Revert).await;
    assert_eq!(fs::read(disk.join("file")).unwrap(), b"old");
    host.ok(&Request::Clean).await;
}

/// The process in whose namespace the disk is.
fn host_pid(disk: &Path) -> String {
    disk.components().nth(2).unwrap().as_os_str().to_str().unwrap().to_owned()
}

#[test]
fn a_file_that_cannot_be_read_to_its_end_refuses_the_host() {
    let fleet = Fleet::up(&["", ""]);
    fleet.inventory(|host| match host {
        0 => "identity_file: ed25519".to_owned(),
        _ => format!("identity_file: ed25519, path: {}", fleet.at("tools").display()),
    });
    // As the real one does when the disk fails behind the first bytes.
    let head = "#!/bin/sh\ncase $(readlink /proc/$$/fd/0) in\n    */env) printf '# k'; echo 'head: error reading' >&2; exit 1 ;;\n\
                esac\nexec /usr/bin/head \"$@\"\n";
    write_program(&fleet.at("tools/head"), head);
    fleet.refuses("h1", "nothing was changed");
}

/// Every file and directory below, with its mode.
fn modes(dir: &Path, seen: &mut BTreeSet<(PathBuf, u32)>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // It may be gone by now.
        let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
        seen.insert((entry.path(), meta.permissions().mode() & 0o777));
        if meta.is_dir() {
            modes(&entry.path(), seen);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_more_open_than_the_file_itself_not_even_for_a_moment() {
    for (mode, shell) in [(0o600, SHELLS[0]), (0o640, SHELLS[0]), (0o600, SHELLS[3])] {
        let home = Home::new();
        let path = home.path("file");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new("sh");
        // The login would have everything open.
        command.args(["-c", &format!("umask 000; exec {} -s", shell.join(" "))]);
        let mut host = ShellHost::on(command, &home, "01RUN", 1).await.unwrap();
        let (over, top) = (AtomicBool::new(false), home.path(""));
        let mut seen = BTreeSet::new();
        let mut looks = 0_u32;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    modes(&top, &mut seen);
                    looks += 1;
                }
            });
            tokio::task::block_in_place(|| {
                let work = there_and_back(&mut host, path.to_str().unwrap(), &path, "watched");
                tokio::runtime::Handle::current().block_on(work);
            });
            over.store(true, SeqCst);
        });
        let open: Vec<_> = seen.iter().filter(|(_, seen)| seen & 0o077 & !mode != 0).collect();
        assert!(open.is_empty(), "{mode:o} {shell:?}: {open:?}");
        let staged = seen.iter().filter(|(path, _)| path.to_string_lossy().contains(".lockturn-01RUN-1/")).count();
        assert!(looks > 20 && staged > 1, "{looks} looks saw {staged} staged files: nobody watched");
    }
}
