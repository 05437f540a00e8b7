//! What a tired person reads, and what a machine reads.

use std::collections::BTreeMap;

use lockturn::coordinator::Run;
use lockturn::model::{
    Become, Cause, Certainty, Decision, Entry, Event, HostName, HostPlan, Millis, PLAN_VERSION, Plan, Reason,
    ReasonKind, RunId, Step, Strategy, Unreachable, Verdict,
};
use lockturn::report::{Json, Plain, Reporter, summarise};

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

fn id() -> RunId {
    "01J".parse().unwrap()
}

fn plan() -> Plan {
    let host = HostPlan {
        address: String::new(),
        become_user: Become::None,
        changes: Vec::new(),
        activate: Vec::new(),
        verify: Vec::new(),
    };
    Plan {
        version: PLAN_VERSION,
        playbook: "p".to_owned(),
        summary: String::new(),
        values: BTreeMap::new(),
        hosts: BTreeMap::from([(name("a"), host.clone()), (name("b"), host)]),
        activate_batches: vec![vec![name("a"), name("b")]],
        strategy: Strategy::Lockstep,
        lease: Millis(1),
        unreachable: Unreachable::Abort,
    }
}

/// A run of two hosts in which `b` fails to verify, and then to revert.
fn failed() -> Vec<Entry> {
    let mut events = vec![
        Event::RunBegan {
            run: id(),
            plan: plan().hash(),
            playbook: "p".to_owned(),
            hosts: 2,
            operator: "op@here".to_owned(),
            version: "0".to_owned(),
        },
        Event::ValuesMinted { values: BTreeMap::new() },
    ];
    let both = |events: &mut Vec<Event>, step: Step, b_ends: Option<&Reason>| {
        let hosts = [name("a"), name("b")];
        events.extend(hosts.iter().map(|host| Event::StepBegan { host: host.clone(), step }));
        events.push(Event::StepDone { host: name("a"), step });
        events.push(match b_ends {
            None => Event::StepDone { host: name("b"), step },
            Some(reason) => {
                Event::StepFailed { host: name("b"), step, certainty: Certainty::Failed, reason: reason.clone() }
            }
        });
    };
    for step in [Step::Lock, Step::Stage, Step::Arm, Step::Cut, Step::Activate] {
        both(&mut events, step, None);
    }
    let reason = Reason::new(ReasonKind::NewRefused, "it refuses \u{1b}[32mOK\u{202e}");
    both(&mut events, Step::Verify, Some(&reason));
    let cause = Some(Cause { host: Some(name("b")), step: Some(Step::Verify), reason });
    events.push(Event::Decided { decision: Decision::Rollback, cause });
    both(&mut events, Step::Revert, Some(&Reason::new(ReasonKind::Denied, "no permission")));
    for step in [Step::Reactivate, Step::Reverify, Step::Clean] {
        events.push(Event::StepBegan { host: name("a"), step });
        events.push(Event::StepDone { host: name("a"), step });
    }
    events.push(Event::RunEnded { verdict: Verdict::Inconsistent });
    let entry = |(at, event)| Entry { at_unix: Millis(0), elapsed: Millis(10 * at as u64), event };
    events.into_iter().enumerate().map(entry).collect()
}

fn summary(entries: &[Entry]) -> String {
    let run = Run::replay(&plan(), entries.iter().map(|entry| &entry.event)).unwrap();
    summarise(&id(), &plan(), &run, entries).render(run.decision())
}

#[test]
fn a_revert_that_fails_is_named_with_what_to_do_and_the_other_is_back() {
    insta::assert_snapshot!(summary(&failed()), @r"
    A PERSON MUST LOOK  1 of 2 hosts did not reach the end
      because of  b, verify: it refuses ·[32mOK·
      hosts       1 reverted, 1 inconsistent
      b  failed in `verify`: it refuses ·[32mOK·
          hint: the service does not read the value from where the playbook puts it, or did not restart
      b  inconsistent in `revert`: no permission
          hint: does the playbook need `become: sudo` there?
          by hand: the old content is kept there beside each file as `.lockturn-01J-N.old`;
          move it over the file, restart the service, then resume
      left-overs  b
    next: lockturn resume 01J
    ");
}

#[test]
fn a_cut_under_another_processs_clock_was_not_measured() {
    let mut entries = failed();
    let decided = entries.iter().position(|entry| matches!(entry.event, Event::Decided { .. })).unwrap();
    entries.truncate(decided);
    entries.push(Entry { at_unix: Millis(0), elapsed: Millis(0), event: Event::Resumed { operator: "op".to_owned() } });
    let run = Run::replay(&plan(), entries.iter().map(|entry| &entry.event)).unwrap();
    let summary = summarise(&id(), &plan(), &run, &entries);
    assert_eq!((summary.spread, summary.gap), (None, None));
}

#[test]
fn lines_are_few_and_harmless() {
    let mut said = Vec::new();
    let mut plain = Plain::new(&mut said);
    failed().iter().for_each(|entry| plain.entry(entry));
    let said = String::from_utf8(said).unwrap();
    assert!(said.lines().count() < 20, "{said}");
    assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said}");
}

#[test]
fn json_is_one_object_a_line_and_a_closed_pipe_stops_nobody() {
    let mut said = Vec::new();
    let mut json = Json::new(&mut said);
    failed().iter().for_each(|entry| json.entry(entry));
    let lines = String::from_utf8(said).unwrap();
    assert_eq!(lines.lines().count(), failed().len());
    for line in lines.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["v"], 1);
        assert!(object["data"].is_object() || object["data"].is_null(), "{line}");
    }
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut json = Json::new(Closed);
    failed().iter().for_each(|entry| json.entry(entry));
    let mut plain = Plain::new(Closed);
    failed().iter().for_each(|entry| plain.entry(entry));
}
