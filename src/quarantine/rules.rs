//! The rules, as one transaction of `nft`: for the host in quarantine, and for each of its peers.
//!
//! Every rule has its reason beside it: `nft -f` takes comments, and whoever reads the text reviews it without this file.

use core::net::IpAddr;
use core::num::NonZeroU16;
use std::collections::BTreeSet;
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::model::HostName;

use super::{Address, Manager};

/// Before connection tracking (−200) and before every table that people make (raw is −300).
const FIRST: i32 = -310;

/// After translation of addresses (100), and after every table that people make.
const LAST: i32 = 310;

/// The table of the host in quarantine; those of its peers have its name behind it.
const TABLE: &str = "lockturn_quarantine";

/// The kernel takes 255 bytes; a name that would be longer gets a digest for its end.
const NAME_BYTES_MAX: usize = 200;

/// A table of ours, in the family `inet`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table(String);

impl Table {
    /// That of a host in quarantine, on itself.
    #[must_use]
    pub fn own() -> Self {
        Self(TABLE.to_owned())
    }

    /// That on a peer of this host: a table for each, so that each is released alone.
    #[must_use]
    pub fn of(host: &HostName) -> Self {
        let name = host.as_str();
        if name.len() <= NAME_BYTES_MAX {
            return Self(format!("{TABLE}_{name}"));
        }
        let digest: String = Sha256::digest(name).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{TABLE}_{}_{digest}", &name[..NAME_BYTES_MAX]))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there are no such rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RulesError {
    /// Nobody could manage the host any more.
    NoManager,
    /// There is no port at which it could be managed.
    NoPort,
    /// Nothing is known that a peer could drop.
    NoAddress,
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoManager => "nobody could manage the host any more: no manager's address is known",
            Self::NoPort => "nobody could manage the host any more: the port of its sshd is not known",
            Self::NoAddress => "no address of the host is known that its peers could drop",
        })
    }
}

impl std::error::Error for RulesError {}

/// Who may still reach a host in quarantine, and at which ports its sshd listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Management {
    /// The address that we come from, as the host sees it.
    pub from: BTreeSet<Address>,
    /// From where else.
    pub declared: BTreeSet<Manager>,
    /// As the host sees them: before and after a translation of its own.
    pub ports: BTreeSet<NonZeroU16>,
}

/// How a peer still reaches the host, because it is managed through that peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayIn {
    /// Where its sshd listens.
    pub ports: BTreeSet<NonZeroU16>,
    /// The only user of the peer that may: whoever logs in there to go on. Everybody where it is not known.
    pub user: Option<u32>,
}

/// What a host in quarantine drops: everything, but SSH from its managers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRules(Management);

impl HostRules {
    /// Rules under which somebody can still manage the host.
    ///
    /// # Errors
    /// If nobody could.
    pub fn new(management: Management) -> Result<Self, RulesError> {
        match (management.from.is_empty(), management.ports.is_empty()) {
            (true, _) => Err(RulesError::NoManager),
            (false, true) => Err(RulesError::NoPort),
            (false, false) => Ok(Self(management)),
        }
    }

