//! From a playbook and what the hosts say to a plan, and every way in which they do not fit.

use std::collections::{BTreeMap, BTreeSet};

use lockturn::model::{
    Activation, Become, Change, Check, Fingerprint, FingerprintKey, Generator, HostName, Millis, Placement, Playbook,
    Probe, Put, ReasonKind, Rollout, Secret, SecretName, SecretSpec, Selector, Strategy, Switch, Target, Unreachable,
};
use lockturn::plan::{ChangeFacts, HostFacts, LimitError, draft, settle};

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

fn select(selector: &Selector) -> Result<BTreeSet<HostName>, String> {
    match selector.to_string().as_str() {
        "workers" => Ok(BTreeSet::from([name("w1"), name("w2")])),
        "control_plane" => Ok(BTreeSet::from([name("cp")])),
        "nobody" => Ok(BTreeSet::new()),
        other => Err(format!("`{other}` is neither a host nor a group")),
    }
}

fn selector(text: &str) -> Selector {
    serde_json::from_str(&format!("{text:?}")).unwrap()
}

fn secret() -> SecretName {
    "shared".parse().unwrap()
}

fn dotenv(file: &str, key: &str) -> Placement {
    Placement::Dotenv { file: file.to_owned(), key: key.to_owned(), follow: false }
}

fn rows() -> Placement {
    Placement::Sqlite {
        file: "m.db".to_owned(),
        read: "SELECT s FROM w WHERE id = :host".to_owned(),
        write: "UPDATE w SET s = :secret WHERE id = :host".to_owned(),
    }
}

fn put(placement: Placement, for_each: Option<&str>) -> Put {
    Put { secret: secret(), for_each: for_each.map(selector), placement }
}

fn target(hosts: &str, puts: Vec<Put>) -> Target {
    Target {
        hosts: selector(hosts),
        become_user: None,
        stop: Vec::new(),
        put: puts,
        activate: Vec::new(),
        verify: Vec::new(),
    }
}

fn playbook(targets: Vec<Target>) -> Playbook {
    let spec = SecretSpec { generate: Generator::Hex(32), per: Some(selector("workers")) };
    Playbook {
        name: "worker-secret".to_owned(),
        summary: String::new(),
        secrets: BTreeMap::from([(secret(), spec)]),
        targets,
        rollout: Rollout {
            strategy: Strategy::Lockstep,
            activate_order: vec![selector("workers"), selector("control_plane")],
            lease: Millis::from_secs(120),
            unreachable: Unreachable::Abort,
        },
        forgets: false,
    }
}

fn both_sides() -> Playbook {
    playbook(vec![
        target("workers", vec![put(dotenv(".env", "S"), None)]),
        target("control_plane", vec![put(rows(), Some("workers"))]),
    ])
}

fn fingerprint(value: &str) -> Fingerprint {
    FingerprintKey::new([7; 32]).fingerprint(&Secret::new(value.as_bytes().to_vec()))
}

fn facts(changes: Vec<ChangeFacts>) -> HostFacts {
    let changes = changes.into_iter().map(Ok).collect();
    HostFacts {
        switch: Switch::Process,
        address: "127.0.0.1:22".to_owned(),
        become_user: Become::None,
        login: "/home/op".to_owned(),
        state: "/var/lib/lockturn".to_owned(),
        path: String::new(),
        changes,
        probes: Vec::new(),
    }
}

fn file_facts(value: &str) -> HostFacts {
    let file = Some(("/real/.env".to_owned(), fingerprint("content")));
    facts(vec![ChangeFacts { file, values: vec![fingerprint(value)] }])
}

fn row_facts(values: &[&str]) -> HostFacts {
    facts(vec![ChangeFacts { file: None, values: values.iter().map(|value| fingerprint(value)).collect() }])
}

#[test]
fn a_lease_is_longer_than_whatever_nobody_can_renew_it_in() {
    let mut playbook = both_sides();
    let lease = |playbook: &Playbook| {
        let draft = draft(playbook, &select).unwrap();
        let facts = [("w1", file_facts("a")), ("w2", file_facts("b")), ("cp", row_facts(&["a", "b"]))];
        let said = facts.into_iter().map(|(host, said)| (name(host), said)).collect();
        settle(playbook, &draft, &said, &BTreeSet::new()).unwrap().lease
    };
    assert_eq!(lease(&playbook), Millis::from_secs(120));
    playbook.targets[0].verify = vec![Probe {
        name: "it is up".to_owned(),
        secret: None,
        for_each: None,
        check: Check::Systemd { active: "worker".to_owned(), stable_for: Millis(0) },
        successes: 1,
        interval: Millis::from_secs(200),
        deadline: Millis::from_secs(600),
    }];
    assert_eq!(lease(&playbook), Millis::from_secs(230));
    let deadline = Millis::from_secs(900);
    playbook.targets[1].activate = vec![Activation::Command { run: vec!["true".to_owned()], deadline }];
    assert_eq!(lease(&playbook), Millis::from_secs(930));
}

