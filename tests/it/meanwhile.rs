//! Somebody else's run changes the hosts while they are read: what was read of them fits together no more, and nothing is split.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::support::{Ended, Lab};

/// What the control plane holds besides the rows. Reading it takes until somebody says so.
const READ: &str = "#!/bin/sh\nwhile [ ! -e opt/nanoclaw/read-on ]; do sleep 0.05; done\ncat opt/nanoclaw/note\n";

/// A lab with a playbook whose plan reads the workers at once, and the control plane's rows later.
fn lab_with_a_slow_reader() -> Lab {
    let lab = Lab::up();
    let reader = lab.on("control", "opt/nanoclaw/read-note");
    fs::write(&reader, READ).unwrap();
    fs::set_permissions(&reader, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(lab.on("control", "opt/nanoclaw/note"), "what it keeps for itself\n").unwrap();
    let quick = fs::read_to_string(lab.at("playbooks/quick.yml")).unwrap();
    let rows = "      - secret: worker_shared_secret\n        for_each: workers\n";
    let note =
        "      - secret: note\n        command: { read: [opt/nanoclaw/read-note], write: [tee, opt/nanoclaw/note] }\n";
    let slow = quick.replacen("\ntargets:", "  note:\n    generate: { hex: 32 }\n\ntargets:", 1);
    let slow = slow.replacen(rows, &format!("{note}{rows}"), 1);
    let probe = "          for_each: workers\n          method";
    let slow = slow.replacen(probe, &format!("          secret: worker_shared_secret\n{probe}"), 1);
    fs::write(lab.at("playbooks/slow.yml"), slow).unwrap();
    lab
}

/// Plans; once the workers are read, and before the rows are, this happens.
fn planned(lab: &Lab, meanwhile: impl FnOnce()) -> Ended {
    let mut plan = lab.command(&["--output", "json", "plan"]);
    let planning = lab.start(plan.arg(lab.at("playbooks/slow.yml")));
    if !planning.until(2, |line| line.contains("host-inspected")) {
        panic!("{}", planning.ended().err);
    }
    meanwhile();
    fs::write(lab.on("control", "opt/nanoclaw/read-on"), "").unwrap();
    planning.ended()
}

/// A host holds this run's lock.
fn locked(lab: &Lab, host: &str, run: &str) {
    let own = lab.on(host, &format!(".lockturn/{run}"));
    fs::create_dir(&own).unwrap();
    fs::write(own.join("run"), format!("{run}\n")).unwrap();
    fs::hard_link(own.join("run"), lab.on(host, ".lockturn/lock")).unwrap();
}

/// The fleet was rotated, and this worker's file was what it held before when it was read. Says what it holds now.
fn as_before(lab: &Lab, worker: &str) -> Vec<u8> {
    let file = lab.env_file(worker);
    let old = fs::read(&file).unwrap();
    lab.run(lab.rotation(&[])).with(0);
    let new = fs::read(&file).unwrap();
    put(&file, &old);
    new
}

fn put(file: &Path, content: &[u8]) {
    fs::write(file, content).unwrap();
}

#[test]
fn a_run_that_is_at_work_is_named_and_nobody_is_told_that_the_fleet_is_split() {
    let lab = lab_with_a_slow_reader();
    let new = as_before(&lab, "worker-1");
    let other = "01J0000000000000000000000Z";
    let ended = planned(&lab, || {
        put(&lab.env_file("worker-1"), &new);
        locked(&lab, "worker-1", other);
    });
    let said = ended.with(4);
    assert!(said.contains(&format!("worker-1: host-locked: the run {other} holds this host")), "{said}");
    assert!(!said.contains("disagrees") && !said.contains("split"), "{said}");
}

#[test]
fn what_a_run_that_has_ended_meanwhile_has_changed_is_read_once_more() {
    let lab = lab_with_a_slow_reader();
    let new = as_before(&lab, "worker-1");
    planned(&lab, || put(&lab.env_file("worker-1"), &new)).with(0);
}

#[test]
fn while_a_run_holds_a_host_nothing_is_said_of_what_the_others_hold() {
    let lab = lab_with_a_slow_reader();
    let new = as_before(&lab, "worker-1");
    let other = "01J0000000000000000000000Z";
    locked(&lab, "worker-2", other);
    let said = planned(&lab, || put(&lab.env_file("worker-1"), &new)).with(4);
    assert!(said.contains(&format!("worker-2: host-locked: the run {other} holds this host")), "{said}");
    assert!(!said.contains("disagrees"), "{said}");
}
