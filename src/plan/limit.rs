//! A draft for some of its hosts only, such that no two hosts that share a value part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{HostName, ValueId};

use super::{Draft, DraftChange, DraftHost};

/// So many names are listed before the rest is counted.
const LISTED_MAX: usize = 10;

/// Why a limit cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitError {
    /// None of its hosts takes part.
    Nobody,
    /// Its hosts hold values of others only: of these.
    OfOthers(BTreeSet<HostName>),
    /// Hosts beyond it share values with hosts in it, and the two would part.
    Split {
        /// The values that they share.
        values: Vec<ValueId>,
        /// The hosts beyond.
        missing: BTreeSet<HostName>,
    },
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("none of its hosts takes part in this playbook"),
            Self::OfOthers(owners) => {
                write!(f, "its hosts hold only values that belong to {}, who are not in it", list(owners.iter()))
            }
            Self::Split { values, missing } => {
                write!(f, "{} would change in it and stay as it is on {}", list(values.iter()), list(missing.iter()))
            }
        }
    }
}

impl std::error::Error for LimitError {}

fn list(names: impl ExactSizeIterator<Item = impl fmt::Display>) -> String {
    let more = names.len().saturating_sub(LISTED_MAX);
    let mut text: Vec<String> = names.take(LISTED_MAX).map(|name| format!("`{name}`")).collect();
    if more > 0 {
        text.push(format!("{more} more"));
    }
    text.join(", ")
}

impl Draft {
    /// What is left of the draft if only these hosts are touched: values that belong to one of them, and values that they share.
    ///
    /// # Errors
    /// If a host beyond them would have to be touched too, or nothing is left.
    pub fn limited(mut self, only: &BTreeSet<HostName>) -> Result<Self, LimitError> {
        if !self.hosts.keys().any(|host| only.contains(host)) {
            return Err(LimitError::Nobody);
        }
        let holders = self.holders();
        let chosen: BTreeSet<ValueId> = holders
            .iter()
            .filter(|(value, holders)| match &value.owner {
                Some(owner) => only.contains(owner),
                None => !holders.is_disjoint(only),
            })
            .map(|(value, _)| value.clone())
            .collect();
        if chosen.is_empty() {
            return Err(LimitError::OfOthers(holders.into_keys().filter_map(|value| value.owner).collect()));
        }
        let beyond = |value: &&ValueId| !holders[*value].is_subset(only);
        let values: Vec<ValueId> = chosen.iter().filter(beyond).cloned().collect();
        if !values.is_empty() {
            let missing = values.iter().flat_map(|value| holders[value].difference(only)).cloned().collect();
            return Err(LimitError::Split { values, missing });
        }
        self.hosts.retain(|name, host| only.contains(name) && narrow(host, &chosen));
        self.values.retain(|value, _| chosen.contains(value));
        self.activate_batches.iter_mut().for_each(|batch| batch.retain(|host| self.hosts.contains_key(host)));
        self.activate_batches.retain(|batch| !batch.is_empty());
        Ok(self)
    }

    /// What is left of the draft without these hosts: nothing is done there, values of their own stay as they are, and what they share
    /// with others changes without them. Not a limit: that is the point of it, because they are not to have the new values.
    #[must_use]
    pub fn without(mut self, out: &BTreeSet<HostName>) -> Self {
        let stays = |value: &ValueId| value.owner.as_ref().is_none_or(|owner| !out.contains(owner));
        let held: BTreeSet<ValueId> = {
            let others = self.hosts.iter().filter(|(name, _)| !out.contains(*name));
            others.flat_map(|(_, host)| host.changes.iter().flat_map(DraftChange::values)).cloned().collect()
        };
        let chosen: BTreeSet<ValueId> =
            self.values.keys().filter(|value| stays(value) && held.contains(*value)).cloned().collect();
        self.hosts.retain(|name, host| !out.contains(name) && narrow(host, &chosen));
        self.values.retain(|value, _| chosen.contains(value));
        self.activate_batches.iter_mut().for_each(|batch| batch.retain(|host| self.hosts.contains_key(host)));
        self.activate_batches.retain(|batch| !batch.is_empty());
        self
    }

    /// The smallest part of the fleet that can be touched without the rest: the hosts that share one value with each other, and whatever
    /// they have to do with. Everybody, where everybody shares one.
    #[must_use]
    pub fn canary(&self) -> BTreeSet<HostName> {
        let holders = self.holders();
        // The values of one secret are shared alike: one of them stands for all.
        let mut secrets = BTreeSet::new();
        let firsts = holders.keys().filter(|value| secrets.insert(&value.secret));
        let parts = firsts.map(|first| closed_around(first, &holders, &self.hosts));
        parts.min_by_key(BTreeSet::len).unwrap_or_default()
    }

    /// The draft as far as it is about these hosts, to look at them.
    #[must_use]
    pub fn seen_on(mut self, only: &BTreeSet<HostName>) -> Self {
        self.hosts.retain(|name, _| only.contains(name));
        self
    }

    /// Who has a part in each value: who stores it or proves it, and who stores nothing but has services to restart, for any of them.
    fn holders(&self) -> BTreeMap<ValueId, BTreeSet<HostName>> {
        let bystanders = || self.hosts.iter().filter(|(_, host)| host.changes.is_empty()).map(|(name, _)| name.clone());
        let mut holders: BTreeMap<ValueId, BTreeSet<HostName>> =
            self.values.keys().map(|value| (value.clone(), bystanders().collect())).collect();
        for (name, host) in &self.hosts {
            let stored = host.changes.iter().flat_map(DraftChange::values);
            for value in stored.chain(host.verify.iter().filter_map(|probe| probe.value.as_ref())) {
                holders.entry(value.clone()).or_default().insert(name.clone());
            }
        }
        holders
    }
}

/// The hosts of this value, and of every value that would be touched with them.
fn closed_around(
    first: &ValueId,
    holders: &BTreeMap<ValueId, BTreeSet<HostName>>,
    hosts: &BTreeMap<HostName, DraftHost>,
) -> BTreeSet<HostName> {
    let mut part = holders[first].clone();
    part.extend(first.owner.clone().filter(|owner| hosts.contains_key(owner)));
    loop {
        let touched = holders.iter().filter(|(value, holders)| match &value.owner {
            Some(owner) => part.contains(owner),
            None => !holders.is_disjoint(&part),
        });
        let wider: BTreeSet<HostName> = touched.flat_map(|(_, holders)| holders).chain(&part).cloned().collect();
        if wider.len() == part.len() {
            return part;
        }
        part = wider;
    }
}

/// Leaves on a host what is about these values. Says whether that is anything.
pub(super) fn narrow(host: &mut DraftHost, chosen: &BTreeSet<ValueId>) -> bool {
    let bystander = host.changes.is_empty();
    host.changes.retain_mut(|change| match change {
        DraftChange::File { edits, .. } => {
            edits.retain(|edit| chosen.contains(&edit.value));
            !edits.is_empty()
        }
        DraftChange::Sqlite { rows, .. } => {
            rows.retain(|row| chosen.contains(&row.value));
            !rows.is_empty()
        }
        DraftChange::Command { value, .. } => chosen.contains(value),
    });
    host.verify.retain(|probe| probe.value.as_ref().is_none_or(|value| chosen.contains(value)));
    bystander || !host.changes.is_empty() || host.verify.iter().any(|probe| probe.value.is_some())
}
