//! What a tired person reads, and what a machine reads.

use std::collections::BTreeMap;

use lockturn::coordinator::Run;
use lockturn::model::{
    Activation, Become, Cause, Certainty, Change, Check, Decision, Entry, Event, Expect, FileEdit, Generator, HostName,
    HostPlan, Millis, PLAN_VERSION, Plan, PlannedProbe, PlannedValue, Probe, Reason, ReasonKind, RunId, Step, Strategy,
    Switch, UnitAction, Unreachable, ValueId, Verdict,
};
use lockturn::report::{Json, Plain, Progress, Reporter, Span, by_hand, describe, summarise};

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
        switch: Switch::Process,
        login: "/home/op".to_owned(),
        state: "/var/lib/lockturn".to_owned(),
        path: String::new(),
        changes: Vec::new(),
        activate: Vec::new(),
        verify: Vec::new(),
    };
    let b = HostPlan {
        address: "192.0.2.1:22".to_owned(),
        become_user: Become::Sudo,
        switch: Switch::Process,
        changes: vec![
            Change::File {
                path: "/opt/my app/.env".to_owned(),
                real_path: "/opt/my app/.env".to_owned(),
                content: "7766554433221100".to_owned().try_into().unwrap(),
                edits: Vec::new(),
            },
            Change::Sqlite { file: "my data.db".to_owned(), rows: Vec::new() },
        ],
        activate: vec![Activation::Systemd {
            action: UnitAction::Restart,
            unit: "app".to_owned(),
            deadline: Millis(1),
        }],
        ..host.clone()
    };
    Plan {
        version: PLAN_VERSION,
        playbook: "p".to_owned(),
        summary: String::new(),
        values: BTreeMap::new(),
        hosts: BTreeMap::from([(name("a"), host.clone()), (name("b"), b)]),
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
    summarise(&id(), &plan(), &run, entries).render()
}

