//! Every way out that we could think of, tried by a real attacker: each gets through before, none after.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use lockturn::quarantine::{HostRules, Management, PeerRules, WayIn};

use super::lan::{Lan, Machine, OTHER_V4, OTHER_V6, TRANSLATION};
use super::space::{Space, Talk, eventually};

/// Each try ends after so many seconds, where it should get through and where it should not.
const OPEN: &str = "10";
const SHUT: &str = "0.5";

/// What any address can be reached by.
const EACH: [&str; 10] =
    ["tcp", "tcp-53", "tcp-22", "tcp-from-22", "udp", "udp-from-22", "udp-long", "dns", "icmp", "protocol-253"];

/// The firewall that was there before: it lets through whatever belongs to a flow that it knows, and all that this test needs.
const ORDINARY: &str = "
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        accept
    }
    chain output {
        type filter hook output priority filter; policy accept;
        ct state established,related accept
    }
}
table inet early {
    chain prerouting {
        type filter hook prerouting priority -300; policy accept;
        accept
    }
}
";

fn ssh() -> BTreeSet<NonZeroU16> {
    BTreeSet::from([NonZeroU16::new(22).unwrap()])
}

fn host_rules(lan: &Lan) -> String {
    let from = lan.manager.known();
    HostRules::new(Management { from, declared: BTreeSet::new(), ports: ssh() }).unwrap().render()
}

/// One way, as the attacker takes it: `WAY SOURCE TARGET`.
fn each(ways: &[&str], source: &str, targets: &[String]) -> Vec<String> {
    targets.iter().flat_map(|target| ways.iter().map(move |way| format!("{way} {source} {target}"))).collect()
}

fn all_of(machine: &Machine) -> [String; 3] {
    [machine.v4(), machine.v6(), machine.local()]
}

/// From the worker to a machine, under an address that is known of it.
fn known_ways(to: &Machine) -> Vec<String> {
    let mut ways = each(&EACH, "-", &all_of(to));
    ways.extend(each(&["neighbour-shaped"], "-", &[to.v6()]));
    ways.extend(each(&["udp"], "-", &["10.77.0.255".to_owned(), "ff02::1%eth0".to_owned()]));
    ways.extend(each(&["icmp"], "-", &["ff02::1%eth0".to_owned()]));
    ways
}

/// From the worker to a machine, under an address that nobody knows or that is somebody else's.
fn unknown_ways(to: &Machine) -> Vec<String> {
    let mut ways = each(&["tcp", "udp", "icmp", "dns"], OTHER_V4, &[to.v4()]);
    ways.extend(each(&["tcp", "udp", "icmp", "dns"], OTHER_V6, &[to.v6()]));
    ways.extend(each(&["own-header"], "10.77.0.77", &[to.v4()]));
    ways
}

/// From the container, which the worker translates to its own address.
fn container_ways(to: &Machine) -> Vec<String> {
    each(&["tcp", "tcp-53", "udp", "udp-long", "dns", "icmp"], "-", &[to.v4(), to.v6()])
}

/// Tries all of them, one after the other; marks have `when` and `who` in front.
fn try_all(attacker: &mut Talk, when: &str, who: &str, ways: &[String]) -> BTreeSet<String> {
    let mut marks = BTreeSet::new();
    for way in ways {
        let mark = format!("{when}: {who}: {}", way.replace('%', "/"));
        attacker.say(&format!("try {way} <{mark}>"));
        assert!(attacker.line().starts_with("done"));
        marks.insert(mark);
    }
    marks
}

/// All that the worker and its container try against one machine, at the same time.
fn everything(lan: &Lan, seconds: &str, when: &str, to: &Machine, name: &str, unknown: bool) -> BTreeSet<String> {
    let mut ways = known_ways(to);
    if unknown {
        ways.extend(unknown_ways(to));
    }
    let contained = container_ways(to);
    let (mut on_host, mut in_container) =
        (lan.worker.attacker(seconds), Talk::with(&lan.container, "attacker.py", &[seconds]));
    std::thread::scope(|scope| {
        let outer = scope.spawn(|| try_all(&mut on_host, when, &format!("worker to {name}"), &ways));
        let inner = try_all(&mut in_container, when, &format!("container to {name}"), &contained);
        outer.join().unwrap().into_iter().chain(inner).collect()
    })
}

/// Flows that live on, named by what they are.
struct Flows {
    from: Talk,
    names: Vec<String>,
}

impl Flows {
    fn open(mut from: Talk, who: &str, targets: &[(&str, &[String])]) -> Self {
        let mut names = Vec::new();
        for (name, addresses) in targets {
            for (kind, address) in ["tcp", "udp"].iter().flat_map(|kind| addresses.iter().map(move |a| (kind, a))) {
                let flow = format!("{who}-{name}-{kind}-{}", address.replace('%', "/"));
                from.say(&format!("open {flow} {kind} - {address}"));
                assert_eq!(from.line(), "done", "{flow}");
                names.push(flow);
            }
        }
        Self { from, names }
    }

