//! Inventories in all their formats: who is in them, and what is wrong with them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lockturn::inventory::{Host, Inventory, Jump};
use lockturn::model::Become;
use proptest::prelude::*;

fn read(file: &str, text: &str) -> (Inventory, String) {
    let (inventory, warnings) = Inventory::parse(file, text).unwrap_or_else(|found| panic!("{}", found.render()));
    (inventory, lockturn::yaml::Diagnostics(warnings).render())
}

fn wrong(file: &str, text: &str) -> String {
    Inventory::parse(file, text).map(|_| "it is valid").unwrap_err().render()
}

fn host<'a>(inventory: &'a Inventory, name: &str) -> &'a Host {
    &inventory.hosts[&name.parse().unwrap()]
}

fn names(inventory: &Inventory, selector: &str) -> String {
    let chosen = inventory.select(&selector.parse().unwrap()).unwrap();
    chosen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn other(user: Option<&str>, address: &str, port: u16) -> Jump {
    Jump::Other { user: user.map(str::to_owned), address: address.to_owned(), port }
}

/// A directory with these files; one whose text begins with `#!` is a program.
fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        if text.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    dir
}

fn read_dir(dir: &Path) -> (Inventory, String) {
    let (inventory, warnings) = Inventory::read(dir).unwrap_or_else(|found| panic!("{}", found.render()));
    (inventory, lockturn::yaml::Diagnostics(warnings).render())
}

#[test]
fn ini_has_groups_ranges_variables_and_comments() {
    let (inventory, warnings) = read(
        "hosts.ini",
        "lone ansible_host='10.0.0.9'\n[workers]\nw[01:03]:2222 labels=\"{'zone': 'eu', 'rack': 007}\" # a comment\n\
         [workers:vars]\nansible_become=True\nuser = deploy\n[fleet:children]\nworkers\n",
    );
    assert_eq!(warnings, "");
    assert_eq!(names(&inventory, "fleet"), "w01 w02 w03");
    assert_eq!(names(&inventory, "ungrouped"), "lone");
    assert_eq!(names(&inventory, "rack=007:&zone=e*"), "w01 w02 w03");
    let w1 = host(&inventory, "w01");
    assert_eq!((w1.port, w1.user.as_deref(), w1.become_user), (2222, Some("deploy"), Become::Sudo));
    assert_eq!(host(&inventory, "lone").address, "10.0.0.9");
}