fn errors(playbook: &Playbook) -> Vec<String> {
    draft(playbook, &select).unwrap_err().into_iter().map(|error| error.to_string()).collect()
}

#[test]
fn both_sides_of_each_workers_value_are_in_the_plan_and_workers_activate_first() {
    let playbook = both_sides();
    let draft = draft(&playbook, &select).unwrap();
    let said = BTreeMap::from([
        (name("w1"), file_facts("a")),
        (name("w2"), file_facts("b")),
        (name("cp"), row_facts(&["a", "b"])),
    ]);
    let plan = settle(&playbook, &draft, &said, &BTreeSet::new()).unwrap();
    let values: Vec<String> = plan.values.keys().map(ToString::to_string).collect();
    assert_eq!(values, ["shared/w1", "shared/w2"]);
    assert_eq!(plan.activate_batches, [vec![name("w1"), name("w2")], vec![name("cp")]]);
    assert!(matches!(&plan.hosts[&name("cp")].changes[..], [Change::Sqlite { rows, .. }] if rows.len() == 2));
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<lockturn::model::Plan>(&json).unwrap().hash(), plan.hash());
}

#[test]
fn hosts_that_should_share_a_value_and_do_not_are_named_with_both_fingerprints() {
    let playbook = both_sides();
    let draft = draft(&playbook, &select).unwrap();
    let said = BTreeMap::from([
        (name("w1"), file_facts("a")),
        (name("w2"), file_facts("b")),
        (name("cp"), row_facts(&["a", "stale"])),
    ]);
    let problems = settle(&playbook, &draft, &said, &BTreeSet::new()).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!((&problems[0].host, problems[0].reason.kind), (&name("w2"), ReasonKind::Disagrees));
}

#[test]
fn a_host_that_was_not_asked_is_a_problem_and_never_left_out() {
    let playbook = both_sides();
    let draft = draft(&playbook, &select).unwrap();
    let said = BTreeMap::from([(name("w1"), file_facts("a")), (name("cp"), row_facts(&["a", "b"]))]);
    let problems = settle(&playbook, &draft, &said, &BTreeSet::new()).unwrap_err();
    assert_eq!((problems.len(), &problems[0].host), (1, &name("w2")));
}

