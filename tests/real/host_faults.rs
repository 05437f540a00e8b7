//! What is in the way of a file: its name, who owns it, what it is, where it lies and how full the disk is. Nothing is half done, the
//! session goes on, and what is refused is refused before anybody is cut.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use lockturn::host::{CallError, FileFacts, Request};
use lockturn::model::{Reason, ReasonKind, Secret};
use tokio::process::Command;

use super::host_program::shell_host::{Home, ShellHost, sha256};

pub(super) const SHELLS: [&[&str]; 5] = [&["dash"], &["bash"], &["bash", "--posix"], &["busybox", "sh"], &["mksh"]];

/// More than a pipe holds, so that whoever stops reading is found out.
const LONG: usize = 200_000;

pub(super) fn as_root() {
    assert!(rustix::process::geteuid().is_root(), "this test mounts and gives files away: run it as root");
}

/// A directory on this machine's disk, not in memory: files there can be made immutable.
fn on_disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub(super) fn shell(line: &str) {
    let done = std::process::Command::new("sh").args(["-ec", line]).status().unwrap();
    assert!(done.success(), "`{line}` failed; `make test` installs what it needs");
}

/// From the lock to the armed host: the first refusal.
pub(super) async fn to_the_barrier(host: &mut ShellHost, path: &str, old: &[u8], new: &[u8]) -> Result<(), Reason> {
    let (sha256, content) = (sha256(old), Secret::new(new.to_vec()));
    let steps = [
        Request::Lock,
        Request::StageFile { number: 1, path, sha256: &sha256, content: &content },
        Request::Keep { name: "values", bytes: &content },
        Request::Rehearse,
        Request::Arm { lease_seconds: 60, services: &[] },
    ];
    for step in steps {
        match host.call(&step).await {
            Ok(_) => {}
            Err(CallError::Refused(reason)) => return Err(reason),
            Err(lost) => panic!("`{}`: {lost:?}", step.verb()),
        }
    }
    Ok(())
}

/// There, back, there again, back, and clean; the file is the very same one in the end.
pub(super) async fn there_and_back(host: &mut ShellHost, path: &str, seen: &Path, what: &str) {
    let old = fs::read(seen).unwrap();
    let before = fs::symlink_metadata(seen).unwrap();
    let kept = |when: &str| {
        let after = fs::symlink_metadata(seen).unwrap();
        assert_eq!(
            (after.mode(), after.uid(), after.gid()),
            (before.mode(), before.uid(), before.gid()),
            "{what}, {when}"
        );
    };
    to_the_barrier(host, path, &old, b"newer").await.unwrap_or_else(|reason| panic!("{what}: {reason}"));
    for _ in 0..2 {
        host.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
        host.ok(&Request::Cut).await;
        assert_eq!(fs::read(seen).unwrap(), b"newer", "{what}");
        kept("cut");
        host.ok(&Request::Revert).await;
        assert_eq!(fs::read(seen).unwrap(), old, "{what}");
        kept("reverted");
    }
    host.ok(&Request::Clean).await;
    assert_eq!(fs::metadata(seen).unwrap().ino(), before.ino(), "{what}: it is not the very same file");
}

