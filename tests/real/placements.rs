//! Values in databases and behind programs, on the program's own side, under every shell: there and back, and what is in the way.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use lockturn::host::{
    CallError, CommandOutput, Held, Request, ScriptKind, SqlRow, inspect_sql, parse_inspected, stage_sql,
};
use lockturn::model::{Reason, ReasonKind, Secret};

use super::host_program::shell_host::{Home, ShellHost};

const SHELLS: [&[&str]; 5] = [&["dash"], &["bash"], &["bash", "--posix"], &["busybox", "sh"], &["mksh"]];

const READ: &str = "SELECT secret FROM workers WHERE id = :host";
const WRITE: &str = "UPDATE workers SET secret = :secret WHERE id = :host";

/// A value with everything that SQL, a shell or a line could take for its own.
const OLD: &str = "o'l\"d; DROP TABLE workers; -- $(id) `id` \\ \u{e9}\nsecond line";
const NEW: &str = "n'e\"w /* \u{1f511}";

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// Runs SQL in a database of a host, as somebody else would.
fn sqlite(home: &Home, sql: &str) -> String {
    let output =
        Command::new("sqlite3").arg(home.path("a b.db")).arg(sql).output().expect("sqlite3; `make test` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn database() -> Home {
    let home = Home::new();
    let hex: String = OLD.bytes().map(|byte| format!("{byte:02x}")).collect();
    sqlite(
        &home,
        &format!(
            "CREATE TABLE workers(id TEXT, secret TEXT); INSERT INTO workers VALUES ('w1', CAST(X'{hex}' AS TEXT)), ('w2', 'theirs')"
        ),
    );
    home
}

fn refusal<T>(answer: Result<T, CallError>) -> Reason {
    match answer {
        Err(CallError::Refused(reason)) => reason,
        Err(lost) => panic!("{lost:?}"),
        Ok(_) => panic!("it was done"),
    }
}

async fn inspect(host: &mut ShellHost, read: &str) -> Result<Result<Secret, Reason>, CallError> {
    let sql = inspect_sql([(read, "w1")].into_iter()).unwrap();
    let rows = host.call(&Request::Sqlite { file: "a b.db", sql: &sql }).await?;
    Ok(parse_inspected(&rows, 1).unwrap().remove(0))
}

async fn stage(host: &mut ShellHost, write: &str) -> Result<Secret, CallError> {
    let (old, new) = (secret(OLD), secret(NEW));
    let parts = stage_sql(&[SqlRow { read: READ, write, host: "w1", old: &old, new: &new }]).unwrap();
    let stage = Request::StageScript { number: 1, kind: ScriptKind::Sqlite, target: "a b.db", parts: &parts };
    host.ok(&Request::Lock).await;
    host.ok(&stage).await;
    host.call(&Request::Rehearse).await
}

#[tokio::test]
async fn a_row_moves_there_and_back_under_every_shell() {
    for shell in SHELLS {
        let home = database();
        let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
        let found = inspect(&mut host, READ).await.unwrap().unwrap();
        assert_eq!(found.expose(), OLD.as_bytes(), "{shell:?}");
        assert_eq!(home.names(), ["a b.db"], "{shell:?}: looking left something behind");
        stage(&mut host, WRITE).await.unwrap();
        host.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
        assert_eq!(host.which().await.held, [Held::Old]);
        for _ in 0..2 {
            host.ok(&Request::Cut).await;
            assert_eq!(sqlite(&home, "SELECT secret FROM workers"), format!("{NEW}\ntheirs\n"), "{shell:?}");
            assert_eq!(host.which().await.held, [Held::New]);
        }
        for _ in 0..2 {
            host.ok(&Request::Revert).await;
            assert_eq!(sqlite(&home, "SELECT secret FROM workers"), format!("{OLD}\ntheirs\n"), "{shell:?}");
        }
        host.ok(&Request::Clean).await;
        assert_eq!(home.names(), [".lockturn", "a b.db"], "{shell:?}");
    }
}

#[tokio::test]
async fn a_value_with_a_nul_and_a_database_with_a_log_move_exactly() {
    let home = Home::new();
    sqlite(
        &home,
        "PRAGMA journal_mode = WAL; CREATE TABLE workers(id TEXT, secret TEXT); INSERT INTO workers VALUES ('w1', CAST(X'610062' AS TEXT))",
    );
    let mut host = ShellHost::start(&["dash"], &home, "01RUN", 1).await;
    let old = inspect(&mut host, READ).await.unwrap().unwrap();
    assert_eq!(old.expose(), b"a\0b");
    let new = Secret::new(b"\0c".to_vec());
    let parts = stage_sql(&[SqlRow { read: READ, write: WRITE, host: "w1", old: &old, new: &new }]).unwrap();
    host.ok(&Request::Lock).await;
    host.ok(&Request::StageScript { number: 1, kind: ScriptKind::Sqlite, target: "a b.db", parts: &parts }).await;
    host.ok(&Request::Rehearse).await;
    host.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
    host.ok(&Request::Cut).await;
    assert_eq!(sqlite(&home, "SELECT hex(secret) FROM workers"), "0063\n");
    host.ok(&Request::Revert).await;
    assert_eq!(sqlite(&home, "SELECT hex(secret) FROM workers"), "610062\n");
}

/// Somebody else who writes to the database, and has not finished.
struct Writer(std::process::Child);

impl Writer {
    fn new(home: &Home, begin: &str) -> Self {
        let mut writer = Command::new("sqlite3");
        writer.arg(home.path("a b.db")).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut writer = writer.spawn().unwrap();
        let ask = format!("{begin};\nUPDATE workers SET secret = 'half' WHERE id = 'w2';\nSELECT 'begun';\n");
        std::io::Write::write_all(writer.stdin.as_mut().unwrap(), ask.as_bytes()).unwrap();
        let mut begun = [0; 6];
        std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut begun).unwrap();
        Self(writer)
    }
}

