//! More than one process had the run: one that died, or one elsewhere with a copy of the ledger.
//!
//! Goal: nothing is done on a host that a newer coordinator has, and nothing is believed that only an earlier process had seen.
//! Method: told step by step, because these hosts change between two answers, as those of [`super::Sim`] never do.

use lockturn::coordinator::{Next, Rest, Run};
use lockturn::model::{Certainty, Event, HostName, HostState, Reason, ReasonKind, Step, Verdict};

use super::{Sim, name, plan};

const FAILED: Certainty = Certainty::Failed;

fn began() -> Run {
    Run::replay(&plan(), &Sim::new(Vec::new()).events).unwrap()
}

fn everybody() -> Vec<HostName> {
    plan().hosts.into_keys().collect()
}

/// Does what is to be done until this is begun, and says where.
fn until(run: &mut Run, wanted: Step) -> Vec<HostName> {
    for _ in 0..100 {
        match run.next() {
            Next::Begin { step, hosts } => {
                hosts.iter().for_each(|host| run.apply(&Event::StepBegan { host: host.clone(), step }).unwrap());
                if step == wanted {
                    return hosts;
                }
                hosts.iter().for_each(|host| done(run, host, step));
            }
            Next::Record(event) => run.apply(&event).unwrap(),
            next => panic!("{next:?}, and no {wanted} yet"),
        }
    }
    panic!("it never comes to {wanted}");
}

/// What is done from here to the end, if nothing fails any more, on one host.
fn rest_of(run: &mut Run, of: &HostName) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..100 {
        match run.next() {
            Next::Begin { step, hosts } => {
                for host in hosts {
                    if host == *of {
                        steps.push(step);
                    }
                    run.apply(&Event::StepBegan { host: host.clone(), step }).unwrap();
                    done(run, &host, step);
                }
            }
            Next::Record(event) => run.apply(&event).unwrap(),
            Next::Ended(_) => return steps,
            next => panic!("{next:?}"),
        }
    }
    panic!("it does not end: {steps:?}");
}

fn done(run: &mut Run, host: &HostName, step: Step) {
    run.apply(&Event::StepDone { host: host.clone(), step }).unwrap();
}

fn fails(run: &mut Run, host: &HostName, step: Step, certainty: Certainty, kind: ReasonKind) {
    let reason = Reason::new(kind, "no");
    run.apply(&Event::StepFailed { host: host.clone(), step, certainty, reason }).unwrap();
}

fn resume(run: &mut Run) {
    run.apply(&Event::Resumed { operator: "op@there".to_owned() }).unwrap();
}

/// A run that goes back because one host does not prove the new value.
fn refused() -> Run {
    let mut run = began();
    for host in until(&mut run, Step::Verify) {
        fails(&mut run, &host, Step::Verify, FAILED, ReasonKind::NewRefused);
    }
    run
}

/// A run that is to stay, of which one process saw the proof of this host and the next one has told it so.
fn told_by_the_next(host: &HostName) -> Run {
    let mut run = began();
    until(&mut run, Step::Confirm);
    everybody().iter().filter(|other| *other != host).for_each(|other| done(&mut run, other, Step::Confirm));
    resume(&mut run);
    assert_eq!(until(&mut run, Step::Confirm), std::slice::from_ref(host), "it hears it before it shows anything");
    done(&mut run, host, Step::Confirm);
    run
}

