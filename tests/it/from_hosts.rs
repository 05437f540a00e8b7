//! The journal is lost: the hosts say what was, `resume --from-hosts` ends the run, all old or all new, and nobody can make one host do
//! or learn what another one says.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use super::elsewhere::refused_when_it_wakes;
use super::support::{Ended, HOSTS, Lab};

const FROM_HOSTS: [&str; 3] = ["resume", "--from-hosts", "--yes"];

/// A rotation that was killed after so many facts, and its state directory is gone; false if it ended before.
fn lost_after(lab: &Lab, facts: usize, fault: &str) -> bool {
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    let began = running.until_facts(1);
    lab.fault("worker-2", fault);
    let killed = began && (facts == 1 || running.until_facts(facts - 1));
    if killed {
        running.killed()
    } else {
        running.ended()
    };
    lab.fault("worker-2", "none");
    fs::remove_dir_all(lab.state_dir()).unwrap();
    killed
}

/// Ends a run from what its hosts say, and says with which code. Whatever is held then lay on a host before.
fn from_hosts(lab: &Lab, what: &str) -> i32 {
    let known: Vec<String> = lab.kept().into_iter().chain(lab.held().into_values().map(|(own, _)| own)).collect();
    let nothing_left = lab.left_over().is_empty();
    let Ended { code, out, err } = lab.say(&FROM_HOSTS);
    let code = code.unwrap_or_else(|| panic!("{what}: {out}{err}"));
    assert!([0, 1, 4, 7].contains(&code), "{what}: {code}\n{out}{err}");
    // A host whose coordinator was killed just now may come to the end of its cleaning meanwhile.
    let none = err.contains("has anything of a run");
    assert!(none || !nothing_left, "{what}: {code}\n{err}");
    assert!(!none || lab.left_over().is_empty(), "{what}: {code}\n{err}");
    assert_eq!(code == 7, err.contains("before the ledger was lost"), "{what}: {code}\n{err}");
    for (worker, (own, _)) in lab.held() {
        assert!(known.contains(&own), "{what}: {worker} holds a value that the lost run did not make");
    }
    code
}

/// Kills runs after so many facts each, loses their journal, and ends them from what the hosts say. Says which codes there were.
fn sweep(fault: &str, points: impl Iterator<Item = usize>) -> Vec<i32> {
    let lab = Lab::up();
    let mut codes = Vec::new();
    for facts in points {
        let before = lab.held();
        let what = format!("lost after {facts} facts of a run with the fault {fault}");
        if !lost_after(&lab, facts, fault) {
            break;
        }
        let code = from_hosts(&lab, &what);
        let moved = lab.whole(&before, &what);
        // Nothing was left there.
        if lab.latest_or_none().is_none() {
            continue;
        }
        codes.push(code);
        assert_eq!(moved, [0, 7].contains(&code), "{what}: exit {code}");
        // It is remembered from here on, and over.
        let run = lab.latest();
        assert_eq!(run["unfinished"], false, "{what}");
        let shown = lab.say(&["show", run["run"].as_str().unwrap()]).with(0);
        assert!(shown.contains("the ledger was lost: begun anew by"), "{what}: {shown}");
        lab.say(&FROM_HOSTS).with(4);
        fs::remove_dir_all(lab.state_dir()).unwrap();
    }
    codes
}

#[test]
fn a_run_that_would_succeed_is_ended_from_its_hosts_wherever_its_journal_is_lost() {
    let codes = sweep("none", 1..);
    assert!(codes.len() > 24, "only {codes:?}");
    // Before the barrier, after it, and when hosts have heard of the decision.
    assert!([4, 1, 0].iter().all(|code| codes.contains(code)), "{codes:?}");
}

