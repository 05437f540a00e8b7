//! The addresses of hosts: looked up once, when somebody is about to be isolated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::time::Duration;

use crate::inventory::Inventory;
use crate::model::HostName;
use crate::quarantine::Address;

/// How long a name may take. One that takes longer is not known.
const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// All addresses of all hosts: as this machine resolves their names, and those that the inventory has besides. What a name resolves to and is
/// not one machine's address is left out.
pub async fn of_all(inventory: &Inventory) -> BTreeMap<HostName, BTreeSet<Address>> {
    let looking = inventory.hosts.iter().map(|(name, host)| async move {
        let found = tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host((host.address.as_str(), host.port))).await;
        let ips = found.ok().and_then(Result::ok).into_iter().flatten().map(|at| at.ip());
        let resolved = ips.filter_map(|ip| Address::new(ip).ok());
        (name.clone(), resolved.chain(host.other_addresses.iter().copied()).collect())
    });
    futures::future::join_all(looking).await.into_iter().collect()
}

/// Those that are this machine's own: only those can be listened at.
pub fn ours<'a>(addresses: impl IntoIterator<Item = &'a Address>) -> BTreeSet<Address> {
    let is_ours = |address: &&Address| UdpSocket::bind((address.ip(), 0)).is_ok();
    addresses.into_iter().filter(is_ours).copied().collect()
}