#[test]
fn who_hears_of_a_newer_coordinator_begins_nothing_more_and_waits_for_what_is_under_way() {
    let back = [Step::Revert, Step::Reactivate, Step::Reverify];
    // The others are a quarantine's.
    let rotation = Step::ALL.iter().filter(|step| !matches!(step, Step::Stop | Step::Forget));
    for step in rotation {
        for certainty in [FAILED, Certainty::Unknown] {
            let mut run = if back.contains(step) { refused() } else { began() };
            let mut busy = until(&mut run, *step);
            let first = busy.remove(0);
            let decided = run.decision();
            fails(&mut run, &first, *step, certainty, ReasonKind::Fenced);
            for host in busy {
                let waits = if decided.is_none() { Next::Hurry } else { Next::Wait };
                assert_eq!(run.next(), waits, "{step}");
                done(&mut run, &host, *step);
            }
            let ends = Event::RunEnded { verdict: Verdict::Inconsistent };
            assert_eq!(run.next(), Next::Record(ends.clone()), "{step}: it is the other one that goes on");
            run.apply(&ends).unwrap();
            assert_eq!(run.decision(), decided, "{step}: the other one decides");
            let word = if certainty == FAILED { HostState::Inconsistent } else { HostState::InDoubt };
            assert_eq!(run.hosts()[&first].state(decided), word, "{step}");
            assert!(run.hosts()[&first].trouble().unwrap().is_anothers());
            // The other one may be gone by then.
            resume(&mut run);
            assert!(matches!(run.next(), Next::Begin { .. } | Next::Record(Event::Decided { .. })), "{step}");
        }
    }
}

#[test]
fn a_host_that_somebody_else_has_cleaned_is_not_called_rotated_and_the_others_are_finished() {
    let mut run = began();
    let hosts = until(&mut run, Step::Clean);
    for host in &hosts[1..] {
        done(&mut run, host, Step::Clean);
    }
    fails(&mut run, &hosts[0], Step::Clean, FAILED, ReasonKind::NothingLeft);
    assert!(run.hosts()[&hosts[0]].trouble().unwrap().is_anothers());
    assert_eq!(run.hosts()[&hosts[0]].state(run.decision()), HostState::Inconsistent);
    assert_eq!(run.next(), Next::Record(Event::RunEnded { verdict: Verdict::Inconsistent }));

    // Before the decision it is trouble like any other: the rest go back.
    let mut run = began();
    let hosts = until(&mut run, Step::Verify);
    fails(&mut run, &hosts[0], Step::Verify, FAILED, ReasonKind::NothingLeft);
    hosts[1..].iter().for_each(|host| done(&mut run, host, Step::Verify));
    assert_eq!(until(&mut run, Step::Revert), hosts);
}

#[test]
fn what_a_host_is_left_with_is_what_the_run_did_there() {
    let mut stays = began();
    until(&mut stays, Step::Clean);
    let mut back = refused();
    until(&mut back, Step::Clean);
    let mut never_cut = began();
    for host in until(&mut never_cut, Step::Stage) {
        fails(&mut never_cut, &host, Step::Stage, FAILED, ReasonKind::Changed);
    }
    until(&mut never_cut, Step::Clean);
    for (run, rest) in [(stays, Rest::New), (back, Rest::Old), (never_cut, Rest::Untouched)] {
        for host in run.hosts().values() {
            assert_eq!(host.rest(run.decision()), rest);
        }
    }
}

#[test]
fn what_an_earlier_process_saw_before_the_decision_is_shown_again_and_nobody_is_told_again() {
    let mut run = began();
    let hosts = until(&mut run, Step::Verify);
    hosts.iter().for_each(|host| done(&mut run, host, Step::Verify));
    resume(&mut run);
    for host in &hosts {
        let shows = [Step::Verify, Step::Confirm, Step::Clean];
        assert_eq!(rest_of(&mut run.clone(), host), shows, "{host}");
    }
}

#[test]
fn a_host_that_hears_of_the_decision_from_a_process_that_saw_no_proof_shows_it_before_it_is_cleaned() {
    for host in everybody() {
        let told = told_by_the_next(&host);
        assert_eq!(rest_of(&mut told.clone(), &host), [Step::Verify, Step::Clean], "{host}");
        // Who was told by the process that saw the proof need not.
        for other in everybody().iter().filter(|other| **other != host) {
            assert_eq!(rest_of(&mut told.clone(), other), [Step::Clean], "{host}, {other}");
        }
        // Nor is a process believed that had come no further than that.
        let mut again = told.clone();
        resume(&mut again);
        assert_eq!(rest_of(&mut again, &host), [Step::Verify, Step::Clean], "{host}");
        // Once it has shown it, it is not asked again.
        let mut shown = told;
        assert_eq!(until(&mut shown, Step::Verify), std::slice::from_ref(&host));
        done(&mut shown, &host, Step::Verify);
        resume(&mut shown);
        assert_eq!(rest_of(&mut shown, &host), [Step::Clean], "{host}");
    }
}

