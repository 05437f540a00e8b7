//! What `ansible-inventory --list` prints: each group with a list of `hosts`, a list of `children` and `vars`; the variables of hosts
//! under `_meta`.

use std::collections::BTreeSet;

use crate::model::HostName;
use crate::yaml::{Item, Value};

use super::gathered::Gathered;
use super::vars::{About, Vars};

/// Whether a tree has this shape, and not that of a YAML inventory.
pub(super) fn is_list(root: &Item<'_>) -> bool {
    let Value::Map(groups) = &root.node.value else { return false };
    groups.iter().any(|(name, group)| {
        let Value::Map(fields) = &group.value else { return matches!(group.value, Value::List(_)) };
        let lists = |name: &str| matches!(name, "hosts" | "children");
        name.text == "_meta"
            || fields.iter().any(|(key, node)| lists(&key.text) && matches!(node.value, Value::List(_)))
    })
}

/// Reads it. Says which hosts it names and whether it has their variables with it; if not, the program is to be asked for each.
pub(super) fn read(root: &Item<'_>, about: &About<'_>, into: &mut Gathered) -> (BTreeSet<HostName>, bool) {
    let (mut names, mut with_vars) = (BTreeSet::new(), false);
    let mut vars_of_hosts = Vec::new();
    for (key, group) in root.entries().unwrap_or_default() {
        if key.text == "_meta" {
            // It may have keys of its own that say nothing about hosts.
            let Value::Map(_) = group.node.value else { continue };
            for (key, hosts) in group.entries().unwrap_or_default() {
                if key.text == "hostvars" {
                    with_vars = true;
                    vars_of_hosts = hosts.entries().unwrap_or_default();
                }
            }
            continue;
        }
        read_group(&key.text, &group, about, into, &mut names);
    }
    for (key, vars) in vars_of_hosts {
        // A host in no group is none, for Ansible too.
        if let Ok(name) = key.text.parse::<HostName>()
            && names.contains(&name)
        {
            take_vars(&name, &vars, about, into);
        }
    }
    (names, with_vars)
}

/// The variables of one host.
pub(super) fn take_vars(name: &HostName, vars: &Item<'_>, about: &About<'_>, into: &mut Gathered) {
    let mut vars = Vars::read(vars, about);
    if let Some(said) = into.hosts.get_mut(name) {
        vars.inherit(&said.vars);
        said.vars = vars;
    }
}

fn read_group(name: &str, item: &Item<'_>, about: &About<'_>, into: &mut Gathered, names: &mut BTreeSet<HostName>) {
    let Some(name) = into.group(name, item) else { return };
    into.groups.entry(name.clone()).or_default().written = true;
    let mut add = |hosts: &Item<'_>, into: &mut Gathered| {
        for host in hosts.list().unwrap_or_default() {
            match host.scalar().map(|text| (text.parse::<HostName>(), text)) {
                Some((Ok(host_name), _)) => {
                    names.insert(host_name.clone());
                    into.add_host(host_name, &name, Vars::default(), &host);
                }
                Some((Err(error), text)) => {
                    host.error(&format!("`{}` is no name for a host: {error}", text.escape_debug()));
                }
                None => {}
            }
        }
    };
    // Old programs print a bare list of hosts.
    if matches!(item.node.value, Value::List(_)) {
        add(item, into);
        return;
    }
    let Some(fields) = item.fields() else { return };
    if let Some(hosts) = fields.get("hosts") {
        add(&hosts, into);
    }
    for child in fields.get("children").and_then(|children| children.list()).unwrap_or_default() {
        let child_name = child.text().and_then(|text| into.group(text, &child));
        if let Some(child_name) = child_name {
            let children = &mut into.groups.entry(name.clone()).or_default().children;
            children.entry(child_name).or_insert_with(|| child.spot());
        }
    }
    if let Some(vars) = fields.get("vars") {
        into.add_vars(&name, Vars::read(&vars, about));
    }
    fields.finish();
}
