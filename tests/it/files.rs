//! Inventories and playbooks: what is shipped is valid, and what is wrong is said with its place, all of it at once.

use std::path::Path;

use lockturn::inventory::Inventory;
use lockturn::playbook;
use proptest::prelude::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn wrong_playbook(text: &str) -> String {
    playbook::parse("p.yml", text).map(|_| "it is valid").unwrap_err().render()
}

fn wrong_inventory(text: &str) -> String {
    Inventory::parse("i.yml", text).map(|_| "it is valid").unwrap_err().render()
}

const GOOD: &str = "version: 1
name: p
secrets: { s: { generate: { hex: 32 } } }
targets:
  - hosts: all
    put: [ { secret: s, dotenv: { file: .env, key: S } } ]
    verify: [ { http: { url: 'http://127.0.0.1/', expect: { new: 200, old: 401 } } } ]
";

#[test]
fn what_is_shipped_is_valid_and_fits_together() {
    let (inventory, warnings) = Inventory::read(&root().join("inventory")).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    for entry in std::fs::read_dir(root().join("playbooks")).unwrap() {
        let path = entry.unwrap().path();
        let (playbook, warnings) = playbook::read(&path).unwrap_or_else(|found| panic!("{}", found.render()));
        // What nothing can prove is said to be unproved, secret by secret; everything else is proved.
        let unproved = match playbook.name.as_str() {
            "cockpit-sessions" => 2,
            "ext-call-hmac" => 1,
            _ => 0,
        };
        assert_eq!(warnings.len(), unproved, "{warnings:?}");
        assert!(warnings.iter().all(|warning| warning.message.starts_with("not proved")), "{warnings:?}");
        lockturn::plan::draft(&playbook, &|selector| inventory.select(selector)).unwrap();
        for check in playbook.targets.iter().flat_map(|target| &target.verify).map(|probe| &probe.check) {
            if let lockturn::model::Check::Http { headers, body, .. } = check {
                headers.iter().map(|(_, text)| text).chain([body]).for_each(|text| {
                    lockturn::template::check_template(text).unwrap();
                });
            }
        }
    }
}

#[test]
fn all_errors_of_a_playbook_are_said_at_once_with_their_places() {
    let text = GOOD
        .replace("hex: 32", "hex: 3")
        .replace("dotenv:", "dotenvv:")
        .replace("verify", "verfy")
        .replace("secret: s,", "secret: t,");
    let found = wrong_playbook(&text);
    for said in
        ["p.yml:3:", "from 16 to 1024", "did you mean `dotenv`?", "did you mean `verify`?", "there is no secret `t`"]
    {
        assert!(found.contains(said), "{said}:\n{found}");
    }
}

#[test]
fn a_literal_secret_is_refused_and_not_shown() {
    let literal = "9f86d081884c7d659a2feaa0c55ad015";
    for text in [
        GOOD.replace("{ generate: { hex: 32 } }", literal),
        GOOD.replace("generate: { hex: 32 }", &format!("value: {literal}")),
        GOOD.replace("expect:", &format!("headers: {{ X-OS-SECRET: {literal} }}, expect:")),
    ] {
        let found = wrong_playbook(&text);
        assert!(!found.contains(literal), "{found}");
    }
    for (short, text) in [
        ("hunter2", "all: { hosts: { a: { user: bob, ansible_password: hunter2 } } }"),
        (
            "hunter2",
            "all:\n  hosts:\n    a:\n      ansible_ssh_pass: hunter2\n      ansible_become_pass:\n        hunter2\n",
        ),
        ("hunter2", "all: { hosts: { a: { ansible_password: hunter2, port: x } } }"),
    ] {
        let found = wrong_inventory(text);
        assert!(found.contains("would be a secret") && !found.contains(short), "{found}");
    }
    for text in
        [GOOD.replace("{ generate: { hex: 32 } }", "hunter2"), GOOD.replace("generate: { hex: 32 }", "value: hunter2")]
    {
        assert!(!wrong_playbook(&text).contains("hunter2"), "{text}");
    }
}

#[test]
fn what_this_version_cannot_do_is_refused_by_name() {
    for (from, to) in [
        ("generate: { hex: 32 }", "prompt: true, generate: { hex: 32 }"),
        ("dotenv: {", "json: {"),
        ("version: 1", "version: 2"),
    ] {
        assert!(wrong_playbook(&GOOD.replace(from, to)).contains("this version"), "{to}");
    }
    assert!(wrong_playbook(&GOOD.replace("http://127", "https://127")).contains("curl"));
}

