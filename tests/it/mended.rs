//! What went wrong on one host: the others are where they should be, it is named, and what is said to do really mends it.

use std::fs;
use std::process::Command;

use super::support::{HOSTS, Held, Lab, WORKERS};

/// Executes the commands that the output shows for each host, in one shell of a machine that has other tools too.
pub(crate) fn paste(lab: &Lab, said: &str) {
    let lines: Vec<&str> = said.lines().collect();
    let mut pasted = 0;
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("by hand, on ")) {
        let inventory = fs::read_to_string(lab.at("inventory.yml")).unwrap();
        let address = line.split("by hand, on ").nth(1).unwrap().split(',').next().unwrap();
        let (ip, port) = address.rsplit_once(':').unwrap();
        let host = HOSTS
            .into_iter()
            .find(|host| inventory.contains(&format!("{host}: {{ address: {ip}, port: {port} }}")))
            .unwrap_or_else(|| panic!("no host is at {address}"));
        let commands = lines[at + 1..].iter().take_while(|line| line.starts_with("        "));
        let each = commands.map(|command| format!("{{ {}\n}} || exit\n", command.trim()));
        // As a person who logged in there would: where the run finds the host's tools stands in what is pasted.
        let script: String = each.collect();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script]).current_dir("/").env("PATH", "/usr/bin:/bin");
        let done = shell.output().unwrap();
        assert!(done.status.success(), "{host}: {script}: {}", String::from_utf8_lossy(&done.stderr));
        pasted += script.lines().count();
    }
    assert!(pasted > 0, "nothing to paste in: {said}");
}