    fn push(&mut self, when: &str) -> BTreeSet<String> {
        let mut marks = BTreeSet::new();
        for flow in &self.names {
            let mark = format!("{when}: {flow}");
            self.from.say(&format!("push {flow} <{mark}>"));
            assert!(self.from.line().starts_with("done"));
            marks.insert(mark);
        }
        marks
    }
}

/// How many flows to port 7000 a host's connection tracking knows: established ones of TCP, and those of UDP that were answered.
fn tracked(space: &Space) -> usize {
    let known = space.run("cat /proc/net/nf_conntrack");
    let alive = |line: &&str| {
        line.contains("dport=7000")
            && (line.contains("ESTABLISHED") || line.contains(" udp "))
            && !line.contains("UNREPLIED")
    };
    known.lines().filter(alive).count()
}

/// None of these marks has arrived.
#[track_caller]
fn none(seen: &BTreeSet<String>, marks: &BTreeSet<String>, what: &str) {
    let through: Vec<&String> = marks.intersection(seen).collect();
    assert!(through.is_empty(), "{what}: {} of {} got through: {through:#?}", through.len(), marks.len());
}

#[test]
fn a_host_with_its_rules_reaches_nobody_and_is_managed() {
    let mut lan = Lan::new();
    lan.worker.space.load(ORDINARY);
    let (peer, outside) = (all_of(&lan.peer), all_of(&lan.outside));
    let mut flows = Flows::open(lan.worker.attacker(OPEN), "worker", &[("peer", &peer[..]), ("outside", &outside[..])]);
    let inner = Talk::with(&lan.container, "attacker.py", &[OPEN]);
    let mut contained = Flows::open(inner, "container", &[("peer", &peer[..2]), ("outside", &outside[..2])]);
    let mut called = Flows::open(lan.outside.attacker(OPEN), "outside", &[("worker", &all_of(&lan.worker)[..])]);

    // Before: every one of them gets through, or the test shows nothing.
    let to_peer = everything(&lan, OPEN, "before", &lan.peer, "peer", true);
    let to_outside = everything(&lan, OPEN, "before", &lan.outside, "outside", true);
    let (own, inside) = (flows.push("before"), contained.push("before"));
    let here = called.push("before");
    for (machine, marks) in [(&mut lan.peer, &to_peer), (&mut lan.outside, &to_outside)] {
        assert_eq!(machine.witness.missing(marks), BTreeSet::new(), "these get through nowhere");
    }
    let both: BTreeSet<String> = own.iter().chain(&inside).cloned().collect();
    eventually("the flows get through", || {
        let arrived: BTreeSet<String> = lan.peer.witness.seen().union(lan.outside.witness.seen()).cloned().collect();
        both.is_subset(&arrived).then_some(())
    });
    assert_eq!(lan.worker.witness.missing(&here), BTreeSet::new());
    // A flow that connection tracking has not seen dies anyway: with these, an `established accept` would keep them alive.
    let wanted = flows.names.len() + contained.names.len() + called.names.len();
    eventually("the flows are tracked", || (tracked(&lan.worker.space) >= wanted).then_some(()));

    // A session of the manager's that goes on, and the rules.
    let mut session = lan.manager.attacker(OPEN);
    lan.worker.space.load(&host_rules(&lan));
    assert!(tracked(&lan.worker.space) >= wanted, "nothing was forgotten: the rules alone stop the flows");

    let mut tried = everything(&lan, SHUT, "after", &lan.peer, "peer", true);
    tried.extend(everything(&lan, SHUT, "after", &lan.outside, "outside", true));
    tried.extend(flows.push("after"));
    tried.extend(contained.push("after"));
    // The manager is no way out either.
    let mut ways =
        each(&["tcp", "tcp-from-22", "tcp-22", "udp", "udp-from-22", "dns", "icmp"], "-", &all_of(&lan.manager));
    ways.extend(each(&["tcp", "udp"], OTHER_V4, &[lan.manager.v4()]));
    tried.extend(try_all(&mut lan.worker.attacker(SHUT), "after", "worker to manager", &ways));
    for machine in [&mut lan.manager, &mut lan.peer, &mut lan.outside] {
        none(machine.witness.seen(), &tried, "from the worker");
    }
    // Nor is anything a way in.
    let mut inward = called.push("after");
    for machine in [&lan.peer, &lan.outside] {
        let ways = each(&EACH, "-", &all_of(&lan.worker));
        inward.extend(try_all(&mut machine.attacker(SHUT), "after", &format!("{} to worker", machine.v4()), &ways));
    }
    let ways = each(&["tcp", "udp", "dns", "icmp", "tcp-53"], "-", &all_of(&lan.worker));
    inward.extend(try_all(&mut lan.manager.attacker(SHUT), "after", "manager to worker", &ways));
    none(lan.worker.witness.seen(), &inward, "to the worker");

    let managed = try_all(&mut session, "after", "management", &each(&["tcp-22"], "-", &all_of(&lan.worker)));
    assert_eq!(lan.worker.witness.missing(&managed), BTreeSet::new(), "a fresh connection of the manager");
    report("host", tried.len() + inward.len());

    // Released: nothing of ours is left, and every way is open again.
    lan.worker.space.run("nft delete table inet lockturn_quarantine");
    let again = everything(&lan, OPEN, "released", &lan.peer, "peer", true);
    assert_eq!(lan.peer.witness.missing(&again), BTreeSet::new(), "after the release");
}