    /// The transaction.
    #[must_use]
    pub fn render(&self) -> String {
        let ports = ports(&self.0.ports);
        let managers = self.0.from.iter().copied().map(Manager::from).chain(self.0.declared.iter().copied());
        let sets = sets("lockturn_managers", &managers.collect());
        let v6 = sets.iter().any(|set| set.family == "ip6");
        let mut text =
            Text::begin("This host is in quarantine. Nothing passes but SSH from its managers.", &Table::own());
        text.sets("Who may manage this host.", &sets);

        let arrives = |text: &mut Text| {
            text.why("Programs of this host among themselves.");
            text.rule("iifname \"lo\" accept");
            if v6 {
                text.why(
                    "Without these no manager finds this host over IPv6. 255 hops left: it comes from this very link.",
                );
                text.rule(
                    "ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept",
                );
            }
            text.why("SSH from the managers, each connection new or not. Nobody else's flow is let through because it was there before.");
            for Set { family, name, .. } in &sets {
                text.rule(&format!("{family} saddr @{name} tcp dport {ports} accept"));
            }
        };
        text.chain(
            "All that arrives, also for containers: before connection tracking, before any other table.",
            "prerouting",
            FIRST,
            "drop",
        );
        arrives(&mut text);
        text.end();
        text.chain(
            "The same for what is for this host itself: a translated port is not the one that was let in.",
            "input",
            FIRST,
            "drop",
        );
        arrives(&mut text);
        text.end();
        text.chain("This host passes nothing on: no containers, no guests, no neighbours.", "forward", FIRST, "drop");
        text.end();
        text.chain("All that this host sends. No names are looked up, no time is asked for.", "output", FIRST, "drop");
        text.why("Programs of this host among themselves.");
        text.rule("oifname \"lo\" accept");
        if v6 {
            text.why("Answers to neighbours and managers; anybody else could be sent anything in such a packet.");
            for to in ["{ fe80::/10, ff02::/16 }", "@lockturn_managers_v6"] {
                text.rule(&format!(
                    "ip6 daddr {to} ip6 hoplimit 255 icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit }} accept"
                ));
            }
        }
        text.why("What sshd answers. A packet that opens a connection (SYN without ACK) is no answer.");
        for Set { family, name, .. } in &sets {
            text.rule(&format!("{family} daddr @{name} tcp sport {ports} tcp flags & (syn | ack) != syn accept"));
        }
        text.end();
        text.done()
    }
}

/// What a peer drops: all that goes to a host in quarantine or comes from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRules {
    host: HostName,
    addresses: BTreeSet<Address>,
    way_in: Option<WayIn>,
}

impl PeerRules {
    /// Rules about a host with these addresses, for one of its peers.
    ///
    /// # Errors
    /// If there is nothing to drop, or no port for a way in.
    pub fn new(host: HostName, addresses: BTreeSet<Address>, way_in: Option<WayIn>) -> Result<Self, RulesError> {
        if addresses.is_empty() {
            return Err(RulesError::NoAddress);
        }
        if way_in.as_ref().is_some_and(|way| way.ports.is_empty()) {
            return Err(RulesError::NoPort);
        }
        Ok(Self { host, addresses, way_in })
    }

    /// The transaction.
    #[must_use]
    pub fn render(&self) -> String {
        let sets = sets("lockturn_host", &self.addresses.iter().copied().map(Manager::from).collect());
        let mut text = Text::begin(
            &format!(
                "{} is in quarantine. This host drops what goes to it or comes from it, and nothing else.",
                self.host
            ),
            &Table::of(&self.host),
        );
        text.sets("Every known address of the host in quarantine.", &sets);

        text.chain(
            "All that arrives from it, and what a container or a neighbour here sends to it.",
            "prerouting",
            FIRST,
            "accept",
        );
        if let Some(way) = &self.way_in {
            text.why(
                "It is managed through this host: answers of its sshd. A packet that opens a connection is no answer.",
            );
            for Set { family, name, .. } in &sets {
                let ports = ports(&way.ports);
                text.rule(&format!("{family} saddr @{name} tcp sport {ports} tcp flags & (syn | ack) != syn accept"));
            }
            self.neighbours(&mut text, &sets, "saddr");
        }
        text.why("Everything else, of both directions, of flows from before too: this is before connection tracking.");
        for Set { family, name, .. } in &sets {
            text.rule(&format!("{family} saddr @{name} drop"));
            text.rule(&format!("{family} daddr @{name} drop"));
        }
        text.end();

        text.chain(
            "Nothing is passed on to it or from it, management neither: that begins and ends here.",
            "forward",
            FIRST,
            "accept",
        );
        for Set { family, name, .. } in &sets {
            text.rule(&format!("{family} saddr @{name} drop"));
            text.rule(&format!("{family} daddr @{name} drop"));
        }
        text.end();

        text.chain(
            "All that this host sends to it. The count is a proof: what was sent to it was dropped here.",
            "output",
            FIRST,
            "accept",
        );
        self.leaves(&mut text, &sets);
        text.end();
        text.chain(
            "The same after translation: a packet may have become one to it only now.",
            "postrouting",
            LAST,
            "accept",
        );
        self.leaves(&mut text, &sets);
        text.end();
        text.done()
    }

