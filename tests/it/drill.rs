//! A drill breaks something on purpose and proves the way back: it never ends on the new value, and says only what it has shown.

use std::fs;

use rustix::process::Signal;

use super::support::{Ended, Lab};

/// As the quick playbook, with leases as short as they can be: a service that may take one second.
fn short_leases(lab: &Lab) -> String {
    let quick = fs::read_to_string(lab.at("playbooks/quick.yml")).unwrap();
    let short = quick.replace("restart: nanoclaw-worker }", "restart: nanoclaw-worker, deadline: 1s }");
    let short =
        short.replace("restart: nanoclaw }", "restart: nanoclaw, deadline: 1s }").replace("lease: 2m", "lease: 10s");
    assert_eq!(short.matches("deadline: 1s").count(), 2, "{short}");
    fs::write(lab.at("playbooks/short.yml"), short).unwrap();
    lab.at("playbooks/short.yml").display().to_string()
}

fn shown(lab: &Lab) -> String {
    let run = lab.latest()["run"].as_str().unwrap().to_owned();
    lab.say(&["show", &run]).with(0)
}

#[test]
fn a_drill_of_the_proof_takes_the_smallest_part_there_and_back() {
    let lab = Lab::up();
    let before = lab.held();
    let quick = lab.at("playbooks/quick.yml").display().to_string();
    let Ended { code, out, err } = lab.say(&["drill", "--yes", &quick, "--output", "json"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("2 of 3 hosts: control, worker-1"), "{err}");
    assert!(
        err.contains("DRILLED  every host went back and proves the old secret, ") && err.contains("after the fault"),
        "{err}"
    );
    assert!(err.contains("spread"), "{err}");
    // It had really been proved, on both, and nobody else was touched.
    for host in ["control", "worker-1"] {
        let proved = format!(r#""data":{{"host":"{host}","step":"verify"}},"elapsed_ms""#);
        assert!(out.lines().any(|line| line.contains("step-done") && line.contains(&proved)), "{host}: {out}");
    }
    assert!(!out.contains("worker-2"), "{out}");
    assert!(!lab.whole(&before, "drilled"));
    // Everywhere it is told it is told to be a drill, and no rotation.
    assert_eq!((&lab.latest()["verdict"], &lab.latest()["drill"]), (&"drilled".into(), &"proof".into()));
    assert!(lab.say(&["runs"]).with(0).contains("drilled") && lab.say(&["runs"]).with(0).contains("drill: proof"));
    let shown = shown(&lab);
    assert!(
        shown.contains("drill: proof, worker-1")
            && shown.contains("because of    the drill: the proof of worker-1 was declared failed\n")
            && shown.contains("DRILLED"),
        "{shown}"
    );
    lab.run(lab.rotation(&[])).with(0);
    assert_eq!(lab.latest()["drill"], serde_json::Value::Null);
}

#[test]
fn a_host_that_hears_nothing_goes_back_by_itself_and_so_does_a_whole_fleet() {
    let lab = Lab::up();
    let short = short_leases(&lab);
    for (fault, switches) in [("lost-host", 1), ("dead-coordinator", 3)] {
        let before = lab.held();
        let words = ["drill", "--yes", &short, "--fault", fault, "--limit", "all", "--output", "json"];
        let Ended { code, out, err } = lab.say(&words);
        assert_eq!(code, Some(0), "{fault}: {err}");
        let watched: Vec<serde_json::Value> = out
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|event| event["event"] == "switch-watched")
            .map(|event| event["data"].clone())
            .collect();
        assert_eq!(watched.len(), switches, "{fault}: {out}");
        for told in &watched {
            // The lease is 31 s: what the playbook says is less than a restart and the margin.
            let after = told["after"].as_u64().unwrap();
            assert!(told["back"] == true && after >= 31_000, "{fault}: {told}");
        }
        // By themselves: nobody told them to, before they were seen.
        let first_word = out.lines().position(|line| line.contains("switch-watched")).unwrap();
        let others = out.lines().position(|line| line.contains(r#""step":"reactivate""#));
        assert_eq!(others.is_some_and(|at| at < first_word), fault == "lost-host", "{fault}: {out}");
        assert!(err.contains("DRILLED") && err.contains("by itself"), "{fault}: {err}");
        // What was made to happen, and not a host that had no part in it.
        let whom = if fault == "lost-host" { "worker-1 was not" } else { "no host was" };
        assert!(err.contains(&format!("because of    the drill: {whom} talked to after the cut\n")), "{fault}: {err}");
        let shown = shown(&lab);
        let decided = format!("goes back, because of the drill: {whom} talked to after the cut\n");
        assert!(shown.contains(&decided) && !shown.contains("failed in `activate`"), "{fault}: {shown}");
        assert_eq!(shown.contains(&format!("drill: {fault}, worker-1;")), fault == "lost-host", "{shown}");
        assert!(!lab.whole(&before, fault));
    }
}

#[test]
fn a_switch_that_does_not_work_is_found_and_everybody_is_back_all_the_same() {
    let lab = Lab::up();
    let before = lab.held();
    let short = short_leases(&lab);
    let words = ["drill", "--yes", &short, "--fault", "lost-host", "--output", "json"];
    let running = lab.start(&mut lab.command(&words));
    assert!(running.until(1, |line| line.contains("decided")));
    // What watches the time of the host that hears nothing is ended behind its back: it stays where it was cut.
    let state =
        fs::read_dir(lab.on("worker-1", ".lockturn")).unwrap().flatten().find(|entry| entry.path().is_dir()).unwrap();
    let watch = fs::read_to_string(state.path().join("watch")).unwrap();
    let pid: i32 = watch.split(' ').next().unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let said = running.ended().with(6);
    assert!(said.contains("THE DRILL FAILED  not gone back by itself: worker-1"), "{said}");
    assert_eq!(lab.latest()["verdict"], "rolled-back");
    assert!(!lab.whole(&before, "a switch that was killed"));
    assert!(shown(&lab).contains("THE DRILL FAILED"));
}

#[test]
fn an_operator_who_does_not_want_to_wait_for_leases_says_so_and_nothing_is_claimed() {
    let lab = Lab::up();
    let before = lab.held();
    let quick = lab.at("playbooks/quick.yml").display().to_string();
    // The lease is two minutes.
    let words = ["drill", "--yes", &quick, "--fault", "dead-coordinator", "--output", "json"];
    let running = lab.start(&mut lab.command(&words));
    assert!(running.until(1, |line| line.contains("step-began") && line.contains(r#""step":"revert""#)));
    running.signal(Signal::INT);
    let Ended { code, out, err } = running.ended();
    assert_eq!(code, Some(1), "{err}");
    assert!(!out.contains("switch-watched"), "somebody waited: {out}");
    assert!(!err.contains("DRILLED") && err.contains("it has shown nothing"), "{err}");
    assert!(err.contains("Ctrl-C ends the silence"), "{err}");
    assert!(!lab.whole(&before, "interrupted in the silence"));
}

#[test]
fn a_drill_that_dies_goes_back_and_claims_nothing() {
    let lab = Lab::up();
    let quick = lab.at("playbooks/quick.yml").display().to_string();
    for step in ["stage", "arm", "cut", "activate", "verify", "revert", "clean"] {
        let before = lab.held();
        let running = lab.start(&mut lab.command(&["drill", "--yes", &quick, "--output", "json"]));
        let wanted = format!(r#""step":"{step}""#);
        assert!(running.until(1, |line| line.contains("step-began") && line.contains(&wanted)), "{step}");
        running.killed();
        let resumed = lab.say(&["resume", "--output", "plain"]);
        let code = resumed.code;
        let said = resumed.err;
        assert!([Some(1), Some(4)].contains(&code), "{step}: {code:?}: {said}");
        assert!(!said.contains("DRILLED") && said.contains("it has shown nothing"), "{step}: {said}");
        assert!(!lab.whole(&before, step));
    }
}

#[test]
fn a_host_that_really_fails_is_named_and_it_is_no_drill() {
    let lab = Lab::up();
    let before = lab.held();
    let quick = lab.at("playbooks/quick.yml").display().to_string();
    lab.fault("worker-1", "refuses-new-secret");
    let said = lab.say(&["drill", "--yes", &quick]).with(1);
    lab.fault("worker-1", "none");
    assert!(said.contains("because of    worker-1, verify") && said.contains("it has shown nothing"), "{said}");
    assert!(!lab.whole(&before, "a real failure in a drill"));
}

#[test]
fn what_cannot_be_drilled_is_refused_before_anything_is_changed() {
    let lab = Lab::up();
    let before = lab.held();
    let quick = lab.at("playbooks/quick.yml").display().to_string();
    // Nobody can be asked, and nobody said yes.
    assert!(lab.say(&["drill", &quick]).with(4).contains("nothing was changed"));
    assert!(lab.say(&["drill", "--yes", &quick, "--limit", "worker-2"]).with(4).contains("--limit 'worker-2,control'"));
    lab.say(&["drill", "--yes", &quick, "--limit", "nobody"]).with(2);
    lab.say(&["drill", "--yes", &quick, "--fault", "earthquake"]).with(2);
    lab.fault("worker-1", "down");
    assert!(lab.say(&["drill", "--yes", &quick]).with(4).contains("worker-1"));
    lab.fault("worker-1", "none");
    assert!(lab.say(&["runs"]).with(0).contains("no run yet"));
    // A value that everybody shares is drilled by everybody, which is said first.
    let shared = lab.at("playbooks/os-http-secret.yml").display().to_string();
    let said = lab.say(&["drill", &shared]).with(4);
    assert!(said.contains("on the only host that takes part: "), "{said}");
    assert_eq!(lab.held(), before);
}
