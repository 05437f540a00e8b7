//! Five hosts on one wire, where everybody can reach everybody: the worst place to isolate one of them. The worker has a container.

use std::collections::BTreeSet;

use lockturn::quarantine::Address;

use super::space::{Space, Talk, Witness};

/// A machine on the wire: its network, and what listens there.
pub(crate) struct Machine {
    pub(crate) space: Space,
    pub(crate) witness: Witness,
    number: u8,
}

impl Machine {
    pub(crate) fn v4(&self) -> String {
        format!("10.77.0.{}", self.number)
    }

    pub(crate) fn v6(&self) -> String {
        format!("fd77::{}", self.number)
    }

    /// Of the link, with the zone of whoever uses it.
    pub(crate) fn local(&self) -> String {
        format!("fe80::ff:fe00:{}%eth0", self.number)
    }

    /// Every address that is known of it.
    pub(crate) fn known(&self) -> BTreeSet<Address> {
        [self.v4(), self.v6(), self.local()].iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Somebody on this machine who tries to reach others; each try ends after so many seconds.
    pub(crate) fn attacker(&self, seconds: &str) -> Talk {
        Talk::with(&self.space, "attacker.py", &[seconds])
    }
}

/// The wire, and who is on it.
pub(crate) struct Lan {
    _wire: Space,
    pub(crate) manager: Machine,
    pub(crate) worker: Machine,
    pub(crate) peer: Machine,
    pub(crate) outside: Machine,
    pub(crate) container: Space,
}

/// Addresses of the worker that nobody knows.
pub(crate) const OTHER_V4: &str = "10.77.0.66";
pub(crate) const OTHER_V6: &str = "fd77::66";

impl Lan {
    pub(crate) fn new() -> Self {
        let wire = Space::new();
        wire.run("ip link add wire type bridge stp_state 0 mcast_snooping 0");
        wire.run("ip link set wire up");
        let machine = |number: u8| {
            let space = Space::new();
            let pid = space.pid();
            wire.run(&format!(
                "ip link add port{number} type veth peer name eth0 address 02:00:00:00:00:0{number} netns {pid}"
            ));
            wire.run(&format!("ip link set port{number} master wire up"));
            space.run(&format!("ip address add 10.77.0.{number}/24 brd + dev eth0"));
            space.run(&format!("ip address add fd77::{number}/64 dev eth0 nodad"));
            space.run("ip link set eth0 up");
            let witness = Witness::on(&space);
            Machine { space, witness, number }
        };
        let [manager, worker, peer, outside] = [1, 2, 3, 4].map(machine);
        worker.space.run(&format!("ip address add {OTHER_V4}/24 dev eth0"));
        worker.space.run(&format!("ip address add {OTHER_V6}/64 dev eth0 nodad preferred_lft 0"));
        let container = container_of(&worker.space);
        Self { _wire: wire, manager, worker, peer, outside, container }
    }
}

/// What makes a container's packets the host's own.
pub(crate) const TRANSLATION: &str = "
table inet containers {
    chain post {
        type nat hook postrouting priority srcnat;
        ip saddr 172.29.0.0/24 oifname \"eth0\" masquerade
        ip6 saddr fd78::/64 oifname \"eth0\" masquerade
    }
}
";

/// A container on a bridge of the host, translated to the host's address, as Docker does it.
fn container_of(host: &Space) -> Space {
    let container = Space::new();
    host.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    host.run("ip link add inner type bridge stp_state 0");
    host.run("ip address add 172.29.0.1/24 dev inner");
    host.run("ip address add fd78::1/64 dev inner nodad");
    host.run(&format!("ip link add veth0 type veth peer name eth0 netns {}", container.pid()));
    host.run("ip link set veth0 master inner up");
    host.run("ip link set inner up");
    container.run("ip address add 172.29.0.2/24 dev eth0");
    container.run("ip address add fd78::2/64 dev eth0 nodad");
    container.run("ip link set eth0 up");
    container.run("ip route add default via 172.29.0.1");
    container.run("ip -6 route add default via fd78::1");
    host.load(TRANSLATION);
    container
}
