//! The wire between the operator and the hosts: one bridge a fleet, and what can go wrong on it.

use super::tools::run;

/// A bridge, with the operator on it.
pub(crate) struct Network {
    number: u8,
}

/// The addresses of one host.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) v4: String,
    pub(crate) v6: String,
}

impl Network {
    /// Makes the bridge. Its rules are on the bridge, so that the hosts see no trace of them.
    pub(crate) fn new(number: u8) -> Self {
        let network = Self { number };
        let (bridge, own) = (network.bridge(), network.address(1));
        run("ip", &["link", "add", &bridge, "type", "bridge", "stp_state", "0", "mcast_snooping", "0"]);
        run("ip", &["address", "add", &format!("{}/24", own.v4), "dev", &bridge]);
        run("ip", &["address", "add", &format!("{}/64", own.v6), "dev", &bridge, "nodad"]);
        run("ip", &["link", "set", &bridge, "up"]);
        let table = network.table();
        run("nft", &["add", "table", "bridge", &table]);
        run("nft", &["add", "set", "bridge", &table, "cut", "{ type ifname; }"]);
        for (chain, direction) in [("prerouting", "iifname"), ("postrouting", "oifname")] {
            run(
                "nft",
                &["add", "chain", "bridge", &table, chain, &format!("{{ type filter hook {chain} priority 0; }}")],
            );
            run("nft", &["add", "rule", "bridge", &table, chain, direction, "@cut", "drop"]);
        }
        network
    }

    pub(crate) fn bridge(&self) -> String {
        format!("lt{}", self.number)
    }

    /// The number of the fleet whose bridge it is.
    pub(crate) const fn number(&self) -> u8 {
        self.number
    }

    fn table(&self) -> String {
        self.bridge()
    }

    /// The addresses of its host `position`; the operator is at 1.
    pub(crate) fn address(&self, position: u8) -> Address {
        Address { v4: format!("10.99.{}.{position}", self.number), v6: format!("fd99:0:0:{}::{position}", self.number) }
    }

    /// Nothing passes to or from this port any more, and nobody is told.
    pub(crate) fn cut_off(&self, port: &str) {
        run("nft", &["add", "element", "bridge", &self.table(), "cut", &format!("{{ \"{port}\" }}")]);
    }

    /// Everything passes again.
    pub(crate) fn mend(&self) {
        run("nft", &["flush", "set", "bridge", &self.table(), "cut"]);
    }
}
