//! A rotation that was left, and one of whose workers is isolated before it is taken up again: that worker gets nothing of it.
//!
//! Hosts of the embedded fleet live on the loopback, which nobody may drop; so that the worker is isolated stands in the ledger only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use lockturn::journal::{Journal, StateDir};
use lockturn::model::{
    Become, Entry, Event, Forgetting, ISOLATION_VERSION, Isolates, IsolationMember, IsolationPlan, Known, Millis,
    Verdict, Way,
};

use super::support::{HOSTS, Held, Lab};

const ISOLATED: &str = "worker-1";

/// The ledger says that the worker is isolated, or released.
pub(crate) fn says(lab: &Lab, way: Way, run: &str) {
    let verdict = if way == Way::Quarantine { Verdict::Quarantined } else { Verdict::Released };
    tells(lab, way, run, None, vec![Event::RunEnded { verdict }]);
}

/// The ledger tells of such a run, and that this is what became of it.
pub(crate) fn tells(lab: &Lab, way: Way, run: &str, forgetting: Option<Forgetting>, became: Vec<Event>) {
    let dir = StateDir::open(&lab.state_dir()).unwrap();
    let mut journal = Journal::open(&dir).unwrap();
    let host = ISOLATED.parse().unwrap();
    let member = || IsolationMember { become_user: Become::None, way_to: BTreeMap::new(), contained: false };
    let known = Known { addresses: BTreeSet::from(["192.0.2.7".parse().unwrap()]), port: 22 };
    let plan = IsolationPlan {
        isolation: ISOLATION_VERSION,
        way,
        reason: String::new(),
        hosts: BTreeMap::from([(host, known)]),
        members: HOSTS.map(|name| (name.parse().unwrap(), member())).into(),
        lease: Millis::from_secs(60),
        managers: BTreeSet::new(),
        evidence: None,
        forgetting,
    };
    let began = Event::RunBegan {
        run: run.parse().unwrap(),
        plan: plan.hash(),
        playbook: way.label().to_owned(),
        hosts: 3,
        operator: "op@here".to_owned(),
        version: "0".to_owned(),
    };
    let isolates = Isolates { way, hosts: plan.hosts.keys().cloned().collect(), reason: String::new(), expires: None };
    let entry = |event| Entry { at_unix: Millis(1_700_000_000_000), elapsed: Millis(7), event };
    let events: Vec<Entry> = [began, Event::RunIsolates(isolates)].into_iter().chain(became).map(entry).collect();
    journal.begin_isolation(&run.parse().unwrap(), &plan, "op@here", &events).unwrap();
}

/// All that the worker has, byte for byte.
fn all_of_it(lab: &Lab) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![lab.on(ISOLATED, "")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else if !entry.file_name().to_string_lossy().starts_with("watch") {
                found.insert(entry.path(), fs::read(entry.path()).unwrap_or_default());
            }
        }
    }
    found
}

/// A rotation that dies once a host has begun this.
fn left_at(lab: &Lab, step: &str) {
    let mut command = lab.command(&["rotate", "--yes", "--output", "json"]);
    command.arg(lab.at("playbooks/quick.yml"));
    let going = lab.start(&mut command);
    let wanted = format!("\"step\":\"{step}\"");
    assert!(going.until(1, |line| line.contains("step-began") && line.contains(&wanted)), "there was no {step}");
    going.killed();
    lab.learn();
}

#[test]
fn a_worker_that_was_isolated_meanwhile_gets_nothing_of_it_until_it_is_released() {
    for (step, verb, end, once_released) in [
        ("stage", "resume", 4, 4),
        ("cut", "resume", 7, 1),
        ("activate", "rollback", 7, 1),
        ("confirm", "resume", 7, 0),
    ] {
        let lab = Lab::up();
        let before = lab.held();
        left_at(&lab, step);
        says(&lab, Way::Quarantine, "01AQUARANTINE");
        let its = all_of_it(&lab);
        let said = lab.say(&["--yes", verb]).with(end);
        assert!(said.contains("left out until released: worker-1"), "{step}: {said}");
        assert!(said.contains("worker-1 was isolated meanwhile"), "{step}: {said}");
        assert_eq!(said.contains("WITH DEBT"), end == 7, "{step}: {said}");
        assert!(all_of_it(&lab) == its, "{verb} after {step}: something was done to it");
        let after = lab.held();
        let stays = step == "confirm";
        assert_eq!(after["worker-2"].0 != before["worker-2"].0, stays, "{step}: the others");
        assert_eq!(after["worker-2"].0, after["worker-2"].1, "{step}: the two sides of the others differ");

        // The others can be rotated; and it is said why this run is not taken up.
        let again = lab.say(&["resume", &the_rotation(&lab)]).with(4);
        assert!(again.contains("which is in quarantine") && again.contains("release worker-1, then"), "{again}");
        lab.run(lab.rotation(&[])).with(0);
        let rotated = lab.held();
        assert_ne!(rotated["worker-2"], after["worker-2"], "{step}: the others cannot be rotated");
        assert!(all_of_it(&lab) == its, "{step}: a later rotation did something to it");

        says(&lab, Way::Release, "01BRELEASE");
        let said = lab.say(&["resume", &the_rotation(&lab)]).with(once_released);
        assert!(!said.contains("in quarantine"), "{step}: {said}");
        assert_eq!(lab.left_over(), Vec::<PathBuf>::new(), "{step}");
        lab.say(&["ledger", "verify"]).with(0);
    }
}

