//! The whole product as its user runs it: the real binary against an embedded fleet, one fault at a time.
//!
//! What the oracle believes is what the hosts hold (their files and the control plane's table), never what the product says.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long the slowest of these may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Lab {
    dir: tempfile::TempDir,
    process: Child,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

impl Lab {
    fn up() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("lab");
        let mut process = Command::new(env!("CARGO_BIN_EXE_lockturn"))
            .args(["lab", "up", "--hosts", "2", "--dir"])
            .arg(&at)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.starts_with("up: 3 hosts"), "{first}");
        Self { dir, process }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join("lab").join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockturn"));
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .arg("-i")
            .arg(self.at("inventory.yml"))
            .arg("--state")
            .arg(self.dir.path().join("state"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn rotation(&self, more: &[&str]) -> Command {
        let mut command = self.command(&["rotate", "--yes"]);
        command.arg(self.at("playbooks/worker-secret.yml")).args(more);
        command
    }

    fn fault(&self, host: &str, word: &str) {
        fs::write(self.at("hosts").join(host).join("fault"), word).unwrap();
    }

    /// What the hosts really hold: each worker's file, and the control plane's row of it.
    fn held(&self) -> BTreeMap<String, (String, String)> {
        let db = rusqlite::Connection::open(self.at("hosts/control/opt/nanoclaw/store/messages.db")).unwrap();
        let mut held = BTreeMap::new();
        for worker in ["worker-1", "worker-2"] {
            let env = fs::read_to_string(self.at("hosts").join(worker).join("opt/nanoclaw/.env")).unwrap();
            let own = env.lines().find_map(|line| line.strip_prefix("WORKER_SHARED_SECRET=")).unwrap();
            let row =
                db.query_row("SELECT shared_secret FROM workers WHERE id = ?1", [worker], |row| row.get(0)).unwrap();
            held.insert(worker.to_owned(), (own.trim_matches('"').to_owned(), row));
        }
        held
    }

    /// Files of a run that lie about on the hosts.
    fn left_over(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![self.at("hosts")];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
                let ours = name.starts_with(".lockturn-") || path.parent().is_some_and(|p| p.ends_with(".lockturn"));
                if ours {
                    found.push(path);
                } else if path.is_dir() {
                    todo.push(path);
                }
            }
        }
        found
    }

    /// The ledger as bytes, and everything else in the state directory.
    fn state(&self) -> Vec<u8> {
        let state = fs::read_dir(self.dir.path().join("state")).unwrap();
        state.flatten().flat_map(|entry| fs::read(entry.path()).unwrap()).collect()
    }
}

#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[track_caller]
fn unseen(values: &BTreeMap<String, (String, String)>, sink: &[u8], what: &str) {
    let text = String::from_utf8_lossy(sink);
    for value in values.values().flat_map(|(own, row)| [own, row]) {
        let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        for form in [value.clone(), hex.clone(), hex.to_uppercase()] {
            assert!(!text.contains(&form), "{what} holds a value");
        }
    }
}

#[test]
fn a_rotation_changes_both_sides_of_every_value_and_shows_none() {
    let lab = Lab::up();
    let before = lab.held();
    let output = lab.rotation(&["-vv", "--output", "json"]).env("RUST_LOG", "trace").output().unwrap();
    ended(&output, 0);
    let after = lab.held();
    for (worker, (own, row)) in &after {
        assert_eq!(own, row, "{worker}: the two sides differ");
        assert_ne!(*own, before[worker].0, "{worker} still holds the old value");
        assert_eq!(own.len(), 64);
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["v"], 1, "{line}");
    }
    for values in [&before, &after] {
        unseen(values, &output.stdout, "standard output");
        unseen(values, &output.stderr, "standard error");
        unseen(values, &lab.state(), "the state directory");
    }
    assert_eq!(lab.left_over(), Vec::<PathBuf>::new());
    let playbook = lab.at("playbooks/worker-secret.yml");
    ended(&lab.command(&["status"]).arg(&playbook).output().unwrap(), 0);
    ended(&lab.command(&["plan"]).arg(&playbook).output().unwrap(), 0);
    let runs = ended(&lab.command(&["runs"]).output().unwrap(), 0);
    assert!(runs.contains("rotated"), "{runs}");
    ended(&lab.command(&["ledger", "verify"]).output().unwrap(), 0);
}

#[test]
fn a_service_that_does_not_start_or_refuses_the_new_value_takes_everybody_back() {
    for fault in ["fails-to-start", "refuses-new-secret"] {
        let lab = Lab::up();
        let before = lab.held();
        lab.fault("worker-2", fault);
        let output = lab.rotation(&[]).output().unwrap();
        let said = ended(&output, 1);
        assert!(said.contains("ROLLED BACK") && said.contains("because of    worker-2"), "{said}");
        assert_eq!(lab.held(), before, "{fault}");
        assert_eq!(lab.left_over(), Vec::<PathBuf>::new());
        unseen(&before, said.as_bytes(), "the output");
    }
}