#[test]
fn services_that_do_not_show_the_new_value_again_are_told_of_it_once_more_and_once_only() {
    let host = name("worker-1");
    let mut run = told_by_the_next(&host);
    until(&mut run, Step::Verify);
    fails(&mut run, &host, Step::Verify, FAILED, ReasonKind::NewRefused);
    assert_eq!(run.hosts()[&host].state(run.decision()), HostState::Confirmed, "it heard it");
    let mut told = run.clone();
    assert_eq!(rest_of(&mut told, &host), [Step::Activate, Step::Verify, Step::Clean]);
    assert_eq!(told.verdict(), Some(Verdict::Rotated));
    // Whoever takes it up then asks first: somebody may have told them meanwhile.
    let mut left = run.clone();
    resume(&mut left);
    assert_eq!(rest_of(&mut left, &host), [Step::Verify, Step::Clean]);

    // They were told, and do not show it still: that is for a person.
    until(&mut run, Step::Activate);
    done(&mut run, &host, Step::Activate);
    until(&mut run, Step::Verify);
    fails(&mut run, &host, Step::Verify, FAILED, ReasonKind::NewRefused);
    assert_eq!(rest_of(&mut run, &host), []);
    assert_eq!(run.verdict(), Some(Verdict::Inconsistent));
    // Whoever takes that up asks first, too, and has them told once more if need be.
    resume(&mut run);
    let mut again = run.clone();
    until(&mut again, Step::Verify);
    fails(&mut again, &host, Step::Verify, FAILED, ReasonKind::NewRefused);
    assert_eq!(rest_of(&mut again, &host), [Step::Activate, Step::Verify, Step::Clean]);
    assert_eq!(rest_of(&mut run, &host), [Step::Verify, Step::Clean]);
    assert_eq!(run.verdict(), Some(Verdict::Rotated));
}

#[test]
fn services_are_told_again_only_by_whom_the_host_obeys_and_only_if_they_said_no() {
    let host = name("worker-1");
    for (certainty, kind) in [
        (Certainty::Unknown, ReasonKind::ConnectionLost),
        (FAILED, ReasonKind::NothingLeft),
        (FAILED, ReasonKind::Fenced),
    ] {
        let mut run = told_by_the_next(&host);
        until(&mut run, Step::Verify);
        fails(&mut run, &host, Step::Verify, certainty, kind);
        assert_eq!(rest_of(&mut run, &host), [], "{kind:?}");
        assert_eq!(run.verdict(), Some(Verdict::Inconsistent), "{kind:?}");
    }
}

#[test]
fn a_host_that_had_gone_back_before_it_heard_of_the_decision_is_proved_on_its_way_forward_and_that_once() {
    let host = name("worker-1");
    let mut run = began();
    until(&mut run, Step::Confirm);
    resume(&mut run);
    for other in until(&mut run, Step::Confirm) {
        if other == host {
            fails(&mut run, &host, Step::Confirm, FAILED, ReasonKind::Fired);
        } else {
            done(&mut run, &other, Step::Confirm);
        }
    }
    let forward = [Step::Arm, Step::Cut, Step::Activate, Step::Verify, Step::Confirm, Step::Clean];
    assert_eq!(rest_of(&mut run.clone(), &host), forward);
    // One that does not prove it there is not told again: it was told just now.
    for other in until(&mut run, Step::Verify) {
        if other == host {
            fails(&mut run, &host, Step::Verify, FAILED, ReasonKind::NewRefused);
        } else {
            done(&mut run, &other, Step::Verify);
        }
    }
    assert_eq!(rest_of(&mut run, &host), []);
    assert!(run.hosts().values().all(|host| host.left_over()), "nobody is cleaned before everybody has heard it");
}