#[test]
fn what_is_wrong_with_an_ini_file_is_said_at_once_and_pointed_at() {
    let text = "[workers]\nw1 port=x user=bob\nw2 'open\nw[2:1]\n[workers:hosts]\n[a b]\n[nobody:vars]\nnonsense\nprt=1\n\
                [fleet:children]\nworker\n";
    assert_eq!(
        wrong("hosts.ini", text),
        "error: should be a whole number from 1 to 65535
 --> hosts.ini:2:4
  |
2 | w1 port= …
  |    ^

error: a quote in this line is never closed
 --> hosts.ini:3:1
  |
3 | …
  | ^

error: `w[2:1]` names no hosts: `[2:1]` ends before it begins
 --> hosts.ini:4:1
  |
4 | …
  | ^

error: `a b` is no name for a group: a name has letters, digits, `.`, `_` and `-`, not ` `
 --> hosts.ini:6:2
  |
6 | [ …
  |  ^

error: should be `variable=value`
 --> hosts.ini:8:1
  |
8 | …
  | ^
  = hint: hosts stand under `[group]`, not under `[group:vars]`

warning: nobody reads the variable `prt`
 --> hosts.ini:9:1
  |
9 | prt= …
  | ^
  = hint: did you mean `port`?

error: the group `worker` has no hosts, here or in any other file
  --> hosts.ini:11:1
   |
11 | …
   | ^
   = hint: did you mean `workers`? If it is empty, give it a section, or `{}` in YAML

error: there is no group `nobody` whose variables these could be
 --> hosts.ini:7:2
  |
7 | [ …
  |  ^
"
    );
    assert!(wrong("hosts.ini", "all:\n  hosts:\n    a:\n").contains("is this a YAML file?"));
    assert!(wrong("hosts.ini", "[w:childen]\nx\n").contains("no such kind of section"));
    assert!(wrong("hosts", "---\nall: [").contains("hosts:2:"), "{}", wrong("hosts", "---\nall: ["));
}

#[test]
fn no_value_is_ever_shown() {
    for text in [
        "w1 ansible_password=hunter2 port=x",
        "w1 port=x ansible_password=hunter2",
        "w1 user='hun ter2",
        "w1 hunter2",
        "[workers:vars]\nansible_become_pass = hunter2",
        "[workers:vars]\nhunter2",
        "w1 labels={'password':'hunter2hunter2'}",
        "w1 ansible_ssh_common_args='-o hunter2=hunter2 hunter2'",
    ] {
        let found = wrong("hosts.ini", text);
        assert!(!found.contains("hunter2") || found.contains("`-o hunter2`"), "{text}:\n{found}");
        assert!(!found.contains("hunter2hunter2") && !found.contains("=hunter2"), "{text}:\n{found}");
    }
    let literal = "9f86d081884c7d659a2feaa0c55ad015";
    let label = format!("all: {{ hosts: {{ a: {{ labels: {{ note: {literal} }} }} }} }}");
    let found = wrong("i.yml", &label);
    assert!(found.contains("looks like a secret") && !found.contains(literal), "{found}");
    let printed = format!("#!/bin/sh\necho token {literal} has expired >&2\nexit 3\n");
    let cloud = dir(&[("cloud", &printed)]);
    let found = Inventory::read(cloud.path()).unwrap_err().render();
    assert!(found.contains("exit status 3") && found.contains("it said: token … has expired"), "{found}");
}

#[test]
fn what_ansible_encrypts_or_computes_is_no_literal_and_is_not_read() {
    let text = "all:\n  hosts:\n    a:\n      ansible_password: \"{{ vault_password }}\"\n      db_token: !vault |\n        \
                $ANSIBLE_VAULT;1.1;AES256\n        6162\n";
    assert_eq!(read("i.yml", text).1, "");
    let found = wrong("i.yml", "all: { hosts: { a: { ansible_host: '{{ inventory_hostname }}.example' } } }");
    assert!(found.contains("is a template of Ansible"), "{found}");
}

#[test]
fn yaml_takes_ranges_groups_by_name_and_values_as_they_are_written() {
    let (inventory, warnings) = read(
        "i.yml",
        "all: { children: { prod: { children: { workers: } }, zzz: } }\n\
         workers: { hosts: { 'worker-[01:10]': { labels: { version: 1.10, id: 007, on: yes, big: 0x1F } } } }\n\
         nested: { children: { deep: { hosts: x } } }\n",
    );
    assert_eq!(names(&inventory, "prod").split(' ').count(), 10);
    assert_eq!(names(&inventory, "worker-[09:10]:deep"), "worker-09 worker-10 x");
    assert!(warnings.contains("the group `zzz` has no hosts"), "{warnings}");
    let labels = &host(&inventory, "worker-01").labels;
    let written: Vec<&str> = labels.values().map(String::as_str).collect();
    assert_eq!(written, ["0x1F", "007", "yes", "1.10"]);
    assert_eq!(host(&read("i.yml", "all: { hosts: { 10.0.0.7: , 42: } }").0, "42").address, "42");
    for (word, become_user) in
        [("yes", Become::Sudo), ("'True'", Become::Sudo), ("1", Become::Sudo), ("off", Become::None)]
    {
        let (inventory, _) = read("i.yml", &format!("all: {{ hosts: {{ a: {{ ansible_become: {word} }} }} }}"));
        assert_eq!(host(&inventory, "a").become_user, become_user, "{word}");
    }
}

#[test]
fn groups_in_a_circle_are_named() {
    let found = wrong("i.ini", "[a:children]\nb\n[b:children]\nc\n[c:children]\na\n[c]\nx\n");
    assert!(found.contains("the group `a` would lie in itself: `a` in `c` in `b` in `a`"), "{found}");
    let found = wrong("i.yml", "a: { children: { b: { children: { a: } } }, hosts: { x: } }");
    assert!(found.contains("the group `a` would lie in itself: `a` in `b` in `a`"), "{found}");
}

#[test]
fn ssh_arguments_are_taken_as_people_write_them() {
    let with = |args: &str| {
        let text = format!("w1 ansible_ssh_common_args=\"{args}\"\ncp\n");
        Inventory::parse("i.ini", &text).map(|(inventory, warnings)| {
            (host(&inventory, "w1").clone(), lockturn::yaml::Diagnostics(warnings).render())
        })
    };
    let bastion = other(Some("ops"), "bastion.example", 2222);
    for args in [
        "-o ProxyJump=ops@bastion.example:2222",
        "-oProxyJump=ops@bastion.example:2222 -C -o ControlMaster=auto -o ControlPersist=60s",
        "-J ops@bastion.example:2222",
        "-o 'ProxyJump ops@bastion.example:2222'",
        "-J ssh://ops@bastion.example:2222 -o ServerAliveInterval=30 -q",
    ] {
        assert_eq!(
            with(args).unwrap_or_else(|found| panic!("{}", found.render())).0.jump,
            std::slice::from_ref(&bastion),
            "{args}"
        );
    }
    let (chained, _) = with("-J cp,ops@bastion.example:2222").unwrap();
    assert_eq!(chained.jump, [Jump::Host("cp".parse().unwrap()), bastion]);
    let (said, warnings) =
        with("-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i keys/id -p 2200").unwrap();
    assert_eq!((said.port, said.identity_file.as_deref()), (2200, Some(Path::new("keys/id"))));
    assert!(warnings.contains("host keys are always checked"), "{warnings}");
    let found = with("-o ProxyCommand='ssh -W %h:%p -q ops@bastion.example'").unwrap_err().render();
    assert!(found.contains("write `jump: ops@bastion.example` instead"), "{found}");
    for bad in
        ["-o ProxyCommand='nc -X 5 %h %p'", "-F ssh.cfg", "-J ''", "-o ProxyJump=a;b", "-o Tunnel=yes", "-J a,,b"]
    {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn ways_through_other_hosts_end_somewhere_and_misspelt_ones_are_noticed() {
    let (inventory, warnings) = read(
        "i.yml",
        "all: { vars: { jump: control }, hosts: { control: , w1: { jump: contrl }, w2: { jump: 'control,10.0.0.1' }, w3: { jump: none } } }",
    );
    // What holds for everybody is no way for the host that it leads through.
    assert_eq!(host(&inventory, "control").jump, []);
    assert_eq!(host(&inventory, "w2").jump, [Jump::Host("control".parse().unwrap()), other(None, "10.0.0.1", 22)]);
    assert_eq!(host(&inventory, "w3").jump, []);
    assert!(warnings.contains("no host `contrl`") && warnings.contains("did you mean `control`?"), "{warnings}");
    let (_, warnings) = read("i.yml", "all: { vars: { jump: nowhere }, hosts: { a: , b: { jump: 'x:2222' } } }");
    assert!(warnings.contains("no host `nowhere`") && !warnings.contains("no host `x`"), "{warnings}");
    let circle = "all: { hosts: { a: { jump: b }, b: { jump: c }, c: { jump: a } } }";
    assert!(wrong("i.yml", circle).contains("`a` is reached through itself: `a` through `b` through `c` through `a`"));
    // The same private address behind two bastions is two machines.
    read(
        "i.yml",
        "all: { hosts: { a: { address: 10.0.0.5, jump: x.example }, b: { address: 10.0.0.5, jump: y.example } } }",
    );
    let same = "all:\n  hosts:\n    a: { address: DB.example }\n    b: { address: db.example }\n";
    assert!(wrong("i.yml", same).contains("i.yml:4:5"), "{}", wrong("i.yml", same));
}

#[test]
fn a_directory_is_read_together_and_what_is_no_inventory_is_left_alone() {
    let fleet = dir(&[
        ("1.ini", "[workers]\nw1 user=ini\nw2\n"),
        ("2.yml", "workers: { hosts: { w1: { user: yaml }, w3: } }\n"),
        (
            "3-cloud",
            "#!/bin/sh\n[ \"$1\" = --list ] || exit 1\necho '{\"_meta\": {\"hostvars\": {}}, \"cloud\": {\"hosts\": [\"c1\"]}}'\n",
        ),
        ("group_vars/workers.yml", "port: 2200\nnginx_port: 80\n"),
        ("group_vars/wrokers.yml", "port: 1\n"),
        ("group_vars/all/vault.yml", "$ANSIBLE_VAULT;1.1;AES256\n6162\n"),
        ("host_vars/w3.yml", "port: 2300\n"),
        ("README.md", "[[["),
        ("known_hosts", "[[["),
        ("old.ini.bak", "[[["),
        (".git/x", "[[["),
    ]);
    let (inventory, warnings) = read_dir(fleet.path());
    assert_eq!(names(&inventory, "all"), "c1 w1 w2 w3");
    assert_eq!(host(&inventory, "w1").user.as_deref(), Some("yaml"));
    assert_eq!((host(&inventory, "w2").port, host(&inventory, "w3").port), (2200, 2300));
    for said in ["no group `wrokers`", "did you mean `workers`?", "encrypted by ansible-vault"] {
        assert!(warnings.contains(said), "{said}:\n{warnings}");
    }
    assert!(!warnings.contains("nginx_port"), "{warnings}");
    // What a file's neighbours say of its hosts holds for the file alone, too.
    assert_eq!(host(&read_dir(&fleet.path().join("1.ini")).0, "w1").port, 2200);
}

#[test]
fn programs_that_cannot_be_used_are_named_with_what_they_said() {
    for (text, said) in [
        ("#!/bin/sh\necho nonsense: [\n", "it printed no JSON"),
        ("#!/bin/sh\nexit 0\n", "no JSON object"),
        ("#!/bin/sh\nkill -9 $$\n", "signal"),
        ("#!/nonexistent\n", "cannot be run"),
        ("#!/bin/sh\nprintf '\\377'\n", "something else than text"),
        ("#!/bin/sh\necho '{\"a\": {\"hosts\": [\"$(id)\"], \"x\": 1}}'\n", "no name for a host"),
    ] {
        let cloud = dir(&[("cloud", text)]);
        let found = Inventory::read(cloud.path()).unwrap_err().render();
        assert!(found.contains(said) && found.contains("/cloud"), "{text}\n{found}");
    }
    let cloud = dir(&[("cloud.py", "#!/bin/sh\n")]);
    fs::set_permissions(cloud.path().join("cloud.py"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Inventory::read(cloud.path()).unwrap_err().render().contains("chmod +x"));
    let aws = "plugin: amazon.aws.aws_ec2\nregions: [eu-central-1]\n";
    assert!(wrong("aws_ec2.yml", aws).contains("ansible-inventory"), "{}", wrong("aws_ec2.yml", aws));
    assert!(wrong("hosts.toml", "[web]").contains("TOML is not read"));
}

#[test]
fn what_is_too_much_is_said_and_ten_thousand_hosts_are_not() {
    let hosts: String = (0..10_000)
        .map(|n| format!("    h{n}: {{ address: 10.1.{}.{}, user: u, port: 22 }}\n", n / 250, n % 250))
        .collect();
    let (inventory, _) = read("i.yml", &format!("workers:\n  hosts:\n{hosts}"));
    assert_eq!(inventory.hosts.len(), 10_000);
    let large = format!("all: {{ hosts: {{ a: }} }}\n# {}\n", "x".repeat(9 * 1024 * 1024));
    assert!(wrong("i.yml", &large).contains("larger than 8 MiB"));
    assert!(wrong("i.ini", &format!("{large}\nw[0:999999]\n")).contains("more than"));
    let deep = format!("{}x: 1", "{a: ".repeat(10_000));
    assert!(!wrong("i.yml", &deep).is_empty());
}

#[test]
fn switches_that_are_named_after_secrets_are_none_and_applications_are_only_warned() {
    let text = "all: { hosts: { a: { sshd_password_authentication: 'no', token_ttl: 3600, secret_file: /etc/x, api_tokens: [] } } }";
    read("i.yml", text);
    assert!(wrong("i.yml", "all: { hosts: { a: { db_password: hunter2 } } }").contains("would be a secret"));
    let fleet = |vars: &str| dir(&[("hosts.ini", "a\n"), ("group_vars/all.yml", vars)]);
    let (_, warnings) = read_dir(fleet("db_password: hunter2\nports: [80]\napp_password_policy: 3\n").path());
    assert!(warnings.contains("`db_password` looks like a secret") && !warnings.contains("hunter2"), "{warnings}");
    assert_eq!(warnings.matches("warning:").count(), 1, "{warnings}");
    for certain in ["db_password: 9f86d081884c7d659a2feaa0c55ad015", "ansible_become_pass: hunter2"] {
        let found = Inventory::read(fleet(certain).path()).unwrap_err().render();
        assert!(found.contains("would be a secret") && found.contains("group_vars/all.yml:1:"), "{found}");
    }
}

#[test]
fn a_way_through_several_hosts_passes_them_in_order() {
    let text = "cp ansible_host=10.0.0.1 jump=gate.example\nw1 jump=cp,ops@10.0.0.2:2222\n";
    let (inventory, _) = read("i.ini", text);
    let surroundings = lockturn::runtime::Surroundings {
        user: "me".to_owned(),
        home: "/home/me".into(),
        identity_file: None,
        known_hosts: None,
    };
    let mut way = Vec::new();
    let mut at = surroundings.endpoint(&inventory, &"w1".parse().unwrap());
    while let Some(endpoint) = at {
        way.push(format!("{}@{}:{}", endpoint.user, endpoint.address, endpoint.port));
        at = endpoint.jump.map(|jump| *jump);
    }
    assert_eq!(way, ["me@w1:22", "ops@10.0.0.2:2222", "me@10.0.0.1:22", "me@gate.example:22"]);
}

proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(text in "[-a-z0-9:{}\\[\\], \n&*!'\"#|>=é\t]{0,200}") {
        for name in ["i.ini", "i.yml", "i.json", "hosts"] {
            let _whatever = Inventory::parse(name, &text);
        }
    }
}

#[test]
fn other_addresses_are_of_one_machine_each() {
    let (inventory, warnings) = read(
        "hosts.yml",
        "all: { hosts: { w1: { address: 10.0.0.1, other_addresses: [192.0.2.1, 'fe80::1%eth0', '2001:db8::1'] }, w2: { } } }\n",
    );
    assert_eq!(warnings, "");
    let others: Vec<String> = host(&inventory, "w1").other_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(others, ["192.0.2.1", "2001:db8::1", "fe80::1"]);
    assert!(host(&inventory, "w2").other_addresses.is_empty());
    let said =
        wrong("hosts.yml", "all:\n  hosts:\n    w1:\n      other_addresses: [web.example, 127.0.0.1, ff02::1]\n");
    for what in ["`web.example` is not an IP address", "127.0.0.1 is every machine's own", "ff02::1 is not the address"]
    {
        assert!(said.contains(what), "{said}");
    }
    assert!(said.contains("hosts.yml:4:25") && said.matches("error: ").count() == 3, "{said}");
    let said = wrong("hosts.yml", "all: { hosts: { w1: { other_addresses: 192.0.2.1 } } }\n");
    assert!(said.contains("should be a list"), "{said}");
}