#[test]
fn a_revert_that_fails_is_named_with_what_to_do_and_the_other_is_back() {
    insta::assert_snapshot!(summary(&failed()), @r"
    A PERSON MUST LOOK  1 of 2 hosts did not reach the end
      because of    b, verify: it refuses ·[32mOK·
          hint: the service does not read the value from where the playbook puts it, or did not restart
      reverted      1  a
      inconsistent  1  b
      b  inconsistent in `revert`: no permission
          hint: does the playbook need `become: sudo` there?
          by hand, on 192.0.2.1:22, as root:
            cd -- /home/op
            sqlite3 -batch -bail '/home/op/my data.db' </var/lib/lockturn/01J/c2/restore
            rm -f -- '/opt/my app/.lockturn-01J-1/back'; cp -a -- '/opt/my app/.lockturn-01J-1/old' '/opt/my app/.lockturn-01J-1/back' && mv -f -- '/opt/my app/.lockturn-01J-1/back' '/opt/my app/.env'
            systemctl reset-failed -- app; systemctl restart -- app
      left-overs    b
    next: lockturn resume 01J
    ");
}

#[test]
fn what_is_cleaned_by_hand_has_no_units_left() {
    let mut host = plan().hosts[&name("b")].clone();
    let units = |host: &HostPlan| by_hand(&id(), host, &[Step::Clean]).join("\n").matches("lockturn-").count();
    assert_eq!(units(&host), 1, "a process leaves nothing but the directory beside the file");
    host.switch = Switch::Systemd;
    assert_eq!(
        by_hand(&id(), &host, &[Step::Clean])[1..],
        [
            "systemctl stop -- lockturn-01J.service; rm -f -- /etc/systemd/system/multi-user.target.wants/lockturn-boot-01J.service \
             /etc/systemd/system/lockturn-boot-01J.service /etc/systemd/system/lockturn-01J.service",
            "rm -rf -- /var/lib/lockturn/01J; if grep -qxF -- 01J /var/lib/lockturn/lock; then rm -f -- /var/lib/lockturn/lock; fi",
        ]
    );
}

#[test]
fn what_is_pasted_finds_the_tools_that_the_run_takes() {
    let mut host = plan().hosts[&name("b")].clone();
    for (path, prefix) in [("/opt/my tools", "'/opt/my tools'"), ("tools", "/home/op/tools")] {
        host.path = path.to_owned();
        let commands = by_hand(&id(), &host, &[Step::Revert, Step::Clean]);
        assert_eq!(commands[..2], ["cd -- /home/op".to_owned(), format!("export PATH={prefix}:\"$PATH\"")]);
        assert_eq!(commands.iter().filter(|command| command.starts_with("export ")).count(), 1, "{commands:?}");
    }
    assert_eq!(by_hand(&id(), &host, &[Step::Confirm]), Vec::<String>::new());
}

/// A run that stays; the services of `b` restart after another process has taken it up, at this time of its wall clock.
fn stays_after_a_resume(wall_clock: u64) -> Vec<Entry> {
    let mut entries = failed();
    let activated = |entry: &Entry| matches!(entry.event, Event::StepDone { step: Step::Activate, .. });
    entries.truncate(entries.iter().position(activated).unwrap() + 1);
    let mut events = vec![Event::Resumed { operator: "op".to_owned() }];
    let mut both = |step: Step, hosts: &[&str]| {
        events.extend(hosts.iter().map(|host| Event::StepBegan { host: name(host), step }));
        events.extend(hosts.iter().map(|host| Event::StepDone { host: name(host), step }));
        if step == Step::Verify {
            events.push(Event::Decided { decision: Decision::Commit, cause: None });
        }
    };
    both(Step::Activate, &["b"]);
    for step in [Step::Verify, Step::Confirm, Step::Clean] {
        both(step, &["a", "b"]);
    }
    events.push(Event::RunEnded { verdict: Verdict::Rotated });
    entries.iter_mut().for_each(|entry| entry.at_unix = Millis(1_000_000 + entry.elapsed.0));
    let entry = |event| Entry { at_unix: Millis(wall_clock), elapsed: Millis(7), event };
    entries.extend(events.into_iter().map(entry));
    entries
}

#[test]
fn what_two_processes_did_is_told_by_the_wall_clock_or_not_at_all() {
    let said = |wall_clock| summary(&stays_after_a_resume(wall_clock));
    let of = |text: String, word: &str| {
        let found = text.lines().find(|line| line.trim_start().starts_with(word));
        found.unwrap_or_else(|| panic!("no `{word}` in {text}")).trim_start().to_owned()
    };
    // All hosts were cut by one process, which had a clock that cannot be set.
    assert_eq!(
        of(said(1_060_200), "spread"),
        "spread        30 ms from the first host's cut to the last one's, at most"
    );
    let by_wall_clock = "at most; by the wall clock, because the run was taken up again meanwhile";
    let gap = of(said(1_060_200), "gap");
    assert!(gap.starts_with("gap           1 min") && gap.ends_with(by_wall_clock), "{gap}");
    assert!(of(said(5), "gap").starts_with("gap           not known: "), "its clock had been set back");
}

#[test]
fn what_was_cut_before_the_ledger_was_lost_is_not_said_to_be_short() {
    let mut entries = stays_after_a_resume(2_000_000);
    entries[1] = Entry {
        event: Event::Rebuilt { operator: "op".to_owned(), epoch: 2, hosts: BTreeMap::new() },
        ..entries[1].clone()
    };
    let run = Run::new(&plan());
    let summary = summarise(&id(), &plan(), &run, &entries);
    assert_eq!((summary.spread, summary.gap), (Span::Unknown, Span::Unknown));
}

/// These events after what the ledger has already.
fn and_then(mut entries: Vec<Entry>, events: Vec<Event>) -> Vec<Entry> {
    let entry = |event| Entry { at_unix: Millis(0), elapsed: Millis(0), event };
    entries.extend(events.into_iter().map(entry));
    entries
}

#[test]
fn what_was_mended_by_a_resume_is_not_told_again() {
    let mut events = vec![Event::Resumed { operator: "op".to_owned() }];
    for step in [Step::Revert, Step::Reactivate, Step::Reverify, Step::Clean] {
        events.extend([Event::StepBegan { host: name("b"), step }, Event::StepDone { host: name("b"), step }]);
    }
    events.push(Event::RunEnded { verdict: Verdict::RolledBack });
    insta::assert_snapshot!(summary(&and_then(failed(), events)), @r"
    ROLLED BACK  all 2 hosts are on the old secret, proved; nothing is lost
      because of    b, verify: it refuses ·[32mOK·
          hint: the service does not read the value from where the playbook puts it, or did not restart
      reverted      2  a, b
    next: mend what is named above, then rotate again
    ");
}

#[test]
fn whoever_looks_in_doubt_hears_that_the_new_value_stays() {
    let mut entries = failed();
    let verify = |entry: &Entry| matches!(entry.event, Event::StepBegan { step: Step::Verify, .. });
    entries.truncate(entries.iter().position(verify).unwrap());
    let mut events = Vec::new();
    for step in [Step::Verify, Step::Confirm] {
        events.extend(["a", "b"].map(|host| Event::StepBegan { host: name(host), step }));
        events.push(Event::StepDone { host: name("a"), step });
        if step == Step::Verify {
            events.push(Event::StepDone { host: name("b"), step });
            events.push(Event::Decided { decision: Decision::Commit, cause: None });
        }
    }
    let reason = Reason::new(ReasonKind::ConnectionLost, "gone");
    events.push(Event::StepFailed { host: name("b"), step: Step::Confirm, certainty: Certainty::Unknown, reason });
    events.extend([
        Event::StepBegan { host: name("a"), step: Step::Clean },
        Event::StepDone { host: name("a"), step: Step::Clean },
        Event::RunEnded { verdict: Verdict::Inconsistent },
    ]);
    let text = summary(&and_then(entries, events));
    let headline = "A PERSON MUST LOOK  1 of 2 hosts did not reach the end; it is decided that the new value stays\n";
    assert!(text.starts_with(headline), "{text}");
}

#[test]
fn a_rollback_is_not_said_to_be_an_interruption() {
    let mut plain = Plain::new(Vec::new());
    let events = vec![Event::Resumed { operator: "op".to_owned() }, Event::Interrupted, Event::Interrupted];
    and_then(Vec::new(), events).iter().for_each(|entry| plain.entry(entry));
    insta::assert_snapshot!(plain.take(), @r"
    resumed by op
    asked to go back: everybody is brought to the old value
    interrupted: going to the nearest safe end; once more leaves the run as it is
    ");
}

#[test]
fn a_step_that_is_done_in_batches_says_on_whom() {
    let mut plain = Plain::new(Vec::new());
    let mut events = vec![failed().swap_remove(0).event];
    for (step, batches) in [(Step::Cut, &[&["a", "b"][..]][..]), (Step::Activate, &[&["b"][..], &["a"]])] {
        for batch in batches {
            events.extend(batch.iter().map(|host| Event::StepBegan { host: name(host), step }));
            events.extend(batch.iter().map(|host| Event::StepDone { host: name(host), step }));
        }
    }
    and_then(Vec::new(), events).iter().for_each(|entry| plain.entry(entry));
    insta::assert_snapshot!(plain.take(), @r"
    run 01J: p, 2 hosts
    cut: done in 0 ms
    activate: b: done in 0 ms
    activate: a: done in 0 ms
    ");
}

#[test]
fn what_was_under_way_when_a_run_was_left_is_told_once_it_is_done() {
    let mut plain = Plain::new(Vec::new());
    let began = |host: &str| Event::StepBegan { host: name(host), step: Step::Activate };
    let done = |host: &str| Event::StepDone { host: name(host), step: Step::Activate };
    let resumed = Event::Resumed { operator: "op".to_owned() };
    let events = vec![failed().swap_remove(0).event, began("a"), began("b"), done("a"), resumed, began("b"), done("b")];
    and_then(Vec::new(), events).iter().for_each(|entry| plain.entry(entry));
    insta::assert_snapshot!(plain.take(), @r"
    run 01J: p, 2 hosts
    resumed by op
    activate: b: done in 0 ms
    ");
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

/// A fleet of `workers`, each with a value of its own in a file, and a control plane with one value that nothing proves.
fn fleet(workers: usize) -> Plan {
    let value =
        |secret: &str, owner: Option<&HostName>| ValueId { secret: secret.parse().unwrap(), owner: owner.cloned() };
    let planned = PlannedValue {
        generate: Generator::Hex(32),
        old: "0011223344556677".to_owned().try_into().unwrap(),
        apart: BTreeMap::new(),
    };
    let host = |owner: Option<&HostName>, secret: &str, verify: Vec<PlannedProbe>| HostPlan {
        address: "192.0.2.1:22".to_owned(),
        become_user: Become::Sudo,
        switch: Switch::Process,
        login: String::new(),
        state: String::new(),
        path: String::new(),
        changes: vec![Change::File {
            path: "/opt/app/.env".to_owned(),
            real_path: "/opt/app/.env".to_owned(),
            content: "7766554433221100".to_owned().try_into().unwrap(),
            edits: vec![FileEdit { dotenv_key: Some("TOKEN".to_owned()), value: value(secret, owner) }],
        }],
        activate: vec![Activation::Systemd {
            action: UnitAction::Restart,
            unit: "app".to_owned(),
            deadline: Millis(1),
        }],
        verify,
    };
    let mut plan = plan();
    plan.hosts.clear();
    for number in 1..=workers {
        let worker = name(&format!("worker-{number}"));
        let probe = Probe {
            name: "the worker takes it".to_owned(),
            secret: None,
            for_each: None,
            check: Check::Command {
                run: vec!["check".to_owned()],
                expect: Expect::Proof { accepted: vec![0], rejected: vec![1] },
            },
            successes: 1,
            interval: Millis(1),
            deadline: Millis(1),
        };
        let proof = PlannedProbe { probe, value: Some(value("shared", Some(&worker))), host: worker.clone() };
        plan.values.insert(value("shared", Some(&worker)), planned.clone());
        plan.hosts.insert(worker.clone(), host(Some(&worker), "shared", vec![proof]));
    }
    plan.values.insert(value("session", None), planned);
    plan.hosts.insert(name("control"), host(None, "session", Vec::new()));
    plan.activate_batches = vec![plan.hosts.keys().cloned().collect()];
    plan
}

#[test]
fn a_plan_says_once_what_happens_to_many_and_what_nothing_will_prove() {
    let text = describe(&fleet(12));
    let (_, text) = text.split_once("\n\n").unwrap();
    insta::assert_snapshot!(text, @r"
      secret    session: 32 random bytes in hex; held now: 0011223344556677
      secret    shared: 32 random bytes in hex; 12 values, one for each of worker-[1:12]

      control  (1 host)
        change    /opt/app/.env: TOKEN
        activate  restart app
        NOT PROVED  no probe tells the new `session` from the old; a success will be exit 7

      worker-[1:12]  (12 hosts)
        change    /opt/app/.env: TOKEN
        activate  restart app
        prove     the worker takes it: new taken, old refused

      order     stage all, arm all, cut all together; activate control, worker-[1:12]; prove; decide
      gap       from the first cut until the last service has restarted two sides may share no value
      way back  rehearsed on every host before the cut; one host that fails takes all of them back
                a host that hears nothing for 1 ms goes back by itself, whatever became of us
                (without root and systemd that does not survive a restart of the host: control, worker-[1:12])
    ");
    assert!(
        describe(&fleet(1)).contains("32 random bytes in hex; 1 value, that of worker-1\n"),
        "{}",
        describe(&fleet(1))
    );
    let many = describe(&fleet(10_000));
    assert_eq!(many.lines().count(), describe(&fleet(12)).lines().count());
    assert!(many.contains("worker-[1:10000]  (10000 hosts)"), "{many}");
}

#[test]
fn what_nothing_proved_is_not_said_to_be_proved() {
    let plan = fleet(2);
    let mut run = Run::new(&plan);
    let began = failed().swap_remove(0).event;
    run.apply(&began).unwrap();
    run.apply(&Event::RunEnded { verdict: Verdict::Rotated }).unwrap();
    let text = summarise(&id(), &plan, &run, &[]).render();
    assert!(text.starts_with("ROTATED, NOT PROVED"), "{text}");
}

#[test]
fn whoever_looks_for_one_host_among_many_finds_it() {
    let mut plan = fleet(1);
    let host = plan.hosts[&name("control")].clone();
    plan.hosts = ('a'..='z').map(|letter| (name(&letter.to_string()), host.clone())).collect();
    let mut summary = summarise(&id(), &plan, &Run::new(&plan), &[]);
    assert!(!summary.render().contains(", z\n"), "{}", summary.render());
    summary.name_every_host();
    assert!(summary.render().contains("pending       26  a, b, c, ") && summary.render().contains(", z\n"));
}

#[test]
fn ten_thousand_hosts_are_as_few_lines_as_two() {
    let (few, many) = (fleet(2), fleet(10_000));
    let said = |plan: &Plan| {
        let mut said = Vec::new();
        let mut plain = Plain::new(&mut said);
        let mut progress = Progress::new();
        let began = Event::RunBegan {
            run: id(),
            plan: plan.hash(),
            playbook: "p".to_owned(),
            hosts: plan.hosts.len() as u64,
            operator: "op@here".to_owned(),
            version: "0".to_owned(),
        };
        plain.entry(&Entry { at_unix: Millis(0), elapsed: Millis(0), event: began });
        for step in [Step::Lock, Step::Verify] {
            let began = plan.hosts.keys().map(|host| Event::StepBegan { host: host.clone(), step });
            let done = plan.hosts.keys().map(|host| Event::StepDone { host: host.clone(), step });
            for event in began.chain(done) {
                let entry = Entry { at_unix: Millis(0), elapsed: Millis(0), event };
                plain.entry(&entry);
                progress.entry(&entry);
            }
        }
        // But for the first line, which says how many there are.
        String::from_utf8(said).unwrap().split_once('\n').unwrap().1.to_owned()
    };
    assert_eq!(said(&few), said(&many));
    assert_eq!(said(&few).lines().count(), 2);
}
