//! `selftest` tells a product that works from one that does not, touches nothing of the operator, and leaves nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::support::PATIENCE;

/// The product with a home of its own: whatever it makes lies below.
struct Operator(tempfile::TempDir);

impl Operator {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["home", "tmp", "work"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        Self(dir)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn start(&self, words: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_lockturn"))
            .arg("selftest")
            .args(words)
            .env_clear()
            .env("HOME", self.at("home"))
            .env("TMPDIR", self.at("tmp"))
            .env("LOCKTURN_STATE", self.at("home/state"))
            .current_dir(self.at("work"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn untouched(&self) {
        for sub in ["home", "work"] {
            assert_eq!(fs::read_dir(self.at(sub)).unwrap().count(), 0, "something was written into {sub}");
        }
    }

    /// The directory of a row's fleet, once it is there.
    fn fleet(&self, row: &str) -> PathBuf {
        let until = Instant::now() + PATIENCE;
        loop {
            let scratch = fs::read_dir(self.at("tmp")).unwrap().flatten().map(|entry| entry.path()).next();
            let fleet = scratch.map(|scratch| scratch.join(row).join("lab"));
            // Its record is written last.
            if let Some(fleet) = fleet.filter(|fleet| fleet.join("lab.json").exists()) {
                return fleet;
            }
            assert!(Instant::now() < until, "no fleet of {row} comes up");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn told(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_works_is_held_row_by_row_and_nothing_is_left() {
    let operator = Operator::new();
    let rows = ["rotation", "drill", "fails-to-start", "down", "two-operators", "damaged-ledger", "cut-off"];
    let output = operator.start(&rows).wait_with_output().unwrap();
    let (out, err) = told(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    for row in rows {
        let line =
            out.lines().find(|line| line.starts_with(&format!("{row} "))).unwrap_or_else(|| panic!("{row}: {out}"));
        assert!(line.contains("  held  "), "{line}");
        assert!(err.contains(&format!("{row}: held")), "no progress of {row}: {err}");
    }
    assert!(out.lines().last().unwrap().starts_with("HELD  7 rows, 12 cases, in "), "{out}");
    assert_eq!(fs::read_dir(operator.at("tmp")).unwrap().count(), 0, "something is left");
    operator.untouched();
}

#[test]
fn a_coordinator_that_is_killed_is_a_row_for_machines_too() {
    let operator = Operator::new();
    let output = operator.start(&["killed-rolled-back", "--output", "json"]).wait_with_output().unwrap();
    let (out, err) = told(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    let row: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!((&row["v"], &row["row"], &row["held"]), (&1.into(), &"killed-rolled-back".into(), &true.into()));
    assert!(row["cases"].as_u64().unwrap() >= 3 && row["failed"].is_null() && row["evidence"].is_null(), "{row}");
}

/// Does something to a fleet behind the back of a selftest, once a row's fleet is there: the row must be told to have failed.
fn found_out(row: &str, tamper: impl Fn(&Path), because: &str) {
    let operator = Operator::new();
    let running = operator.start(&[row, "damaged-ledger"]);
    tamper(&operator.fleet(row));
    let output = running.wait_with_output().unwrap();
    let (out, err) = told(&output);
    assert_eq!(output.status.code(), Some(70), "{row}: {out}{err}");
    assert!(out.contains("FAILED") && out.contains(because), "{row}: {because}: {out}{err}");
    let line = out.lines().last().unwrap();
    assert!(line.starts_with("FAILED  1 of 2 rows"), "{row}: {out}");
    // The evidence is where it is said to be: the fleet, the ledger and what was said. Of the row that held nothing is kept.
    let evidence = PathBuf::from(line.rsplit(' ').next().unwrap());
    assert!(
        evidence.join(row).join("lab/hosts").is_dir() && evidence.join(row).join("state/ledger.db").exists(),
        "{line}"
    );
    assert!(fs::read_dir(evidence.join(row).join("log")).unwrap().count() > 0);
    assert!(!evidence.join("damaged-ledger").exists());
    operator.untouched();
}

#[test]
fn something_that_a_run_would_leave_on_a_host_is_found() {
    let forged =
        |fleet: &Path| fs::write(fleet.join("hosts/worker-1/opt/nanoclaw/.lockturn-forged-1"), "left").unwrap();
    found_out("rotation", forged, "something of a run is left");
}

#[test]
fn a_host_that_does_not_go_back_by_itself_is_found() {
    // Once the coordinator is dead nothing watches the time of one host any more: the fleet stays mixed.
    let end_the_switch = |fleet: &Path| {
        let until = Instant::now() + PATIENCE;
        while !fleet.with_file_name("log").join("000-rotate").exists() {
            assert!(Instant::now() < until, "no run is killed");
            std::thread::sleep(Duration::from_millis(2));
        }
        let runs = fs::read_dir(fleet.join("hosts/worker-1/.lockturn")).unwrap().flatten();
        let run = runs.map(|entry| entry.path()).find(|path| path.is_dir()).unwrap();
        let watch = fs::read_to_string(run.join("watch")).unwrap();
        let pid = rustix::process::Pid::from_raw(watch.split(' ').next().unwrap().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    found_out("nobody-comes-back", end_the_switch, "some host has not gone back by itself");
}

#[test]
fn a_row_that_nobody_knows_is_named_with_those_that_are_known() {
    let operator = Operator::new();
    let output = operator.start(&["rotaton"]).wait_with_output().unwrap();
    let (_, err) = told(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(err.contains("no row is called `rotaton`") && err.contains("rotation, drill"), "{err}");
    assert_eq!(fs::read_dir(operator.at("tmp")).unwrap().count(), 0);
}

#[test]
fn ctrl_c_ends_it_at_once_and_takes_everything_along() {
    let operator = Operator::new();
    let mut command = operator.start(&["suspended", "nobody-comes-back"]);
    operator.fleet("suspended");
    operator.fleet("nobody-comes-back");
    let pid = rustix::process::Pid::from_child(&command);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let until = Instant::now() + PATIENCE;
    while command.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "it goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
    let (_, err) = told(&command.wait_with_output().unwrap());
    assert!(err.contains("interrupted"), "{err}");
    assert_eq!(fs::read_dir(operator.at("tmp")).unwrap().count(), 0, "something is left");
    operator.untouched();
}
