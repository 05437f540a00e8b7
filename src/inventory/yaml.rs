//! The shape of a YAML inventory: groups with `hosts`, `vars` and `children`, groups within groups.

use crate::model::GroupName;
use crate::yaml::{Item, Node, Place, Value};

use super::gathered::Gathered;
use super::vars::{About, Vars};

/// How deep groups may lie in groups.
const DEPTH_MAX: usize = 20;

/// Reads a whole file.
pub(super) fn read(root: &Item<'_>, about: &About<'_>, into: &mut Gathered) {
    if root.is_null() {
        return;
    }
    for (key, group) in root.entries().unwrap_or_default() {
        if let Some(name) = read_group(&key.text, &group, about, into, 0) {
            into.groups.entry(name).or_default().written = true;
        }
    }
}

fn read_group(name: &str, item: &Item<'_>, about: &About<'_>, into: &mut Gathered, depth: usize) -> Option<GroupName> {
    let name = into.group(name, item)?;
    if depth > DEPTH_MAX {
        item.error(&format!("groups lie in groups more than {DEPTH_MAX} deep"));
        return None;
    }
    // A group without content is one that stands elsewhere.
    if item.is_null() {
        return Some(name);
    }
    let fields = item.fields()?;
    into.groups.entry(name.clone()).or_default().written = true;
    if let Some(vars) = fields.get("vars") {
        into.add_vars(&name, Vars::read(&vars, about));
    }
    if let Some(hosts) = fields.get("hosts") {
        for (pattern, key, host) in named(&hosts) {
            let vars = Vars::read(&host, about);
            into.add_hosts(&pattern, &name, vars, &key);
        }
    }
    if let Some(children) = fields.get("children") {
        for (child, key, item) in named(&children) {
            if let Some(child) = read_group(&child, &item, about, into, depth + 1) {
                into.groups.entry(name.clone()).or_default().children.entry(child).or_insert_with(|| key.spot());
            }
        }
    }
    fields.finish();
    Some(name)
}

/// The entries of a map, each with its key; a single name may stand there too, as for Ansible.
fn named<'a>(item: &Item<'a>) -> Vec<(String, Item<'a>, Item<'a>)> {
    const NOTHING: &Node = &Node { value: Value::Null, place: Place { line: 1, column: 1 }, bytes: None };
    if let Value::Text(name) = &item.node.value {
        let alone = item.holding(NOTHING);
        return vec![(name.clone(), alone.clone(), alone)];
    }
    let entries = item.entries().unwrap_or_default().into_iter();
    entries.map(|(key, item)| (key.text.clone(), item.at(key.place), item)).collect()
}
