//! What stands between sshd and `/bin/sh`: the login shell of the user, and all that it prints, sets, overrides or breaks first.
//!
//! sshd runs `LOGIN-SHELL -c "exec /bin/sh -s"`; so do these tests, with the start-up files that the shell reads then.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lockturn::host::{CallError, CommandOutput, FileFacts, Request};
use lockturn::model::{ReasonKind, Secret};
use tokio::process::Command;

use super::host_program::shell_host::{Home, ShellHost};

/// What we ask sshd to run.
const ASKED: &str = "exec /bin/sh -s";

/// The whole way of a file, and nothing of the login in it.
async fn works(host: &mut ShellHost, home: &Home, what: &str) {
    let path = home.path(".env");
    fs::write(&path, "old").unwrap();
    let read = host.ok(&Request::ReadFile { path: ".env", follow: false, replace: true }).await;
    assert_eq!(FileFacts::parse(&read).unwrap().content.expose(), b"old", "{what}");
    host.ok(&Request::Lock).await;
    host.stage_file(&path, b"old", b"new").await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let (words, input) = (["cat".to_owned()], Secret::new(b"in".to_vec()));
    let output = host.ok(&Request::Command { seconds: 5, words: &words, input: &input }).await;
    assert_eq!(CommandOutput::parse(&output).unwrap().output.expose(), b"in", "{what}");
    host.ok(&Request::Rehearse).await;
    host.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
    let state = home.path(".lockturn");
    assert_eq!(open_to_others(&state), Vec::<String>::new(), "{what}");
    host.ok(&Request::Cut).await;
    assert_eq!(fs::read(&path).unwrap(), b"new", "{what}");
    host.ok(&Request::Revert).await;
    host.ok(&Request::Clean).await;
    assert_eq!(fs::read(&path).unwrap(), b"old", "{what}");
    let left = fs::read_dir(&state).unwrap().count();
    assert_eq!(left, 0, "{what}: something stays");
}

/// Whatever in the state others may look at.
fn open_to_others(dir: &Path) -> Vec<String> {
    let mut open = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o077 != 0 {
            open.push(path.display().to_string());
        }
        if path.is_dir() {
            open.extend(open_to_others(&path));
        }
    }
    open
}

/// A user of this login shell: the host, once the shell has read its start-up files.
async fn login(shell: &[&str], home: &Home) -> Result<ShellHost, CallError> {
    // `on` clears the environment; sshd leaves these.
    let mut command = Command::new("env");
    command.arg("SSH_CLIENT=127.0.0.1 1 22").arg("SHLVL=0").args(shell).args(["-c", ASKED]);
    ShellHost::on(command, home, "01RUN", 1).await
}

