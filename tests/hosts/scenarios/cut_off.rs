//! Something ends in the middle, between the cut and the proof: the coordinator, a host's power, the way to a host.

use std::fs;
use std::time::{Duration, Instant};

use crate::fleet::{Fleet, Values, WORKERS};
use crate::operator::{Ended, Going, WORKER_SECRET, shipped};
use crate::tools::say;

/// The lease of a playbook whose services restart within 5 s, and that asks for less than that and the margin.
const LEASE: Duration = Duration::from_secs(35);

/// A host that does not answer may hold up the others for no longer than this, on a machine that is not busy; see `Actor` and the
/// keepalives of `ssh/policy.rs`: 40 s until it is given up, and two more tries to connect in each of two steps.
const BOUND: Duration = Duration::from_secs(240);

/// A rotation in which every host is cut, and this one's service is kept from coming back.
fn held_at(fleet: &Fleet, host: &str) -> Going {
    fleet.host(host).sh("touch /run/hold");
    let mut run = fleet.rotation(WORKER_SECRET);
    run.until("step-began", host, "activate");
    run
}

#[track_caller]
fn all_are_new(fleet: &Fleet, before: &Values) {
    let after = fleet.agreed();
    fleet.holds(&after);
    fleet.refuses(before, &WORKERS);
    fleet.is_clean();
}

#[track_caller]
fn all_are_old(fleet: &Fleet, before: &Values) {
    fleet.holds(before);
    fleet.is_clean();
}

/// The host went back when it started again, so everybody goes back. Whether its sshd is up again before the run asks once more,
/// nobody knows. If not, the host is named and nothing is lost.
#[track_caller]
fn goes_back_at_once_or_by_resume(fleet: &Fleet, ended: Ended, before: &Values, host: &str) {
    if ended.code() == Some(1) {
        ended.with(1, &["ROLLED BACK"]);
    } else {
        ended.with(6, &["A PERSON MUST LOOK", &format!("{host}  in-doubt"), " resume "]);
        fleet.resume().with(1, &["ROLLED BACK"]);
    }
    all_are_old(fleet, before);
}

pub(super) fn the_coordinator_is_killed(fleet: &Fleet) {
    let before = fleet.begin();
    held_at(fleet, "worker-1").kill();
    fleet.host("worker-1").sh("rm /run/hold");
    fleet.rotate(WORKER_SECRET).with(5, &[" resume "]);
    fleet.resume().with(0, &["ROTATED"]);
    all_are_new(fleet, &before);
}

/// The power of one host goes and comes back while the run waits for it.
pub(super) fn a_host_loses_its_power(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host("worker-2");
    let run = held_at(fleet, "worker-2");
    host.power_cut(&fleet.network);
    host.boot();
    assert_eq!(fleet.held()["worker-2"].0, before["worker-2"], "it went back before its service started");
    goes_back_at_once_or_by_resume(fleet, run.end(), &before, "worker-2");
}

/// The power of a host and of the coordinator go together.
pub(super) fn a_host_and_the_coordinator_lose_their_power(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host("worker-3");
    held_at(fleet, "worker-3").kill();
    host.power_cut(&fleet.network);
    host.boot();
    assert_eq!(fleet.held()["worker-3"].0, before["worker-3"], "it went back before its service started");
    fleet.resume().with(1, &["ROLLED BACK"]);
    all_are_old(fleet, &before);
}

/// Every worker is reached through it.
pub(super) fn the_jump_host_loses_its_power(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host("control");
    let run = held_at(fleet, "control");
    host.power_cut(&fleet.network);
    host.boot();
    goes_back_at_once_or_by_resume(fleet, run.end(), &before, "control");
}

/// The coordinator dies in the middle and nobody takes the run up: every host goes back by itself, and its service with it.
pub(super) fn nobody_comes_back(fleet: &Fleet) {
    let before = fleet.begin();
    // With the shipped limits the longest restart alone gives every host two minutes.
    let short = fs::read_to_string(shipped(WORKER_SECRET)).unwrap();
    let short = short.replace("restart: nanoclaw-worker }", "restart: nanoclaw-worker, deadline: 5s }");
    let short =
        short.replace("restart: nanoclaw }", "restart: nanoclaw, deadline: 5s }").replace("lease: 2m", "lease: 10s");
    let playbook = fleet.home.join("short.yml");
    fs::write(&playbook, short).unwrap();
    let mut run = fleet.rotation(&playbook.display().to_string());
    run.until("step-done", "worker-3", "activate");
    run.kill();
    let killed = Instant::now();
    let moved = fleet.held();
    for name in WORKERS {
        let (own, row) = &moved[name];
        assert!(*own != before[name] && *row != before[name], "{name} was not cut");
    }
    while fleet.held().iter().any(|(name, (own, row))| *own != before[name] || *row != before[name]) {
        assert!(killed.elapsed() < LEASE + Duration::from_secs(30), "a host has not gone back");
        std::thread::sleep(Duration::from_millis(500));
    }
    let took = killed.elapsed();
    fleet.holds(&before);
    say(&format!("after the coordinator's death every host was back in {:.1} s", took.as_secs_f64()));
    fleet.resume().with(1, &["ROLLED BACK"]);
    all_are_old(fleet, &before);
}

pub(super) fn a_host_is_cut_off(fleet: &Fleet) {
    let before = fleet.begin();
    let began = Instant::now();
    let run = held_at(fleet, "worker-2");
    fleet.network.cut_off(&fleet.host("worker-2").port());
    let ended = run.end();
    assert!(began.elapsed() < BOUND, "it took {} s", began.elapsed().as_secs());
    ended.with(6, &["A PERSON MUST LOOK", "worker-2  in-doubt", " resume "]);
    for (name, (own, row)) in fleet.held() {
        let cut_off = name == "worker-2";
        assert!(own == before[&name] || cut_off, "{name} is not back");
        assert!(row == before[&name], "{name} is not back on the control plane");
    }
    fleet.network.mend();
    fleet.host("worker-2").sh("rm /run/hold");
    fleet.resume().with(1, &["ROLLED BACK"]);
    all_are_old(fleet, &before);
}
