//! A run is taken up on another machine: with a copy of the state directory.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::support::{Ended, Lab};

/// The state directory as somebody carries it to another machine.
pub(crate) fn carried(lab: &Lab, name: &str) -> PathBuf {
    let there = lab.scratch(name);
    fs::create_dir(&there).unwrap();
    fs::set_permissions(&there, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(lab.state_dir()).unwrap().flatten() {
        fs::copy(entry.path(), there.join(entry.file_name())).unwrap();
    }
    there
}

/// A command of another operator, somewhere else.
pub(crate) fn there(lab: &Lab, state: &Path, words: &[&str]) -> Ended {
    let mut command = lab.command_with(state, words);
    lab.run({
        command.env("USER", "somebody-else").env("HOME", lab.scratch("tmp"));
        command
    })
}

#[test]
fn a_run_is_finished_on_another_machine_with_a_copy_of_the_state_directory() {
    let lab = Lab::up();
    for (at, facts) in [3, 9, 14, 19, 24].into_iter().enumerate() {
        let before = lab.held();
        let running = lab.start(&mut lab.rotation(&["--output", "json"]));
        assert!(running.until_facts(facts));
        running.killed();
        let state = carried(&lab, &format!("carried-{at}"));
        let what = format!("carried away after {facts} facts");
        let ended = there(&lab, &state, &["resume"]);
        assert!([Some(0), Some(1), Some(4)].contains(&ended.code), "{what}: {:?}\n{}", ended.code, ended.err);
        assert_eq!(lab.whole(&before, &what), ended.code == Some(0), "{what}");
        let run = lab.latest()["run"].as_str().unwrap().to_owned();
        let shown = there(&lab, &state, &["show", &run]).with(0);
        assert!(shown.contains("resumed by somebody-else@"), "{what}: {shown}");
        // Where it was begun it is finished too: there is nothing left that could be taken back, or be finished otherwise.
        let held = lab.held();
        let late = lab.say(&["resume"]);
        assert_eq!(lab.held(), held, "{what}, then resumed where it was begun: {:?}\n{}", late.code, late.err);
        fs::remove_dir_all(lab.state_dir()).unwrap();
    }
}

#[test]
fn a_coordinator_that_slept_while_another_one_finished_changes_nothing_and_says_so() {
    let lab = Lab::up();
    for (at, step) in ["stage", "cut", "activate", "verify", "confirm"].into_iter().enumerate() {
        let before = lab.held();
        let running = lab.start(&mut lab.rotation(&["--output", "json"]));
        let wanted = format!(r#""step":"{step}""#);
        assert!(running.until(1, |line| line.contains("step-began") && line.contains(&wanted)));
        running.signal(Signal::STOP);
        let state = carried(&lab, &format!("carried-{at}"));
        let ended = there(&lab, &state, &["resume"]);
        let what = format!("asleep in {step}");
        assert!([Some(0), Some(1), Some(4)].contains(&ended.code), "{what}: {:?}\n{}", ended.code, ended.err);
        let moved = lab.whole(&before, &what);
        assert_eq!(moved, ended.code == Some(0), "{what}");
        refused_when_it_wakes(&lab, running, moved, &what);
        fs::remove_dir_all(lab.state_dir()).unwrap();
    }
}

/// Wakes a coordinator after another one has finished its run: whatever it says is true, and nothing changes.
pub(crate) fn refused_when_it_wakes(lab: &Lab, asleep: super::support::Running<'_>, moved: bool, what: &str) {
    let held = lab.held();
    asleep.signal(Signal::CONT);
    let Ended { code, err, .. } = asleep.ended();
    let what = format!("{what}, then awake: {code:?}\n{err}");
    assert_eq!(lab.held(), held, "{what}");
    assert_eq!(lab.left_over(), Vec::<PathBuf>::new(), "{what}");
    match code {
        Some(0) => assert!(moved, "{what}"),
        Some(1 | 4) => assert!(!moved, "{what}"),
        Some(6) => {
            assert!(err.contains("does not hold the host any more") || err.contains("newer coordinator"), "{what}");
            assert!(!err.contains("by hand, on"), "it would undo what another coordinator did: {what}");
        }
        _ => panic!("{what}"),
    }
}
