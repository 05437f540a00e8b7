//! What a run stages on each machine: the tables, and the transactions that make them.

use core::num::NonZeroU16;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{HostName, IsolationPlan, Way};

use super::{Address, HostRules, Management, PeerRules, Role, RulesError, Table, WayIn};

/// What a machine says that its rules need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learned {
    /// The address that it sees us come from, and the port that we come to.
    pub seen_from: Option<(Address, NonZeroU16)>,
    /// The numbers of its users who go on to hosts behind it, by name.
    pub users: BTreeMap<String, u32>,
}

/// Who takes part, and as what.
pub fn roles(plan: &IsolationPlan) -> impl Iterator<Item = (HostName, Role)> {
    plan.members.keys().map(|name| {
        let role = if plan.hosts.contains_key(name) { Role::Isolated } else { Role::Peer };
        (name.clone(), role)
    })
}

/// The tables of a machine that the run is about: its own, or one for each host that it is to drop.
#[must_use]
pub fn tables(plan: &IsolationPlan, member: &HostName) -> Vec<Table> {
    if plan.hosts.contains_key(member) { vec![Table::own()] } else { plan.hosts.keys().map(Table::of).collect() }
}

/// Each of its tables with the transaction that makes it, or with nothing where it is to go.
///
/// # Errors
/// If there are no such rules.
pub fn staged(plan: &IsolationPlan, member: &HostName, learned: &Learned) -> Result<Vec<(Table, String)>, RulesError> {
    let tables = tables(plan, member);
    if plan.way == Way::Release {
        return Ok(tables.into_iter().map(|table| (table, String::new())).collect());
    }
    if let Some(own) = plan.hosts.get(member) {
        let (from, port) = learned.seen_from.ok_or(RulesError::NoManager)?;
        let ports = [Some(port), NonZeroU16::new(own.port)].into_iter().flatten().collect();
        let rules =
            HostRules::new(Management { from: BTreeSet::from([from]), declared: plan.managers.clone(), ports })?;
        return Ok(vec![(Table::own(), rules.render())]);
    }
    let login = |host: &HostName| plan.members.get(member)?.way_to.get(host);
    let about = plan.hosts.iter().map(|(host, known)| {
        let way_in = login(host).map(|user| WayIn {
            ports: NonZeroU16::new(known.port).into_iter().collect(),
            user: learned.users.get(user).copied(),
        });
        // An address that is not one machine's would hit others: it was refused before there was a plan.
        let addresses = known.addresses.iter().filter_map(|ip| Address::new(*ip).ok()).collect();
        Ok((Table::of(host), PeerRules::new(host.clone(), addresses, way_in)?.render()))
    });
    about.collect()
}
