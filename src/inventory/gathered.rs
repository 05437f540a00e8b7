//! What all files say together, before anybody's word is weighed.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{GroupName, HostName, expand_ranges};
use crate::yaml::{Item, Spot};

use super::vars::Vars;

/// What all files say together.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) hosts: BTreeMap<HostName, Said>,
    pub(super) groups: BTreeMap<GroupName, Group>,
    /// What `group_vars` and `host_vars` say.
    pub(super) of_groups: BTreeMap<String, Said>,
    pub(super) of_hosts: BTreeMap<String, Said>,
}

/// Variables, and where they stand.
pub(super) struct Said {
    pub(super) vars: Vars,
    pub(super) spot: Spot,
}

/// One group.
#[derive(Default)]
pub(super) struct Group {
    pub(super) vars: Vars,
    pub(super) hosts: BTreeSet<HostName>,
    /// The groups in it, and where that is written.
    pub(super) children: BTreeMap<GroupName, Spot>,
    /// Whether a file says what is in it, or only names it.
    pub(super) written: bool,
    /// Where its variables stand, if they stand apart, as in INI.
    pub(super) vars_apart: Option<Spot>,
}

impl Gathered {
    /// The group of this name.
    pub(super) fn group(&mut self, name: &str, item: &Item<'_>) -> Option<GroupName> {
        match name.parse::<GroupName>() {
            Ok(name) => {
                self.groups.entry(name.clone()).or_default();
                Some(name)
            }
            Err(error) => {
                item.error(&format!("`{}` is no name for a group: {error}", name.escape_debug()));
                None
            }
        }
    }

    /// The hosts of a pattern, `worker-[01:10]:2222`, in a group. What is said later goes before what was said earlier.
    pub(super) fn add_hosts(&mut self, pattern: &str, group: &GroupName, mut vars: Vars, item: &Item<'_>) {
        let (names, port) = match port(pattern) {
            Some((names, port)) => (names, Some(port)),
            None => (pattern, None),
        };
        vars.inherit(&Vars::of_port(port));
        let names = expand_ranges(names).unwrap_or_else(|error| {
            item.error(&format!("`{}` names no hosts: {error}", pattern.escape_debug()));
            Vec::new()
        });
        for name in names {
            match name.parse::<HostName>() {
                Ok(name) => self.add_host(name, group, vars.clone(), item),
                Err(error) => item.error(&format!("`{}` is no name for a host: {error}", name.escape_debug())),
            }
        }
    }

    /// One host in a group.
    pub(super) fn add_host(&mut self, name: HostName, group: &GroupName, mut vars: Vars, item: &Item<'_>) {
        self.groups.entry(group.clone()).or_default().hosts.insert(name.clone());
        match self.hosts.get_mut(&name) {
            Some(said) => {
                vars.inherit(&said.vars);
                said.vars = vars;
            }
            None => drop(self.hosts.insert(name, Said { vars, spot: item.spot() })),
        }
    }

    /// Variables of a group.
    pub(super) fn add_vars(&mut self, group: &GroupName, mut vars: Vars) {
        let group = self.groups.entry(group.clone()).or_default();
        vars.inherit(&group.vars);
        group.vars = vars;
    }
}

/// `NAME:PORT`; a `:` in a range is none.
fn port(pattern: &str) -> Option<(&str, u16)> {
    let (names, port) = pattern.rsplit_once(':')?;
    let outside = names.matches('[').count() == names.matches(']').count();
    (outside && !names.is_empty()).then_some((names, port.parse().ok().filter(|port| *port != 0)?))
}
