//! Rules of a quarantine: what they say, and whom they may not be about.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::path::Path;

use lockturn::inventory::Inventory;
use lockturn::model::HostName;
use lockturn::quarantine::{
    Address, Danger, Fleet, HostRules, Management, Manager, PeerRules, RulesError, Table, WayIn, dangers,
    inventory_host_in,
};

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

fn names(texts: &[&str]) -> BTreeSet<HostName> {
    texts.iter().map(|text| name(text)).collect()
}

fn addresses(texts: &[&str]) -> BTreeSet<Address> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn managers(texts: &[&str]) -> BTreeSet<Manager> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn ports(numbers: &[u16]) -> BTreeSet<NonZeroU16> {
    numbers.iter().map(|port| NonZeroU16::new(*port).unwrap()).collect()
}

/// The text is a file of its own, to be read as it would be read at night.
fn is_as_reviewed(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/quarantine"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn what_the_host_itself_gets() {
    let rules = |from: &[&str], declared: &[&str], at: &[u16]| {
        HostRules::new(Management { from: addresses(from), declared: managers(declared), ports: ports(at) })
            .unwrap()
            .render()
    };
    is_as_reviewed("host", &rules(&["192.0.2.1", "198.51.100.7", "2001:db8::1"], &[], &[22, 2222]));
    let declared = ["198.51.100.0/28", "198.51.100.7", "2001:db8:1:2::/64"];
    is_as_reviewed("host-with-declared-managers", &rules(&["192.0.2.1"], &declared, &[22]));
    let v4 = rules(&["192.0.2.1"], &[], &[22]);
    assert!(!v4.contains("ip6"), "nobody manages it over IPv6, so nothing of IPv6 passes: {v4}");
    let v6 = rules(&["2001:db8::1"], &[], &[22]);
    assert!(!v6.contains("ip saddr") && !v6.contains("ipv4"), "{v6}");
}

#[test]
fn what_a_peer_gets() {
    let known = addresses(&["192.0.2.13", "2001:db8::13", "fe80::13"]);
    let rules = |way_in| PeerRules::new(name("worker-3"), known.clone(), way_in).unwrap().render();
    is_as_reviewed("peer", &rules(None));
    is_as_reviewed("peer-with-way-in", &rules(Some(WayIn { ports: ports(&[22]), user: Some(1000) })));
    let anybody = rules(Some(WayIn { ports: ports(&[22]), user: None }));
    assert!(!anybody.contains("skuid"), "{anybody}");
}

#[test]
fn rules_that_lock_everybody_out_or_say_nothing_do_not_exist() {
    // Whoever was declared is no use to us: who loads the rules must come in through them.
    let nobody = Management { from: BTreeSet::new(), declared: managers(&["192.0.2.7"]), ports: ports(&[22]) };
    assert_eq!(HostRules::new(nobody), Err(RulesError::NoManager));
    let nowhere = Management { from: addresses(&["192.0.2.1"]), declared: BTreeSet::new(), ports: BTreeSet::new() };
    assert_eq!(HostRules::new(nowhere), Err(RulesError::NoPort));
    assert_eq!(PeerRules::new(name("w"), BTreeSet::new(), None), Err(RulesError::NoAddress));
    let shut = WayIn { ports: BTreeSet::new(), user: None };
    assert_eq!(PeerRules::new(name("w"), addresses(&["192.0.2.1"]), Some(shut)), Err(RulesError::NoPort));
}

#[test]
fn only_the_address_of_one_machine_gets_into_a_rule() {
    for bad in [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "255.255.255.255",
        "224.0.0.1",
        "240.0.0.1",
        "ff02::1",
        "::",
        "::192.0.2.1",
        "worker-3",
        "",
        "192.0.2.1/24",
        "192.0.2.1%eth0",
        "fe80::1%",
        "1",
        "192.0.2.1; flush ruleset",
        " 192.0.2.1",
        "[2001:db8::1]",
    ] {
        assert!(bad.parse::<Address>().is_err(), "`{bad}` was taken for the address of one machine");
    }
    for (good, shown) in [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("10.0.0.0", "10.0.0.0"),
    ] {
        assert_eq!(good.parse::<Address>().unwrap().to_string(), shown);
    }
}

