//! The inventory, or a host, is another when a run is taken up; and what each host gets of a run is its own.

use std::fs;
use std::path::Path;

use super::support::{Lab, WORKERS};

/// A run that dies once every host was cut.
fn died(lab: &Lab) {
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains("step-began") && line.contains(r#""step":"activate""#)));
    running.killed();
}

#[test]
fn a_host_that_left_the_inventory_is_named_and_one_that_came_is_left_alone() {
    let lab = Lab::up();
    let before = lab.held();
    died(&lab);
    let file = lab.at("inventory.yml");
    let whole = fs::read_to_string(&file).unwrap();
    let line = whole.lines().find(|line| line.trim_start().starts_with("worker-2:")).unwrap();
    fs::write(&file, whole.replace(&format!("{line}\n"), "")).unwrap();
    let said = lab.say(&["resume"]).with(6);
    assert!(said.contains("`worker-2` is in the plan and not in the inventory"), "{said}");
    // Nobody listens where the one that came is said to be.
    let indent = &line[..line.len() - line.trim_start().len()];
    fs::write(&file, whole.replace(line, &format!("{line}\n{indent}worker-3: {{ address: 127.0.0.1, port: 1 }}")))
        .unwrap();
    let code = lab.say(&["resume"]).code;
    assert!([Some(0), Some(1)].contains(&code), "{code:?}");
    assert_eq!(lab.whole(&before, "another inventory"), code == Some(0));
}

#[test]
fn a_host_that_was_made_anew_gets_no_login() {
    let lab = Lab::up();
    let before = lab.held();
    died(&lab);
    let known = lab.at("known_hosts");
    let whole = fs::read_to_string(&known).unwrap();
    let inventory = fs::read_to_string(lab.at("inventory.yml")).unwrap();
    let worker = inventory.lines().find(|line| line.trim_start().starts_with("worker-2:")).unwrap();
    let address = worker.split("address: ").nth(1).unwrap().split(',').next().unwrap();
    let key = |line: &str| line.split_once(' ').unwrap().1.to_owned();
    let other = key(whole.lines().find(|line| !line.contains(address)).unwrap());
    let own = key(whole.lines().find(|line| line.contains(address)).unwrap());
    fs::write(&known, whole.replace(&own, &other)).unwrap();
    let said = lab.say(&["resume"]).with(6);
    assert!(said.contains("worker-2  in-doubt") && said.contains("shows another key"), "{said}");
    fs::write(&known, whole).unwrap();
    let code = lab.say(&["resume"]).code;
    assert!([Some(0), Some(1)].contains(&code), "{code:?}");
    assert_eq!(lab.whole(&before, "made anew"), code == Some(0));
}

/// Whether a text, or its hex digits, stands in any file below.
fn holds(dir: &Path, value: &str) -> bool {
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).any(|path| {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
        text.contains(value) || text.contains(&hex) || (path.is_dir() && holds(&path, value))
    })
}

#[test]
fn no_worker_gets_the_value_of_another() {
    let lab = Lab::up();
    lab.fault("worker-1", "slow-restart 2000");
    let before = lab.held();
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains("step-began") && line.contains(r#""step":"activate""#)));
    let after = lab.held();
    for (own, other) in [(WORKERS[0], WORKERS[1]), (WORKERS[1], WORKERS[0])] {
        for held in [&before, &after] {
            assert!(holds(&lab.on(own, ""), &held[own].0), "{own} has no value of its own: the search finds nothing");
            assert!(!holds(&lab.on(own, ""), &held[other].0), "{own} has a value of {other}");
        }
    }
    running.ended().with(0);
}

#[test]
fn a_restart_that_hangs_is_given_up_at_its_deadline() {
    let lab = Lab::up();
    let before = lab.held();
    let quick = fs::read_to_string(lab.at("playbooks/quick.yml")).unwrap();
    let impatient = quick.replace("restart: nanoclaw-worker", "restart: nanoclaw-worker, deadline: 1s");
    assert_ne!(impatient, quick);
    fs::write(lab.at("playbooks/quick.yml"), impatient).unwrap();
    lab.fault("worker-2", "slow-restart 20000");
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains("step-began") && line.contains(r#""step":"activate""#)));
    assert!(running.until(1, |line| line.contains("decided")));
    lab.fault("worker-2", "none");
    let ended = running.ended();
    let said = format!("{}{}", ended.out, ended.err);
    assert!(said.contains("did not restart within 1 s"), "{said}");
    if ended.code != Some(1) {
        assert_eq!(ended.code, Some(6), "{said}");
        lab.say(&["resume"]).with(1);
    }
    assert!(!lab.whole(&before, "a restart that hangs"));
}
