//! A lesser user owns the directory of the target, and would like to have root write, read or run elsewhere; or has rights that are
//! not enough. What was somebody else's stays as it was.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use lockturn::host::{CallError, Held, Request};
use lockturn::model::{Reason, ReasonKind, Secret};
use tokio::process::Command;

use super::host_program::shell_host::{Home, ShellHost, sha256};

const SHELLS: [&[&str]; 5] = [&["dash"], &["bash"], &["bash", "--posix"], &["busybox", "sh"], &["mksh"]];

/// `nobody`: whose rights are not enough.
const NOBODY: u32 = 65_534;

fn refusal(answer: Result<Secret, CallError>) -> Reason {
    match answer {
        Err(CallError::Refused(reason)) => reason,
        Err(lost) => panic!("{lost:?}"),
        Ok(_) => panic!("it was done"),
    }
}

/// A directory of the lesser user with the target, and one that is none of his business.
struct Place {
    home: Home,
    theirs: PathBuf,
    victim: PathBuf,
}

impl Place {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test gives files away: run it as root");
        let home = Home::new();
        let (theirs, victim) = (home.path("theirs"), home.path("victim"));
        for dir in [&theirs, &victim] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(theirs.join(".env"), "old").unwrap();
        fs::write(victim.join("new"), "precious").unwrap();
        for path in [theirs.join(".env"), theirs.clone()] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self { home, theirs, victim }
    }

    async fn stage(&self, host: &mut ShellHost) -> Result<Secret, CallError> {
        host.ok(&Request::Lock).await;
        host.stage_file(&self.theirs.join(".env"), b"old", b"SECRET").await
    }

    #[track_caller]
    fn nothing_was_touched(&self, what: &str) {
        let names: Vec<_> = fs::read_dir(&self.victim).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["new"], "{what}");
        assert_eq!(fs::read(self.victim.join("new")).unwrap(), b"precious", "{what}");
        assert_eq!(fs::read(self.theirs.join(".env")).unwrap(), b"old", "{what}");
    }

    /// Puts a tool before the host's own: it does its work, and then this happens, as if the lesser user had been that quick.
    fn quick(&self, tool: &str, then: &str) {
        let _already = fs::create_dir(self.home.path("tools"));
        let path = self.home.path("tools").join(tool);
        fs::write(&path, format!("#!/bin/sh\n/bin/{tool} \"$@\"\nstatus=$?\n{then}\nexit $status\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[tokio::test]
async fn what_was_planted_under_our_name_is_not_used() {
    for shell in SHELLS {
        for planted in ["link", "dangling link", "directory", "open directory of root", "file"] {
            let place = Place::new();
            let ours = place.theirs.join(".lockturn-01RUN-1");
            match planted {
                "link" => symlink(&place.victim, &ours).unwrap(),
                "dangling link" => symlink(place.victim.join("nothing"), &ours).unwrap(),
                "file" => fs::write(&ours, "").unwrap(),
                _ => fs::create_dir(&ours).unwrap(),
            }
            if planted == "directory" {
                fs::set_permissions(&ours, fs::Permissions::from_mode(0o700)).unwrap();
                chown(&ours, Some(NOBODY), None).unwrap();
            }
            if planted == "open directory of root" {
                fs::set_permissions(&ours, fs::Permissions::from_mode(0o777)).unwrap();
            }
            if ours.is_dir() && !ours.is_symlink() {
                symlink(place.victim.join("new"), ours.join("new")).unwrap();
            }
            let mut host = ShellHost::start(shell, &place.home, "01RUN", 1).await;
            let reason = refusal(place.stage(&mut host).await);
            let what = format!("{shell:?} {planted}: {reason:?}");
            assert!(matches!(reason.kind, ReasonKind::Denied | ReasonKind::CommandFailed), "{what}");
            place.nothing_was_touched(&what);
            host.ok(&Request::Clean).await;
            place.nothing_was_touched(&what);
        }
    }
}

#[tokio::test]
async fn what_is_swapped_while_root_works_is_found_out() {
    for shell in SHELLS {
        for (tool, then) in [
            // Our directory, at once after it was made.
            ("mkdir", "case $* in *lockturn-01RUN-1) rmdir .lockturn-01RUN-1; ln -s VICTIM .lockturn-01RUN-1 ;; esac"),
            // The target, after its digest was looked at: a link to what only root may read or write.
            ("sha256sum", "rm -f THEIRS/.env; ln -s VICTIM/new THEIRS/.env"),
        ] {
            let place = Place::new();
            let named = then.replace("THEIRS", &place.theirs.display().to_string());
            place.quick(tool, &named.replace("VICTIM", &place.victim.display().to_string()));
            let mut host = ShellHost::start(shell, &place.home, "01RUN", 1).await;
            host.hello(1, ".lockturn", "tools").await.unwrap();
            let reason = refusal(place.stage(&mut host).await);
            let what = format!("{shell:?} {tool}: {reason:?}");
            assert_eq!(fs::read(place.victim.join("new")).unwrap(), b"precious", "{what}");
            assert_eq!(fs::read_dir(&place.victim).unwrap().count(), 1, "{what}");
        }
    }
}

#[tokio::test]
async fn a_target_that_became_a_link_or_a_directory_is_not_followed() {
    for shell in SHELLS {
        for directory in [false, true] {
            let place = Place::new();
            let target = place.theirs.join(".env");
            let mut host = ShellHost::armed(shell, &place.home, &target, b"old", b"SECRET").await;
            fs::rename(&target, place.theirs.join("moved")).unwrap();
            let to = if directory { place.victim.clone() } else { place.theirs.join("moved") };
            symlink(to, &target).unwrap();
            assert_eq!(refusal(host.call(&Request::Cut).await).kind, ReasonKind::Changed, "{shell:?}");
            let held = host.which().await.held[0];
            assert!(matches!(held, Held::Other | Held::Missing), "{shell:?}: {held:?}");
            assert!(target.is_symlink(), "{shell:?}: the link is gone");
            assert_eq!(fs::read(place.theirs.join("moved")).unwrap(), b"old");
            assert_eq!(fs::read_dir(&place.victim).unwrap().count(), 1, "{shell:?}");
        }
        // The same, between the last look and the rename.
        let place = Place::new();
        let target = place.theirs.join(".env");
        place.quick("sha256sum", &format!("[ ! -e arm ] || ln -sfn {} {}", place.victim.display(), target.display()));
        let mut host = ShellHost::armed(shell, &place.home, &target, b"old", b"SECRET").await;
        host.hello(1, ".lockturn", "tools").await.unwrap();
        fs::write(place.home.path("arm"), "").unwrap();
        let _whatever = host.call(&Request::Cut).await;
        assert_eq!(fs::read_dir(&place.victim).unwrap().count(), 1, "{shell:?}: it was moved into a directory");
        assert_eq!(fs::read(place.victim.join("new")).unwrap(), b"precious");
    }
}

#[tokio::test]
async fn a_backup_or_a_second_copy_that_was_written_to_is_not_put_in_place() {
    for shell in SHELLS {
        let place = Place::new();
        let target = place.theirs.join(".env");
        let mut host = ShellHost::armed(shell, &place.home, &target, b"old", b"SECRET").await;
        // Whoever held the old file open may still write to it.
        let mut held_open = fs::OpenOptions::new().append(true).open(&target).unwrap();
        host.ok(&Request::Cut).await;
        std::io::Write::write_all(&mut held_open, b"er").unwrap();
        let reason = refusal(host.call(&Request::Revert).await);
        assert!(reason.detail.contains("the backup beside it was written to"), "{shell:?}: {reason}");
        assert_eq!(fs::read(&target).unwrap(), b"SECRET");
        fs::write(place.theirs.join(".lockturn-01RUN-1/old"), "old").unwrap();
        host.ok(&Request::Revert).await;
        fs::write(place.theirs.join(".lockturn-01RUN-1/keep"), "tampered").unwrap();
        host.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
        let reason = refusal(host.call(&Request::Cut).await);
        assert!(reason.detail.contains("the new content kept beside it was written to"), "{shell:?}: {reason}");
        assert_eq!(fs::read(&target).unwrap(), b"old");
    }
}

#[tokio::test]
async fn a_state_directory_that_others_may_write_is_mended_or_refused() {
    for shell in SHELLS {
        let place = Place::new();
        fs::create_dir(place.home.path(".lockturn")).unwrap();
        fs::set_permissions(place.home.path(".lockturn"), fs::Permissions::from_mode(0o777)).unwrap();
        let mut host = ShellHost::start(shell, &place.home, "01RUN", 1).await;
        host.ok(&Request::Lock).await;
        assert_eq!(fs::metadata(place.home.path(".lockturn")).unwrap().mode() & 0o7777, 0o700, "{shell:?}");
        host.ok(&Request::Clean).await;
        chown(place.home.path(".lockturn"), Some(NOBODY), None).unwrap();
        let mut host = ShellHost::start(shell, &place.home, "01RUN", 1).await;
        assert_eq!(refusal(host.call(&Request::Lock).await).kind, ReasonKind::Denied, "{shell:?}");
        let (sql, words) = (Secret::new(b"SELECT 1;".to_vec()), ["true".to_owned()]);
        let command = host.call(&Request::Command { seconds: 5, words: &words, input: &sql }).await;
        assert_eq!(refusal(command).kind, ReasonKind::Denied, "{shell:?}");
    }
}

/// A shell with the rights of nobody, in a home of his own.
async fn as_nobody(shell: &[&str], home: &Home) -> ShellHost {
    fs::set_permissions(home.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    chown(home.path("."), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(shell).arg("-s");
    ShellHost::on(command, home, "01RUN", 1).await.unwrap()
}

#[tokio::test]
async fn rights_that_are_not_enough_are_said_before_anything_is_staged() {
    for shell in SHELLS {
        let place = Place::new();
        for (name, mode) in [("secret", 0o700), ("locked", 0o555), ("shared", 0o777)] {
            fs::create_dir(place.home.path(name)).unwrap();
            fs::write(place.home.path(name).join("file"), "old").unwrap();
            fs::set_permissions(place.home.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::write(place.home.path("unreadable"), "old").unwrap();
        fs::set_permissions(place.home.path("unreadable"), fs::Permissions::from_mode(0o600)).unwrap();
        let mut host = as_nobody(shell, &place.home).await;
        for (path, kind) in [
            ("secret/file", ReasonKind::Denied),
            ("unreadable", ReasonKind::Denied),
            ("locked/file", ReasonKind::ReadOnly),
        ] {
            assert_eq!(
                host.refused(&Request::ReadFile { path, follow: false, replace: true }).await,
                kind,
                "{shell:?} {path}"
            );
        }
        // A file of root in a directory that anybody may write: the new one would be nobody's.
        host.ok(&Request::Lock).await;
        let path = place.home.path("shared/file");
        let reason = refusal(host.stage_file(&path, b"old", b"new").await);
        assert!(matches!(reason.kind, ReasonKind::MetadataLost | ReasonKind::CommandFailed), "{shell:?}: {reason:?}");
        assert_eq!(names(path.parent().unwrap()), ["file"], "{shell:?}");
        // His own he may have.
        let mut host = as_nobody(shell, &place.home).await;
        host.ok(&Request::Lock).await;
        let (own, sha256) = (place.theirs.join(".env"), sha256(b"old"));
        let content = Secret::new(b"new".to_vec());
        let path = own.to_str().unwrap();
        for request in [
            Request::StageFile { number: 1, path, sha256: &sha256, content: &content },
            Request::Rehearse,
            Request::Arm { lease_seconds: 60, services: &[] },
            Request::Cut,
            Request::Confirm,
            Request::Clean,
        ] {
            host.ok(&request).await;
        }
        assert_eq!(
            (fs::read(&own).unwrap(), names(&place.theirs)),
            (b"new".to_vec(), vec![".env".to_owned()]),
            "{shell:?}"
        );
    }
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