#[test]
fn a_way_back_that_cannot_be_proved_is_said_and_the_others_are_back() {
    let lab = Lab::up();
    let before = lab.held();
    lab.fault("worker-2", "healthy-but-wrong");
    // Its trusted value is what it held before the fault; another value first makes the old one untrusted too.
    let said = ended(&lab.rotation(&[]).output().unwrap(), 1);
    assert!(said.contains("refuses the new value"), "{said}");
    assert_eq!(lab.held(), before);
}

#[test]
fn what_is_in_the_way_is_found_before_anything_is_changed() {
    let lab = Lab::up();
    let before = lab.held();
    lab.fault("worker-1", "down");
    let said = ended(&lab.rotation(&[]).output().unwrap(), 4);
    assert!(said.contains("worker-1") && said.contains("nothing was changed"), "{said}");
    lab.fault("worker-1", "none");

    let env = lab.at("hosts/worker-1/opt/nanoclaw/.env");
    let text = fs::read_to_string(&env).unwrap();
    fs::write(&env, format!("{text}\nWORKER_SHARED_SECRET=again\n")).unwrap();
    let said = ended(&lab.rotation(&[]).output().unwrap(), 4);
    assert!(said.contains("ambiguous"), "{said}");
    fs::write(&env, text.replace("WORKER_SHARED_SECRET", "OTHER")).unwrap();
    let said = ended(&lab.rotation(&[]).output().unwrap(), 4);
    assert!(said.contains("missing"), "{said}");
    fs::write(&env, text).unwrap();

    let known = lab.at("known_hosts");
    let hosts = fs::read_to_string(&known).unwrap();
    fs::write(&known, "").unwrap();
    let said = ended(&lab.rotation(&[]).output().unwrap(), 4);
    assert!(said.contains("host-key-unknown"), "{said}");
    let keys: Vec<(&str, &str)> = hosts.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let swapped: String =
        keys.iter().zip(keys.iter().cycle().skip(1)).map(|((name, _), (_, key))| format!("{name} {key}\n")).collect();
    fs::write(&known, swapped).unwrap();
    let said = ended(&lab.rotation(&[]).output().unwrap(), 4);
    assert!(said.contains("host-key-changed"), "{said}");
    fs::write(&known, hosts).unwrap();

    // Nobody can be asked, and nobody said yes.
    let playbook = lab.at("playbooks/worker-secret.yml");
    ended(&lab.command(&["rotate"]).arg(&playbook).output().unwrap(), 4);
    assert_eq!(lab.held(), before);
    assert_eq!(lab.left_over(), Vec::<PathBuf>::new());
}

/// Starts a rotation whose services restart slowly, and waits until its ledger has this event.
#[expect(clippy::zombie_processes, reason = "the caller waits; where the event never comes the test fails")]
fn in_the_middle(lab: &Lab, event: &str) -> Child {
    lab.fault("worker-1", "slow-restart 3000");
    let mut child = lab.rotation(&["--output", "json"]).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines {
        if line.unwrap().contains(event) {
            return child;
        }
    }
    panic!("the run ended without {event}");
}

#[test]
fn a_coordinator_that_is_killed_is_resumed_or_taken_back() {
    let activate = r#""step":"activate""#;
    for (verb, code) in [("resume", 0), ("rollback", 1)] {
        let lab = Lab::up();
        let before = lab.held();
        let mut child = in_the_middle(&lab, activate);
        child.kill().unwrap();
        child.wait().unwrap();
        lab.fault("worker-1", "none");
        let said = ended(&lab.rotation(&[]).output().unwrap(), 5);
        assert!(said.contains("lockturn resume"), "{said}");
        // A restart that was under way may still be going on.
        let until = Instant::now() + PATIENCE;
        let output = lab.command(&[verb]).output().unwrap();
        assert!(Instant::now() < until, "{verb} took too long");
        ended(&output, code);
        let after = lab.held();
        for (worker, (own, row)) in &after {
            assert_eq!(own, row, "{worker}: the two sides differ after {verb}");
            assert_eq!(*own == before[worker].0, verb == "rollback", "{worker} after {verb}");
        }
        assert_eq!(lab.left_over(), Vec::<PathBuf>::new());
        ended(&lab.command(&[verb]).output().unwrap(), 4);
    }
}

#[test]
fn a_coordinator_that_is_killed_before_the_barrier_changes_nothing() {
    let lab = Lab::up();
    let before = lab.held();
    let mut child = in_the_middle(&lab, r#""step":"stage""#);
    child.kill().unwrap();
    child.wait().unwrap();
    ended(&lab.command(&["resume"]).output().unwrap(), 4);
    assert_eq!(lab.held(), before);
    assert_eq!(lab.left_over(), Vec::<PathBuf>::new());
}

#[test]
fn the_second_operator_is_told_who_the_first_one_is() {
    let lab = Lab::up();
    let mut first = in_the_middle(&lab, r#""step":"activate""#);
    let said = ended(&lab.rotation(&[]).output().unwrap(), 5);
    assert!(said.contains("process"), "{said}");
    assert!(first.wait().unwrap().code().is_some());
}

#[test]
fn ctrl_c_in_the_middle_takes_everybody_back() {
    let lab = Lab::up();
    let before = lab.held();
    let mut child = in_the_middle(&lab, r#""step":"activate""#);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(lab.held(), before);
    assert_eq!(lab.left_over(), Vec::<PathBuf>::new());
}