#[test]
fn peers_hold_though_the_host_removes_its_rules() {
    let mut lan = Lan::new();
    lan.peer.space.load(ORDINARY);
    let (peer, outside) = (all_of(&lan.peer), all_of(&lan.outside));
    let mut flows = Flows::open(lan.worker.attacker(OPEN), "worker", &[("peer", &peer[..])]);
    let mut called = Flows::open(lan.peer.attacker(OPEN), "peer", &[("worker", &all_of(&lan.worker)[..])]);
    let mut others = Flows::open(lan.outside.attacker(OPEN), "outside", &[("peer", &peer[..])]);
    let before = everything(&lan, OPEN, "before", &lan.peer, "peer", false);
    assert_eq!(lan.peer.witness.missing(&before), BTreeSet::new());
    let back =
        try_all(&mut lan.peer.attacker(OPEN), "before", "peer to worker", &each(&EACH, "-", &all_of(&lan.worker)));
    assert_eq!(lan.worker.witness.missing(&back), BTreeSet::new());
    flows.push("before");
    called.push("before");
    let wanted = flows.names.len() + called.names.len();
    eventually("the flows are tracked", || (tracked(&lan.peer.space) >= wanted).then_some(()));

    // Both have their rules; then the worker's root takes its own away.
    let rules = PeerRules::new("worker-1".parse().unwrap(), lan.worker.known(), None).unwrap();
    lan.peer.space.load(&rules.render());
    lan.worker.space.load(&host_rules(&lan));
    lan.worker.space.run("nft flush ruleset");
    lan.worker.space.load(TRANSLATION);

    let mut tried = everything(&lan, SHUT, "after", &lan.peer, "peer", false);
    tried.extend(flows.push("after"));
    none(lan.peer.witness.seen(), &tried, "from the worker to its peer");
    let mut back =
        try_all(&mut lan.peer.attacker(SHUT), "after", "peer to worker", &each(&EACH, "-", &all_of(&lan.worker)));
    back.extend(called.push("after"));
    none(lan.worker.witness.seen(), &back, "from the peer to the worker");
    report("peer", tried.len() + back.len());

    // It does get out to those who have no rules, so it does try; and its peer lives on with everybody else.
    let free = everything(&lan, OPEN, "after", &lan.outside, "outside", false);
    assert_eq!(lan.outside.witness.missing(&free), BTreeSet::new());
    let mut alive = others.push("after");
    alive.extend(try_all(&mut lan.outside.attacker(OPEN), "after", "outside to peer", &each(&EACH, "-", &peer)));
    assert_eq!(lan.peer.witness.missing(&alive), BTreeSet::new());
    let fine = try_all(&mut lan.peer.attacker(OPEN), "after", "peer to outside", &each(&EACH, "-", &outside));
    assert_eq!(lan.outside.witness.missing(&fine), BTreeSet::new());
    // What no rule about addresses can stop is said to be so, in the document. It is what the credential plane is for.
    let unknown = try_all(&mut lan.worker.attacker(OPEN), "after", "worker", &unknown_ways(&lan.peer));
    assert_eq!(lan.peer.witness.missing(&unknown), BTreeSet::new(), "the document says that these get through");
}