#[test]
fn all_that_does_not_fit_is_said_at_once() {
    let errors = errors(&playbook(vec![
        target("nobody", vec![put(dotenv(".env", "S"), None)]),
        target("web", vec![put(dotenv(".env", "S"), None)]),
        target("control_plane", vec![put(dotenv(".env", "S"), None)]),
    ]));
    let expected = [
        "targets/0/hosts: `nobody` names no host",
        "targets/1/hosts: `web` is neither a host nor a group",
        "targets/2/put/0: `shared` is a value per host and `cp` has none of its own; say `for_each:`",
        "secrets/shared: `shared/w1` is put nowhere",
        "secrets/shared: `shared/w2` is put nowhere",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn two_puts_into_one_place_are_refused_and_two_keys_of_one_file_are_one_change() {
    let twice = vec![put(dotenv(".env", "S"), None), put(dotenv(".env", "S"), None)];
    assert!(errors(&playbook(vec![target("workers", twice)]))[0].contains("two puts write the same place"));
    let two_keys = vec![put(dotenv(".env", "S"), None), put(dotenv(".env", "T"), None)];
    let playbook = playbook(vec![target("workers", two_keys)]);
    assert_eq!(draft(&playbook, &select).unwrap().hosts[&name("w1")].changes.len(), 1);
}

#[test]
fn a_strategy_that_is_not_built_is_refused_and_not_taken_for_lockstep() {
    let mut playbook = both_sides();
    playbook.rollout.strategy = Strategy::Waves;
    assert!(errors(&playbook)[0].contains("`lockstep` only"));
}

fn hosts(names: &[&str]) -> BTreeSet<HostName> {
    names.iter().map(|text| name(text)).collect()
}

#[test]
fn a_limit_narrows_the_control_plane_to_the_rows_of_its_workers() {
    let limited = draft(&both_sides(), &select).unwrap().limited(&hosts(&["w2", "cp"])).unwrap();
    assert_eq!(limited.hosts.keys().cloned().collect::<BTreeSet<_>>(), hosts(&["w2", "cp"]));
    assert_eq!(limited.values.keys().map(ToString::to_string).collect::<Vec<_>>(), ["shared/w2"]);
    assert_eq!(limited.activate_batches, [vec![name("w2")], vec![name("cp")]]);
    let rows = limited.hosts[&name("cp")].changes[0].values().len();
    assert_eq!(rows, 1);
    let said = BTreeMap::from([(name("w2"), file_facts("b")), (name("cp"), row_facts(&["b"]))]);
    assert_eq!(settle(&both_sides(), &limited, &said, &BTreeSet::new()).unwrap().values.len(), 1);
}

#[test]
fn without_a_host_its_own_values_stay_and_shared_ones_change_on_the_others() {
    let without = |playbook: &Playbook, names: &[&str]| draft(playbook, &select).unwrap().without(&hosts(names));
    let own = without(&both_sides(), &["w1"]);
    assert_eq!(own, draft(&both_sides(), &select).unwrap().limited(&hosts(&["w2", "cp"])).unwrap());
    let mut shared = playbook(vec![target("workers", vec![put(dotenv(".env", "S"), None)])]);
    shared.secrets.get_mut(&secret()).unwrap().per = None;
    let left = without(&shared, &["w1"]);
    assert_eq!(left.hosts.keys().cloned().collect::<BTreeSet<_>>(), hosts(&["w2"]));
    assert_eq!((left.values.len(), left.activate_batches), (1, vec![vec![name("w2")]]));
    assert!(without(&both_sides(), &["w1", "w2", "cp"]).hosts.is_empty());
}

#[test]
fn a_limit_that_would_part_hosts_that_share_a_value_names_those_to_add() {
    let limited = |names: &[&str]| draft(&both_sides(), &select).unwrap().limited(&hosts(names));
    let shared = |text: &str| lockturn::model::ValueId { secret: secret(), owner: Some(name(text)) };
    let split = LimitError::Split { values: vec![shared("w1"), shared("w2")], missing: hosts(&["cp"]) };
    assert_eq!(limited(&["w1", "w2"]), Err(split));
    assert_eq!(limited(&["cp"]), Err(LimitError::OfOthers(hosts(&["w1", "w2"]))));
    assert_eq!(limited(&["elsewhere"]), Err(LimitError::Nobody));
    assert_eq!(limited(&["w1", "w2", "cp"]), Ok(draft(&both_sides(), &select).unwrap()));
    // One value for the fleet goes to all who hold it, or to nobody.
    let mut fleet = playbook(vec![target("workers", vec![put(dotenv(".env", "S"), None)])]);
    fleet.secrets.get_mut(&secret()).unwrap().per = None;
    let one = lockturn::model::ValueId { secret: secret(), owner: None };
    let limited = draft(&fleet, &select).unwrap().limited(&hosts(&["w1"]));
    assert_eq!(limited, Err(LimitError::Split { values: vec![one], missing: hosts(&["w2"]) }));
}

#[test]
fn the_smallest_part_is_one_owner_with_its_partners_or_all_who_share_one_value() {
    let whole = draft(&both_sides(), &select).unwrap();
    let canary = whole.canary();
    assert_eq!(canary, hosts(&["w1", "cp"]));
    assert_eq!(whole.limited(&canary).unwrap().values.len(), 1);
    let mut fleet = playbook(vec![target("workers", vec![put(dotenv(".env", "S"), None)])]);
    fleet.secrets.get_mut(&secret()).unwrap().per = None;
    assert_eq!(draft(&fleet, &select).unwrap().canary(), hosts(&["w1", "w2"]));
}

#[test]
fn a_host_that_only_restarts_or_proves_belongs_to_a_limit_too() {
    let mut both = both_sides();
    both.targets.push(target("proxy", Vec::new()));
    let with_proxy = |selector: &Selector| match selector.to_string().as_str() {
        "proxy" => Ok(hosts(&["proxy"])),
        _ => select(selector),
    };
    let limited = |names: &[&str]| draft(&both, &with_proxy).unwrap().limited(&hosts(names));
    assert!(matches!(limited(&["w1", "cp"]), Err(LimitError::Split { missing, .. }) if missing == hosts(&["proxy"])));
    assert_eq!(limited(&["w1", "cp", "proxy"]).unwrap().hosts.len(), 3);
    assert_eq!(draft(&both, &with_proxy).unwrap().canary(), hosts(&["w1", "cp", "proxy"]));
}

#[test]
fn looking_at_some_hosts_keeps_all_that_they_hold() {
    let seen = draft(&both_sides(), &select).unwrap().seen_on(&hosts(&["cp"]));
    assert_eq!(seen.hosts.len(), 1);
    assert_eq!(seen.hosts[&name("cp")].changes[0].values().len(), 2);
}