#[test]
fn a_host_that_is_back_shows_it_again_to_the_next_process_unless_it_may_be_cleaned() {
    let host = name("worker-1");
    let mut run = refused();
    until(&mut run, Step::Reverify);
    everybody().iter().for_each(|host| done(&mut run, host, Step::Reverify));
    let mut cleaned = run.clone();

    assert!(!run.hosts()[&host].may_be_cleaned());
    resume(&mut run);
    // Services that run with the old value are not restarted.
    assert_eq!(rest_of(&mut run.clone(), &host), [Step::Reverify, Step::Clean]);
    // Those that do not, because somebody else had brought them forward, are.
    until(&mut run, Step::Reverify);
    everybody().iter().for_each(|host| fails(&mut run, host, Step::Reverify, FAILED, ReasonKind::NewRefused));
    let again = [Step::Reactivate, Step::Reverify, Step::Clean];
    assert_eq!(rest_of(&mut run, &host), again);
    assert_eq!(run.verdict(), Some(Verdict::RolledBack));

    until(&mut cleaned, Step::Clean);
    assert!(cleaned.hosts()[&host].may_be_cleaned());
    for (certainty, kind, may_be) in [
        (FAILED, ReasonKind::Fenced, false),
        (Certainty::Unknown, ReasonKind::Fenced, true),
        (FAILED, ReasonKind::NoSpace, true),
        (Certainty::Unknown, ReasonKind::ConnectionLost, true),
    ] {
        let mut run = cleaned.clone();
        everybody().iter().for_each(|host| fails(&mut run, host, Step::Clean, certainty, kind));
        assert_eq!(run.hosts()[&host].may_be_cleaned(), may_be, "{certainty:?} {kind:?}");
        let ended = run.next();
        assert_eq!(ended, Next::Record(Event::RunEnded { verdict: Verdict::Inconsistent }), "{certainty:?} {kind:?}");
        resume(&mut run);
        let left: &[Step] = if may_be { &[Step::Clean] } else { &[Step::Reverify, Step::Clean] };
        assert_eq!(rest_of(&mut run, &host), left, "{certainty:?} {kind:?}");
    }
}

#[test]
fn where_another_run_holds_a_host_nothing_of_this_one_is_there_to_be_cleaned() {
    for (step, certainty, kind, nothing) in [
        (Step::Lock, FAILED, ReasonKind::HostLocked, true),
        (Step::Lock, Certainty::Unknown, ReasonKind::HostLocked, false),
        (Step::Lock, FAILED, ReasonKind::NoSpace, false),
        (Step::Stage, FAILED, ReasonKind::HostLocked, false),
    ] {
        let what = (step, certainty, kind);
        let mut run = began();
        let hosts = until(&mut run, step);
        fails(&mut run, &hosts[0], step, certainty, kind);
        hosts[1..].iter().for_each(|host| done(&mut run, host, step));
        assert_eq!(run.hosts()[&hosts[0]].left_over(), !nothing, "{what:?}");
        let cleaned: &[Step] = if nothing { &[] } else { &[Step::Clean] };
        assert_eq!(rest_of(&mut run.clone(), &hosts[0]), cleaned, "{what:?}");
        assert_eq!(rest_of(&mut run, &hosts[1]), [Step::Clean], "{what:?}");
        assert_eq!(run.verdict(), Some(Verdict::Refused), "{what:?}");
    }
}

#[test]
fn a_ledger_in_which_a_host_is_cleaned_before_it_heard_of_the_decision_and_showed_the_new_value_is_damaged() {
    let host = name("worker-1");
    let clean = Event::StepBegan { host: host.clone(), step: Step::Clean };
    let mut decided = began();
    until(&mut decided, Step::Verify);
    everybody().iter().for_each(|host| done(&mut decided, host, Step::Verify));
    let Next::Record(stays) = decided.next() else { panic!("it decides") };
    decided.apply(&stays).unwrap();
    for (mut run, word) in [(decided, "verified"), (told_by_the_next(&host), "confirmed")] {
        let no = run.apply(&clean).unwrap_err().to_string();
        assert_eq!(
            no,
            format!("`step-began` cannot happen here: `clean` is not a legal step for `worker-1`, which is {word}")
        );
    }
}
