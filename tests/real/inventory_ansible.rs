//! The real `ansible-inventory` and ours read the same files, and must say the same about every host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use lockturn::inventory::Inventory;
use lockturn::model::Become;
use serde_json::Value;

/// What a run needs to know of a host, and the groups that it is in.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    address: String,
    port: u16,
    user: Option<String>,
    sudo: bool,
    groups: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the Ansible is that we compare with.
fn home() -> &'static Path {
    static HOME: LazyLock<PathBuf> = LazyLock::new(|| {
        let into = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ansible");
        let done = Command::new("sh").arg(root().join("tests/setup/ansible")).arg(&into).status().unwrap();
        let why = "Ansible cannot be installed (tests/setup/ansible); `make install` installs what that needs";
        assert!(done.success(), "{why}");
        into
    });
    &HOME
}

fn ansible(path: &Path) -> BTreeMap<String, Known> {
    let program = home().join("bin/ansible-inventory");
    let nothing = tempfile::Builder::new().suffix(".cfg").tempfile().unwrap();
    let output = Command::new(&program)
        .arg("-i")
        .arg(path)
        .arg("--list")
        // Nobody's own configuration, and every file must be understood.
        .env("ANSIBLE_CONFIG", nothing.path())
        .env("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "true")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    members(&list, "all", &mut Vec::new(), &mut groups);
    let hosts = groups.values().flatten().cloned().collect::<BTreeSet<_>>();
    let known = |host: String| {
        let vars = &list["_meta"]["hostvars"][&host];
        let text =
            |name: &str| vars.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let become_word = text("ansible_become").unwrap_or_default().to_ascii_lowercase();
        let known = Known {
            address: text("ansible_host").unwrap_or_else(|| host.clone()),
            port: text("ansible_port").map_or(22, |port| port.parse().unwrap()),
            user: text("ansible_user"),
            sudo: ["true", "yes", "on", "1"].contains(&become_word.as_str()),
            groups: groups.iter().filter(|(_, hosts)| hosts.contains(&host)).map(|(name, _)| name.clone()).collect(),
        };
        (host, known)
    };
    hosts.into_iter().map(known).collect()
}

/// Adds the hosts of a group to it and to all groups around it.
fn members(list: &Value, name: &str, around: &mut Vec<String>, groups: &mut BTreeMap<String, BTreeSet<String>>) {
    around.push(name.to_owned());
    let words = |key: &str| list[name][key].as_array().cloned().unwrap_or_default();
    for host in words("hosts") {
        for group in around.iter() {
            groups.entry(group.clone()).or_default().insert(host.as_str().unwrap().to_owned());
        }
    }
    for child in words("children") {
        members(list, child.as_str().unwrap(), around, groups);
    }
    around.pop();
}

fn ours(path: &Path) -> BTreeMap<String, Known> {
    let (inventory, _) = Inventory::read(path).unwrap_or_else(|found| panic!("{}", found.render()));
    let known = |(name, host): (&lockturn::model::HostName, &lockturn::inventory::Host)| {
        let groups = inventory.groups.iter().filter(|(_, hosts)| hosts.contains(name));
        let known = Known {
            address: host.address.clone(),
            port: host.port,
            user: host.user.clone(),
            sudo: host.become_user == Become::Sudo,
            groups: groups.map(|(name, _)| name.to_string()).collect(),
        };
        (name.to_string(), known)
    };
    inventory.hosts.iter().map(known).collect()
}

#[test]
fn every_inventory_of_the_corpus_is_read_as_ansible_reads_it() {
    let mut inventories: Vec<PathBuf> = std::fs::read_dir(root().join("tests/fixtures/inventories"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    inventories.sort();
    assert!(inventories.len() >= 6, "{inventories:?}");
    let mut differ = Vec::new();
    for path in inventories {
        let (ours, theirs) = (ours(&path), ansible(&path));
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        for name in names {
            let (ours, theirs) = (ours.get(name), theirs.get(name));
            if ours != theirs {
                differ.push(format!("{} {name}\n  ours    {ours:?}\n  theirs  {theirs:?}", path.display()));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
