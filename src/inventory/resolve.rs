//! Whose word goes first, who is in which group, and who is reached through whom.
//!
//! A host's own word goes before that of `group_vars`, that before the groups' in the files; of the groups the deeper one goes first, at
//! one depth the one with the higher `ansible_group_priority`, then the one whose name is later. All of this is Ansible's order.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{GroupName, HostName};
use crate::yaml::{Diagnostic, Severity, Spot, closest};

use super::gathered::{Gathered, Group, Said};
use super::hosts::{Inventory, Jump};
use super::vars::Vars;

/// The groups that always are.
const ALL: &str = "all";
const UNGROUPED: &str = "ungrouped";

/// Everybody in their groups, and everything that is wrong with it.
pub(super) fn resolve(mut gathered: Gathered) -> (Inventory, Vec<Diagnostic>) {
    settle_ungrouped(&mut gathered);
    let mut found = problems_of_groups(&gathered);
    let kin = Kin::of(&gathered.groups, &mut found);
    found.extend(unheard_vars(&gathered));
    let mut direct: BTreeMap<&HostName, Vec<&GroupName>> = BTreeMap::new();
    for (name, group) in &gathered.groups {
        group.hosts.iter().for_each(|host| direct.entry(host).or_default().push(name));
    }
    let (mut hosts, mut spots) = (BTreeMap::new(), BTreeMap::new());
    for (name, said) in &gathered.hosts {
        let groups = direct.get(name).into_iter().flatten().flat_map(|group| kin.above(group)).collect();
        let vars = weighed(name, said, &kin.in_order(&groups, &gathered.groups), &gathered);
        let (host, way) = vars.into_host(name.as_str());
        hosts.insert(name.clone(), host);
        spots.insert(name.clone(), (said.spot.clone(), way));
    }
    let mut inventory = Inventory { hosts, groups: kin.members(&gathered) };
    found.extend(name_jumps(&mut inventory, &spots));
    found.extend(same_machine(&inventory, &spots));
    found.extend(jumps_in_a_circle(&inventory, &spots));
    (inventory, found)
}

/// `ungrouped` are those who are in no other group, whatever the files say of it.
fn settle_ungrouped(gathered: &mut Gathered) {
    let [all, ungrouped]: [GroupName; 2] = [ALL, UNGROUPED].map(|name| name.parse().expect("it is a name"));
    let real = gathered.groups.iter().filter(|(name, _)| **name != all && **name != ungrouped);
    let grouped: BTreeSet<HostName> = real.flat_map(|(_, group)| group.hosts.iter().cloned()).collect();
    let others = gathered.hosts.keys().filter(|host| !grouped.contains(host)).cloned().collect();
    gathered.groups.entry(ungrouped).or_default().hosts = others;
    gathered.groups.entry(all).or_default();
}

/// Where a host is named first, and where its way is written.
type Spots = BTreeMap<HostName, (Spot, Option<Spot>)>;

/// All that is said about a host, the strongest word first.
fn weighed(name: &HostName, said: &Said, groups: &[&GroupName], gathered: &Gathered) -> Vars {
    let mut vars = Vars::default();
    let mut hear = |from: Option<&Vars>| from.into_iter().for_each(|from| vars.inherit(from));
    hear(gathered.of_hosts.get(name.as_str()).map(|said| &said.vars));
    hear(Some(&said.vars));
    // `all` comes last among the files of `group_vars`, and last among the groups.
    for group in groups {
        hear(gathered.of_groups.get(group.as_str()).map(|said| &said.vars));
    }
    for group in groups {
        hear(gathered.groups.get(*group).map(|group| &group.vars));
    }
    vars
}

/// Which groups lie in which.
struct Kin {
    parents: BTreeMap<GroupName, BTreeSet<GroupName>>,
    depths: BTreeMap<GroupName, usize>,
    all: GroupName,
}

impl Kin {
    /// Groups in a circle are named, and the circle is cut.
    fn of(groups: &BTreeMap<GroupName, Group>, found: &mut Vec<Diagnostic>) -> Self {
        let mut kin =
            Self { parents: BTreeMap::new(), depths: BTreeMap::new(), all: ALL.parse().expect("it is a name") };
        for (name, group) in groups {
            for (child, spot) in &group.children {
                if let Some(way) = kin.way_up(name, child) {
                    let way: Vec<String> = way.iter().map(|group| format!("`{group}`")).collect();
                    let message = format!("the group `{child}` would lie in itself: {}", way.join(" in "));
                    found.push(spot.problem(Severity::Error, message, None));
                } else {
                    kin.parents.entry(child.clone()).or_default().insert(name.clone());
                }
            }
        }
        for name in groups.keys() {
            kin.depth(name);
        }
        kin
    }

