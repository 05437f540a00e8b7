//! A shell is killed before and after each program that it starts, in each step; another takes the host. Whatever happened, the file
//! is the old or the new one as a whole, and so is the row of a database, the way that was meant can be gone to its end, and nothing stays.
//!
//! The tools of the host are wrapped: the N-th call of any of them kills the shell, before it does its work or after. N counts up
//! until the step comes through.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use lockturn::host::{CallError, Held, Request, ScriptKind, SqlRow, stage_sql};
use lockturn::model::{ReasonKind, Secret};

use super::host_program::shell_host::{Home, ShellHost};

const TOOLS: [&str; 14] =
    ["chmod", "cp", "head", "ln", "ls", "mkdir", "mv", "rm", "rmdir", "sha256sum", "sqlite3", "sync", "tail", "tee"];

/// More calls than any step makes: then the sweep itself is wrong.
const CALLS_MAX: usize = 60;

const OLD: &[u8] = b"A=1\nK=old\n";
const NEW: &[u8] = b"A=1\nK=new\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Step {
    Lock,
    Stage,
    Rehearse,
    Arm,
    Cut,
    Confirm,
    Revert,
    Clean,
}

use Step::{Arm, Clean, Confirm, Cut, Lock, Rehearse, Revert, Stage};

/// Puts the wrappers beside the file; nobody dies before `at` is written.
fn wrap(home: &Home) {
    fs::create_dir(home.path("tools")).unwrap();
    let here = home.path("tools").display().to_string();
    let text = format!(
        "#!/bin/sh\nread -r count <{here}/count\ncount=$((count + 1))\necho $count >{here}/count\n\
         read -r at when pid <{here}/at || exec /bin/${{0##*/}} \"$@\"\n\
         [ $count = \"$at\" ] || exec /bin/${{0##*/}} \"$@\"\n\
         [ $when = before ] || /bin/${{0##*/}} \"$@\"\nkill -9 $pid\n"
    );
    fs::write(home.path("tools/count"), "0\n").unwrap();
    fs::write(home.path("tools/at"), "").unwrap();
    for tool in TOOLS {
        let (text, tool) = (text.replace("/bin/${0##*/}", &real(tool)), home.path("tools").join(tool));
        fs::write(&tool, text).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn real(tool: &str) -> String {
    let found = ["/usr/bin", "/bin"].iter().map(|dir| format!("{dir}/{tool}")).find(|path| Path::new(path).exists());
    found.unwrap_or_else(|| panic!("there is no {tool}"))
}

async fn perform(host: &mut ShellHost, path: &Path, step: Step) -> Result<Secret, CallError> {
    let request = match step {
        Stage => return stage(host, path).await,
        Lock => Request::Lock,
        Rehearse => Request::Rehearse,
        Arm => Request::Arm { lease_seconds: 60, services: &[] },
        Cut => Request::Cut,
        Confirm => Request::Confirm,
        Revert => Request::Revert,
        Clean => Request::Clean,
    };
    host.call(&request).await
}

/// A file and a row of a database.
async fn stage(host: &mut ShellHost, path: &Path) -> Result<Secret, CallError> {
    host.stage_file(path, OLD, NEW).await?;
    let (old, new) = (Secret::new(b"old".to_vec()), Secret::new(b"new".to_vec()));
    let row = SqlRow { read: "SELECT s FROM t", write: "UPDATE t SET s = :secret", host: "h", old: &old, new: &new };
    let parts = stage_sql(&[row]).unwrap();
    host.call(&Request::StageScript { number: 2, kind: ScriptKind::Sqlite, target: "db", parts: &parts }).await
}

fn sqlite(home: &Home, sql: &str) -> String {
    let output =
        Command::new("sqlite3").arg(home.path("db")).arg(sql).output().expect("sqlite3; `make test` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Does these steps, the last of them with a death in it. Says whether the death came.
async fn dies_in_the_last_of(steps: &[Step], at: usize, when: &str) -> bool {
    let home = Home::new();
    let path = home.path(".env");
    fs::write(&path, OLD).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    sqlite(&home, "CREATE TABLE t(s TEXT); INSERT INTO t VALUES ('old')");
    wrap(&home);
    let mut host = ShellHost::start(&["dash"], &home, "01RUN", 1).await;
    let (last, first) = steps.split_last().unwrap();
    for step in first {
        perform(&mut host, &path, *step).await.unwrap();
    }
    host.hello(1, ".lockturn", "tools").await.unwrap();
    fs::write(home.path("tools/count"), "0\n").unwrap();
    fs::write(home.path("tools/at"), format!("{at} {when} {}\n", host.child.id().unwrap())).unwrap();
    let died = match perform(&mut host, &path, *last).await {
        Ok(_) => false,
        Err(CallError::Lost(_)) => true,
        Err(CallError::Refused(reason)) => panic!("{steps:?} {at} {when}: {reason}"),
    };
    fs::write(home.path("tools/at"), "").unwrap();
    drop(host);
    another_goes_on(&home, &path, *last, &format!("{steps:?} {when} call {at}")).await;
    died
}

/// The next session: it finds the old or the new file, goes where the step was going, twice, and leaves nothing.
async fn another_goes_on(home: &Home, path: &Path, last: Step, what: &str) {
    let found = fs::read(path).unwrap();
    assert!(found == OLD || (found == NEW && last >= Cut), "{what}: {}", found.escape_ascii());
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o640, "{what}");
    let state = || -> Vec<_> {
        fs::read_dir(home.path(".lockturn")).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let mut host = ShellHost::start(&["dash"], home, "01RUN", 2).await;
    if last == Clean && state().is_empty() {
        assert_eq!(host.refused(&Request::LockAgain).await, ReasonKind::Fenced, "{what}");
    } else {
        host.ok(if last == Clean { &Request::LockAgain } else { &Request::Lock }).await;
    }
    let held = host.which().await.held;
    assert!(held.iter().all(|held| [Held::Old, Held::New].contains(held)), "{what}: {held:?}");
    assert!(held.first().is_none_or(|held| (*held == Held::Old) == (found == OLD)), "{what}: {held:?}");
    let (steps, end): (&[Step], _) = match last {
        // Before the barrier the run is taken back; whatever was staged must not be in the way.
        Lock | Stage | Rehearse | Arm => (&[], OLD),
        Cut | Revert => (&[Revert, Cut, Cut, Revert, Revert], OLD),
        Confirm => (&[Confirm, Confirm], NEW),
        Clean => (&[], if found == OLD { OLD } else { NEW }),
    };
    for step in steps {
        // What was taken back is not armed any more.
        if *step == Cut {
            perform(&mut host, path, Arm).await.unwrap();
        }
        perform(&mut host, path, *step).await.unwrap_or_else(|error| panic!("{what}, then {step:?}: {error}"));
    }
    for _ in 0..2 {
        perform(&mut host, path, Clean).await.unwrap_or_else(|error| panic!("{what}, then clean: {error}"));
    }
    assert_eq!(fs::read(path).unwrap(), end, "{what}");
    assert_eq!(sqlite(home, "SELECT s FROM t"), if end == OLD { "old\n" } else { "new\n" }, "{what}");
    assert_eq!(home.names(), [".env", ".lockturn", "db", "tools"], "{what}");
    assert!(state().is_empty(), "{what}: {:?}", state());
    // The next run, whose first coordinator has a smaller number than the last one of this run.
    let mut next = ShellHost::start(&["dash"], home, "02RUN", 1).await;
    next.ok(&Request::Lock).await;
    next.ok(&Request::Clean).await;
}

async fn sweep(steps: &[Step]) {
    for when in ["before", "after"] {
        let mut at = 1;
        while dies_in_the_last_of(steps, at, when).await {
            at += 1;
            assert!(at < CALLS_MAX, "{steps:?} never comes through");
        }
        assert!(at > 1, "nobody died in {steps:?}");
    }
}

#[tokio::test]
async fn before_the_barrier_the_old_file_stays_and_all_is_cleaned() {
    let (lock, stage) = (sweep(&[Lock]), sweep(&[Lock, Stage]));
    let (rehearse, arm) = (sweep(&[Lock, Stage, Rehearse]), sweep(&[Lock, Stage, Rehearse, Arm]));
    tokio::join!(lock, stage, rehearse, arm);
}

#[tokio::test]
async fn the_cut_and_the_way_back_can_be_gone_to_their_end() {
    let there = sweep(&[Lock, Stage, Rehearse, Arm, Cut]);
    let back = sweep(&[Lock, Stage, Rehearse, Arm, Cut, Revert]);
    tokio::join!(there, back);
}

#[tokio::test]
async fn what_was_confirmed_stays_and_a_clean_that_died_is_done_again() {
    let confirm = sweep(&[Lock, Stage, Rehearse, Arm, Cut, Confirm]);
    let clean = sweep(&[Lock, Stage, Rehearse, Arm, Cut, Confirm, Clean]);
    let taken_back = sweep(&[Lock, Stage, Rehearse, Arm, Cut, Revert, Clean]);
    tokio::join!(confirm, clean, taken_back);
}
