//! A run that can never be proved back: its services hold the old value, and what the playbook says of them goes wrong every time.
//! The operator looks for himself, says so, and is free to rotate again; his word is taken for services, never for what a host holds.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::mended::paste;
use super::support::Lab;

/// A lab with a playbook that asks a program on each worker.
fn lab_with(extra: &str, anchor: &str) -> Lab {
    let lab = Lab::up();
    for worker in ["worker-1", "worker-2"] {
        let program = lab.on(worker, "opt/nanoclaw/asked");
        fs::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let quick = fs::read_to_string(lab.at("playbooks/quick.yml")).unwrap();
    let with = quick.replacen(anchor, &format!("{anchor}{extra}"), 1);
    assert_ne!(with, quick);
    fs::write(lab.at("playbooks/asking.yml"), with).unwrap();
    lab
}

/// Rotates with that playbook; what it asks on `worker-2` is gone from the cut on. Says what was said, and the run's name.
fn cannot_be_proved(lab: &Lab, also: impl FnOnce(&Lab)) -> (String, String) {
    lab.fault("worker-1", "slow-restart 800");
    let mut rotation = lab.command(&["rotate", "--yes", "--output", "json"]);
    let running = lab.start(rotation.arg(lab.at("playbooks/asking.yml")));
    assert!(running.until(1, |line| line.contains("step-began") && line.contains(r#""step":"cut""#)));
    fs::remove_file(lab.on("worker-2", "opt/nanoclaw/asked")).unwrap();
    assert!(running.until(1, |line| line.contains("step-done") && line.contains(r#""step":"cut""#)));
    also(lab);
    let ended = running.ended();
    lab.fault("worker-1", "none");
    let run = lab.latest()["run"].as_str().unwrap().to_owned();
    (ended.with(6), run)
}

#[test]
fn a_service_that_cannot_be_proved_back_is_let_go_on_the_operators_word() {
    let probe = "      - command: { run: [opt/nanoclaw/asked], expect: 0, deadline: 300ms }\n";
    let activation = "      - command: { run: [opt/nanoclaw/asked] }\n";
    let cases = [("reverify", probe, "    verify:\n"), ("reactivate", activation, "    activate:\n")];
    for (step, extra, anchor) in cases {
        let lab = lab_with(extra, anchor);
        let before = lab.held();
        let (said, run) = cannot_be_proved(&lab, |_| {});
        assert!(said.contains("A PERSON MUST LOOK  1 of 3 hosts"), "{said}");
        assert!(said.contains(&format!("worker-2  inconsistent in `{step}`")), "{said}");
        // What was planned is done again, and that goes wrong again: the way out is named.
        assert!(said.contains(&format!(" resume {run}   does what was planned then")), "{said}");
        assert!(said.contains(&format!(" rollback {run} --unproved   once you have seen")), "{said}");
        for verb in ["resume", "rollback"] {
            lab.say(&[verb, &run, "--yes"]).with(6);
        }
        lab.run(lab.rotation(&[])).with(5);

        let said = lab.say(&["rollback", &run, "--unproved", "--yes"]).with(7);
        assert!(said.contains("proof waived: "), "{said}");
        assert!(said.contains("ROLLED BACK, NOT PROVED  the old secret is in place on all 3 hosts"), "{said}");
        assert!(said.contains("not proved    worker-2: "), "{said}");
        let summed_up = said.split_once("ROLLED BACK, NOT PROVED").unwrap().1;
        assert_eq!(summed_up.matches(&format!("worker-2  failed in `{step}`")).count(), 1, "{said}");
        assert!(!lab.whole(&before, &format!("let go in {step}")));
        assert_eq!(lab.latest()["verdict"], "rolled-back");
        let shown = lab.say(&["show", &run]).with(0);
        assert!(shown.contains("proof waived: ") && shown.contains("ROLLED BACK, NOT PROVED"), "{shown}");
        assert!(lab.say(&["rollback", &run, "--unproved"]).with(4).contains("nothing was changed"));

        // With a playbook that asks nothing of the kind the fleet rotates.
        lab.run(lab.rotation(&[])).with(0);
        assert!(lab.whole(&before, "with the mended playbook"));
    }
}

#[test]
fn the_operators_word_is_not_taken_for_what_a_host_holds() {
    let lab = lab_with("      - command: { run: [opt/nanoclaw/asked], expect: 0, deadline: 300ms }\n", "    verify:\n");
    let before = lab.held();
    let elses = "WORKER_SHARED_SECRET=somebody-elses\n";
    let (said, run) = cannot_be_proved(&lab, |lab| fs::write(lab.env_file("worker-1"), elses).unwrap());
    assert!(said.contains("worker-1  inconsistent in `revert`"), "{said}");
    let said = lab.say(&["rollback", &run, "--unproved", "--yes"]).with(6);
    assert!(said.contains("A PERSON MUST LOOK  1 of 3 hosts"), "{said}");
    assert!(said.contains("worker-1  inconsistent in `revert`"), "{said}");
    assert_eq!(
        fs::read_to_string(lab.env_file("worker-1")).unwrap(),
        elses,
        "what somebody else wrote was overwritten"
    );
    // Mended by hand it is back, and proved; the word still stands for the other one.
    paste(&lab, &said);
    let said = lab.say(&["resume", &run]).with(7);
    assert!(said.contains("not proved    worker-2: "), "{said}");
    assert!(!lab.whole(&before, "mended by hand, and let go"));
}