    /// From a group up to another, if that lies above it.
    fn way_up(&self, from: &GroupName, to: &GroupName) -> Option<Vec<GroupName>> {
        let mut ways = vec![vec![from.clone()]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            let last = way.last()?;
            if last == to {
                return Some(std::iter::once(to.clone()).chain(way).collect());
            }
            if seen.insert(last.clone()) {
                for parent in self.parents.get(last).into_iter().flatten() {
                    ways.push(way.iter().cloned().chain([parent.clone()]).collect());
                }
            }
        }
        None
    }

    fn depth(&mut self, name: &GroupName) -> usize {
        if *name == self.all {
            return 0;
        }
        if let Some(depth) = self.depths.get(name) {
            return *depth;
        }
        let parents = self.parents.get(name).cloned().unwrap_or_default();
        let depth = 1 + parents.iter().map(|parent| self.depth(parent)).max().unwrap_or(0);
        self.depths.insert(name.clone(), depth);
        depth
    }

    /// A group and all groups in which it lies.
    fn above<'a>(&'a self, name: &'a GroupName) -> BTreeSet<&'a GroupName> {
        let (mut above, mut next) = (BTreeSet::from([&self.all]), vec![name]);
        while let Some(group) = next.pop() {
            if above.insert(group) {
                next.extend(self.parents.get(group).into_iter().flatten());
            }
        }
        above
    }

    /// Groups by the strength of their word, the strongest first.
    fn in_order<'a>(&self, of: &BTreeSet<&'a GroupName>, groups: &BTreeMap<GroupName, Group>) -> Vec<&'a GroupName> {
        let priority = |name| groups.get(name).and_then(|group| group.vars.priority).unwrap_or(1);
        let depth = |name| self.depths.get(name).copied().unwrap_or(0);
        let mut order: Vec<&GroupName> = of.iter().copied().collect();
        order.sort_by_key(|name| std::cmp::Reverse((depth(*name), priority(*name), *name)));
        order
    }

    /// Whom each group names, the hosts of its children too.
    fn members(&self, gathered: &Gathered) -> BTreeMap<GroupName, BTreeSet<HostName>> {
        let mut members: BTreeMap<GroupName, BTreeSet<HostName>> =
            gathered.groups.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
        for (name, group) in &gathered.groups {
            for above in self.above(name) {
                members.entry(above.clone()).or_default().extend(group.hosts.iter().cloned());
            }
        }
        members
    }
}

/// Groups that are named and stand nowhere.
fn problems_of_groups(gathered: &Gathered) -> Vec<Diagnostic> {
    let known = |name: &GroupName| {
        [ALL, UNGROUPED].contains(&name.as_str()) || gathered.groups.get(name).is_some_and(|group| group.written)
    };
    let alike = |name: &GroupName| {
        let words = gathered.groups.keys().filter(|other| known(other)).map(GroupName::as_str);
        closest(name.as_str(), words).map(|word| format!("did you mean `{word}`?"))
    };
    let mut found = Vec::new();
    for (name, group) in &gathered.groups {
        for (child, spot) in group.children.iter().filter(|(child, _)| !known(child)) {
            let message = format!("the group `{child}` has no hosts, here or in any other file");
            // A misspelt group would leave its hosts out without a word; one that is really empty has nobody to leave out.
            let (severity, hint) = match alike(child) {
                Some(alike) => {
                    (Severity::Error, format!("{alike} If it is empty, give it a section, or `{{}}` in YAML"))
                }
                None => (Severity::Warning, "write its hosts, or take it out".to_owned()),
            };
            found.push(spot.problem(severity, message, Some(hint)));
        }
        if let Some(spot) = group.vars_apart.as_ref().filter(|_| !known(name)) {
            let message = format!("there is no group `{name}` whose variables these could be");
            found.push(spot.problem(Severity::Error, message, alike(name)));
        }
    }
    found
}

