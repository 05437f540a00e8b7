//! The program that shows evidence, under every shell that may be a host's `/bin/sh`.

use std::process::Stdio;
use std::time::Duration;

use lockturn::host::{EVIDENCE, EvidenceSession, Nonce};
use tokio::process::Command;

/// Far longer than anything here takes: only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn under(shell: &str) {
    // Nobody there can write one byte to any file.
    let line = format!("ulimit -f 0; exec {shell} -s");
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new("/bin/bash")
        .args(["-c", &line])
        .env("TMPDIR", dir.path())
        .env("HOME", dir.path())
        // What a login may have set.
        .env("BASH_FUNC_cat%%", "() { echo stolen; }")
        .env("QUOTING_STYLE", "c")
        .env("GREP_OPTIONS", "-v")
        .env("SYSTEMD_PAGER", "cat >/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let session = EvidenceSession::start(stdout, stdin, Nonce::new([7; 16]), PATIENCE).await;
    let mut session = session.unwrap_or_else(|reason| panic!("{shell}: {reason}; `make test` installs it"));
    for item in &EVIDENCE {
        let mut kept = Vec::new();
        let shown = session.show(item, (Duration::from_secs(30), item.bytes), |chunk| {
            kept.extend_from_slice(chunk);
            Ok(())
        });
        let shown = tokio::time::timeout(PATIENCE, shown).await;
        let ended = shown.unwrap_or_else(|_| panic!("{shell}: `{}` hangs", item.name)).unwrap();
        let text = String::from_utf8_lossy(&kept);
        assert!([0, 44].contains(&ended.status) && !ended.cut, "{shell}: `{}`: {ended:?}: {text}", item.name);
        assert_eq!(text.trim().is_empty(), ended.status == 44, "{shell}: `{}`: {ended:?}: {text}", item.name);
        assert!(!text.contains("\nstolen\n"), "{shell}: `{}`: a function of the login's ran", item.name);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{shell}");
}

#[tokio::test]
async fn under_every_shell_it_shows_it_all_and_writes_nothing() {
    for shell in ["dash", "bash", "bash --posix", "mksh", "busybox ash"] {
        under(shell).await;
    }
}