    fn leaves(&self, text: &mut Text, sets: &[Set]) {
        if let Some(way) = &self.way_in {
            let user = way.user.map_or_else(String::new, |uid| format!(" meta skuid {uid}"));
            let who = if user.is_empty() { "" } else { ", of that login alone: a tunnel of somebody else ends" };
            text.why(&format!("It is managed through this host: SSH to it{who}."));
            for Set { family, name, .. } in sets {
                text.rule(&format!("{family} daddr @{name} tcp dport {}{user} accept", ports(&way.ports)));
            }
            self.neighbours(text, sets, "daddr");
        }
        for Set { family, name, .. } in sets {
            text.rule(&format!("{family} daddr @{name} counter drop"));
        }
    }

    /// IPv6 finds a neighbour with packets that would be dropped.
    fn neighbours(&self, text: &mut Text, sets: &[Set], end: &str) {
        if let Some(Set { name, .. }) = sets.iter().find(|set| set.family == "ip6") {
            text.why("Without these it is not found over IPv6.");
            text.rule(&format!(
                "ip6 {end} @{name} ip6 hoplimit 255 icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept"
            ));
        }
    }
}

/// The addresses of one family, under a name.
struct Set {
    family: &'static str,
    name: String,
    kind: &'static str,
    /// A prefix is among them.
    interval: bool,
    elements: String,
}

/// A set for each family that has addresses: an empty one needs no rule.
fn sets(name: &str, addresses: &BTreeSet<Manager>) -> Vec<Set> {
    // nft refuses a set in which one element is a part of another one.
    let apart = |one: &&Manager| !addresses.iter().any(|other| other != *one && other.covers(one));
    let of = |version: &str, family, kind, wanted: fn(&IpAddr) -> bool| {
        let ours: Vec<_> = addresses.iter().filter(|one| wanted(&one.first())).filter(apart).collect();
        let elements = ours.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let interval = ours.iter().any(|one| one.is_network());
        (!elements.is_empty()).then(|| Set { family, name: format!("{name}_{version}"), kind, interval, elements })
    };
    let both = [of("v4", "ip", "ipv4_addr", IpAddr::is_ipv4), of("v6", "ip6", "ipv6_addr", IpAddr::is_ipv6)];
    both.into_iter().flatten().collect()
}

fn ports(ports: &BTreeSet<NonZeroU16>) -> String {
    let words: Vec<String> = ports.iter().map(ToString::to_string).collect();
    if let [one] = &words[..] { one.clone() } else { format!("{{ {} }}", words.join(", ")) }
}

/// The text of a transaction, built from the top.
struct Text(String);

impl Text {
    fn begin(what: &str, table: &Table) -> Self {
        let mut text = Self(String::new());
        text.line(0, &format!("# lockturn: {what}"));
        text.line(0, "# One transaction: an earlier table of this name is replaced, with no open moment between.");
        text.line(0, &format!("table inet {table}"));
        text.line(0, &format!("delete table inet {table}"));
        text.line(0, &format!("table inet {table} {{"));
        text
    }

    fn sets(&mut self, what: &str, sets: &[Set]) {
        self.line(1, &format!("# {what}"));
        for set in sets {
            self.line(1, &format!("set {} {{", set.name));
            self.line(2, &format!("type {}", set.kind));
            if set.interval {
                self.line(2, "flags interval");
            }
            self.line(2, &format!("elements = {{ {} }}", set.elements));
            self.line(1, "}");
        }
    }

    fn chain(&mut self, what: &str, hook: &str, priority: i32, policy: &str) {
        self.0.push('\n');
        self.line(1, &format!("# {what}"));
        self.line(1, &format!("chain lockturn_{hook} {{"));
        self.line(2, &format!("type filter hook {hook} priority {priority}; policy {policy};"));
    }

    fn why(&mut self, why: &str) {
        self.line(2, &format!("# {why}"));
    }

    fn rule(&mut self, rule: &str) {
        self.line(2, rule);
    }

    fn end(&mut self) {
        self.line(1, "}");
    }

    fn done(mut self) -> String {
        self.line(0, "}");
        self.0
    }

    fn line(&mut self, depth: usize, line: &str) {
        for _ in 0..depth {
            self.0.push_str("    ");
        }
        self.0.push_str(line);
        self.0.push('\n');
    }
}