/// Without a word it goes back to where it was.
impl Drop for Writer {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[tokio::test]
async fn a_database_that_somebody_else_writes_is_waited_for_and_then_refused() {
    let home = database();
    let mut host = ShellHost::start(&["dash"], &home, "01RUN", 1).await;
    stage(&mut host, WRITE).await.unwrap();
    host.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
    for begin in ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"] {
        let writer = Writer::new(&home, begin);
        let reason = refusal(host.call(&Request::Cut).await);
        assert_eq!(reason.kind, ReasonKind::DatabaseFailed, "{begin}: {reason}");
        assert!(reason.detail.contains("is locked"), "{begin}: {reason}");
        drop(writer);
        assert_eq!(sqlite(&home, "SELECT secret FROM workers"), format!("{OLD}\ntheirs\n"), "{begin}");
    }
    let writer = Writer::new(&home, "BEGIN EXCLUSIVE");
    let ends = tokio::time::sleep(std::time::Duration::from_secs(1));
    let (done, ()) = tokio::join!(host.call(&Request::Cut), async {
        ends.await;
        drop(writer);
    });
    done.unwrap_or_else(|error| panic!("it was not waited for: {error}"));
}

#[tokio::test]
async fn a_row_that_somebody_else_changed_is_left_alone() {
    for shell in SHELLS {
        let home = database();
        let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
        stage(&mut host, WRITE).await.unwrap();
        host.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
        sqlite(&home, "UPDATE workers SET secret = 'mine' WHERE id = 'w1'");
        assert_eq!(host.which().await.held, [Held::Other]);
        assert_eq!(host.refused(&Request::Cut).await, ReasonKind::Changed, "{shell:?}");
        // It was never cut: there is nothing to take back.
        host.ok(&Request::Revert).await;
        assert_eq!(sqlite(&home, "SELECT secret FROM workers"), "mine\ntheirs\n");
        host.ok(&Request::Clean).await;
    }
}

