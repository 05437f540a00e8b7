//! Whom quarantine would hit by mistake: each is refused unless the host's name is typed once more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::inventory::{Inventory, Jump};
use crate::model::{GroupName, HostName, fold_few};

use super::{Address, Manager};

/// What is known of the fleet when hosts are about to be isolated.
#[derive(Debug, Clone, Copy)]
pub struct Fleet<'a> {
    /// Who there is.
    pub inventory: &'a Inventory,
    /// Their addresses, names looked up.
    pub addresses: &'a BTreeMap<HostName, BTreeSet<Address>>,
    /// Our own addresses.
    pub coordinator: &'a BTreeSet<Address>,
    /// Who is in quarantine already.
    pub quarantined: &'a BTreeSet<HostName>,
}

/// Why a quarantine may be a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Danger {
    /// The host is this machine.
    Coordinator {
        /// Which.
        host: HostName,
        /// The address that is ours too.
        address: Address,
    },
    /// Others are reached through the host.
    Jump {
        /// Which.
        host: HostName,
        /// Who could not be reached any more.
        behind: Vec<HostName>,
    },
    /// Nobody of the group would be left.
    LastOfGroup {
        /// Which group.
        group: GroupName,
        /// Whom of it this quarantine takes.
        hosts: Vec<HostName>,
    },
    /// More than a third of the fleet would be in quarantine.
    Many {
        /// Whom this quarantine takes.
        hosts: Vec<HostName>,
        /// How many would be in quarantine.
        count: usize,
        /// How many there are.
        all: usize,
    },
    /// Another host, which stays, has the same address.
    SharedAddress {
        /// Which.
        host: HostName,
        /// Whom it would hit too.
        other: HostName,
        /// What they share.
        address: Address,
    },
}

impl Danger {
    /// Whose names must be typed by somebody who means it.
    #[must_use]
    pub fn hosts(&self) -> Vec<&HostName> {
        match self {
            Self::Coordinator { host, .. } | Self::Jump { host, .. } | Self::SharedAddress { host, .. } => vec![host],
            Self::LastOfGroup { hosts, .. } | Self::Many { hosts, .. } => hosts.iter().collect(),
        }
    }

    /// Whether somebody meant it: every one of its hosts has been named.
    #[must_use]
    pub fn is_meant(&self, typed: &BTreeSet<HostName>) -> bool {
        self.hosts().into_iter().all(|host| typed.contains(host))
    }
}

impl fmt::Display for Danger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator { host, address } => {
                write!(f, "{host} is this very machine ({address}): it would isolate itself from the fleet")
            }
            Self::Jump { host, behind } => {
                write!(f, "{host} is the way to {}, which nobody could reach any more", fold_few(behind, FEW))
            }
            Self::LastOfGroup { group, hosts } => {
                write!(f, "without {} nobody of the group {group} is left", fold_few(hosts, FEW))
            }
            Self::Many { count, all, .. } => {
                write!(f, "{count} of {all} hosts would be in quarantine, more than a third of the fleet")
            }
            Self::SharedAddress { host, other, address } => {
                write!(f, "{host} and {other} have the same address {address}: both would be isolated")
            }
        }
    }
}

/// How many names a sentence takes.
const FEW: usize = 8;

/// Everything that speaks against isolating these hosts.
#[must_use]
pub fn dangers(hosts: &BTreeSet<HostName>, fleet: Fleet<'_>) -> Vec<Danger> {
    let mut dangers = Vec::new();
    for host in hosts {
        let own = fleet.addresses.get(host).into_iter().flatten();
        dangers.extend(
            own.clone()
                .find(|address| fleet.coordinator.contains(address))
                .map(|address| Danger::Coordinator { host: host.clone(), address: *address }),
        );
        let behind = behind(host, hosts, fleet);
        if !behind.is_empty() {
            dangers.push(Danger::Jump { host: host.clone(), behind });
        }
        for address in own {
            let others =
                fleet.addresses.iter().filter(|(other, theirs)| !hosts.contains(*other) && theirs.contains(address));
            dangers.extend(others.map(|(other, _)| Danger::SharedAddress {
                host: host.clone(),
                other: other.clone(),
                address: *address,
            }));
        }
    }
    let out: BTreeSet<&HostName> = hosts.iter().chain(fleet.quarantined).collect();
    for (group, members) in &fleet.inventory.groups {
        // `all` is a matter of how many; `ungrouped` is those who have nothing in common.
        let named = !matches!(group.as_str(), "all" | "ungrouped");
        if named && !members.is_disjoint(hosts) && members.iter().all(|member| out.contains(member)) {
            let hosts = members.intersection(hosts).cloned().collect();
            dangers.push(Danger::LastOfGroup { group: group.clone(), hosts });
        }
    }
    let all = fleet.inventory.hosts.len();
    let count = out.iter().filter(|host| fleet.inventory.hosts.contains_key(**host)).count();
    if count * 3 > all && !hosts.is_empty() {
        dangers.push(Danger::Many { hosts: hosts.iter().cloned().collect(), count, all });
    }
    dangers
}

/// A host of the inventory that could go on managing those in quarantine, because it has an address that was declared a manager's.
#[must_use]
pub fn inventory_host_in<'a>(
    managers: &'a BTreeSet<Manager>,
    addresses: &'a BTreeMap<HostName, BTreeSet<Address>>,
) -> Option<(&'a Manager, &'a HostName, Address)> {
    let all = addresses.iter().flat_map(|(host, own)| own.iter().map(move |address| (host, *address)));
    let mut within = all.filter_map(|(host, address)| {
        managers.iter().find(|manager| manager.has(address.ip())).map(|manager| (manager, host, address))
    });
    within.next()
}

/// Who is reached through this host and stays.
fn behind(host: &HostName, hosts: &BTreeSet<HostName>, fleet: Fleet<'_>) -> Vec<HostName> {
    let is_it = |jump: &Jump| match jump {
        Jump::Host(name) => name == host,
        Jump::Other { address, .. } => {
            let named = fleet.inventory.hosts.get(host).is_some_and(|known| known.address == *address);
            let numbered =
                address.parse().is_ok_and(|ip| fleet.addresses.get(host).is_some_and(|own| own.contains(&ip)));
            named || numbered
        }
    };
    let stays = fleet.inventory.hosts.iter().filter(|(name, _)| !hosts.contains(*name));
    stays.filter(|(_, other)| other.jump.iter().any(is_it)).map(|(name, _)| name.clone()).collect()
}
