//! What must be on the disk before something else is, and before a host says so: what the kernel is asked for, in its order.
//!
//! The real hosts lose what was not synced when their power is cut, but an ext4 log takes earlier changes of other directories along
//! with whatever is synced. Here every one of these calls is looked for by itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lockturn::host::Request;
use tokio::process::Command;

use super::host_program::shell_host::{Home, ShellHost};

/// A traced host.
struct Traced {
    home: Home,
    host: ShellHost,
    trace: PathBuf,
    /// How many of its calls were looked at.
    seen: usize,
}

/// One call: the line that `strace -y` prints.
type Call = String;

impl Traced {
    async fn start() -> Self {
        let home = Home::new();
        let trace = home.path("trace");
        let mut command = Command::new("strace");
        command
            .args(["-f", "-y", "-qq", "-s", "64", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2,write", "-o"])
            .arg(&trace)
            .args(["/bin/dash", "-s"]);
        let host = ShellHost::on(command, &home, "01RUN", 1).await.unwrap();
        let mut traced = Self { home, host, trace, seen: 0 };
        // The answer to the greeting is none to what comes next.
        traced.until_answered();
        traced
    }

    /// Asks the host, and gives what was done until it had answered.
    async fn calls(&mut self, request: &Request<'_>) -> Vec<Call> {
        self.host.ok(request).await;
        self.until_answered()
    }

    /// strace writes a call down when it has ended, which may be a moment after we have its answer.
    fn until_answered(&mut self) -> Vec<Call> {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let calls = ended(&fs::read_to_string(&self.trace).unwrap());
            let new = &calls[self.seen..];
            if new.iter().any(|call| is_answer(call)) {
                let new = new.to_vec();
                self.seen = calls.len();
                return new;
            }
            assert!(std::time::Instant::now() < until, "no answer in the trace:\n{}", new.join("\n"));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn state(&self, name: &str) -> String {
        self.home.path(".lockturn/01RUN").join(name).display().to_string()
    }
}

/// The calls of a trace in the order in which they ended. What another process does in the middle of one splits it into two lines:
/// `PID fsync(3</a> <unfinished ...>` and `PID <... fsync resumed>) = 0`.
fn ended(trace: &str) -> Vec<Call> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    let whole = trace.rfind('\n').map_or(0, |end| end + 1);
    for line in trace[..whole].lines() {
        let pid = line.split(' ').next().unwrap_or_default();
        if let Some(beginning) = line.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, beginning);
        } else if let Some((_, end)) = line.split_once(" resumed>") {
            calls.push(format!("{}{end}", begun.remove(pid).unwrap_or_default()));
        } else {
            calls.push(line.to_owned());
        }
    }
    calls
}

/// The program's answers begin with its nonce, of sixteen sevens.
fn is_answer(call: &str) -> bool {
    call.contains(" write(1<") && call.contains("\"0707070707")
}

/// What is looked for.
enum Wanted<'a> {
    /// This file or directory, synced.
    Synced(&'a str),
    /// Some name renamed to another, as the tool is told them.
    Renamed(&'a str, &'a str),
    Answered,
}

use Wanted::{Answered, Renamed, Synced};

impl Wanted<'_> {
    fn is(&self, call: &str) -> bool {
        match self {
            Synced(path) => call.contains("sync(") && call.contains(&format!("<{path}>")) && call.ends_with(" = 0"),
            Renamed(from, to) => {
                call.contains(" rename")
                    && call.contains(&format!("\"{from}\""))
                    && call.contains(&format!("\"{to}\""))
                    && call.ends_with(" = 0")
            }
            Answered => is_answer(call),
        }
    }
}

/// These calls are there, each after the one before.
#[track_caller]
fn in_order(calls: &[Call], wanted: &[Wanted<'_>]) {
    let mut left = calls.iter();
    for (at, one) in wanted.iter().enumerate() {
        assert!(
            left.any(|call| one.is(call)),
            "number {} of what is wanted is not there, or too early:\n{}",
            at + 1,
            calls.join("\n")
        );
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn what_a_step_answers_for_is_on_the_disk_and_in_the_right_order() {
    let mut traced = Traced::start().await;
    let (root, env) = (traced.home.path(""), traced.home.path(".env"));
    let root = text(&root).trim_end_matches('/').to_owned();
    fs::write(&env, "old").unwrap();
    let run = text(&traced.home.path(".lockturn/01RUN"));
    let beside = text(&traced.home.path(".lockturn-01RUN-1"));
    let file = |name: &str| format!("{beside}/{name}");

    let calls = traced.calls(&Request::Lock).await;
    in_order(&calls, &[Synced(&text(&traced.home.path(".lockturn"))), Synced(&run), Answered]);

    traced.host.stage_file(&env, b"old", b"new").await.unwrap();
    let calls = traced.until_answered();
    for name in ["new", "keep", "old"] {
        in_order(
            &calls,
            &[
                Synced(&traced.state("c1/what")),
                Synced(&traced.state("c1")),
                Synced(&run),
                Synced(&file(name)),
                Answered,
            ],
        );
    }
    in_order(&calls, &[Synced(&file("new")), Synced(&beside), Synced(&root), Answered]);
    traced.calls(&Request::Rehearse).await;

    let calls = traced.calls(&Request::Arm { lease_seconds: 60, services: &[] }).await;
    let armed = traced.state("armed");
    for name in ["program", "login", "services"] {
        let part = format!("{armed}.part");
        in_order(&calls, &[Synced(&traced.state(name)), Synced(&part), Renamed(&part, &armed), Synced(&run), Answered]);
    }

    let calls = traced.calls(&Request::Cut).await;
    in_order(&calls, &[Renamed("new", "../.env"), Synced(&root), Answered]);
    let calls = traced.calls(&Request::Revert).await;
    in_order(&calls, &[Renamed("back", "../.env"), Synced(&root), Answered]);

    traced.calls(&Request::Cut).await;
    let calls = traced.calls(&Request::Confirm).await;
    in_order(&calls, &[Renamed(&armed, &traced.state("confirmed")), Synced(&run), Answered]);
    traced.host.ok(&Request::Clean).await;
}
