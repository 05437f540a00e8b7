//! What a playbook says of services and probes is tried before anything is changed: a slip of the pen is found while nothing hurts.

use std::fs;

use super::support::Lab;

#[test]
fn a_slip_in_a_playbook_is_found_before_anything_is_changed() {
    let lab = Lab::up();
    let before = lab.held();
    let quick = fs::read_to_string(lab.at("playbooks/quick.yml")).unwrap();
    let path = lab.at("playbooks/slip.yml").display().to_string();
    for (right, wrong, said) in [
        ("restart: nanoclaw-worker", "restart: nosuchunit", "unit-missing"),
        ("new: 400, old: 401", "new: 400, old: 403", "as it is now"),
        ("new: 400, old: 401", "new: 204, old: 401", "as it is now"),
        ("7801/worker/dispatch", "7809/worker/dispatch", "probe-unanswered"),
        (
            "- systemd: { restart: nanoclaw-worker",
            "- command: { run: [./restrat.sh] }\n      - systemd: { restart: nanoclaw-worker",
            "tool-missing",
        ),
    ] {
        assert!(quick.contains(right), "the playbook has no `{right}`: {quick}");
        fs::write(&path, quick.replace(right, wrong)).unwrap();
        for words in [&["plan", &path][..], &["rotate", "--yes", &path]] {
            let refused = lab.say(words).with(4);
            assert!(
                refused.contains(said) && (refused.contains("worker-1: ") || refused.contains("worker-[1:2]: ")),
                "{wrong}: {refused}"
            );
        }
        assert_eq!(lab.held(), before, "{wrong}");
    }
    assert!(lab.say(&["runs"]).with(0).contains("no run yet"), "a run was begun");
}

#[test]
fn a_service_that_does_not_take_what_it_should_hold_is_not_rotated_but_named() {
    let lab = Lab::up();
    let (before, env) = (lab.held(), lab.env_file("worker-2"));
    // Both sides were changed by hand, and nobody restarted the worker.
    let text = fs::read_to_string(&env).unwrap();
    let other = "0".repeat(63) + "1";
    fs::write(&env, text.replace(&before["worker-2"].0, &other)).unwrap();
    lab.set_row("worker-2", &other);
    let said = lab.rotation(&[]);
    let said = lab.run(said).with(4);
    assert!(said.contains("worker-2") && said.contains("it refuses the old value (401)"), "{said}");
    assert!(!said.contains("worker-1:"), "only the one that is in the way is named: {said}");
    fs::write(&env, text).unwrap();
    lab.set_row("worker-2", &before["worker-2"].0);
    lab.run(lab.rotation(&[])).with(0);
}
