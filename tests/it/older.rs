//! A ledger that is older than the run that it tells of: a copy was put back. Whatever it believes, the hosts know better.

use std::fs;

use rustix::process::Signal;

use super::support::Lab;

fn begins(step: &str) -> impl Fn(&str) -> bool {
    let wanted = format!(r#""step":"{step}""#);
    move |line| line.contains("step-began") && line.contains(&wanted)
}

/// Copies the ledger as it is in this moment, with what it has not yet moved out of its log.
fn copy(lab: &Lab, to: &str) {
    fs::create_dir(lab.scratch(to)).unwrap();
    for name in ["ledger.db", "ledger.db-wal"] {
        // Whoever ended in peace has left no log.
        let _not_there = fs::copy(lab.state_dir().join(name), lab.scratch(to).join(name));
    }
}

fn put_back(lab: &Lab, from: &str) {
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _not_there = fs::remove_file(lab.state_dir().join(name));
        let _not_there = fs::copy(lab.scratch(from).join(name), lab.state_dir().join(name));
    }
}

#[test]
fn an_older_copy_of_the_ledger_is_not_believed_against_the_hosts() {
    // A copy is made when this begins everywhere; the run ends, or dies when that begins.
    for (at, dies) in [
        ("stage", ""),
        ("arm", ""),
        ("arm", "clean"),
        ("cut", ""),
        ("cut", "clean"),
        ("verify", ""),
        ("verify", "clean"),
    ] {
        let lab = Lab::up();
        let before = lab.held();
        lab.fault("worker-1", "slow-restart 300");
        let running = lab.start(&mut lab.rotation(&["--output", "json"]));
        assert!(running.until(1, begins(at)));
        running.signal(Signal::STOP);
        copy(&lab, "older");
        running.signal(Signal::CONT);
        let what = format!("a copy of `{at}`, and a run that died in `{dies}`");
        if dies.is_empty() {
            running.ended().with(0);
        } else {
            assert!(running.until(1, begins(dies)));
            running.killed();
        }
        let held = lab.held();
        assert!(held.iter().all(|(worker, values)| *values != before[worker]), "{what}: it was not cut");
        copy(&lab, "newest");
        put_back(&lab, "older");
        for verb in ["resume", "rollback"] {
            let said = lab.say(&[verb, "--yes"]).with(6);
            assert!(said.contains("this ledger is older than the run") && said.contains("nothing was done"), "{said}");
        }
        assert_eq!(lab.held(), held, "{what}");
        put_back(&lab, "newest");
        if !dies.is_empty() {
            lab.say(&["resume"]).with(0);
        }
        assert!(lab.whole(&before, &what));
    }
}

#[test]
fn a_ledger_from_before_the_run_does_not_rotate_hosts_that_a_run_still_holds() {
    let lab = Lab::up();
    lab.run(lab.rotation(&[])).with(0);
    copy(&lab, "older");
    let before = lab.held();
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, begins("verify")));
    running.killed();
    let run = lab.latest()["run"].as_str().unwrap().to_owned();
    copy(&lab, "newest");
    put_back(&lab, "older");
    let said = lab.run(lab.rotation(&[])).with(4);
    assert!(said.contains("host-locked") && said.contains(&run), "{said}");
    put_back(&lab, "newest");
    lab.say(&["resume"]).with(0);
    assert!(lab.whole(&before, "resumed with the newest ledger"));
}

#[test]
fn a_host_that_was_set_up_anew_is_named_and_the_ledger_is_not_blamed() {
    let lab = Lab::up();
    let before = lab.held();
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, begins("activate")));
    lab.fault("worker-2", "down");
    running.ended().with(6);
    // All others went back and are cleaned. This one comes back without anything of the run.
    let run = lab.latest()["run"].as_str().unwrap().to_owned();
    fs::remove_dir_all(lab.on("worker-2", ".lockturn")).unwrap();
    fs::remove_dir_all(lab.on("worker-2", &format!("opt/nanoclaw/.lockturn-{run}-1"))).unwrap();
    lab.fault("worker-2", "none");
    let said = lab.say(&["resume"]).with(6);
    assert!(!said.contains("older than the run"), "{said}");
    assert!(said.contains("worker-2") && said.contains("set up anew"), "{said}");
    assert_eq!(lab.held()["worker-1"], before["worker-1"]);
}