#[test]
fn the_way_in_through_a_peer_is_for_management_alone() {
    let mut lan = Lan::new();
    lan.manager.space.load(ORDINARY);
    let targets = all_of(&lan.worker);
    // A tunnel of another user, from before.
    let mut tunnel = Flows::open(lan.manager.attacker(OPEN), "tunnel", &[("worker", &targets[..])]);
    let own = tunnel.push("before");
    assert_eq!(lan.worker.witness.missing(&own), BTreeSet::new());
    let way_in = Some(WayIn { ports: ssh(), user: Some(rustix::process::geteuid().as_raw()) });
    let known = lan.worker.known();
    let rules = |way_in| PeerRules::new("worker-1".parse().unwrap(), known.clone(), way_in).unwrap().render();
    lan.manager.space.load(&rules(way_in));

    let managed = try_all(&mut lan.manager.attacker(OPEN), "after", "management", &each(&["tcp-22"], "-", &targets));
    assert_eq!(lan.worker.witness.missing(&managed), BTreeSet::new());
    let ways: Vec<&str> = EACH.iter().copied().filter(|way| *way != "tcp-22").collect();
    let mut back = try_all(&mut lan.manager.attacker(SHUT), "after", "manager", &each(&ways, "-", &targets));
    back.extend(tunnel.push("after"));
    none(lan.worker.witness.seen(), &back, "to the worker");
    let mut tried = everything(&lan, SHUT, "after", &lan.manager, "manager", false);
    // Neighbour discovery passes here, and with it what looks like that; only a raw socket hears it. The document says so.
    tried.retain(|mark| !mark.contains("neighbour-shaped"));
    none(lan.manager.witness.seen(), &tried, "from the worker to the host that it is managed through");

    // Another user is not let through to the same port.
    lan.manager.space.load(&rules(Some(WayIn { ports: ssh(), user: Some(54_321) })));
    let other = try_all(&mut lan.manager.attacker(SHUT), "later", "another", &each(&["tcp-22"], "-", &targets));
    none(lan.worker.witness.seen(), &other, "another user");
    report("way in", back.len() + tried.len() + other.len());
}

#[test]
fn a_declared_manager_gets_in_by_ssh_and_who_is_beside_its_prefix_does_not() {
    let mut lan = Lan::new();
    // `outside` is in both prefixes, `peer` in none.
    let declared = ["10.77.0.4/30", "fd77::4/126"].map(|prefix| prefix.parse().unwrap()).into();
    let rules = HostRules::new(Management { from: lan.manager.known(), declared, ports: ssh() }).unwrap();
    lan.worker.space.load(&rules.render());
    let global = &all_of(&lan.worker)[..2];
    for machine in [&lan.manager, &lan.outside] {
        let who = format!("{} to worker", machine.v4());
        let managed = try_all(&mut machine.attacker(OPEN), "after", &who, &each(&["tcp-22"], "-", global));
        assert_eq!(lan.worker.witness.missing(&managed), BTreeSet::new(), "{who}");
    }
    let ways: Vec<&str> = EACH.iter().copied().filter(|way| *way != "tcp-22").collect();
    let mut shut = try_all(&mut lan.outside.attacker(SHUT), "after", "declared to worker", &each(&ways, "-", global));
    shut.extend(try_all(&mut lan.peer.attacker(SHUT), "after", "peer to worker", &each(&EACH, "-", global)));
    none(lan.worker.witness.seen(), &shut, "to the worker");
    // It is no way out either.
    let out = try_all(&mut lan.worker.attacker(SHUT), "after", "worker", &each(&EACH, "-", &all_of(&lan.outside)));
    none(lan.outside.witness.seen(), &out, "from the worker to a declared manager");
    report("declared manager", shut.len() + out.len());
}

#[test]
fn that_management_works_cannot_be_concluded_from_the_rules() {
    let mut lan = Lan::new();
    lan.worker
        .space
        .load("table inet other {\nchain i {\ntype filter hook input priority 0\ntcp dport 22 drop\n}\n}\n");
    lan.worker.space.load(&host_rules(&lan));
    let managed =
        try_all(&mut lan.manager.attacker(SHUT), "after", "management", &each(&["tcp-22"], "-", &all_of(&lan.worker)));
    none(lan.worker.witness.seen(), &managed, "another table drops it");
}

#[test]
fn an_established_accept_would_let_an_attacker_live() {
    let mut lan = Lan::new();
    lan.worker.space.load(ORDINARY);
    let mut flows = Flows::open(lan.worker.attacker(OPEN), "worker", &[("outside", &all_of(&lan.outside)[..])]);
    flows.push("before");
    eventually("the flows are tracked", || (tracked(&lan.worker.space) >= flows.names.len()).then_some(()));
    // What others do: this test would see it.
    lan.worker.space.load(
        "table inet naive {\nchain output {\ntype filter hook output priority 0; policy drop;\n\
         ct state established accept\nicmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n}\n}\n",
    );
    let alive = flows.push("after");
    assert_eq!(lan.outside.witness.missing(&alive), BTreeSet::new());
    let fresh =
        try_all(&mut lan.worker.attacker(SHUT), "after", "worker", &each(&["tcp", "udp"], "-", &all_of(&lan.outside)));
    none(lan.outside.witness.seen(), &fresh, "new ones");
}

/// For the record of how much was tried.
fn report(what: &str, tried: usize) {
    use std::io::Write as _;
    let _unheard = writeln!(std::io::stderr(), "{what}: {tried} ways tried, {tried} blocked");
}
