//! Quarantine without any host: what each machine gets, what the ledger knows of it, and what is refused before anybody is connected.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};

use lockturn::journal::Journal;
use lockturn::model::{
    Become, Certainty, Entry, Event, HostName, ISOLATION_VERSION, Isolates, IsolationMember, IsolationPlan, Known,
    Manager, Millis, Reached, Reason, ReasonKind, Step, Verdict, Way,
};
use lockturn::quarantine::{Isolation, Learned, Next, RulesError, flows, staged};
use lockturn::report::summarise_isolation;
use lockturn::runtime::contain::verdict;

use super::journal::{run, state};

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

/// One worker that is managed through `control`, and another one.
fn plan(way: Way) -> IsolationPlan {
    let member = |way_to: &[(&str, &str)]| IsolationMember {
        become_user: Become::Sudo,
        way_to: way_to.iter().map(|(host, login)| (name(host), (*login).to_owned())).collect(),
        contained: false,
    };
    let known = Known { addresses: ["192.0.2.7", "2001:db8::7"].map(|ip| ip.parse().unwrap()).into(), port: 2222 };
    IsolationPlan {
        isolation: ISOLATION_VERSION,
        way,
        reason: "strange logins".to_owned(),
        hosts: BTreeMap::from([(name("w-1"), known)]),
        members: BTreeMap::from([
            (name("control"), member(&[("w-1", "deploy")])),
            (name("w-1"), member(&[])),
            (name("w-2"), member(&[])),
        ]),
        lease: Millis::from_secs(60),
        managers: BTreeSet::new(),
        evidence: None,
        forgetting: None,
    }
}

fn manager(text: &str) -> Manager {
    text.parse().unwrap()
}

fn rules(host: &str, learned: &Learned) -> String {
    let staged = staged(&plan(Way::Quarantine), &name(host), learned).unwrap();
    let [(_, rules)] = &staged[..] else { panic!("{staged:?}") };
    rules.clone()
}

#[test]
fn each_machine_gets_what_its_part_is() {
    let nothing = Learned::default();
    let peer = rules("w-2", &nothing);
    assert!(peer.contains("table inet lockturn_quarantine_w-1 {"), "{peer}");
    assert!(peer.contains("192.0.2.7") && peer.contains("2001:db8::7"), "{peer}");
    assert!(!peer.contains("dport"), "a peer that is no way to it lets something pass: {peer}");

    let users = Learned { users: BTreeMap::from([("deploy".to_owned(), 1007)]), ..Learned::default() };
    assert!(rules("control", &users).contains("tcp dport 2222 meta skuid 1007 accept"));
    let unknown = rules("control", &nothing);
    assert!(unknown.contains("tcp dport 2222 accept"), "nobody could manage it any more: {unknown}");

    let seen_from = Some(("192.0.2.1".parse().unwrap(), 22.try_into().unwrap()));
    let own = rules("w-1", &Learned { seen_from, ..Learned::default() });
    assert!(own.contains("elements = { 192.0.2.1 }") && own.contains("tcp dport { 22, 2222 } accept"), "{own}");
    assert_eq!(staged(&plan(Way::Quarantine), &name("w-1"), &nothing), Err(RulesError::NoManager));

    // Who else may manage it stands in the plan, and so in the ledger: whoever takes the run up stages the same.
    let others = IsolationPlan { managers: [manager("198.51.100.0/28")].into(), ..plan(Way::Quarantine) };
    let read: IsolationPlan = serde_json::from_str(&serde_json::to_string(&others).unwrap()).unwrap();
    assert_eq!((&read, read.hash()), (&others, others.hash()));
    let learned = Learned { seen_from, ..Learned::default() };
    let own = staged(&read, &name("w-1"), &learned).unwrap().remove(0).1;
    assert!(own.contains("elements = { 192.0.2.1, 198.51.100.0/28 }"), "{own}");
    let peer = staged(&read, &name("w-2"), &learned).unwrap().remove(0).1;
    assert!(!peer.contains("198.51.100"), "{peer}");
    let wide = serde_json::to_string(&others).unwrap().replace("198.51.100.0/28", "0.0.0.0/0");
    assert!(serde_json::from_str::<IsolationPlan>(&wide).is_err());

    for host in ["control", "w-1", "w-2"] {
        let gone = staged(&plan(Way::Release), &name(host), &nothing).unwrap();
        assert!(gone.len() == 1 && gone[0].1.is_empty(), "{gone:?}");
    }
}

/// What answered from a peer: an address by an echo, or by its sshd.
fn reached(ways: &[(&str, Option<u16>)]) -> Vec<Reached> {
    let way = |(address, port): &(&str, Option<u16>)| Reached {
        host: name("w-1"),
        address: address.parse().unwrap(),
        port: *port,
    };
    ways.iter().map(way).collect()
}