/// bash reads `.bashrc` where sshd started it (it knows by SSH_CLIENT and SHLVL), csh `.cshrc`, fish `config.fish`, mksh ENV.
fn start_up(home: &Home, file: &str, text: &[u8]) {
    let path = home.path(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn refusal(ended: Result<ShellHost, CallError>) -> (ReasonKind, String) {
    match ended {
        Err(CallError::Lost(reason)) => (reason.kind, reason.detail),
        Err(refused) => panic!("{refused:?}"),
        Ok(_) => panic!("it came up"),
    }
}

#[tokio::test]
async fn each_login_shell_hands_over_to_sh() {
    for (shell, file) in [
        ("bash", ".bashrc"),
        ("dash", "unread"),
        ("mksh", "unread"),
        ("tcsh", ".cshrc"),
        ("fish", ".config/fish/config.fish"),
    ] {
        let home = Home::new();
        start_up(&home, file, b"echo read >started\necho welcome\n");
        let mut host = login(&[shell], &home).await.unwrap_or_else(|error| panic!("{shell}: {error}"));
        works(&mut host, &home, shell).await;
        assert!(file == "unread" || home.path("started").exists(), "{shell} read no start-up file: a test of nothing");
    }
}

#[tokio::test]
async fn what_a_login_prints_is_not_taken_for_an_answer() {
    let nonce = "07".repeat(16);
    let all: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let almost = [b"x".repeat(63 * 1024), b"\n".to_vec()].concat();
    for (what, noise) in [
        ("text", b"Last login: now\n".to_vec()),
        ("no line break", b"Welcome! ".to_vec()),
        ("a reply", format!("{nonce} 1 ok 2\nno\n{nonce} 2 ok 0\n\n").into_bytes()),
        ("almost ready", b"LOCKTURN-READY 10\nLOCKTURN-READY".to_vec()),
        ("bytes", all),
        ("63 KiB", almost),
    ] {
        let home = Home::new();
        fs::write(home.path("noise"), noise).unwrap();
        start_up(&home, ".bashrc", b"cat noise\n");
        let mut host = login(&["bash"], &home).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        works(&mut host, &home, what).await;
    }
}

/// It gets a line of ours: the first one, which says nothing.
#[tokio::test]
async fn a_login_that_reads_a_line_gets_none_that_matters() {
    let home = Home::new();
    start_up(&home, ".bashrc", b"read -r line; echo $line\n");
    works(&mut login(&["bash"], &home).await.unwrap(), &home, "a question").await;
}

#[tokio::test]
async fn too_much_noise_and_a_login_that_ends_are_told_apart() {
    for (text, said) in [
        ("head -c 100000 /dev/zero", "more than 64 KiB"),
        ("echo 'This account is locked.'; exit 1", "This account is locked."),
        ("exec true", "ended"),
    ] {
        let home = Home::new();
        start_up(&home, ".bashrc", text.as_bytes());
        let (kind, detail) = refusal(login(&["bash"], &home).await);
        assert_eq!(kind, ReasonKind::NoShell, "{text}: {detail}");
        assert!(detail.contains(said), "{text}: {detail}");
    }
}

#[tokio::test]
async fn what_a_login_sets_and_overrides_does_not_matter() {
    let everything = "set -e; set -u; set -o noclobber; set -o allexport; set -f; set -x 2>/dev/null; export SHELLOPTS; umask 000\n\
        export IFS=abc POSIXLY_CORRECT=1 CDPATH=/:/tmp TMPDIR=/nonexistent LC_ALL=tr_TR.UTF-8 LANG=de_DE.UTF-8 GREP_OPTIONS=-v\n\
        export ENV=$PWD/evil BASH_ENV=$PWD/evil PS4='+ $(echo x)' LS_COLORS=x QUOTING_STYLE=shell TIME_STYLE=+%s BLOCK_SIZE=1M\n\
        echo 'echo evil; exit 9' >$PWD/evil\n";
    let tools = [
        "cat", "head", "printf", "read", "cd", "ls", "mv", "ln", "cp", "rm", "sync", "command", "kill", "tee", "wc",
        "id",
    ];
    let functions: String =
        tools.iter().map(|tool| format!("{tool}() {{ echo evil >>evil-{tool}; }}; export -f {tool}\n")).collect();
    let special = "set() { echo evil; }; unset() { echo evil; }; exec() { echo evil; }; export -f set unset exec\n";
    for shell in ["/bin/sh", "bash", "bash --posix", "busybox sh", "mksh"] {
        // With functions that are named like special built-ins a posix bash does not even start.
        let special = if shell == "bash --posix" { "" } else { special };
        for (what, text) in [("options", everything.to_owned()), ("functions", functions.clone() + special)] {
            let home = Home::new();
            fs::write(home.path("rc"), text + "\\builtin exec \"$@\" -s\n").unwrap();
            let mut command = Command::new("bash");
            command.args(["rc"]).args(shell.split(' '));
            let host = ShellHost::on(command, &home, "01RUN", 1).await;
            let mut host = host.unwrap_or_else(|error| panic!("{shell} {what}: {error}"));
            works(&mut host, &home, &format!("{shell} {what}")).await;
            let evil: Vec<_> = home.names().into_iter().filter(|name| name.starts_with("evil-")).collect();
            assert!(evil.is_empty(), "{shell}: {evil:?}");
        }
    }
}

#[tokio::test]
async fn a_login_without_what_others_have_still_works() {
    for (what, words) in [
        ("no HOME", vec!["env", "-u", "HOME", "/bin/sh", "-s"]),
        ("a home that is gone", vec!["sh", "-c", "mkdir gone && cd gone && rmdir ../gone && exec /bin/sh -s"]),
        ("no standard error", vec!["sh", "-c", "exec /bin/sh -s 2>&-"]),
        ("PATH of the login", vec!["env", "PATH=/nonexistent:.", "/bin/sh", "-s"]),
        ("signals ignored", vec!["sh", "-c", "trap '' HUP INT TERM PIPE; exec /bin/sh -s"]),
        ("few descriptors", vec!["sh", "-c", "ulimit -n 32; exec /bin/sh -s"]),
        ("many descriptors open", vec!["sh", "-c", "exec 3</dev/null 4<&3 5<&3 6<&3 7<&3 8<&3 9<&3; exec /bin/sh -s"]),
    ] {
        let home = Home::new();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        let mut host =
            ShellHost::on(command, &home, "01RUN", 1).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        if what == "a home that is gone" {
            // It has no relative paths any more, and says so; absolute ones are as good as ever.
            assert_eq!(
                host.refused(&Request::ReadFile { path: ".env", follow: false, replace: true }).await,
                ReasonKind::Missing
            );
            let state = home.path(".lockturn").display().to_string();
            host.hello(1, &state, "").await.unwrap();
            fs::write(home.path(".env"), "old").unwrap();
            host.ok(&Request::Lock).await;
            host.stage_file(&home.path(".env"), b"old", b"new").await.unwrap();
            host.ok(&Request::Rehearse).await;
            host.ok(&Request::Clean).await;
            continue;
        }
        works(&mut host, &home, what).await;
    }
}