#[tokio::test]
async fn any_name_that_fits_a_line_is_one() {
    for shell in SHELLS {
        let home = Home::new();
        fs::create_dir(home.path("-a dir's \"odd\" näme*")).unwrap();
        let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
        for name in
            ["a b", "it's", "\"q\"", "-rf", "--", "näme\u{1f511}", "*", "$HOME", "a\\nb", "~", "#x", "a\tb", " "]
        {
            let path = home.path("-a dir's \"odd\" näme*").join(name);
            fs::write(&path, "old").unwrap();
            let relative = format!("-a dir's \"odd\" näme*/{name}");
            let read = host.ok(&Request::ReadFile { path: &relative, follow: false, replace: true }).await;
            let file = FileFacts::parse(&read).unwrap();
            assert_eq!((Path::new(&file.real_path), file.content.expose()), (path.as_path(), &b"old"[..]), "{shell:?}");
            there_and_back(&mut host, &file.real_path, &path, &format!("{shell:?} `{name}`")).await;
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(
            host.refused(&Request::ReadFile { path: "a\nb", follow: false, replace: true }).await,
            ReasonKind::Unclear
        );
        fs::write(home.path("a\nb"), "x").unwrap();
        symlink("a\nb", home.path("link")).unwrap();
        assert_eq!(
            host.refused(&Request::ReadFile { path: "link", follow: true, replace: true }).await,
            ReasonKind::Unclear
        );
    }
}

#[tokio::test]
async fn owner_mode_acl_and_attributes_stay() {
    as_root();
    // The tools are the same under each shell.
    for shell in [SHELLS[0], SHELLS[4]] {
        let (home, disk) = (Home::new(), on_disk());
        let path = disk.path().canonicalize().unwrap().join("file");
        for (mode, acl) in
            [(0o640, false), (0o600, true), (0o4755, false), (0o2640, true), (0o1644, false), (0o400, false)]
        {
            fs::write(&path, "old").unwrap();
            chown(&path, Some(1), Some(4)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let at = path.display();
            if acl {
                self::shell(&format!("setfacl -m u:7:r,g:8:rw {at}; setfattr -n user.note -v 'kept too' {at}"));
            }
            let facts = || {
                let said = format!("getfacl -cpn {at}; getfattr -d -m - --absolute-names {at} 2>/dev/null | sort");
                std::process::Command::new("sh").args(["-c", &said]).output().unwrap().stdout
            };
            let before = facts();
            let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
            to_the_barrier(&mut host, path.to_str().unwrap(), b"old", b"new").await.unwrap();
            host.ok(&Request::Cut).await;
            assert_eq!(facts(), before, "{shell:?} {mode:o} cut");
            host.ok(&Request::Confirm).await;
            host.ok(&Request::Clean).await;
            assert_eq!(fs::read(&path).unwrap(), b"new");
            there_and_back(&mut host, path.to_str().unwrap(), &path, &format!("{shell:?} {mode:o}")).await;
            assert_eq!(facts(), before, "{shell:?} {mode:o} back");
            fs::remove_file(&path).unwrap();
        }
    }
}

#[tokio::test]
async fn what_cannot_be_replaced_is_refused_before_anybody_is_cut() {
    as_root();
    for shell in SHELLS {
        let (home, disk) = (Home::new(), on_disk());
        let disk = disk.path().canonicalize().unwrap();
        let file = |name: &str| {
            let path = disk.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "old").unwrap();
            path
        };
        let (immutable, grows, inside) = (file("immutable"), file("grows"), file("dir/file"));
        let at = disk.display();
        self::shell(&format!("chattr +i {at}/immutable; chattr +a {at}/grows; chattr +i {at}/dir"));
        let mut refused = Vec::new();
        for path in [&immutable, &grows, &inside] {
            let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
            refused.push(to_the_barrier(&mut host, path.to_str().unwrap(), b"old", b"new").await);
            host.ok(&Request::Clean).await;
        }
        self::shell(&format!("chattr -ia {at}/immutable {at}/grows {at}/dir"));
        for (path, refused) in [immutable, grows, inside].iter().zip(refused) {
            assert_eq!(refused.unwrap_err().kind, ReasonKind::ReadOnly, "{shell:?} {}", path.display());
            assert_eq!(fs::read(path).unwrap(), b"old");
            assert_eq!(
                fs::read_dir(path.parent().unwrap()).unwrap().count(),
                if path.ends_with("dir/file") { 1 } else { 3 }
            );
        }
    }
}

/// A host in a mount namespace of its own, in which this was done first. What it sees at `disk` is seen from here at the path returned.
pub(super) async fn mounted(shell: &[&str], home: &Home, line: &str) -> (ShellHost, PathBuf) {
    as_root();
    fs::create_dir_all(home.path("disk")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &format!("{line}\nexec {} -s", shell.join(" "))]);
    let host = ShellHost::on(command, home, "01RUN", 1).await.unwrap();
    let disk = format!("/proc/{}/root{}", host.child.id().unwrap(), home.path("disk").display());
    (host, PathBuf::from(disk))
}

#[tokio::test]
async fn a_file_that_is_a_mount_point_or_on_a_read_only_disk_is_refused() {
    for shell in SHELLS {
        let home = Home::new();
        let path = home.path("disk/file");
        let path = path.to_str().unwrap();
        let (mut host, disk) =
            mounted(shell, &home, "cd disk; : >file; mount --bind file file; printf old >file; cd ..").await;
        let refused = to_the_barrier(&mut host, path, b"old", b"new").await.unwrap_err();
        assert_eq!(refused.kind, ReasonKind::ReadOnly, "{shell:?} {refused}");
        host.ok(&Request::Clean).await;
        assert_eq!(fs::read_dir(disk).unwrap().count(), 1, "something was left");
        let line = "mount -t tmpfs disk disk; printf old >disk/file; mount -o remount,ro disk disk";
        let (mut host, _disk) = mounted(shell, &home, line).await;
        let refused = to_the_barrier(&mut host, path, b"old", b"new").await.unwrap_err();
        assert_eq!(refused.kind, ReasonKind::ReadOnly, "{shell:?} {refused}");
        host.ok(&Request::Clean).await;
    }
}

#[tokio::test]
async fn a_target_on_another_file_system_than_the_state_moves_there_and_back() {
    let home = Home::new();
    let (mut host, disk) = mounted(&["dash"], &home, "mount -t tmpfs disk disk; printf old >disk/file").await;
    let path = home.path("disk/file").display().to_string();
    there_and_back(&mut host, &path, &disk.join("file"), "another file system").await;
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 1);
}