/// What sqlite3 says of a statement shows the statement, and in it the value.
#[tokio::test]
async fn a_statement_that_does_not_work_is_found_out_in_the_rehearsal_and_no_value_is_told() {
    for shell in SHELLS {
        for write in [
            "UPDTE workers SET secret = :secret WHERE id = :host",
            "UPDATE workers SET nothing = :secret WHERE id = :host",
            "UPDATE workers SET secret = :secret",
            "UPDATE workers SET secret = 'other' WHERE id = :host",
            "UPDATE workers SET secret = abs(:secret || -9223372036854775808) WHERE id = :host AND :secret",
        ] {
            let home = database();
            let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
            let reason = refusal(stage(&mut host, write).await);
            assert_eq!(reason.kind, ReasonKind::RehearsalFailed, "{shell:?} {write}: {reason}");
            assert!(reason.detail.len() > "the way back of change 1 () does not work: ".len() + 20, "{reason}");
            for value in [OLD, NEW] {
                let hex: String = value.bytes().map(|byte| format!("{byte:02X}")).collect();
                assert!(!reason.detail.contains(&hex[..8]) && !reason.detail.contains(&value[..4]), "{reason}");
            }
            assert_eq!(sqlite(&home, "SELECT secret FROM workers"), format!("{OLD}\ntheirs\n"), "{shell:?} {write}");
        }
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_written_or_is_none_is_refused_before_the_barrier() {
    let home = database();
    let at = home.path("a b.db").display().to_string();
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::copy(&at, disk.path().join("db")).unwrap();
    let path = disk.path().join("db").canonicalize().unwrap().display().to_string();
    let chattr = |how: &str| {
        assert!(Command::new("chattr").args([how, &path]).status().unwrap().success(), "chattr; run this as root")
    };
    let mut host = ShellHost::start(&["dash"], &home, "01RUN", 1).await;
    let (old, new) = (secret(OLD), secret(NEW));
    let parts = stage_sql(&[SqlRow { read: READ, write: WRITE, host: "w1", old: &old, new: &new }]).unwrap();
    host.ok(&Request::Lock).await;
    chattr("+i");
    host.ok(&Request::StageScript { number: 1, kind: ScriptKind::Sqlite, target: &path, parts: &parts }).await;
    let reason = refusal(host.call(&Request::Rehearse).await);
    chattr("-i");
    assert_eq!(reason.kind, ReasonKind::RehearsalFailed);
    assert!(reason.detail.contains("readonly"), "{reason}");
    fs::write(home.path("a b.db"), "no database, and long enough to be looked at: ".repeat(40)).unwrap();
    let reason = refusal(inspect(&mut host, READ).await);
    assert!(reason.kind == ReasonKind::DatabaseFailed && reason.detail.contains("not a database"), "{reason}");
}

/// Programs that read and write a value in the file `value`, and one thing that the one that writes does wrong.
async fn behind_programs(shell: &[&str], home: &Home, wrong: &str) -> ShellHost {
    fs::write(home.path("value"), "old").unwrap();
    fs::write(home.path("write"), format!("#!/bin/sh\nnew=$(cat)\n{wrong}\nprintf %s \"$new\" >value\n")).unwrap();
    fs::set_permissions(home.path("write"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut host = ShellHost::start(shell, home, "01RUN", 1).await;
    let (read, write, old, new) = (secret("cat\nvalue\n"), secret("./write\n"), secret("old"), secret("SECRET"));
    let parts = [("read", read), ("write", write), ("old", old), ("new", new)];
    host.ok(&Request::Lock).await;
    host.ok(&Request::StageScript { number: 1, kind: ScriptKind::Command, target: "", parts: &parts }).await;
    host.ok(&Request::Rehearse).await;
    host.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
    host
}

#[tokio::test]
async fn a_program_that_fails_or_stores_something_else_is_taken_back_and_its_words_are_not_told() {
    for shell in SHELLS {
        for (wrong, said) in [
            ("echo \"cannot store $new\" >&2; exit 3", "failed"),
            ("[ \"$new\" = old ] || new=half", "did not store"),
            ("[ \"$new\" = old ] || { printf ha >value; exit 3; }", "failed"),
            ("[ \"$new\" = old ] || { rm value; exit 0; }", "failed"),
        ] {
            let home = Home::new();
            let mut host = behind_programs(shell, &home, wrong).await;
            let reason = refusal(host.call(&Request::Cut).await);
            assert!(reason.detail.contains(said) && !reason.detail.contains("SECRET"), "{shell:?} {wrong}: {reason}");
            host.ok(&Request::Revert).await;
            assert_eq!(fs::read(home.path("value")).unwrap(), b"old", "{shell:?} {wrong}");
            host.ok(&Request::Clean).await;
        }
        let home = Home::new();
        let mut host = behind_programs(shell, &home, "").await;
        fs::write(home.path("value"), "theirs").unwrap();
        assert_eq!(host.refused(&Request::Cut).await, ReasonKind::Changed);
        host.ok(&Request::Revert).await;
        assert_eq!(fs::read(home.path("value")).unwrap(), b"theirs", "a value that nobody of us wrote");
        fs::remove_file(home.path("value")).unwrap();
        assert_eq!(host.refused(&Request::Which).await, ReasonKind::CommandFailed, "what cannot be read is not held");
    }
}

#[tokio::test]
async fn a_program_that_hangs_floods_or_leaves_somebody_behind_is_bounded() {
    for shell in SHELLS {
        let home = Home::new();
        let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
        let mut ask = async |line: &str, input: Vec<u8>| {
            let (words, input) = (["sh", "-c", line].map(str::to_owned), Secret::new(input));
            host.call(&Request::Command { seconds: 1, words: &words, input: &input }).await
        };
        for hangs in ["sleep 30", "trap '' TERM; while :; do sleep 1; done"] {
            assert_eq!(refusal(ask(hangs, Vec::new()).await).kind, ReasonKind::TimedOut, "{shell:?} {hangs}");
        }
        let output = async |answer: Result<Secret, CallError>| CommandOutput::parse(&answer.unwrap()).unwrap();
        let flood = output(ask("head -c 1000000 /dev/zero; exit 7", Vec::new()).await).await;
        assert_eq!((flood.status, flood.output.len()), (7, 65_536), "{shell:?}");
        // It reads nothing of what it is given: the rest must not be the next request.
        let deaf = output(ask("exec 0<&-; exit 4", vec![b'x'; 300_000]).await).await;
        assert_eq!(deaf.status, 4, "{shell:?}");
        let all = output(ask("wc -c", vec![b'\n'; 300_000]).await).await;
        assert_eq!(all.output.expose().trim_ascii(), b"300000", "{shell:?}");
        let began = std::time::Instant::now();
        let daemon = output(ask("sleep 8 & echo started", Vec::new()).await).await;
        assert_eq!(daemon.output.expose(), b"started\n", "{shell:?}");
        assert!(began.elapsed().as_secs() < 6, "{shell:?}: it waited for whoever was left behind");
        assert_eq!(home.names(), Vec::<String>::new(), "{shell:?}: something stays");
    }
}
