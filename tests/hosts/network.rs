//! The wire between the operator and the hosts: one bridge a fleet, and what can go wrong on it.

use super::tools::run;

/// A bridge, with the operator on it.
pub(crate) struct Network {
    number: u8,
}

/// Which way packets get lost, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It hears nothing.
    In,
    /// Nobody hears it.
    Out,
    /// Neither.
    Both,
}

/// The ports to which nothing passes, and those from which nothing does.
const SETS: [(Way, &str); 2] = [(Way::In, "to"), (Way::Out, "from")];

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
        for (_, set) in SETS {
            run("nft", &["add", "set", "bridge", &table, set, "{ type ifname; }"]);
        }
        for (chain, direction, set) in [("prerouting", "iifname", "@from"), ("postrouting", "oifname", "@to")] {
            run(
                "nft",
                &["add", "chain", "bridge", &table, chain, &format!("{{ type filter hook {chain} priority 0; }}")],
            );
            run("nft", &["add", "rule", "bridge", &table, chain, direction, set, "drop"]);
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

    /// Nothing passes this way to or from this port any more, and nobody is told.
    pub(crate) fn cut_off(&self, port: &str, way: Way) {
        for (_, set) in SETS.into_iter().filter(|(closed, _)| way == Way::Both || way == *closed) {
            run("nft", &["add", "element", "bridge", &self.table(), set, &format!("{{ \"{port}\" }}")]);
        }
    }

    /// Everything passes again.
    pub(crate) fn mend(&self) {
        for (_, set) in SETS {
            run("nft", &["flush", "set", "bridge", &self.table(), set]);
        }
    }
}
