//! Two operators at once, and a state directory that is not as it should be.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::{Command, Stdio};

use super::support::{Lab, Running};

/// A rotation that is in the middle of its restarts.
fn in_the_middle(lab: &Lab) -> Running<'_> {
    lab.fault("worker-1", "slow-restart 3000");
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains(r#""step":"activate""#)));
    running
}

#[test]
fn the_second_operator_is_told_who_the_first_one_is() {
    let lab = Lab::up();
    let before = lab.held();
    let first = in_the_middle(&lab);
    let said = lab.run(lab.rotation(&[])).with(5);
    assert!(said.contains("another run holds") && said.contains("process") && said.contains("since"), "{said}");
    let refused = lab.run(lab.rotation(&["--output", "json"]));
    let error: serde_json::Value = serde_json::from_str(refused.out.lines().last().unwrap()).unwrap();
    assert_eq!((&error["v"], &error["event"], &error["data"]["exit"]), (&1.into(), &"error".into(), &5.into()));
    assert!(error["data"]["message"].as_str().unwrap().contains("another run holds"), "{error}");
    refused.with(5);
    let said = lab.say(&["resume"]).with(5);
    assert!(said.contains("process"), "{said}");
    // What only looks waits for nobody.
    let run = lab.latest()["run"].as_str().unwrap().to_owned();
    let said = lab.say(&["runs"]).with(0);
    assert!(said.contains("  running  ") && !said.contains("unfinished"), "{said}");
    assert_eq!((&lab.latest()["running"], &lab.latest()["unfinished"]), (&true.into(), &true.into()));
    let said = lab.say(&["show", &run]).with(0);
    assert!(said.contains("\nRUNNING  the run goes on now on 3 hosts") && said.contains(", process "), "{said}");
    for word in ["LEFT", "resume", "rollback", "by hand", "left-overs"] {
        assert!(!said.contains(word), "`{word}`, and somebody is at it: {said}");
    }
    let quick = lab.at("playbooks/quick.yml").display().to_string();
    let status = lab.say(&["status", &quick]);
    assert!(status.out.contains(&format!("the run {run} goes on here")), "{}{}", status.out, status.err);
    assert!(status.err.contains(&format!("the run {run} goes on now, by ")), "{}", status.err);
    assert!(!status.err.contains("resume"), "somebody is at it: {}", status.err);
    // The cut is over, and what is held says which side of the run it is.
    assert!(status.out.contains("  new\n"), "{}", status.out);
    assert!([Some(6), Some(7)].contains(&status.code), "{:?}", status.code);
    first.killed();
    lab.fault("worker-1", "none");
    // Nobody is at it any more, whatever stands in the lock's file.
    let said = lab.say(&["runs"]).with(0);
    assert!(said.contains("unfinished") && !said.contains("running"), "{said}");
    let said = lab.say(&["show", &run]).with(0);
    assert!(said.contains("\nLEFT  the run was left on 3 hosts"), "{said}");
    let (inventory, state) = (lab.at("inventory.yml"), lab.state_dir());
    let next = format!("next: lockturn -i {} --state {} resume {run}", inventory.display(), state.display());
    assert!(said.contains(&next), "{next}{said}");
    let status = lab.say(&["status", &quick]);
    assert!(status.out.contains(&format!("something of the run {run} is left here")), "{}{}", status.out, status.err);
    assert!(status.err.contains(&next), "{next}{}", status.err);
    lab.say(&["resume"]).with(0);
    assert!(lab.whole(&before, "the first of two"));
}