#[test]
fn a_playbook_without_a_proof_is_warned_of() {
    let text = GOOD.replace("{ new: 200, old: 401 }", "200");
    let (_, warnings) = playbook::parse("p.yml", &text).unwrap();
    assert!(warnings[0].message.contains("nothing proves"), "{warnings:?}");
    // A proof of one secret is none of the other.
    let text = GOOD
        .replace("s: { generate: { hex: 32 } }", "s: { generate: { hex: 32 } }, t: { generate: uuid }")
        .replace("put: [", "put: [ { secret: t, dotenv: { file: .env, key: T } },")
        .replace("http: {", "http: { secret: s,");
    let (_, warnings) = playbook::parse("p.yml", &text).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].message.contains("`t`"), "{warnings:?}");
}

#[test]
fn bombs_cycles_and_duplicates_are_refused() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (before, name) in "abcdefghi".chars().zip("bcdefghij".chars()) {
        let refers = vec![format!("*{before}"); 9].join(", ");
        bomb.push_str(&format!("{name}: &{name} [{refers}]\n"));
    }
    assert!(!wrong_playbook(&bomb).is_empty());
    assert!(wrong_playbook("version: 1\nversion: 1\n").contains("`version` stands here for the second time"));
    assert!(wrong_inventory("all: { hosts: { a: { jump: b }, b: { jump: a } } }").contains("through itself"));
    assert!(wrong_inventory("all: { hosts: { a: { address: x }, b: { address: x } } }").contains("same machine"));
    assert!(wrong_inventory("all: {}").contains("no host"));
    for name in ["-oProxyCommand=x", "$(id)", "a;b", ".."] {
        assert!(
            wrong_inventory(&format!("all: {{ hosts: {{ '{name}': }} }}")).contains("no name for a host"),
            "{name}"
        );
    }
}

#[test]
fn a_host_has_its_own_word_then_its_groups_then_that_of_all() {
    let text = "
all: { vars: { user: everybody }, hosts: { w1: { port: 2222 } } }
workers: { vars: { port: 22, labels: { zone: eu } }, hosts: { w1: , w2: } }
";
    let (inventory, _) = Inventory::parse("i.yml", text).unwrap();
    let host = |name: &str| &inventory.hosts[&name.parse().unwrap()];
    assert_eq!((host("w1").port, host("w1").labels["zone"].as_str()), (2222, "eu"));
    assert_eq!(host("w2").user.as_deref(), Some("everybody"));
}

#[test]
fn an_ansible_inventory_works_as_it_is() {
    let text = "
all:
  vars: { ansible_user: ops, ansible_python_interpreter: /usr/bin/python3 }
  children:
    workers:
      vars: { ansible_ssh_common_args: '-o ProxyJump=cp', ansible_become: true }
      hosts:
        w1: { ansible_host: 10.0.0.1, ansible_port: 2222 }
        w2: { labels: { zone: eu } }
    control_plane: { hosts: { cp: } }
";
    let (inventory, warnings) = Inventory::parse("i.yml", text).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let w1 = &inventory.hosts[&"w1".parse().unwrap()];
    assert_eq!((w1.address.as_str(), w1.port, w1.user.as_deref()), ("10.0.0.1", 2222, Some("ops")));
    assert_eq!(w1.jump, [lockturn::inventory::Jump::Host("cp".parse().unwrap())]);
    let names = |text: &str| {
        let chosen = inventory.select(&text.parse().unwrap());
        chosen.map(|hosts| hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names("all"), Ok("cp w1 w2".into()));
    assert_eq!(names("workers:!w1"), Ok("w2".into()));
    assert_eq!(names("w[1:2],cp:&workers"), Ok("w1 w2".into()));
    assert_eq!(names("workers:&w[1:2]:!w1"), Ok("w2".into()));
    assert!(format!("w[{}:1]", "0".repeat(70_000)).parse::<lockturn::model::Selector>().is_err());
    assert_eq!(names("zone=eu"), Ok("w2".into()));
    assert_eq!(names("w?"), Ok("w1 w2".into()));
    assert_eq!(names("worker"), Err("`worker` is neither a host nor a group; did you mean `workers`?".into()));
}

proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(text in "[-a-z0-9:{}\\[\\], \n&*!'\"#|>]{0,200}") {
        let _whatever = (playbook::parse("p", &text), Inventory::parse("i", &text));
    }
}