/// A run that will go back because of a worker, with something changed behind its back after the cut.
fn goes_back_while(lab: &Lab, change: impl FnOnce(&Lab)) -> String {
    lab.fault("worker-2", "refuses-new-secret");
    lab.fault("worker-1", "slow-restart 800");
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains(r#""step":"activate""#)));
    change(lab);
    let ended = running.ended();
    lab.fault("worker-1", "none");
    lab.fault("worker-2", "none");
    assert_eq!(ended.code, Some(6), "{}", ended.err);
    ended.err
}

fn others_are_back(lab: &Lab, before: &Held, but: &str) {
    let held = lab.held();
    for worker in WORKERS.into_iter().filter(|worker| *worker != but) {
        assert_eq!(held[worker].0, before[worker].0, "{worker} is not back");
    }
}

#[test]
fn a_file_that_somebody_else_changed_is_left_alone_and_mended_by_the_commands_that_are_shown() {
    let lab = Lab::up();
    let before = lab.held();
    let said = goes_back_while(&lab, |lab| {
        fs::write(lab.env_file("worker-1"), "WORKER_SHARED_SECRET=somebody-elses\n").unwrap();
    });
    assert!(said.contains("A PERSON MUST LOOK  1 of 3 hosts"), "{said}");
    assert!(said.contains("worker-1  inconsistent in `revert`"), "{said}");
    others_are_back(&lab, &before, "worker-1");
    let env = fs::read_to_string(lab.env_file("worker-1")).unwrap();
    assert_eq!(env, "WORKER_SHARED_SECRET=somebody-elses\n", "what somebody else wrote was overwritten");
    // A resume before it is mended changes nothing.
    lab.say(&["resume"]).with(6);
    paste(&lab, &said);
    lab.say(&["resume"]).with(1);
    assert!(!lab.whole(&before, "mended by hand"));
}

#[test]
fn a_row_that_somebody_else_changed_is_mended_by_the_commands_that_are_shown() {
    let lab = Lab::up();
    let before = lab.held();
    let said = goes_back_while(&lab, |lab| lab.set_row("worker-1", "somebody-elses"));
    assert!(said.contains("control  inconsistent in `revert`"), "{said}");
    others_are_back(&lab, &before, "");
    paste(&lab, &said);
    lab.say(&["resume"]).with(1);
    assert!(!lab.whole(&before, "mended by hand"));
}

#[test]
fn a_target_that_changes_between_the_look_and_the_cut_is_not_overwritten() {
    let lab = Lab::up();
    let before = lab.held();
    // After the look, before the host is staged: nothing was changed yet.
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains("run-began")));
    let env = fs::read_to_string(lab.env_file("worker-2")).unwrap();
    fs::write(lab.env_file("worker-2"), format!("{env}MORE=1\n")).unwrap();
    let said = running.ended().with(4);
    assert!(said.contains("worker-2, stage") && said.contains("not what it was"), "{said}");
    assert!(fs::read_to_string(lab.env_file("worker-2")).unwrap().ends_with("MORE=1\n"));
    assert!(!lab.whole(&before, "changed before staging"));

    // After staging, before the cut: the barrier is open, so the others are taken back.
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(
        running.until(1, |line| line.contains("step-done") && line.contains(r#""host":"worker-2","step":"stage""#))
    );
    fs::write(lab.env_file("worker-2"), format!("{env}MORE=2\n")).unwrap();
    let said = running.ended().with(1);
    assert!(said.contains("worker-2, cut") && said.contains("neither the old nor the new"), "{said}");
    let text = fs::read_to_string(lab.env_file("worker-2")).unwrap();
    assert!(text.ends_with("MORE=2\n"), "what somebody else wrote was overwritten");
    assert!(!lab.whole(&before, "changed before the cut"));
}

#[test]
fn a_host_that_goes_away_in_any_step_is_named_and_healed_when_it_comes_back() {
    let lab = Lab::up();
    let quick = lab.at("playbooks/quick.yml").display().to_string();
    for step in ["stage", "cut", "verify", "confirm"] {
        let before = lab.held();
        let running = lab.start(&mut lab.rotation(&["--output", "json"]));
        assert!(running.until(1, |line| line.contains("step-began") && line.contains(&format!(r#""step":"{step}""#))));
        lab.fault("worker-2", "down");
        let ended = running.ended();
        let what = format!("worker-2 is gone in {step}");
        match ended.code {
            // It went when it had nothing more to do.
            Some(0) => {}
            Some(6 | 7) => {
                assert!(ended.err.contains("worker-2"), "{what}: {}", ended.err);
                let (own, row) = lab.held()["worker-1"].clone();
                assert_eq!(own, row, "{what}");
                if step == "verify" {
                    // It has not said no: nobody knows.
                    assert!(ended.err.contains("worker-2  in-doubt"), "{what}: {}", ended.err);
                    // While it is away nothing gets worse.
                    assert_eq!(lab.say(&["resume"]).code, ended.code, "{what}");
                    let status = lab.say(&["status", &quick]).with(6);
                    assert!(status.contains("worker-2") && status.contains("unknown"), "{what}: {status}");
                }
            }
            code => panic!("{what}: {code:?}\n{}{}", ended.out, ended.err),
        }
        lab.fault("worker-2", "none");
        if ended.code != Some(0) {
            let resumed = lab.say(&["resume"]);
            assert!([Some(0), Some(1), Some(4)].contains(&resumed.code), "{what}: {}", resumed.err);
            assert_eq!(lab.whole(&before, &what), resumed.code == Some(0), "{what}");
        }
    }
}

#[test]
fn a_host_that_comes_back_at_once_is_waited_for() {
    let lab = Lab::up();
    let before = lab.held();
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains(r#""step":"arm""#)));
    lab.fault("worker-2", "down");
    lab.fault("worker-2", "none");
    let ended = running.ended();
    let moved = lab.whole(&before, "gone for a moment");
    assert_eq!(moved, ended.code == Some(0), "{:?}: {}", ended.code, ended.err);
}

#[test]
fn sides_that_disagree_are_named_before_anything_is_changed() {
    let lab = Lab::up();
    lab.set_row("worker-1", "another-value-than-the-worker-has");
    let before = lab.held();
    let said = lab.run(lab.rotation(&[])).with(4);
    assert!(said.contains("disagrees") && said.contains("worker-1") && said.contains("control"), "{said}");
    assert_eq!(lab.held(), before);
    let quick = lab.at("playbooks/quick.yml").display().to_string();
    assert!(lab.say(&["status", &quick]).with(6).contains("DISAGREES"));
}

#[test]
fn a_playbook_that_names_nobody_or_holds_a_value_is_refused_and_the_value_is_not_shown() {
    let lab = Lab::up();
    let text = fs::read_to_string(lab.at("playbooks/quick.yml")).unwrap();
    let file = lab.at("playbooks/bad.yml");
    let path = file.display().to_string();
    fs::write(&file, text.replace("hosts: workers", "hosts: 'workers:!workers'")).unwrap();
    let said = lab.say(&["rotate", "--yes", &path]).with(3);
    assert!(said.contains("no host"), "{said}");
    let value = lab.held()["worker-1"].0.clone();
    fs::write(&file, text.replace("generate: { hex: 32 }", &format!("value: {value}"))).unwrap();
    lab.say(&["rotate", "--yes", &path]).with(3);
    fs::remove_file(&file).unwrap();
}

#[test]
fn a_program_that_prints_the_value_in_its_complaint_is_not_quoted() {
    let lab = Lab::up();
    let before = lab.held();
    let home = lab.on("worker-1", "opt/nanoclaw");
    fs::write(home.join("store"), "#!/bin/sh\nread -r value\necho \"refused: $value\" >&2\nexit 1\n").unwrap();
    fs::set_permissions(home.join("store"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(home.join("kept"), &before["worker-1"].0).unwrap();
    let playbook = "version: 1
name: stored
summary: A value that a program stores.
secrets:
  stored: { generate: { hex: 32 } }
targets:
  - hosts: worker-1
    put:
      - secret: stored
        command: { read: [cat, opt/nanoclaw/kept], write: [opt/nanoclaw/store] }
    verify:
      - command: { run: ['true'], expect: 0 }
";
    fs::write(lab.at("playbooks/stored.yml"), playbook).unwrap();
    let path = lab.at("playbooks/stored.yml").display().to_string();
    let said = lab.say(&["rotate", "--yes", &path]).with(1);
    assert!(said.contains("`opt/nanoclaw/store` failed") && !said.contains("refused: "), "{said}");
    assert!(!lab.whole(&before, "a program that prints"));
}
