//! Whatever addresses and ports there are, the real `nft` takes the rules, and says them back the same when they are given it again.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use lockturn::model::HostName;
use lockturn::quarantine::{Address, HostRules, Management, Manager, ManagerError, PeerRules, Table, WayIn};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::space::Space;

/// How many random rule sets the real `nft` is given, of each kind.
const CASES: u32 = 48;

fn address() -> impl Strategy<Value = Address> {
    let v4 = any::<[u8; 4]>().prop_map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = any::<[u16; 8]>().prop_map(|segments| IpAddr::V6(Ipv6Addr::from(segments)));
    // Forms that print in an unusual way.
    let odd = prop::sample::select(vec![
        "1::",
        "64:ff9b::192.0.2.1",
        "2001:db8::ffff:1.2.3.4",
        "fe80::1",
        "fc00::",
        "1.0.0.0",
    ]);
    let odd = odd.prop_map(|text| text.parse().unwrap());
    prop_oneof![4 => v4, 4 => v6, 1 => odd].prop_filter_map("the address of one machine", |ip| Address::new(ip).ok())
}

fn addresses() -> impl Strategy<Value = BTreeSet<Address>> {
    prop_oneof![9 => prop::collection::btree_set(address(), 1..6), 1 => prop::collection::btree_set(address(), 100..300)]
}

/// What may be declared: random prefixes, some of them a part of another one, and some of one machine.
fn managers() -> impl Strategy<Value = BTreeSet<Manager>> {
    let one = (address(), 0..=128_u8).prop_filter_map("a prefix that may be", |(address, bits)| {
        let written = format!("{address}/{bits}");
        match written.parse::<Manager>() {
            Err(ManagerError::Beyond { network, .. }) => Some(network),
            other => other.ok(),
        }
    });
    let nested = (one, 0..=16_u8).prop_map(|(outer, more)| {
        let inner = outer.to_string().split_once('/').and_then(|(first, bits)| {
            format!("{first}/{}", bits.parse::<u8>().ok()?.checked_add(more)?).parse::<Manager>().ok()
        });
        [Some(outer), inner]
    });
    prop::collection::vec(nested, 0..5).prop_map(|all| all.into_iter().flatten().flatten().collect())
}

fn ports() -> impl Strategy<Value = BTreeSet<NonZeroU16>> {
    prop::collection::btree_set(any::<NonZeroU16>(), 1..4)
}

fn host() -> impl Strategy<Value = HostName> {
    "[A-Za-z0-9_][A-Za-z0-9._-]{0,252}".prop_map(|name| name.parse().unwrap())
}

fn host_rules() -> impl Strategy<Value = HostRules> {
    (addresses(), managers(), ports())
        .prop_map(|(from, declared, ports)| HostRules::new(Management { from, declared, ports }).unwrap())
}

fn peer_rules() -> impl Strategy<Value = (HostName, PeerRules)> {
    let way_in =
        prop::option::of((ports(), prop::option::of(any::<u32>().prop_filter("no user", |id| *id != u32::MAX))));
    (host(), addresses(), way_in).prop_map(|(host, addresses, way_in)| {
        let way_in = way_in.map(|(ports, user)| WayIn { ports, user });
        (host.clone(), PeerRules::new(host, addresses, way_in).unwrap())
    })
}

/// `nft` takes the text, twice is once, and taking our table away leaves every other byte as it was.
fn is_taken(space: &Space, text: &str, table: &Table) {
    let before = space.run("nft list ruleset");
    space.nft(&["-c"], text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(space.run("nft list ruleset"), before, "a check changed something");
    space.load(text);
    let once = space.run("nft list ruleset");
    assert_ne!(once, before);
    space.load(text);
    assert_eq!(space.run("nft list ruleset"), once, "twice is not once");
    space.run(&format!("nft delete table inet {table}"));
    assert_eq!(space.run("nft list ruleset"), before, "something else is not what it was");
}

/// Somebody else's rules, of every kind that prints in an unusual way.
pub(crate) const OTHERS: &str = r#"
table inet filter {
    counter seen {
        packets 12 bytes 3400
    }
    set peers {
        type ipv4_addr
        flags interval
        auto-merge
        elements = { 10.0.0.0/8, 192.0.2.0-192.0.2.9 }
    }
    map to {
        type inet_service : verdict
        elements = { 22 : accept, 80 : drop }
    }
    chain input {
        type filter hook input priority filter; policy accept;
        ct state established,related counter name "seen" accept
        ip saddr @peers tcp dport vmap @to comment "who; else }"
        log prefix "x: " limit rate 3/minute burst 5 packets
    }
}
table ip nat {
    chain post {
        type nat hook postrouting priority srcnat;
        oifname "eth0" masquerade
    }
}
table bridge odd {
    chain f {
        type filter hook forward priority -200;
    }
}
"#;

#[test]
fn the_host_s_own_rules_are_taken_whatever_the_data() {
    let space = Space::new();
    space.load(OTHERS);
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(CASES) })
        .run(&host_rules(), |rules| {
            is_taken(&space, &rules.render(), &Table::own());
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_peer_s_rules_are_taken_whatever_the_data() {
    let space = Space::new();
    space.load(OTHERS);
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(CASES) })
        .run(&peer_rules(), |(host, rules)| {
            is_taken(&space, &rules.render(), &Table::of(&host));
            Ok(())
        })
        .unwrap();
}

#[test]
fn two_hosts_in_quarantine_are_released_one_by_one() {
    let space = Space::new();
    let rules = |host: &str, address: &str| {
        PeerRules::new(host.parse().unwrap(), BTreeSet::from([address.parse().unwrap()]), None).unwrap().render()
    };
    space.load(&rules("worker-1", "192.0.2.11"));
    let one = space.run("nft list ruleset");
    space.load(&rules("worker-10", "192.0.2.20"));
    space.run(&format!("nft delete table inet {}", Table::of(&"worker-10".parse().unwrap())));
    assert_eq!(space.run("nft list ruleset"), one);
}

#[test]
fn a_text_with_one_bad_rule_changes_nothing() {
    let space = Space::new();
    let rules = PeerRules::new("w".parse().unwrap(), BTreeSet::from(["192.0.2.1".parse().unwrap()]), None).unwrap();
    space.load(&rules.render());
    let before = space.run("nft list ruleset");
    let broken = rules.render().replace("ip daddr @lockturn_host_v4 drop", "ip daddr @nobody drop");
    assert!(space.nft(&["-c"], &broken).is_err());
    assert!(space.nft(&[], &broken).is_err());
    assert_eq!(space.run("nft list ruleset"), before);
}
