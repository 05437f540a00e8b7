//! The coordinator is not there, or is there too late: every host goes back by itself, whatever else is against it.

use std::time::{Duration, Instant};

use crate::fleet::{Fleet, Values, WORKERS};
use crate::host::Host;
use crate::network::Way;
use crate::stand::{Call, Standing};
use crate::tools::say;

use super::cut_off::{all_are_new, all_are_old};

/// The lease of [`Fleet::short`]: its services restart within 5 s, and it asks for less than that and the margin.
const LEASE: Duration = Duration::from_secs(35);

/// Waits until all this is so on the hosts, which must be so a little after the lease. Says how long it took.
#[track_caller]
fn by_themselves(since: Instant, so: impl Fn() -> bool) -> Duration {
    while !so() {
        assert!(since.elapsed() < LEASE + Duration::from_secs(30), "a host has not gone back");
        std::thread::sleep(Duration::from_millis(500));
    }
    since.elapsed()
}

fn hold(fleet: &Fleet, values: &Values) -> bool {
    fleet.held().iter().all(|(name, (own, row))| *own == values[name] && *row == values[name])
}

/// The coordinator dies in the middle and nobody takes the run up. One host has no network and no sudo any more, on another everybody
/// who is not root tries to keep it from going back: every host goes back by itself, and its service with it.
pub(super) fn nobody_comes_back(fleet: &Fleet) {
    let before = fleet.begin();
    let mut run = fleet.rotation(&fleet.short());
    run.until("step-done", "worker-3", "activate");
    run.kill();
    let killed = Instant::now();
    let moved = fleet.held();
    for name in WORKERS {
        let (own, row) = &moved[name];
        assert!(*own != before[name] && *row != before[name], "{name} was not cut");
    }
    let lonely = fleet.host("worker-2");
    fleet.network.cut_off(&lonely.port(), Way::Both);
    lonely.sh("rm /etc/sudoers.d/deploy");
    strangers_change_nothing(fleet.host("worker-3"));
    let took = by_themselves(killed, || hold(fleet, &before));
    say(&format!("after the coordinator's death every host was back in {:.1} s", took.as_secs_f64()));
    fleet.holds(&before);
    fleet.network.mend();
    lonely.sh("echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/deploy && chmod 440 /etc/sudoers.d/deploy");
    fleet.resume().with(1, &["ROLLED BACK", "it was too late to confirm the hosts"]);
    all_are_old(fleet, &before);
}

/// Nobody, and the user who logs in, cannot do anything to what the run has on a host. The service's own user owns the directory of its
/// file, and what lies beside that; but not the switch.
#[track_caller]
fn strangers_change_nothing(host: &Host) {
    let state = "find /var/lib/lockturn; find /etc/systemd/system -name '*lockturn*'";
    let beside = "find /opt/nanoclaw/.lockturn-*";
    let all = format!("{state}; {beside}");
    let look = || {
        host.sh(&format!("{{ {all}; }} | while read -r path; do stat -c '%n %i %a %u %s' $path; sha256sum $path 2>/dev/null; done; true"))
    };
    let seen = look();
    for needed in ["/armed ", "/program ", "/watch ", "/old ", ".service "] {
        assert!(seen.contains(needed), "there is no {needed}:\n{seen}");
    }
    for (user, paths) in [(65_534, all.as_str()), (1_000, &all), (crate::guest::NANOCLAW, state)] {
        let paths = host.sh(paths);
        let them = format!("setpriv --reuid {user} --regid {user} --clear-groups sh /opt/stranger.sh");
        host.sh_with("cat >/opt/stranger.sh", include_str!("../guest/stranger.sh"));
        assert_eq!(host.sh_with(&them, &paths), "", "the user {user} was not kept from it");
        assert_eq!(look(), seen, "the user {user} has changed something");
    }
    host.sh("rm /opt/stranger.sh");
}

/// The coordinator sleeps, as a laptop does, until every host has gone back; it must not believe that they wait for it.
pub(super) fn the_coordinator_sleeps(fleet: &Fleet) {
    let before = fleet.begin();
    let mut run = fleet.rotation(&fleet.short());
    run.until("step-began", "control", "verify");
    run.sleep();
    let took = by_themselves(Instant::now(), || hold(fleet, &before));
    say(&format!("while the coordinator slept every host was back in {:.1} s", took.as_secs_f64()));
    fleet.holds(&before);
    run.wake();
    let ended = run.end().with(1, &["ROLLED BACK"]);
    assert!(!ended.said.contains(r#""decision":"commit""#), "it decided for hosts that had gone back:\n{}", ended.said);
    all_are_old(fleet, &before);
}

/// The coordinator dies when some hosts have heard that they stay, and nobody takes the run up until the others have gone back: a mixed
/// fleet, of which nothing is lost.
pub(super) fn the_coordinator_dies_while_it_confirms(fleet: &Fleet) {
    let before = fleet.begin();
    let call = Call { tool: "mv", moment: "before", pattern: "*/armed */confirmed" };
    let standing = ["control", "worker-1"].map(|name| Standing::at(fleet.host(name), call));
    let mut run = fleet.rotation(&fleet.short());
    run.until_all("step-done", &["worker-2", "worker-3"], "confirm");
    standing.iter().for_each(Standing::wait);
    let moved = fleet.agreed();
    run.kill();
    let has_gone_back = || {
        let held = fleet.held();
        held["worker-1"].0 == before["worker-1"] && WORKERS.iter().all(|name| held[*name].1 == before[*name])
    };
    let took = by_themselves(Instant::now(), has_gone_back);
    say(&format!("after a death while confirming the others were back in {:.1} s", took.as_secs_f64()));
    drop(standing);
    for name in ["worker-2", "worker-3"] {
        assert!(fleet.held()[name].0 == moved[name], "{name} was confirmed, and has gone back");
    }
    fleet.resume().with(0, &["ROTATED"]);
    all_are_new(fleet, &before);
    assert!(fleet.agreed() == moved, "a second value was made");
}
