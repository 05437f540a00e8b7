//! From files to hosts: groups within groups, variables from the outside in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::model::{GroupName, HostName};
use crate::yaml::{self, Diagnostic, Diagnostics, Item, Node, Place, Problems, Severity};

use super::hosts::{Inventory, Jump};
use super::vars::Vars;

/// How deep groups may lie in groups; a cycle cannot be written in this shape, but nesting without end could.
const DEPTH_MAX: usize = 20;

pub(super) fn read(path: &Path) -> Result<(Inventory, Vec<Diagnostic>), Diagnostics> {
    let failed = |path: &Path, why: &dyn std::fmt::Display| {
        Diagnostics(vec![problem(&path.display().to_string(), &format!("cannot be read: {why}"))])
    };
    let mut paths = Vec::new();
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| failed(path, &error))?;
        let yaml = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml");
        paths.extend(entries.flatten().map(|entry| entry.path()).filter(yaml));
        paths.sort();
        if paths.is_empty() {
            return Err(failed(path, &"there is no .yml file in it"));
        }
    } else {
        paths.push(path.to_owned());
    }
    let mut texts = Vec::new();
    for path in &paths {
        let text = std::fs::read_to_string(path).map_err(|error| failed(path, &error))?;
        texts.push((path.display().to_string(), text));
    }
    let base = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new(""));
    parse_all(texts, base)
}

fn problem(file: &str, message: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        file: file.to_owned(),
        place: Place { line: 1, column: 1 },
        path: String::new(),
        message: message.to_owned(),
        hint: None,
        line: String::new(),
    }
}

pub(super) fn parse_all(
    texts: Vec<(String, String)>,
    base: &Path,
) -> Result<(Inventory, Vec<Diagnostic>), Diagnostics> {
    let mut reading = Reading { base, hosts: BTreeMap::new(), groups: BTreeMap::new() };
    let mut found = Vec::new();
    let first = texts.first().map(|(file, _)| file.clone()).unwrap_or_default();
    for (file, text) in texts {
        let problems = Problems::new(&file, &text);
        match yaml::parse(&text) {
            Ok(root) => reading.file(&root, &problems),
            Err((place, message)) => problems.add(Severity::Error, place, "", &message, None),
        }
        found.extend(problems.into_list());
    }
    let inventory = reading.finish();
    if inventory.hosts.is_empty() && !found.iter().any(|problem: &Diagnostic| problem.severity == Severity::Error) {
        found.push(problem(&first, "the inventory has no host"));
    }
    found.extend(inventory.same_machine().into_iter().map(|message| problem(&first, &message)));
    found.extend(inventory.jumps_in_a_circle().into_iter().map(|message| problem(&first, &message)));
    let found = Diagnostics(found);
    if found.has_errors() { Err(found) } else { Ok((inventory, found.0)) }
}

struct Reading<'a> {
    base: &'a Path,
    /// What each host says itself, and what its groups say.
    hosts: BTreeMap<HostName, (Vars, Vars)>,
    groups: BTreeMap<GroupName, BTreeSet<HostName>>,
}

impl Reading<'_> {
    fn file(&mut self, root: &Node, problems: &Problems) {
        let (root, none) = (Item::root(root, problems), Vars::default());
        if root.is_null() {
            return;
        }
        let groups = root.entries().unwrap_or_default();
        // What `all` says holds for every group beside it too. Its problems are found when it is read as a group.
        let unheard = Problems::new("", "");
        let all = groups.iter().find(|(key, _)| key.text == "all").and_then(|(_, all)| {
            Item::root(all.node, &unheard).fields()?.get("vars").map(|vars| Vars::read(&vars, self.base))
        });
        let all = all.unwrap_or_default();
        for (key, group) in groups {
            self.group(&key.text, &group, if key.text == "all" { &none } else { &all }, 0);
        }
    }

    /// Reads a group and says whom it names.
    fn group(&mut self, name: &str, item: &Item<'_>, outer: &Vars, depth: usize) -> BTreeSet<HostName> {
        let mut members = BTreeSet::new();
        let name: Option<GroupName> = name.parse().map_err(|error| item.error(&format!("{error}"))).ok();
        if depth > DEPTH_MAX {
            item.error("groups lie in groups more than 20 deep");
            return members;
        }
        if !item.is_null()
            && let Some(fields) = item.fields()
        {
            let mut vars = fields.get("vars").map(|vars| Vars::read(&vars, self.base)).unwrap_or_default();
            vars.inherit(outer);
            for (key, host) in fields.get("hosts").and_then(|hosts| hosts.entries()).unwrap_or_default() {
                match key.text.parse::<HostName>() {
                    Ok(name) => {
                        let mut own = Vars::read(&host, self.base);
                        // The same host in several groups has what each of them says; its own word goes before all of them.
                        let (known, of_groups) = self.hosts.entry(name.clone()).or_default();
                        own.inherit(known);
                        *known = own;
                        let mut groups = vars.clone();
                        groups.inherit(of_groups);
                        *of_groups = groups;
                        members.insert(name);
                    }
                    Err(error) => host.error(&format!("`{}` is no name for a host: {error}", key.text.escape_debug())),
                }
            }
            for (key, child) in fields.get("children").and_then(|children| children.entries()).unwrap_or_default() {
                if child.is_null() {
                    let hint = "write its hosts here; a group that stands elsewhere cannot be named in this version";
                    child.error_with_hint(&format!("the group `{}` has nothing in it here", key.text), hint.to_owned());
                }
                members.extend(self.group(&key.text, &child, &vars, depth + 1));
            }
            fields.finish();
        }
        if let Some(name) = name {
            self.groups.entry(name).or_default().extend(members.iter().cloned());
        }
        members
    }

    fn finish(self) -> Inventory {
        let names: BTreeSet<HostName> = self.hosts.keys().cloned().collect();
        let hosts = self.hosts.into_iter().map(|(name, (mut own, groups))| {
            own.inherit(&groups);
            let mut host = own.into_host(name.as_str());
            // A bare name that is a host of the inventory is that host, with all that the inventory says of it.
            if let Some(Jump::Other { user: None, address, port: 22 }) = &host.jump
                && let Ok(jump) = address.parse::<HostName>()
                && names.contains(&jump)
            {
                host.jump = (jump != name).then_some(Jump::Host(jump));
            }
            (name, host)
        });
        Inventory { hosts: hosts.collect(), groups: self.groups }
    }
}

impl Inventory {
    /// Two names of one machine would be cut twice.
    fn same_machine(&self) -> Vec<String> {
        let mut seen: BTreeMap<(&str, u16), &HostName> = BTreeMap::new();
        let mut found = Vec::new();
        for (name, host) in &self.hosts {
            if let Some(first) = seen.insert((host.address.as_str(), host.port), name) {
                found.push(format!("`{first}` and `{name}` are the same machine, {}:{}", host.address, host.port));
            }
        }
        found
    }

    /// A jump host is reached by itself, or through others that end somewhere.
    fn jumps_in_a_circle(&self) -> Vec<String> {
        let mut found = Vec::new();
        for name in self.hosts.keys() {
            let mut at = name;
            for _ in 0..=DEPTH_MAX {
                match self.hosts.get(at).and_then(|host| host.jump.as_ref()) {
                    Some(Jump::Host(next)) if next == name => {
                        found.push(format!("`{name}` is reached through itself"));
                        break;
                    }
                    Some(Jump::Host(next)) => at = next,
                    Some(Jump::Other { .. }) | None => break,
                }
            }
        }
        found
    }
}
