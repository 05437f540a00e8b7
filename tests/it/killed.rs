//! The coordinator is killed at every fact that it tells, and taken up again: `resume` or `rollback` ends what was begun, all old
//! or all new, and no second value is ever made.

use super::support::{Ended, Lab};

/// Runs a command and kills it after so many facts; false if it ended before. Once it has begun this happens too: a fleet that is not
/// well before that is not rotated at all.
fn killed_after(lab: &Lab, words: &[&str], facts: usize, begun: impl FnOnce()) -> bool {
    let mut command = lab.command(words);
    let running = lab.start(command.args(["--output", "json"]));
    let began = running.until_facts(1);
    begun();
    let killed = began && (facts == 1 || running.until_facts(facts - 1));
    if killed {
        running.killed()
    } else {
        running.ended()
    };
    killed
}

/// Takes the run up until it has ended, and says with which code.
fn taken_up(lab: &Lab, verb: &str, what: &str) -> i32 {
    let known: Vec<String> = lab.kept().into_iter().chain(lab.held().into_values().map(|(own, _)| own)).collect();
    let Ended { code, out, err } = lab.say(&[verb, "--yes", "--output", "json"]);
    let code = code.unwrap_or_else(|| panic!("{what}: {out}{err}"));
    assert!([0, 1, 4].contains(&code), "{what}: {code}\n{out}{err}");
    // Whatever is held now lay on a host before: nothing was made anew.
    for (worker, (own, _)) in lab.held() {
        assert!(known.contains(&own), "{what}: {worker} holds a value that the killed run did not make");
    }
    code
}

/// What is done to a run that was killed: so many deaths of `resume`, each a little later, and then the verb that ends it.
struct Then {
    verb: &'static str,
    deaths: usize,
}

/// Kills runs whose second worker has this fault after 1, 2, 3, … facts, and ends each. Says how many there were.
fn sweep(fault: &str, points: impl Iterator<Item = usize>, then: &Then) -> usize {
    let lab = Lab::up();
    let quick = lab.at("playbooks/quick.yml").display().to_string();
    let mut taken = 0;
    for facts in points {
        let before = lab.held();
        let was_killed = killed_after(&lab, &["rotate", "--yes", &quick], facts, || lab.fault("worker-2", fault));
        lab.fault("worker-2", "none");
        if !was_killed {
            break;
        }
        let Then { verb, deaths } = then;
        let what = format!("{verb} after {facts} facts of a run with the fault {fault}, and {deaths} deaths more");
        (1..=*deaths).for_each(|death| {
            killed_after(&lab, &["resume"], 2 * death + facts % 3, || {});
        });
        // The last facts of a run may be its very end.
        if lab.latest()["unfinished"] == true {
            taken += 1;
            let mut code = taken_up(&lab, verb, &what);
            if lab.latest()["unfinished"] == true {
                assert_eq!(
                    (*verb, code),
                    ("rollback", 4),
                    "{what}: only a run that has decided to stay is not taken back"
                );
                code = taken_up(&lab, "resume", &what);
                assert_eq!(code, 0, "{what}, then resumed");
            }
            assert_eq!(lab.whole(&before, &what), code == 0, "{what}: exit {code}");
        } else {
            lab.whole(&before, &what);
        }
        assert!(lab.say(&[verb]).with(4).contains("nothing was changed"), "{what}");
    }
    taken
}

#[test]
fn a_run_that_would_succeed_is_resumed_from_every_fact() {
    let taken = sweep("none", 1.., &Then { verb: "resume", deaths: 0 });
    assert!(taken > 28, "only {taken} points");
}

#[test]
fn a_run_that_goes_back_is_resumed_from_every_fact() {
    // Up to the proof it is the run that would succeed.
    let taken = sweep("refuses-new-secret", 23.., &Then { verb: "resume", deaths: 0 });
    assert!(taken > 12, "only {taken} points");
}

#[test]
fn a_killed_run_is_taken_back_from_wherever_it_was() {
    let taken = sweep("none", (2..).step_by(4), &Then { verb: "rollback", deaths: 0 });
    assert!(taken > 6, "only {taken} points");
}

#[test]
fn a_resume_that_is_killed_twice_is_resumed_all_the_same() {
    let taken = sweep("none", (15..).step_by(4), &Then { verb: "resume", deaths: 2 });
    assert!(taken > 2, "only {taken} points");
    let taken = sweep("fails-to-start", (20..).step_by(4), &Then { verb: "resume", deaths: 2 });
    assert!(taken > 1, "only {taken} points");
}
