//! The coordinator dies with its journal: what real servers' hosts keep ends the run.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use super::fleet::{Fleet, ended};

/// Kills a rotation as soon as it says this, and removes what it remembers.
fn lost_at(fleet: &Fleet, event: &str, step: &str) {
    let mut rotation = fleet.rotation();
    let mut process = rotation.args(["--output", "json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let step = format!(r#""step":"{step}""#);
    let met = lines.any(|line| line.contains(event) && line.contains(&step));
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(met, "it ended before {event} {step}");
    fs::remove_dir_all(fleet.at("state")).unwrap();
}

#[test]
fn a_run_is_ended_from_its_hosts_before_and_after_they_have_heard_of_a_decision() {
    let fleet = Fleet::up(&["", ""]);
    let held = || [0, 1].map(|number| fs::read_to_string(fleet.env(number)).unwrap());
    let clean = || [0, 1].map(|number| fs::read_dir(fleet.at(&format!("state-{number}"))).unwrap().count());
    for (event, step, codes) in [("step-began", "verify", [1, 1, 1]), ("step-done", "confirm", [0, 7, 4])] {
        let before = held();
        lost_at(&fleet, event, step);
        let output = fleet.command(&["--yes", "resume", "--from-hosts"]).output().unwrap();
        let code = output.status.code().unwrap();
        let said = ended(&output, code);
        assert!(codes.contains(&code), "{step}: {code}: {said}");
        let after = held();
        assert_eq!(after[0], after[1], "{step}: {said}");
        assert_eq!(after == before, code == 1, "{step}: {code}: {said}");
        // Only where nothing was left to be done it says that it refuses.
        assert_eq!(said.contains("has anything of a run"), code == 4, "{step}: {said}");
        assert_eq!(clean(), [0, 0], "{step}: {said}");
    }
}
