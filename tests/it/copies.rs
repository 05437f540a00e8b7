//! A state directory was copied, and both copies are used: the hosts follow one coordinator, one of the two ends the run, and the other
//! one says nothing that is not so.

use std::path::{Path, PathBuf};

use lockturn::coordinator::{Next, Run};
use lockturn::journal::{Journal, StateDir};
use lockturn::model::{Entry, Event, Millis, RunId, Step};
use rustix::process::Signal;

use super::elsewhere::{carried, there};
use super::support::{Ended, Lab};

/// What one says who did not end the run: the other one did, or does.
fn knows_of_the_other(ended: &Ended) -> bool {
    let words =
        ["a newer coordinator", "this ledger is older than the run", "this run does not hold the host any more"];
    [Some(5), Some(6)].contains(&ended.code) && words.iter().any(|word| ended.err.contains(word))
}

#[test]
fn of_two_copies_that_are_resumed_at_once_one_ends_the_run_and_the_other_one_says_so() {
    let lab = Lab::up();
    let mut beaten = 0;
    for (round, facts) in [3, 9, 12, 14, 17, 19, 21, 24, 26, 14, 17, 21].into_iter().enumerate() {
        let before = lab.held();
        let running = lab.start(&mut lab.rotation(&["--output", "json"]));
        assert!(running.until_facts(facts));
        running.killed();
        let copy = carried(&lab, &format!("copy-{round}"));
        let states = [lab.state_dir(), copy];
        let both = states.each_ref().map(|state| lab.start(&mut lab.command_with(state, &["resume"])));
        let mut ended = both.map(|running| running.ended());
        let what = format!("two copies of {facts} facts");
        let is_over = |ended: &Ended| [Some(0), Some(1), Some(4)].contains(&ended.code);
        // One may have been taken from the other in the middle, and then have seen that it knew less: that one is the newer one next time.
        for _ in 0..2 {
            if !ended.iter().any(is_over) {
                ended = states.each_ref().map(|state| there(&lab, state, &["resume"]));
            }
        }
        let all = format!("{what}: {:?}", ended.each_ref().map(|ended| (ended.code, &ended.err)));
        let verdicts: Vec<_> = ended.iter().filter(|ended| is_over(ended)).map(|ended| ended.code).collect();
        assert!(!verdicts.is_empty() && verdicts.iter().all(|code| *code == verdicts[0]), "{all}");
        for ended in ended.iter().filter(|ended| !is_over(ended)) {
            assert!(knows_of_the_other(ended), "{all}");
            assert!(!ended.err.contains("ROLLED BACK") && !ended.err.contains("ROTATED"), "{all}");
            assert!(!ended.err.contains("by hand, on"), "it would undo what the other one did: {all}");
            beaten += 1;
        }
        assert_eq!(lab.whole(&before, &all), verdicts[0] == Some(0), "{all}");
        std::fs::remove_dir_all(lab.state_dir()).unwrap();
    }
    assert!(beaten > 5, "only {beaten} of 12 rounds had somebody who came too late");
}

/// Writes into the ledger what would have happened until all hosts were about to be cleaned, and nothing more: as if every request from
/// there on had got lost, and its coordinator had died.
fn begins_to_clean(state: &Path, run: &str) {
    let run: RunId = run.parse().unwrap();
    let mut journal = Journal::open(&StateDir::open(state).unwrap()).unwrap();
    let (plan, entries) = (journal.plan(&run).unwrap(), journal.entries(&run).unwrap());
    let mut state = Run::replay(&plan, entries.iter().map(|entry| &entry.event)).unwrap();
    loop {
        let doing = state.hosts().iter().filter_map(|(host, known)| Some((host.clone(), known.doing()?)));
        let mut events: Vec<Event> = doing.map(|(host, step)| Event::StepDone { host, step }).collect();
        let mut cleans = false;
        if events.is_empty() {
            events = match state.next() {
                Next::Begin { step, hosts } => {
                    cleans = step == Step::Clean;
                    hosts.into_iter().map(|host| Event::StepBegan { host, step }).collect()
                }
                Next::Record(event) => vec![event],
                other => panic!("{other:?}"),
            };
        }
        events.iter().for_each(|event| state.apply(event).unwrap());
        let entry = |event| Entry { at_unix: Millis(0), elapsed: Millis(0), event };
        journal.append(&run, &events.into_iter().map(entry).collect::<Vec<_>>()).unwrap();
        if cleans {
            return;
        }
    }
}

/// A run that goes back, and is killed when every host is back and about to prove it; with a copy of its ledger from before the cut.
fn gone_back(lab: &Lab) -> (PathBuf, String) {
    lab.fault("worker-1", "refuses-new-secret");
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains("step-began") && line.contains(r#""step":"cut""#)));
    running.signal(Signal::STOP);
    let copy = carried(lab, "copy");
    running.signal(Signal::CONT);
    assert!(running.until(1, |line| line.contains("step-began") && line.contains(r#""step":"reverify""#)));
    running.killed();
    lab.fault("worker-1", "none");
    let run = lab.latest()["run"].as_str().unwrap().to_owned();
    begins_to_clean(&lab.state_dir(), &run);
    (copy, run)
}

#[test]
fn one_who_began_to_clean_hosts_that_another_one_brought_forward_does_not_say_that_they_are_back() {
    let lab = Lab::up();
    let before = lab.held();
    let (copy, run) = gone_back(&lab);
    there(&lab, &copy, &["resume"]).with(0);
    assert!(lab.whole(&before, "the copy brought the fleet forward"));
    for words in [&["resume"] as &[&str], &["rollback", "--yes"]] {
        let said = lab.say(words).with(6);
        assert!(said.contains("does not hold the old value: this ledger is older than the run"), "{said}");
        assert!(!said.contains("ROLLED BACK") && !said.contains("reverted"), "{said}");
        assert!(!said.contains("by hand, on"), "{said}");
    }
    assert!(lab.whole(&before, "the older one was resumed"));
    // What it remembers is not the end of the run.
    assert_eq!((&lab.latest()["run"], &lab.latest()["unfinished"]), (&run.into(), &true.into()));
}

#[test]
fn one_whose_requests_to_clean_were_done_and_not_answered_is_done() {
    let lab = Lab::up();
    let before = lab.held();
    let (_copy, run) = gone_back(&lab);
    // What `clean` does on a host, and nobody heard of it.
    for host in ["worker-1", "worker-2"] {
        std::fs::remove_dir_all(lab.on(host, &format!("opt/nanoclaw/.lockturn-{run}-1"))).unwrap();
        std::fs::remove_file(lab.on(host, ".lockturn/lock")).unwrap();
        std::fs::remove_dir_all(lab.on(host, &format!(".lockturn/{run}"))).unwrap();
    }
    lab.say(&["resume"]).with(1);
    assert!(!lab.whole(&before, "two of three were clean already"));
}