/// The disk, with the state of the run on it too, has ever so many pages or names left. Every step that does not fit is refused, the
/// session goes on, and cleaning needs no room.
#[tokio::test]
async fn a_full_disk_changes_nothing_wherever_it_strikes() {
    for (shell, limit) in [(SHELLS[0], "size=1m"), (SHELLS[0], "nr_inodes=40"), (SHELLS[3], "size=1m")] {
        let (mut refused, mut done) = (0, 0);
        for left in (0..20).chain([60, 110, 130, 160]) {
            let home = Home::new();
            let (mut host, disk) = mounted(shell, &home, &format!("mount -t tmpfs -o {limit} disk disk")).await;
            host.hello(1, "disk/.lockturn", "").await.unwrap();
            let old = vec![b'o'; 20_000];
            fs::write(disk.join("file"), &old).unwrap();
            fill(&disk, left, limit.starts_with("size"));
            let what = format!("{shell:?} {limit} {left} left");
            let path = home.path("disk/file").display().to_string();
            match to_the_barrier(&mut host, &path, &old, &vec![b'n'; LONG]).await {
                Err(reason) => {
                    refused += 1;
                    let kinds = [ReasonKind::NoSpace, ReasonKind::Denied, ReasonKind::RehearsalFailed];
                    assert!(kinds.contains(&reason.kind), "{what}: {reason:?}");
                }
                Ok(()) => {
                    done += 1;
                    fill(&disk, 0, limit.starts_with("size"));
                    host.ok(&Request::Cut).await;
                    assert_eq!(fs::read(disk.join("file")).unwrap().len(), LONG, "{what}");
                    host.ok(&Request::Revert).await;
                }
            }
            assert_eq!(fs::read(disk.join("file")).unwrap(), old, "{what}");
            // Whoever cleans takes the host first. One that could not be taken is nobody's.
            if let Err(error) = host.call(&Request::LockAgain).await {
                assert_eq!(error.reason().kind, ReasonKind::Fenced, "{what}: {error:?}");
            }
            host.ok(&Request::Clean).await;
            let names: Vec<_> = fs::read_dir(&disk).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(
                names.iter().all(|name| ["file", "filler", ".lockturn"].contains(&name.to_str().unwrap())),
                "{what}: {names:?}"
            );
            let state = fs::read_dir(disk.join(".lockturn")).map_or(0, Iterator::count);
            assert_eq!(state, 0, "{what}");
        }
        assert!(refused > 3 && done > 1, "{shell:?} {limit}: {refused} refused, {done} done");
    }
}

/// Leaves so many pages, or names, on a small disk.
fn fill(disk: &Path, left: u64, pages: bool) {
    fs::create_dir_all(disk.join("filler")).unwrap();
    let free = |stat: rustix::fs::StatVfs| if pages { stat.f_bavail } else { stat.f_favail };
    let mut number = fs::read_dir(disk.join("filler")).unwrap().count();
    while free(rustix::fs::statvfs(disk).unwrap()) > left {
        number += 1;
        let page: &[u8] = if pages { &[0; 4096] } else { &[] };
        fs::write(disk.join(format!("filler/{number}")), page).unwrap();
    }
}

#[tokio::test]
async fn a_limit_on_the_size_of_files_is_told_and_the_session_goes_on() {
    for shell in SHELLS {
        let home = Home::new();
        fs::write(home.path("file"), "old").unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", &format!("ulimit -f 8; exec {} -s", shell.join(" "))]);
        let mut host = ShellHost::on(command, &home, "01RUN", 1).await.unwrap();
        let path = home.path("file").display().to_string();
        let refused = to_the_barrier(&mut host, &path, b"old", &vec![b'n'; LONG]).await.unwrap_err();
        assert_eq!(refused.kind, ReasonKind::NoSpace, "{shell:?}");
        host.ok(&Request::Clean).await;
        assert_eq!(
            (fs::read(home.path("file")).unwrap(), home.names()),
            (b"old".to_vec(), vec![".lockturn".into(), "file".into()])
        );
    }
}

#[tokio::test]
async fn a_file_that_an_unfinished_run_has_a_backup_of_is_not_touched_and_the_run_is_named() {
    let home = Home::new();
    fs::write(home.path(".env"), "old").unwrap();
    ShellHost::armed(&["dash"], &home, &home.path(".env"), b"old", b"new").await.kill().await;
    let mut other = ShellHost::start(&["dash"], &home, "02RUN", 1).await;
    match other.call(&Request::ReadFile { path: ".env", follow: false, replace: true }).await {
        Err(CallError::Refused(reason)) if reason.kind == ReasonKind::NotPlain => {
            assert!(reason.detail.contains("/.lockturn-01RUN-1"), "{reason}");
        }
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was read as if nothing were"),
    }
}
