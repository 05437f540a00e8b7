//! A worker is isolated and let back in, by the verbs: its peers hold whatever its root does, we still get in, and afterwards every byte of
//! every rule set is as it was.

use std::fs;

use crate::fleet::Fleet;
use crate::host::Host;
use crate::network::Way;
use crate::operator::{Ended, WORKER_SECRET};
use crate::tools::eventually;

const ISOLATED: &str = "worker-2";

/// The places of the fleet's hosts in its network; the operator is at 1.
const AT: [(&str, u8); 4] = [("control", 10), ("worker-1", 11), (ISOLATED, 12), ("worker-3", 13)];

fn lockturn(fleet: &Fleet, words: &[&str]) -> Ended {
    fleet.lockturn(words).output().unwrap().into()
}

/// Both addresses of a worker are in the operator's names, as a resolver would have them.
fn names_with_both(fleet: &Fleet) -> String {
    let path = fleet.home.join("hosts");
    let before = fs::read_to_string(&path).unwrap();
    let v6 = fleet.network.address(12).v6;
    fs::write(&path, format!("{before}{v6} {ISOLATED}.nanoclaw.example\n")).unwrap();
    before
}

fn rule_sets(fleet: &Fleet) -> Vec<String> {
    fleet.hosts().iter().map(|host| host.sh("nft list ruleset")).collect()
}

fn echo(host: &Host, address: &str) -> bool {
    host.try_sh(&format!("ping -n -q -c 1 -W 2 {address}"), "").status.success()
}

fn connects(host: &Host, address: &str) -> bool {
    host.try_sh(&format!("timeout 3 bash -c ': <>/dev/tcp/{address}/22' 2>/dev/null"), "").status.success()
}

/// What gets through between the worker and its peers, both ways, in both families, and from it to the control plane's sshd.
fn ways_through(fleet: &Fleet) -> Vec<String> {
    let (isolated, mut open) = (fleet.host(ISOLATED), Vec::new());
    let own = fleet.network.address(12);
    for (name, at) in AT.into_iter().filter(|(name, _)| *name != ISOLATED) {
        let address = fleet.network.address(at);
        for (own, other) in [(&own.v4, &address.v4), (&own.v6, &address.v6)] {
            open.extend(echo(isolated, other).then(|| format!("echo {ISOLATED} to {name} at {other}")));
            open.extend(echo(fleet.host(name), own).then(|| format!("echo {name} to {ISOLATED} at {own}")));
            if name == "control" {
                open.extend(connects(isolated, other).then(|| format!("ssh {ISOLATED} to {name} at {other}")));
            }
        }
    }
    open
}

/// Its root takes its own rules away, for good.
fn breaks_out(host: &Host) {
    host.sh("systemctl disable --now lockturn-quarantine 2>/dev/null; nft delete table inet lockturn_quarantine");
}

pub(super) fn a_worker_is_isolated_and_let_back_in(fleet: &Fleet) {
    fleet.begin();
    let names = names_with_both(fleet);
    let before = rule_sets(fleet);
    assert_eq!(ways_through(fleet).len(), 14, "not everything was open before: this shows nothing");
    let isolated = fleet.host(ISOLATED);
    let operator = fleet.network.address(1).v4;
    assert!(echo(isolated, &operator));

    let shown = lockturn(fleet, &["quarantine", ISOLATED, "--show"]).with(0, &["### worker-1", "drop"]);
    assert_eq!(shown.said.matches("\ntable inet lockturn_quarantine_worker-2 {").count(), 3, "{}", shown.said);
    assert_eq!(shown.said.matches("\ntable inet lockturn_quarantine {").count(), 1, "{}", shown.said);
    lockturn(fleet, &["quarantine", ISOLATED]).with(4, &["nobody can be asked"]);
    assert!(rule_sets(fleet) == before, "something was changed before it was asked");

    lockturn(fleet, &["--yes", "quarantine", ISOLATED, "--reason", "strange logins"])
        .with(0, &["QUARANTINED  worker-2: dropped by 3 peers", "strange logins"]);
    assert_eq!(ways_through(fleet), Vec::<String>::new());
    assert!(!echo(isolated, &operator), "it reaches one that is no peer");
    lockturn(fleet, &["runs"]).with(0, &["quarantined", "quarantine worker-2"]);
    lockturn(fleet, &["show", "0"]).with(0, &["QUARANTINED", "strange logins"]);
    lockturn(fleet, &["--yes", "quarantine", ISOLATED]).with(4, &["in quarantine already"]);
    lockturn(fleet, &["ledger", "verify"]).with(0, &["as it was written"]);

    status_looks(fleet);

    breaks_out(isolated);
    assert!(echo(isolated, &operator), "its root has not broken out: this shows nothing of its peers");
    assert_eq!(ways_through(fleet), Vec::<String>::new(), "its peers do not hold");

    gets_nothing(fleet);

    // Another firewall of its own still drops one peer, in one family: to that one nothing flows, and that is said.
    let other = format!("ip6 saddr {} drop", fleet.network.address(11).v6);
    isolated
        .sh(&format!("nft 'table inet other {{ chain input {{ type filter hook input priority 0; {other}; }}; }}'"));
    lockturn(fleet, &["--yes", "release", ISOLATED])
        .with(6, &["PARTIAL 3/4", "worker-1", "unverified", "answered from here before, and does not now"]);
    isolated.sh("nft delete table inet other");
    lockturn(fleet, &["resume"]).with(0, &["RELEASED  worker-2", "reached again by 3 peers, proved"]);
    assert!(rule_sets(fleet) == before, "the release left something, or took something");
    assert_eq!(ways_through(fleet).len(), 14);
    assert_eq!(left(fleet), "");
    lockturn(fleet, &["--yes", "release", ISOLATED]).with(4, &["released already"]);
    lockturn(fleet, &["resume"]).with(4, &["no run is unfinished"]);
    fs::write(fleet.home.join("hosts"), names).unwrap();
    fleet.is_clean();
}