#[test]
fn traffic_flows_where_all_that_answered_before_answers_again() {
    let (v4, v6) = ("192.0.2.7", "2001:db8::7");
    let is = |before: &[(&str, Option<u16>)], now: &[(&str, Option<u16>)]| {
        flows([&name("w-1")], &reached(before), &reached(now)).map_err(|error| error.to_string())
    };
    for (before, now) in [
        (&[(v4, None), (v6, None)][..], &[(v4, None), (v6, None)][..]),
        // By its sshd as well as by an echo: it is the address that flows.
        (&[(v4, None)], &[(v4, Some(2222))]),
        // One family never did.
        (&[(v4, None)], &[(v4, None)]),
        // Nobody knows what did, as when it was off.
        (&[], &[(v6, None)]),
    ] {
        assert_eq!(is(before, now), Ok(()), "{before:?} {now:?}");
    }
    for (before, now, why) in [
        (&[(v4, None), (v6, None)][..], &[(v4, None)][..], "w-1 (2001:db8::7) answered from here before"),
        (&[(v4, None)], &[(v6, None)], "w-1 (192.0.2.7) answered from here before"),
        (&[(v4, None)], &[], "w-1 (192.0.2.7) answered from here before"),
        (&[], &[], "w-1 does not answer from here"),
    ] {
        let said = is(before, now).expect_err("nothing shows that it flows");
        assert!(said.contains(why), "{said}");
    }
    let other = reached(&[(v4, None)]);
    let said = flows([&name("w-1"), &name("w-2")], &[], &other).unwrap_err().to_string();
    assert!(said.contains("w-2 does not answer"), "what one host answers counts for another: {said}");
}

/// A run of this plan in which each machine does each of its steps, and `fails` says in which it does not.
fn played(plan: &IsolationPlan, fails: impl Fn(&HostName, Step) -> Option<Reason>) -> Isolation {
    let mut run = Isolation::of(plan);
    while let Next::Begin(steps) = run.next() {
        for (host, step) in steps {
            run.apply(&Event::StepBegan { host: host.clone(), step }).unwrap();
            let ended = match fails(&host, step) {
                Some(reason) => Event::StepFailed { host, step, certainty: Certainty::Failed, reason },
                None => Event::StepDone { host, step },
            };
            run.apply(&ended).unwrap();
        }
    }
    run
}

#[test]
fn released_is_said_where_traffic_flows_and_nowhere_else() {
    let mut plan = plan(Way::Release);
    let said = |plan: &IsolationPlan, run: &Isolation| {
        summarise_isolation(&self::run(), plan, run, Some(verdict(Way::Release, run)))
    };
    let all = played(&plan, |_, _| None);
    assert_eq!(verdict(Way::Release, &all), Verdict::Released);
    let text = said(&plan, &all);
    assert!(text.contains("RELEASED  w-1") && text.contains("reached again by 2 peers, proved"), "{text}");
    // From one that is in quarantine itself nothing is tried.
    plan.members.get_mut(&name("control")).unwrap().contained = true;
    let text = said(&plan, &played(&plan, |_, _| None));
    assert!(text.contains("reached again by 1 peer, proved"), "{text}");

    let why = "w-1 (192.0.2.7) answered from here before, and does not now";
    let fails = |host: &HostName, step: Step| {
        (*host == name("w-2") && step == Step::Verify).then(|| Reason::new(ReasonKind::ProbeImpossible, why))
    };
    let run = played(&plan, fails);
    assert_eq!(verdict(Way::Release, &run), Verdict::Partial);
    let text = said(&plan, &run);
    assert!(
        text.contains("PARTIAL 2/3  w-1") && text.contains(&format!("w-2      unverified  in `verify`: {why}")),
        "{text}"
    );
    // In a run that was left each machine has its word.
    let left = summarise_isolation(&self::run(), &plan, &run, None);
    assert!(left.contains("  control  released") && left.contains("  w-1      released"), "{left}");
    plan.members.get_mut(&name("control")).unwrap().contained = false;
    assert!(summarise_isolation(&self::run(), &plan, &run, None).contains("  control  flows"));
}