/// A run that is lost when every host has heard of the decision, and one is cleaned already.
fn lost_while_hosts_are_cleaned(lab: &Lab, cleaned: &str) {
    for _ in 0..20 {
        let running = lab.start(&mut lab.rotation(&["--output", "json"]));
        assert!(running.until(1, |line| line.contains("step-began") && line.contains(r#""step":"confirm""#)));
        running.killed();
        let run = lab.latest()["run"].as_str().unwrap().to_owned();
        fs::remove_dir_all(lab.state_dir()).unwrap();
        let kept = |host: &str, name: &str| lab.on(host, &format!(".lockturn/{run}/{name}"));
        if HOSTS.iter().any(|host| !kept(host, "plan").exists()) {
            // It was too late: the run had come to the cleaning, or to its end.
            lab.say(&FROM_HOSTS);
            let _none = fs::remove_dir_all(lab.state_dir());
            continue;
        }
        // What `confirm` does on those that had not heard, and `clean` on one.
        for host in HOSTS.into_iter().filter(|host| kept(host, "armed").exists()) {
            fs::rename(kept(host, "armed"), kept(host, "confirmed")).unwrap();
        }
        fs::remove_dir_all(lab.on(cleaned, &format!("opt/nanoclaw/.lockturn-{run}-1"))).unwrap();
        fs::remove_file(lab.on(cleaned, ".lockturn/lock")).unwrap();
        fs::remove_dir_all(lab.on(cleaned, &format!(".lockturn/{run}"))).unwrap();
        return;
    }
    panic!("no run could be caught before it was cleaned");
}

#[test]
fn who_was_cleaned_before_the_journal_was_lost_is_not_said_to_be_proved() {
    let lab = Lab::up();
    let before = lab.held();
    lost_while_hosts_are_cleaned(&lab, "worker-2");
    let said = lab.say(&FROM_HOSTS).with(7);
    assert!(said.contains("ROTATED, NOT PROVED") && said.contains("  not seen      worker-2: "), "{said}");
    assert!(said.contains("has nothing of the run: is left alone"), "{said}");
    assert!(lab.whole(&before, "one was cleaned already"));
}

#[test]
fn a_run_that_goes_back_is_ended_from_its_hosts_wherever_its_journal_is_lost() {
    let codes = sweep("refuses-new-secret", (21..).step_by(2));
    assert!(codes.len() > 5 && codes.iter().all(|code| [1, 4].contains(code)), "{codes:?}");
}

#[test]
fn one_who_began_from_hosts_and_died_is_resumed_as_any_other_and_may_lose_its_journal_too() {
    let lab = Lab::up();
    for (facts, deaths) in [(12, 5), (17, 7), (21, 6), (26, 6), (29, 9), (30, 5)] {
        for lost_again in [false, true] {
            let before = lab.held();
            let what = format!("lost after {facts} facts, dead {deaths} later, lost again: {lost_again}");
            assert!(lost_after(&lab, facts, "none"), "{what}");
            let mut command = lab.command(&FROM_HOSTS);
            let running = lab.start(command.args(["--output", "json"]));
            if running.until_facts(deaths) {
                running.killed();
            } else {
                running.ended();
            }
            let code = if lost_again {
                fs::remove_dir_all(lab.state_dir()).unwrap();
                let nothing_left = lab.left_over().is_empty();
                let code = from_hosts(&lab, &what);
                if nothing_left { None } else { Some(code) }
            } else if lab.latest()["unfinished"] == true {
                lab.say(&["resume"]).code
            } else {
                None
            };
            let moved = lab.whole(&before, &what);
            if let Some(code) = code {
                assert!([0, 1, 4, 7].contains(&code), "{what}: {code}");
                assert_eq!(moved, [0, 7].contains(&code), "{what}: exit {code}");
            }
            fs::remove_dir_all(lab.state_dir()).unwrap();
        }
    }
}

/// A run that was left while services restarted.
fn left_after_the_cut() -> (Lab, super::support::Held, String) {
    let lab = Lab::up();
    let before = lab.held();
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains(r#""step":"activate""#)));
    running.killed();
    let run = lab.latest()["run"].as_str().unwrap().to_owned();
    (lab, before, run)
}

/// The same, and its journal is lost.
fn lost_after_the_cut() -> (Lab, super::support::Held, String) {
    let left = left_after_the_cut();
    fs::remove_dir_all(left.0.state_dir()).unwrap();
    left
}

/// What hosts keep of a run and hold, but not who has asked them last.
fn as_it_is(lab: &Lab) -> (super::support::Held, Vec<PathBuf>) {
    (lab.held(), lab.left_over())
}

#[test]
fn a_host_that_does_not_answer_may_be_the_one_that_knows() {
    let (lab, before, run) = lost_after_the_cut();
    lab.fault("worker-2", "down");
    let is = as_it_is(&lab);
    let said = lab.say(&FROM_HOSTS).with(6);
    assert!(said.contains("nothing is decided without 1 host") && said.contains("  worker-2: "), "{said}");
    assert!(said.contains("nothing was changed") && said.contains("go back by themselves"), "{said}");
    assert_eq!(as_it_is(&lab), is);
    // Left out on purpose, or by another inventory, it is missed as well.
    let said = lab.say(&["resume", "--from-hosts", "--yes", "-l", "control:worker-1"]).with(4);
    assert!(said.contains("hosts that are not asked: worker-2"), "{said}");
    lab.fault("worker-2", "none");
    // Nobody is asked, and nobody has said yes.
    let said = lab.say(&["resume", "--from-hosts"]).with(4);
    assert!(said.contains(&format!("run {run}  worker-secret")) && said.contains("goes back, proved"), "{said}");
    assert_eq!(as_it_is(&lab), is);
    lab.say(&FROM_HOSTS).with(1);
    assert!(!lab.whole(&before, "a host was away"));
}

#[test]
fn of_several_runs_one_must_be_named_and_of_none_that_is_said() {
    let lab = Lab::up();
    let said = lab.say(&FROM_HOSTS).with(4);
    assert!(said.contains("none of 3 hosts has anything of a run; nothing was changed"), "{said}");
    drop(lab);
    let (lab, before, run) = lost_after_the_cut();
    let foreign = lab.on("worker-1", ".lockturn/01FOREIGN");
    fs::create_dir(&foreign).unwrap();
    let is = as_it_is(&lab);
    let said = lab.say(&FROM_HOSTS).with(4);
    assert!(said.contains("several runs") && said.contains("  01FOREIGN  worker-1"), "{said}");
    assert!(said.contains(&format!("  {run}  control, worker-[1:2]")), "{said}");
    assert_eq!(as_it_is(&lab), is);
    let said = lab.say(&["resume", "--from-hosts", "--yes", "07"]).with(4);
    assert!(said.contains("that begins with `07`"), "{said}");
    lab.say(&["resume", "--from-hosts", "--yes", &run[..12]]).with(1);
    assert!(foreign.is_dir(), "another run's state was removed");
    // Nothing is known of that one but its name, and nothing is there that could be taken back.
    let said = lab.say(&FROM_HOSTS).with(4);
    assert!(said.contains("unknown: left before any host was told"), "{said}");
    assert!(!lab.whole(&before, "two runs"));
}

#[test]
fn a_run_of_an_earlier_lockturn_is_ended_by_its_journal_and_without_one_that_is_said() {
    let (lab, before, run) = left_after_the_cut();
    for host in HOSTS {
        // So it left a host: one session for all, and no share of the plan.
        let kept = |name: &str| lab.on(host, &format!(".lockturn/{run}/{name}"));
        fs::rename(kept("session1"), kept("session")).unwrap();
        fs::remove_file(kept("plan")).unwrap();
    }
    let elsewhere = lab.scratch("elsewhere");
    let said = lab.run(lab.command_with(&elsewhere, &FROM_HOSTS)).with(6);
    assert!(said.contains("an earlier lockturn") && said.contains("only its own ledger"), "{said}");
    lab.say(&["resume"]).with(0);
    assert!(lab.whole(&before, "an earlier lockturn began it"));
}

#[test]
fn a_host_whose_clean_died_in_the_middle_is_only_cleaned() {
    let lab = Lab::up();
    let before = lab.held();
    lost_while_hosts_are_cleaned(&lab, "worker-1");
    // What is left there last.
    for name in ["values", "plan", "c1"] {
        let entries = fs::read_dir(lab.on("worker-2", ".lockturn")).unwrap();
        let run = entries.flatten().find(|entry| entry.path().is_dir()).unwrap().path();
        if name == "c1" {
            fs::remove_dir_all(run.join(name)).unwrap();
        } else {
            fs::remove_file(run.join(name)).unwrap();
        }
    }
    lab.say(&FROM_HOSTS).with(7);
    assert!(lab.whole(&before, "one host was almost clean"));
}

#[test]
fn hosts_whose_clean_died_at_its_very_end_are_found_and_only_cleaned() {
    let lab = Lab::up();
    let before = lab.held();
    // Nothing of the run is there but its name.
    let only_the_lock = |host: &str, over: &str| {
        let lock = lab.on(host, ".lockturn/lock");
        let run = fs::read_to_string(&lock).unwrap();
        fs::remove_dir_all(lab.on(host, &format!(".lockturn/{}", run.trim_end()))).unwrap();
        fs::write(lock, format!("{} {over}\n", run.trim_end())).unwrap();
    };
    lost_while_hosts_are_cleaned(&lab, "worker-2");
    let beside = fs::read_dir(lab.on("worker-1", "opt/nanoclaw")).unwrap().flatten();
    for beside in beside.filter(|entry| entry.file_name().to_string_lossy().starts_with(".lockturn-")) {
        fs::remove_dir_all(beside.path()).unwrap();
    }
    only_the_lock("worker-1", "cleaning confirmed");
    let said = lab.say(&FROM_HOSTS).with(7);
    assert!(said.contains("confirmed, half cleaned"), "{said}");
    assert!(lab.whole(&before, "one host had its lock only"));
    fs::remove_dir_all(lab.state_dir()).unwrap();

    let before = lab.held();
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains("step-done") && line.contains(r#""step":"lock""#)));
    running.killed();
    fs::remove_dir_all(lab.state_dir()).unwrap();
    for host in HOSTS.into_iter().filter(|host| lab.on(host, ".lockturn/lock").exists()) {
        only_the_lock(host, "cleaning");
    }
    let said = lab.say(&FROM_HOSTS).with(4);
    assert!(said.contains("half cleaned"), "{said}");
    assert!(!lab.whole(&before, "all had their locks only"));
}

/// Changes what a host keeps of the run while `check` looks, and puts it back.
fn lying(lab: &Lab, host: &str, run: &str, name: &str, change: impl Fn(&str) -> String, words: &[&str]) {
    let path = lab.on(host, &format!(".lockturn/{run}/{name}"));
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let changed = change(&kept);
    assert_ne!(changed, kept);
    fs::write(&path, changed).unwrap();
    let is = as_it_is(lab);
    let said = lab.say(&FROM_HOSTS).with(6);
    for word in words {
        assert!(said.contains(word), "{host}, {name}: `{word}` is not in: {said}");
    }
    assert_eq!(as_it_is(lab), is, "{host}, {name}");
    assert!(!said.contains('\u{1b}'), "{said:?}");
    if kept.is_empty() { fs::remove_file(&path) } else { fs::write(&path, &kept) }.unwrap();
}

#[test]
fn a_host_that_lies_is_named_or_the_run_is_left_as_it_is_and_nobody_else_does_what_it_says() {
    let (lab, before, run) = lost_after_the_cut();
    let marker = lab.scratch("tmp").join("somebody-was-here");
    let does = format!(r#""activate":[{{"command":{{"run":["touch","{}"],"deadline":9000}}}}"#, marker.display());
    let with_command = |kept: &str| {
        let (front, rest) = kept.split_once(r#""activate":["#).unwrap();
        format!("{front}{does}{}", rest.find(']').map(|at| &rest[at..]).unwrap())
    };
    lying(&lab, "worker-2", &run, "plan", with_command, &["is not the plan that they name"]);
    let other_name = |kept: &str| kept.replace("worker-secret", "another");
    lying(
        &lab,
        "worker-2",
        &run,
        "plan",
        other_name,
        &["do not agree about the plan", "control, worker-1", "worker-2"],
    );
    let fewer = |kept: &str| kept.replace(r#"["worker-[1:2]"]"#, r#"["worker-2"]"#);
    lying(&lab, "worker-2", &run, "plan", fewer, &["do not agree about the plan"]);
    let screen = |kept: &str| kept.replace("worker-secret", "\\u001b[2Jworker-secret");
    lying(&lab, "worker-2", &run, "plan", screen, &["worker-2", "control characters"]);
    let short = |kept: &str| kept[..kept.len() / 2].to_owned();
    lying(&lab, "worker-2", &run, "plan", short, &["worker-2", "cannot be read"]);
    let digits = |kept: &str| {
        let (front, last) = kept.trim_end().rsplit_once(' ').unwrap();
        let bytes: Vec<&str> = (0..last.len()).step_by(2).rev().map(|at| &last[at..at + 2]).collect();
        format!("{front} {}\n", bytes.concat())
    };
    lying(&lab, "worker-2", &run, "values", digits, &["keeps other values of `worker_shared_secret/worker-2`"]);
    lying(&lab, "worker-1", &run, "values", |kept| kept.replacen('_', "?", 1), &["worker-1", "cannot be read"]);
    // With its lock gone by hand the control plane has no share: now only each host answers for itself.
    let (away, there) = (lab.scratch("away"), lab.on("control", &format!(".lockturn/{run}")));
    fs::rename(&there, &away).unwrap();
    let wants = |kept: &str| kept.replace("worker_shared_secret/worker-2", "worker_shared_secret/worker-1");
    lying(&lab, "worker-2", &run, "plan", wants, &["worker-2 keeps a value of `worker_shared_secret/worker-2`"]);
    let wants_both = |kept: &str| {
        let (front, rest) = kept.split_once(r#""verify":["#).unwrap();
        let probe = &rest[..rest.rfind("]}}").unwrap_or(rest.rfind(']').unwrap())];
        let stolen = probe.replace("worker_shared_secret/worker-2", "worker_shared_secret/worker-1");
        format!("{front}\"verify\":[{stolen},{rest}")
    };
    lying(
        &lab,
        "worker-2",
        &run,
        "plan",
        wants_both,
        &["worker-2 does not keep the values of `worker_shared_secret/worker-1`"],
    );
    fs::rename(&away, &there).unwrap();
    lab.say(&FROM_HOSTS).with(1);
    assert!(!lab.whole(&before, "after all those lies"));
    assert!(!marker.exists());
}

#[test]
fn a_host_that_claims_a_decision_which_cannot_have_been_made_decides_nothing() {
    let lab = Lab::up();
    let before = lab.held();
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains(r#""step":"arm""#)));
    running.killed();
    let run = lab.latest()["run"].as_str().unwrap().to_owned();
    fs::remove_dir_all(lab.state_dir()).unwrap();
    lying(&lab, "worker-1", &run, "confirmed", |_| "process\n".to_owned(), &["worker-1 says", "both cannot be"]);
    lab.say(&FROM_HOSTS).with(4);
    assert!(!lab.whole(&before, "nothing was decided"));
}

#[test]
fn a_journal_that_is_there_is_not_passed_over_and_a_damaged_one_names_the_way() {
    let (lab, before, run) = left_after_the_cut();
    let said = lab.say(&FROM_HOSTS).with(4);
    assert!(
        said.contains(&format!("this ledger knows the run {run}")) && said.contains(&format!("resume {run}\n")),
        "{said}"
    );
    let empty = lab.scratch("empty");
    let said = lab.run(lab.command_with(&empty, &["resume"])).with(4);
    assert!(said.contains(&format!("--state {} resume --from-hosts", empty.display())), "{said}");
    let quick = lab.at("playbooks/quick.yml").display().to_string();
    let said = lab.run(lab.command_with(&empty, &["rotate", "--yes", &quick])).with(4);
    assert!(said.contains("resume --from-hosts"), "{said}");
    for name in ["ledger.db-wal", "ledger.db-shm"] {
        let _none = fs::remove_file(lab.state_dir().join(name));
    }
    fs::write(lab.state_dir().join("ledger.db"), "this is no database, and was one once".repeat(100)).unwrap();
    let said = lab.say(&["resume"]).with(4);
    let next = format!("lockturn -i {} resume --from-hosts --state NEW-DIR", lab.at("inventory.yml").display());
    assert!(said.contains(&next), "{said}");
    lab.run(lab.command_with(&lab.scratch("new"), &FROM_HOSTS)).with(1);
    fs::remove_dir_all(lab.state_dir()).unwrap();
    assert!(!lab.whole(&before, "a damaged journal"));
}

#[test]
fn a_coordinator_that_slept_while_its_run_was_ended_from_the_hosts_is_refused_everywhere() {
    let lab = Lab::up();
    for (at, step) in ["stage", "cut", "verify", "confirm", "clean"].into_iter().enumerate() {
        let before = lab.held();
        let running = lab.start(&mut lab.rotation(&["--output", "json"]));
        let wanted = format!(r#""step":"{step}""#);
        assert!(running.until(1, |line| line.contains("step-began") && line.contains(&wanted)));
        running.signal(Signal::STOP);
        let ended = lab.run(lab.command_with(&lab.scratch(&format!("new-{at}")), &FROM_HOSTS));
        let what = format!("asleep in {step}: {:?}\n{}", ended.code, ended.err);
        let moved = lab.whole(&before, &what);
        match ended.code {
            Some(0 | 7) => assert!(moved, "{what}"),
            Some(1) => assert!(!moved, "{what}"),
            // Nobody had moved, or everything was clean already.
            Some(4) => {}
            _ => panic!("{what}"),
        }
        refused_when_it_wakes(&lab, running, moved, &what);
        fs::remove_dir_all(lab.state_dir()).unwrap();
    }
    assert_eq!(HOSTS.len(), 3);
}
