//! A draft that forgets hosts, for those that are isolated.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Become, Forgetting, HostName, Keeps, SqliteRow, ValueId};

use super::limit::narrow;
use super::{Draft, DraftChange, DraftHost};

impl Draft {
    /// What the others are to forget of these hosts. `away` are hosts that are in quarantine themselves: they get nothing. A playbook that
    /// knows nothing of them has no keepers. `rights` says how a host becomes another user where the playbook says nothing.
    #[must_use]
    pub fn forgetting(
        mut self,
        playbook: &str,
        isolated: &BTreeSet<HostName>,
        away: &BTreeSet<HostName>,
        rights: impl Fn(&HostName) -> Become,
    ) -> Forgetting {
        let chosen: BTreeSet<ValueId> = self
            .values
            .keys()
            .filter(|value| value.owner.as_ref().is_some_and(|owner| isolated.contains(owner)))
            .cloned()
            .collect();
        self.hosts.retain(|name, host| !isolated.contains(name) && !away.contains(name) && narrow(host, &chosen));
        self.values.retain(|value, _| chosen.contains(value));
        let owners: BTreeSet<&HostName> = chosen.iter().filter_map(|value| value.owner.as_ref()).collect();
        let keeps = |(name, host): (HostName, DraftHost)| {
            let rights = host.become_user.unwrap_or_else(|| rights(&name));
            (name, keeps(host, rights, &owners))
        };
        Forgetting {
            playbook: playbook.to_owned(),
            keepers: self.hosts.into_iter().map(keeps).filter(|(_, keeps)| !keeps.rows.is_empty()).collect(),
            values: self.values,
        }
    }
}

fn keeps(host: DraftHost, become_user: Become, owners: &BTreeSet<&HostName>) -> Keeps {
    let mut rows = BTreeMap::<String, Vec<SqliteRow>>::new();
    for change in host.changes {
        // The reader of playbooks takes nothing else here.
        if let DraftChange::Sqlite { file, rows: more } = change {
            rows.entry(file).or_default().extend(more);
        }
    }
    let units = |owner: &HostName| host.stop.iter().map(|unit| unit.replace(":host", owner.as_str())).collect();
    let stop = owners.iter().filter(|_| !host.stop.is_empty()).map(|owner| ((*owner).clone(), units(owner))).collect();
    Keeps { become_user, stop, rows, activate: host.activate, verify: host.verify }
}