#[test]
fn only_addresses_and_narrow_prefixes_are_managers() {
    for (bad, why) in [
        ("bastion", "not an IP address"),
        ("bastion/24", "not an IP address"),
        ("127.0.0.1", "every machine's own"),
        ("0.0.0.0/0", "not the address of one machine"),
        ("::/0", "not the address of one machine"),
        ("224.0.0.0/24", "not the address of one machine"),
        ("10.0.0.0/8", "wider than /16"),
        ("10.0.0.0/15", "wider than /16"),
        ("2001:db8::/32", "wider than /48"),
        ("192.0.2.7/24", "192.0.2.0/24 is the network"),
        ("2001:db8::7/64", "2001:db8::/64 is the network"),
        ("192.0.2.0/", "no length of a prefix"),
        ("192.0.2.0/33", "no length of a prefix"),
        ("2001:db8::/129", "no length of a prefix"),
        ("192.0.2.0/+24", "no length of a prefix"),
        ("192.0.2.0/24 ", "no length of a prefix"),
        ("192.0.2.0/255.255.255.0", "no length of a prefix"),
        ("192.0.2.0/24/8", "no length of a prefix"),
        ("::ffff:192.0.2.0/24", "no length of a prefix"),
        ("fe80::%eth0/64", "no length of a prefix"),
        ("192.0.2.0/24 }; flush ruleset", "no length of a prefix"),
        ("", "not an IP address"),
        ("/24", "not an IP address"),
    ] {
        let said = bad.parse::<Manager>().expect_err(bad).to_string();
        assert!(said.contains(why), "`{bad}`: {said}");
    }
    for (good, shown) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("10.20.0.0/16", "10.20.0.0/16"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:7::/64", "2001:db8:0:7::/64"),
        ("2001:db8::1/128", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ] {
        assert_eq!(good.parse::<Manager>().unwrap().to_string(), shown);
    }
    let network: Manager = "192.0.2.16/28".parse().unwrap();
    let is_in = |text: &str| network.has(text.parse().unwrap());
    assert!(
        is_in("192.0.2.16") && is_in("192.0.2.31") && !is_in("192.0.2.15") && !is_in("192.0.2.32") && !is_in("::1")
    );
}

#[test]
fn no_host_of_the_inventory_is_a_manager() {
    let known = BTreeMap::from([
        (name("worker-1"), addresses(&["192.0.2.11", "2001:db8::11"])),
        (name("worker-3"), addresses(&["192.0.2.13"])),
    ]);
    let found = |texts: &[&str]| {
        let declared = managers(texts);
        inventory_host_in(&declared, &known).map(|(manager, host, address)| format!("{manager} {host} {address}"))
    };
    assert_eq!(found(&["192.0.2.0/29", "192.0.2.14", "2001:db8:0:1::/64"]), None);
    assert_eq!(found(&["192.0.2.14", "192.0.2.12/30"]).as_deref(), Some("192.0.2.12/30 worker-3 192.0.2.13"));
    assert_eq!(found(&["2001:db8::11"]).as_deref(), Some("2001:db8::11 worker-1 2001:db8::11"));
}

#[test]
fn each_host_has_a_table_of_its_own_however_long_its_name() {
    assert_eq!(Table::own().to_string(), "lockturn_quarantine");
    assert_eq!(Table::of(&name("worker-3.example.net")).to_string(), "lockturn_quarantine_worker-3.example.net");
    let (one, other) = (Table::of(&name(&"a".repeat(252))), Table::of(&name(&"a".repeat(253))));
    assert_ne!(one, other);
    assert!(one.to_string().len() <= 255 && other.to_string().len() <= 255, "the kernel takes no longer name");
}

/// Six hosts in three groups; `gate` is the way to two workers.
const FLEET: &str = "
all:
  children:
    control_plane:
      hosts:
        gate: { address: 192.0.2.1 }
    workers:
      hosts:
        worker-1: { address: 192.0.2.11, jump: gate }
        worker-2: { address: 192.0.2.12, jump: 'deploy@192.0.2.1' }
        worker-3: { address: 192.0.2.13 }
    stores:
      hosts:
        store-1: { address: 192.0.2.21 }
        store-2: { address: 192.0.2.22 }
";

/// What speaks against isolating these hosts, where these are in quarantine already.
fn against(
    hosts: &[&str],
    quarantined: &[&str],
    change: impl Fn(&mut BTreeMap<HostName, BTreeSet<Address>>),
) -> Vec<Danger> {
    let (inventory, warnings) = Inventory::parse("hosts.yml", FLEET).unwrap_or_else(|e| panic!("{}", e.render()));
    assert!(warnings.is_empty(), "{warnings:?}");
    let mut known = inventory.hosts.iter().map(|(name, host)| (name.clone(), addresses(&[&host.address]))).collect();
    change(&mut known);
    let fleet = Fleet {
        inventory: &inventory,
        addresses: &known,
        coordinator: &addresses(&["192.0.2.99", "2001:db8::99"]),
        quarantined: &names(quarantined),
    };
    dangers(&names(hosts), fleet)
}

fn said(dangers: &[Danger]) -> Vec<String> {
    dangers.iter().map(ToString::to_string).collect()
}

#[test]
fn an_ordinary_worker_may_be_isolated() {
    assert_eq!(against(&["worker-3"], &[], |_| {}), []);
    assert_eq!(against(&["worker-2", "worker-3"], &[], |_| {}), [], "two of six are a third, not more");
}

#[test]
fn whom_others_are_reached_through_is_not_isolated_by_mistake() {
    let found = against(&["gate"], &[], |_| {});
    assert_eq!(
        said(&found),
        [
            "gate is the way to worker-[1:2], which nobody could reach any more",
            "without gate nobody of the group control_plane is left"
        ]
    );
    assert!(!found[0].is_meant(&names(&["worker-1"])));
    assert!(found.iter().all(|danger| danger.is_meant(&names(&["gate"]))));
    let found = said(&against(&["gate", "worker-1"], &[], |_| {}));
    assert_eq!(found[0], "gate is the way to worker-2, which nobody could reach any more", "worker-1 is isolated too");
}

#[test]
fn this_machine_is_not_isolated_by_mistake() {
    let found = against(&["store-1"], &[], |known| {
        known.get_mut(&name("store-1")).unwrap().extend(addresses(&["2001:db8::99"]));
    });
    assert_eq!(said(&found), ["store-1 is this very machine (2001:db8::99): it would isolate itself from the fleet"]);
}

#[test]
fn the_last_of_a_group_and_a_third_of_the_fleet_are_not_isolated_by_mistake() {
    assert_eq!(
        said(&against(&["store-2"], &["store-1"], |_| {})),
        ["without store-2 nobody of the group stores is left"],
        "the other one is in quarantine already"
    );
    let found = against(&["worker-2", "worker-3"], &["store-1"], |_| {});
    assert_eq!(said(&found), ["3 of 6 hosts would be in quarantine, more than a third of the fleet"]);
    assert!(!found[0].is_meant(&names(&["worker-2"])), "one of two names is not both");
    assert!(found[0].is_meant(&names(&["worker-2", "worker-3"])));
    let gone = against(&["worker-3"], &["was-here-once", "and-this-too"], |_| {});
    assert_eq!(gone, [], "who is in the inventory no more is no part of the fleet");
}

#[test]
fn an_address_of_two_hosts_is_not_isolated_by_mistake() {
    let shared = |known: &mut BTreeMap<HostName, BTreeSet<Address>>| {
        known.get_mut(&name("worker-1")).unwrap().extend(addresses(&["192.0.2.13"]));
    };
    assert_eq!(
        said(&against(&["worker-3"], &[], shared)),
        ["worker-3 and worker-1 have the same address 192.0.2.13: both would be isolated"]
    );
    assert_eq!(against(&["worker-1", "worker-3"], &[], shared), [], "both are meant");
}