/// Files of `group_vars` and `host_vars` that are about nobody.
fn unheard_vars(gathered: &Gathered) -> Vec<Diagnostic> {
    let groups: Vec<&str> = gathered.groups.keys().map(GroupName::as_str).chain([ALL, UNGROUPED]).collect();
    let hosts: Vec<&str> = gathered.hosts.keys().map(HostName::as_str).collect();
    let unheard = |kind: &str, names: &[&str], files: &BTreeMap<String, Said>| -> Vec<Diagnostic> {
        let nobody = files.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        let problem = |(name, said): (&String, &Said)| {
            let hint = closest(name, names.iter().copied()).map(|word| format!("did you mean `{word}`?"));
            said.spot.problem(Severity::Warning, format!("nobody reads this file: there is no {kind} `{name}`"), hint)
        };
        nobody.map(problem).collect()
    };
    let mut found = unheard("group", &groups, &gathered.of_groups);
    found.extend(unheard("host", &hosts, &gathered.of_hosts));
    found
}

/// A bare name that is a host of the inventory is that host, with all that the inventory says of it.
fn name_jumps(inventory: &mut Inventory, spots: &Spots) -> Vec<Diagnostic> {
    let names: BTreeSet<HostName> = inventory.hosts.keys().cloned().collect();
    let mut unknown: BTreeSet<String> = BTreeSet::new();
    let mut found = Vec::new();
    for (name, host) in &mut inventory.hosts {
        let passes_itself = |hop: &Jump| matches!(hop, Jump::Host(hop) if hop == name);
        for hop in &mut host.jump {
            let Jump::Other { user: None, address, port: 22 } = hop else { continue };
            match address.parse::<HostName>() {
                Ok(known) if names.contains(&known) => *hop = Jump::Host(known),
                // An address, or a name that a resolver knows by its domain.
                _ if address.contains(['.', ':']) => {}
                _ => {
                    let alike = closest(address, names.iter().map(HostName::as_str));
                    if let Some(spot) = spots.get(name).and_then(|(_, way)| way.as_ref())
                        && unknown.insert(address.clone())
                    {
                        let message = format!("the inventory has no host `{address}`, so the resolver is asked for it");
                        let alike = alike.map_or(String::new(), |alike| format!("did you mean `{alike}`? If not, "));
                        let hint = format!("{alike}write its whole name, with the domain, or its address");
                        found.push(spot.problem(Severity::Warning, message, Some(hint)));
                    }
                }
            }
        }
        // A group's way to its hosts is no way for the host that it leads through.
        if host.jump.iter().any(passes_itself) {
            let at = host.jump.iter().position(passes_itself).unwrap_or(0);
            host.jump.truncate(at);
        }
    }
    found
}

/// Two names of one machine would be cut twice.
fn same_machine(inventory: &Inventory, spots: &Spots) -> Vec<Diagnostic> {
    let mut seen: BTreeMap<(String, u16, &[Jump]), &HostName> = BTreeMap::new();
    let mut found = Vec::new();
    for (name, host) in &inventory.hosts {
        // The same private address behind another bastion is another machine.
        let machine = (host.address.to_ascii_lowercase(), host.port, host.jump.as_slice());
        if let Some(first) = seen.insert(machine, name) {
            let message = format!("`{first}` and `{name}` are the same machine, {}:{}", host.address, host.port);
            let hint = Some("give one of them another address, or take it out".to_owned());
            found.extend(spots.get(name).map(|(spot, _)| spot.problem(Severity::Error, message, hint)));
        }
    }
    found
}

/// A jump host is reached by itself, or through others that end somewhere.
fn jumps_in_a_circle(inventory: &Inventory, spots: &Spots) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (name, host) in &inventory.hosts {
        let (mut at, mut way) = (host, vec![name]);
        // Only the first host of a way is reached in its own way.
        while let Some(Jump::Host(next)) = at.jump.first() {
            if way.contains(&next) {
                if next == name {
                    let way: Vec<String> = way.iter().chain([&name]).map(|host| format!("`{host}`")).collect();
                    let message = format!("`{name}` is reached through itself: {}", way.join(" through "));
                    let (spot, jump) = &spots[name];
                    found.push(jump.as_ref().unwrap_or(spot).problem(Severity::Error, message, None));
                }
                break;
            }
            way.push(next);
            let Some(further) = inventory.hosts.get(next) else { break };
            at = further;
        }
    }
    found
}