#[test]
fn the_ledger_knows_who_is_isolated_and_its_chain_covers_the_plan() {
    let (_temp, dir) = state();
    let plan = plan(Way::Quarantine);
    let entry = |event| Entry { at_unix: Millis(1_700_000_000_000), elapsed: Millis(7), event };
    let began = Event::RunBegan {
        run: run(),
        plan: plan.hash(),
        playbook: "quarantine".to_owned(),
        hosts: 3,
        operator: "op@here".to_owned(),
        version: "0".to_owned(),
    };
    let isolates = Isolates {
        way: Way::Quarantine,
        hosts: BTreeSet::from([name("w-1")]),
        reason: plan.reason.clone(),
        expires: None,
    };
    let mut journal = Journal::open(&dir).unwrap();
    let first = [began, Event::RunIsolates(isolates.clone())].map(entry);
    journal.begin_isolation(&run(), &plan, "op@here", &first).unwrap();
    assert_eq!(journal.isolation(&run()).unwrap().as_ref(), Some(&plan));
    assert!(journal.plan(&run()).is_err(), "it passes for a rotation");
    for (verdict, unfinished) in [(Verdict::Partial, true), (Verdict::Quarantined, false)] {
        journal.append(&run(), &[entry(Event::RunEnded { verdict })]).unwrap();
        let runs = journal.runs().unwrap();
        assert_eq!(runs[0].isolates.as_ref(), Some(&isolates));
        assert_eq!((runs[0].verdict, runs[0].is_unfinished()), (Some(verdict), unfinished));
    }
    assert_eq!(journal.verify().unwrap(), 4);
    drop(journal);
    let db = rusqlite::Connection::open(dir.join("ledger.db")).unwrap();
    db.execute_batch("DROP TRIGGER runs_stay; UPDATE runs SET plan = replace(plan, '192.0.2.7', '192.0.2.8');")
        .unwrap();
    drop(db);
    let journal = Journal::open(&dir).unwrap();
    let said = journal.verify().unwrap_err().to_string();
    assert!(said.contains("is not the one that it began with"), "{said}");
}

/// `lockturn` with these words, in a fleet whose hosts nobody can reach.
fn says(inventory: &str, words: &[&str]) -> (Option<i32>, String) {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("hosts.yml");
    fs::write(&file, inventory).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lockturn"))
        .arg("-i")
        .arg(&file)
        .args(["--yes", "--state"])
        .arg(temp.path().join("state"))
        .args(words)
        .env("HOME", temp.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

const FLEET: &str = "all:
  hosts:
    lo: { address: 127.0.0.1 }
    a: { address: 192.0.2.1 }
    b: { address: 192.0.2.2, jump: a }
    c: { address: 192.0.2.2 }
    d: { address: 192.0.2.4 }
    e: { address: 192.0.2.5 }
";

#[test]
fn what_may_be_a_mistake_is_refused_before_anybody_is_connected() {
    let refused: [(&[&str], &str); 9] = [
        (&["quarantine", "lo"], "no address of lo is known"),
        (&["quarantine", "a"], "a is the way to b"),
        (&["quarantine", "b"], "b and c have the same address 192.0.2.2"),
        (&["quarantine", "d", "e", "c"], "more than a third of the fleet"),
        (&["quarantine", "a"], "--even a"),
        (&["quarantine", "d", "--manager", "192.0.2.0/29"], "--manager 192.0.2.0/29 has a in it (192.0.2.1)"),
        (&["quarantine", "d", "--manager", "192.0.2.4"], "--manager 192.0.2.4 is d"),
        (&["release", "d"], "d is not in quarantine"),
        (&["resume"], "no run is unfinished"),
    ];
    for (words, why) in refused {
        let (code, said) = says(FLEET, words);
        assert!(code == Some(4) && said.contains(why), "{words:?} ended with {code:?}: {said}");
        assert!(said.contains("nothing was changed"), "{words:?}: {said}");
    }
    let (code, said) = says(FLEET, &["quarantine", "nobody"]);
    assert!(code == Some(2) && said.contains("no host of the inventory"), "{code:?}: {said}");
    for (manager, why) in [("bastion", "not an IP address"), ("10.0.0.0/8", "wider than /16")] {
        let (code, said) = says(FLEET, &["quarantine", "d", "--manager", manager]);
        assert!(code == Some(2) && said.contains(why), "{code:?}: {said}");
    }
}

#[tokio::test]
async fn a_host_is_known_by_what_its_name_resolves_to_and_by_what_the_inventory_has_besides() {
    let text = "all: { hosts: { w1: { address: 192.0.2.7, other_addresses: ['fe80::7'] }, w2: { address: no-such-host.invalid } } }\n";
    let (inventory, _) = lockturn::inventory::Inventory::parse("hosts.yml", text).unwrap();
    let known = lockturn::runtime::addresses::of_all(&inventory).await;
    let of = |host: &str| known[&name(host)].iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(of("w1"), ["192.0.2.7", "fe80::7"]);
    assert!(of("w2").is_empty());
}