/// A peer that lost its rules is named.
fn status_looks(fleet: &Fleet) {
    let status = || lockturn(fleet, &["status", WORKER_SECRET]);
    let said = status().with(0, &["quarantine of worker-2"]).said;
    assert_eq!(said.matches("rules in place").count(), 4, "{said}");
    let (peer, table) = (fleet.host("worker-1"), "lockturn_quarantine_worker-2");
    peer.sh(&format!("systemctl stop lockturn-quarantine; nft delete table inet {table}"));
    let has_rules = || peer.try_sh(&format!("nft list table inet {table}"), "").status.success().then_some(());
    status().with(6, &["rules GONE", "next: lockturn", "resume"]);
    peer.sh("systemctl start lockturn-quarantine");
    eventually("the rules are back", has_rules);
    // For good: nothing holds on to them. Whoever takes the run up again puts them back.
    peer.sh(&format!("systemctl stop lockturn-quarantine; nft delete table inet {table}"));
    peer.sh(&format!("rm /var/lib/lockturn-quarantine/kept/{table}.nft*"));
    status().with(6, &["NO rules"]);
    let run = lockturn(fleet, &["runs"]).said.lines().next().unwrap().split(' ').next().unwrap().to_owned();
    lockturn(fleet, &["resume", &run]).with(0, &["QUARANTINED  worker-2: dropped by 3 peers"]);
    assert_eq!(has_rules(), Some(()));
    status().with(0, &["rules in place"]);
}

/// A rotation goes on without it; afterwards it holds what it held.
fn gets_nothing(fleet: &Fleet) {
    let before = fleet.agreed();
    let left_out = "left out until released: worker-2";
    lockturn(fleet, &["plan", WORKER_SECRET]).with(0, &[left_out]);
    fleet.rotate(WORKER_SECRET).with(0, &["ROTATED", left_out]);
    let after = fleet.agreed();
    for (name, value) in &before {
        let rotated = ["worker-1", "worker-3"].contains(&name.as_str());
        assert_eq!(*value != after[name], rotated, "{name}");
    }
}

/// What quarantines left on any host.
fn left(fleet: &Fleet) -> String {
    fleet
        .hosts()
        .iter()
        .map(|host| host.sh("find /var/lib/lockturn-quarantine -mindepth 1 2>/dev/null; true"))
        .collect()
}

pub(super) fn a_peer_and_the_worker_are_away(fleet: &Fleet) {
    fleet.begin();
    let names = names_with_both(fleet);
    let before = rule_sets(fleet);
    for away in ["worker-1", ISOLATED] {
        fleet.network.cut_off(&fleet.host(away).port(), Way::Both);
    }
    // From the others nothing answers either, so that nothing is proved but by their own kernels.
    lockturn(fleet, &["--yes", "quarantine", ISOLATED]).with(6, &["PARTIAL 2/3", "worker-1", "unreachable"]);
    fleet.network.mend();
    lockturn(fleet, &["resume"]).with(0, &["QUARANTINED  worker-2: dropped by 3 peers"]);
    assert_eq!(ways_through(fleet), Vec::<String>::new());
    breaks_out(fleet.host(ISOLATED));
    assert_eq!(ways_through(fleet), Vec::<String>::new(), "its peers do not hold");

    // It is off when it is let back in: its peers let it in all the same, and nobody says that it can be reached.
    fleet.network.cut_off(&fleet.host(ISOLATED).port(), Way::Both);
    lockturn(fleet, &["--yes", "release", ISOLATED])
        .with(6, &["PARTIAL 0/4", ISOLATED, "unreachable", "worker-1  unverified", "does not answer from here"]);
    fleet.network.mend();
    lockturn(fleet, &["resume"]).with(0, &["RELEASED  worker-2"]);
    assert!(rule_sets(fleet) == before, "the release left something, or took something");
    assert_eq!(left(fleet), "");
    fs::write(fleet.home.join("hosts"), names).unwrap();
    fleet.is_clean();
}

pub(super) fn whoever_isolates_dies(fleet: &Fleet) {
    fleet.begin();
    let names = names_with_both(fleet);
    let before = rule_sets(fleet);
    // Before there are rules, with rules that nobody confirmed, and with the host itself not yet told.
    for (step, host) in [("stage", "worker-1"), ("cut", "worker-3"), ("confirm", "control"), ("cut", ISOLATED)] {
        let mut going = fleet.going(&["quarantine", ISOLATED]);
        going.until("step-done", host, step);
        going.kill();
        lockturn(fleet, &["resume"]).with(0, &["QUARANTINED  worker-2: dropped by 3 peers"]);
        assert_eq!(ways_through(fleet), Vec::<String>::new(), "after it died in `{step}` on {host}");

        let mut going = fleet.going(&["release", ISOLATED]);
        going.until("step-done", host, step);
        going.kill();
        lockturn(fleet, &["resume"]).with(0, &["RELEASED  worker-2"]);
        assert!(rule_sets(fleet) == before, "after it died in `{step}` on {host} something is left");
        assert_eq!(left(fleet), "");
    }
    fs::write(fleet.home.join("hosts"), names).unwrap();
    fleet.is_clean();
}