#[test]
fn a_run_without_a_journal_gives_it_nothing_either() {
    let lab = Lab::up();
    left_at(&lab, "activate");
    fs::remove_dir_all(lab.state_dir()).unwrap();
    lab.say(&["runs"]).with(0);
    says(&lab, Way::Quarantine, "01AQUARANTINE");
    let its = all_of_it(&lab);
    let said = lab.say(&["--yes", "resume", "--from-hosts"]).with(4);
    assert!(said.contains("worker-1 has a part in the run") && said.contains("is in quarantine"), "{said}");
    assert!(all_of_it(&lab) == its, "something was done to it");
    says(&lab, Way::Release, "01BRELEASE");
    lab.say(&["--yes", "resume", "--from-hosts"]).with(1);
    assert_eq!(lab.left_over(), Vec::<PathBuf>::new());
}

/// Names of runs sort by the operator's clock, and that may have been set back.
#[test]
fn what_was_written_last_counts_whatever_the_clock_said() {
    let lab = Lab::up();
    let before = lab.held();
    says(&lab, Way::Release, "01C");
    says(&lab, Way::Quarantine, "01B");
    let said = lab.run(lab.rotation(&[])).with(0);
    assert!(said.contains("left out until released: worker-1"), "{said}");
    assert_eq!(lab.held()[ISOLATED], before[ISOLATED], "it got a value");
    says(&lab, Way::Release, "01A");
    let said = lab.run(lab.rotation(&[])).with(0);
    assert!(!said.contains("left out"), "{said}");
}

/// The first rotation of the ledger.
fn the_rotation(lab: &Lab) -> String {
    let runs = lab.say(&["runs", "--output", "json"]).with(0);
    let runs = runs.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut rotations = runs.filter(|run| run["run"].is_string() && run["isolates"].is_null());
    rotations.next_back().unwrap()["run"].as_str().unwrap().to_owned()
}

/// A worker that was released, and holds another value than its row: the control plane had forgotten it.
fn released(lab: &Lab) -> Held {
    says(lab, Way::Quarantine, "01AQUARANTINE");
    let worthless = "5ec2e7".repeat(10) + "0000";
    lab.set_row(ISOLATED, &worthless);
    lab.learn();
    says(lab, Way::Release, "01BRELEASE");
    lab.held()
}

/// Everybody is where they were, the two sides of the released worker apart.
#[track_caller]
fn is_back(lab: &Lab, before: &Held, what: &str) {
    assert_eq!(lab.held(), *before, "{what}");
    assert_eq!(lab.left_over(), Vec::<PathBuf>::new(), "{what}");
}

#[test]
fn a_released_worker_gets_new_secrets_whatever_it_holds() {
    let lab = Lab::up();
    lab.set_row(ISOLATED, &"0".repeat(64));
    let said = lab.run(lab.rotation(&[])).with(4);
    assert!(said.contains("it holds"), "two sides that differ for no known reason are refused: {said}");
    let before = released(&lab);
    let said = lab.run(lab.rotation(&[])).with(0);
    assert!(said.contains("since its quarantine worker-1 holds older values"), "{said}");
    assert!(lab.whole(&before, "rotated"));
    let before = lab.held();
    let said = lab.run(lab.rotation(&[])).with(0);
    assert!(!said.contains("since its quarantine"), "{said}");
    assert!(lab.whole(&before, "rotated again"));
    // From then on it is as any other.
    lab.set_row(ISOLATED, &"0".repeat(64));
    lab.run(lab.rotation(&[])).with(4);
}

#[test]
fn whoever_gives_it_new_secrets_dies_and_the_next_one_ends_it() {
    for (facts, fault, verb) in [
        (6, "none", &["resume"][..]),
        (10, "none", &["resume"]),
        (12, "refuses-new-secret", &["resume"]),
        (12, "none", &["--yes", "resume", "--from-hosts"]),
        (9, "none", &["--yes", "rollback"]),
    ] {
        let lab = Lab::up();
        let before = released(&lab);
        let what = format!("{verb:?} after {facts} facts, {fault}");
        let going = lab.start(&mut lab.rotation(&["--output", "json"]));
        assert!(going.until_facts(2), "{what}");
        lab.fault("worker-2", fault);
        assert!(going.until_facts(facts - 2), "{what}");
        going.killed();
        lab.learn();
        if verb.contains(&"--from-hosts") {
            fs::remove_dir_all(lab.state_dir()).unwrap();
        }
        let ended = lab.say(verb);
        lab.fault("worker-2", "none");
        match ended.code {
            Some(0) => assert!(lab.whole(&before, &what)),
            Some(1 | 4) => is_back(&lab, &before, &what),
            code => panic!("{what}: {code:?}: {}{}", ended.out, ended.err),
        }
    }
}