#[test]
fn the_second_operator_with_a_state_of_his_own_is_stopped_by_the_hosts() {
    let lab = Lab::up();
    let before = lab.held();
    let first = in_the_middle(&lab);
    let mut second = lab.rotation(&[]);
    // The last one counts.
    second.env("LOCKTURN_STATE", lab.scratch("second"));
    let words: Vec<_> = second.get_args().filter(|word| *word != "--state" && *word != lab.state_dir()).collect();
    let mut command = Command::new(second.get_program());
    command.args(words).envs(second.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = lab.run(command).with(4);
    let run = lab.latest()["run"].as_str().unwrap().to_owned();
    assert!(said.contains("host-locked") && said.contains(&run), "the holder {run} is not named: {said}");
    // With the flags that were typed, as every command that is to be typed.
    let (inventory, state) = (lab.at("inventory.yml"), lab.scratch("second"));
    let resume = format!(": lockturn -i {} --state {} resume --from-hosts\n", inventory.display(), state.display());
    assert!(said.contains(&resume), "{resume}{said}");
    first.ended().with(0);
    assert!(lab.whole(&before, "the first of two, each with a state directory"));
}

/// What every verb that would change something says of a state directory that is not right.
fn refused(lab: &Lab, verbs: &[&[&str]], word: &str) {
    let before = lab.held();
    for verb in verbs {
        let said = if *verb == ["rotate"] { lab.run(lab.rotation(&[])) } else { lab.say(verb) }.with(4);
        assert!(said.contains(word) && said.contains("nothing was changed"), "{verb:?}: {said}");
    }
    assert_eq!(lab.held(), before);
}

#[test]
fn a_state_directory_that_is_not_right_is_refused_before_anything_is_sent() {
    let lab = Lab::up();
    lab.run(lab.rotation(&[])).with(0);
    let (state, ledger) = (lab.state_dir(), lab.state_dir().join("ledger.db"));
    let every: [&[&str]; 3] = [&["rotate"], &["resume"], &["runs"]];

    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    refused(&lab, &every, "others must not be able to look into it");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();

    // Another user's: root can make it so, and anybody else can look at root's.
    if rustix::process::geteuid().is_root() {
        chown(&state, Some(12_345), None).unwrap();
        refused(&lab, &every, "belongs to the user 12345");
        chown(&state, Some(0), None).unwrap();
    } else {
        let mut command = lab.command(&["runs"]);
        let said = lab.run({
            command.args(["--state", "/"]);
            command
        });
        assert!(said.with(4).contains("belongs to the user 0"));
    }

    let good = fs::read(&ledger).unwrap();
    let db = rusqlite::Connection::open(&ledger).unwrap();
    db.pragma_update(None, "user_version", 9).unwrap();
    refused(&lab, &every, "format 9");
    db.pragma_update(None, "user_version", 1).unwrap();
    db.execute_batch("DROP TRIGGER entries_stay; UPDATE entries SET elapsed_ms = elapsed_ms + 1 WHERE seq = 5")
        .unwrap();
    drop(db);
    refused(&lab, &[&["rotate"]], "entry 5 of the ledger is broken");
    assert!(lab.say(&["ledger", "verify"]).with(6).contains("entry 5"));
    fs::write(&ledger, "this is no database, and has never been one").unwrap();
    refused(&lab, &every, "not a database");
    fs::write(&ledger, good).unwrap();
    let _not_there = fs::remove_file(state.join("ledger.db-wal"));
    lab.run(lab.rotation(&[])).with(0);
}

#[test]
fn a_full_disk_refuses_the_run_or_leaves_it_where_resume_goes_on() {
    let lab = Lab::up();
    lab.run(lab.rotation(&[])).with(0);
    // Blocks of 512 bytes for the files of the ledger, from one that has no room at all to one that has enough.
    let mut codes = Vec::new();
    for blocks in [0, 64, 160, 200, 240, 300, 100_000] {
        let before = lab.held();
        let rotation = lab.rotation(&["--output", "json"]);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("ulimit -f {blocks}; exec \"$@\""), "sh"]);
        shell.arg(rotation.get_program()).args(rotation.get_args());
        shell.env_clear().env("HOME", lab.scratch("")).env("TMPDIR", lab.scratch("tmp"));
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = lab.run(shell);
        let what = format!("{blocks} blocks");
        codes.push(ended.code);
        match ended.code {
            Some(0) => assert!(lab.whole(&before, &what)),
            Some(4) => {
                assert!(ended.err.contains("nothing was changed"), "{what}: {}", ended.err);
                assert!(!lab.whole(&before, &what));
            }
            Some(6) => {
                assert!(ended.err.contains("nothing more was sent to any host"), "{what}: {}", ended.err);
                let resumed = lab.say(&["resume"]);
                assert!([Some(0), Some(1), Some(4)].contains(&resumed.code), "{what}: {}", resumed.err);
                assert_eq!(lab.whole(&before, &what), resumed.code == Some(0), "{what}");
            }
            other => panic!("{what}: {other:?}\n{}{}", ended.out, ended.err),
        }
    }
    assert!(codes.contains(&Some(4)) && codes.contains(&Some(6)) && codes.contains(&Some(0)), "{codes:?}");
}

#[test]
fn a_state_directory_that_is_removed_in_the_middle_stops_the_run_and_says_how_to_take_it_back() {
    let lab = Lab::up();
    let before = lab.held();
    let running = in_the_middle(&lab);
    fs::remove_dir_all(lab.state_dir()).unwrap();
    let ended = running.ended();
    lab.fault("worker-1", "none");
    let err = ended.err.clone();
    let said = ended.with(6);
    assert!(said.contains("was removed") && said.contains("nothing more was sent to any host"), "{said}");
    // No command that needs the ledger is shown: here, and where it is begun anew.
    let run = said.split_once("resume --from-hosts ").unwrap().1.split_whitespace().next().unwrap();
    let resumes =
        |said: &str| said.lines().filter(|line| line.contains("lockturn ") && line.contains(" resume ")).count();
    assert_eq!(resumes(&err), 1, "{said}");
    let quick = lab.at("playbooks/quick.yml").display().to_string();
    let status = lab.say(&["status", &quick]);
    let (inventory, state) = (lab.at("inventory.yml"), lab.state_dir());
    let (inventory, state) = (inventory.display(), state.display());
    let next = format!("next: lockturn -i {inventory} --state {state} resume --from-hosts {run}   ");
    assert!(status.err.contains(&next), "{next}{}", status.err);
    assert_eq!(resumes(&status.err), 1, "{}", status.err);
    assert!([Some(6), Some(7)].contains(&status.code), "{:?}", status.code);
    super::mended::paste(&lab, &err);
    assert!(!lab.whole(&before, "taken back by hand"));
    lab.run(lab.rotation(&[])).with(0);
}
