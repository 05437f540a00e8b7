//! Something ends in the middle, between the cut and the proof: the coordinator, a host's power, the way to a host.

use std::fs;
use std::time::Instant;

use crate::fleet::{Fleet, Values, WORKERS};
use crate::network::Way;
use crate::operator::{Going, WORKER_SECRET};

use crate::tools::eventually;

use super::partitions::BOUND;

/// A rotation in which every host is cut, and this one's service is kept from coming back.
fn held_at(fleet: &Fleet, host: &str) -> Going {
    fleet.host(host).sh("touch /run/hold");
    let mut run = fleet.rotation(WORKER_SECRET);
    run.until("step-began", host, "activate");
    run
}

#[track_caller]
pub(super) fn all_are_new(fleet: &Fleet, before: &Values) {
    let after = fleet.agreed();
    fleet.holds(&after);
    fleet.refuses(before, &WORKERS);
    fleet.is_clean();
}

#[track_caller]
pub(super) fn all_are_old(fleet: &Fleet, before: &Values) {
    fleet.holds(before);
    fleet.is_clean();
}

pub(super) fn the_coordinator_is_killed(fleet: &Fleet) {
    let before = fleet.begin();
    held_at(fleet, "worker-1").kill();
    fleet.host("worker-1").sh("rm /run/hold");
    fleet.rotate(WORKER_SECRET).with(5, &[" resume "]);
    fleet.resume().with(0, &["ROTATED"]);
    all_are_new(fleet, &before);
}

/// A host is told to start again in the middle. It is back before its service, and before the run gives it up.
pub(super) fn a_host_starts_again(fleet: &Fleet) {
    let before = fleet.begin();
    let run = held_at(fleet, "worker-2");
    fleet.host("worker-2").reboot();
    assert_eq!(fleet.held()["worker-2"].0, before["worker-2"], "it is not back");
    assert!(fleet.first_started_with("worker-2", &before["worker-2"]), "its service was started before it was back");
    run.end().with(1, &["ROLLED BACK"]);
}

/// The coordinator dies, and its state directory with it.
pub(super) fn the_journal_is_lost(fleet: &Fleet) {
    let before = fleet.begin();
    held_at(fleet, "worker-1").kill();
    fleet.host("worker-1").sh("rm /run/hold");
    fs::remove_dir_all(fleet.home.join("state")).unwrap();
    fleet.rotate(WORKER_SECRET).with(4, &["host-locked", "resume --from-hosts"]);
    fleet.resume_from_hosts().with(1, &["ROLLED BACK", "the ledger was lost: begun anew by"]);
    all_are_old(fleet, &before);
}

/// The power of one host goes and comes back while the run waits for it.
pub(super) fn a_host_loses_its_power(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host("worker-2");
    let run = held_at(fleet, "worker-2");
    host.power_cut(&fleet.network);
    host.boot();
    assert_eq!(fleet.held()["worker-2"].0, before["worker-2"], "it went back before its service started");
    run.end().with(1, &["ROLLED BACK"]);
    all_are_old(fleet, &before);
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
    run.end().with(1, &["ROLLED BACK"]);
    all_are_old(fleet, &before);
}

pub(super) fn a_host_is_cut_off(fleet: &Fleet) {
    let before = fleet.begin();
    let began = Instant::now();
    let run = held_at(fleet, "worker-2");
    fleet.network.cut_off(&fleet.host("worker-2").port(), Way::Both);
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

/// What lets us in is taken away in the middle, with the session that had come in by it. `says` is what the run hears then.
fn shut_out(fleet: &Fleet, take: &str, give: &str, says: &str) {
    let before = fleet.begin();
    let host = fleet.host("worker-2");
    host.sh("touch /run/hold");
    let mut run = fleet.rotation(&fleet.short());
    run.until("step-began", "worker-2", "activate");
    host.sh(take);
    host.sh("loginctl terminate-user deploy");
    let ended = run.end();
    ended.with(6, &["A PERSON MUST LOOK", "worker-2  in-doubt", says, " resume "]);
    host.sh("rm -f /run/hold");
    // Nobody can tell it to: the switch needs neither sudo nor the account.
    eventually("worker-2 is back", || (fleet.held()["worker-2"].0 == before["worker-2"]).then_some(()));
    host.sh(give);
    fleet.resume().with(1, &["ROLLED BACK"]);
    all_are_old(fleet, &before);
}

pub(super) fn a_sudo_that_refuses_from_the_middle_on(fleet: &Fleet) {
    let give = "echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/deploy";
    shut_out(fleet, ": >/etc/sudoers.d/deploy", give, "sudo");
}

pub(super) fn an_account_that_is_locked_in_the_middle(fleet: &Fleet) {
    shut_out(fleet, "usermod --expiredate 1 deploy", "usermod --expiredate '' deploy", "while we said who we are");
}

/// While its session lives, nothing that is taken away matters.
pub(super) fn rights_that_a_running_session_has_no_need_of(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host("worker-2");
    let run = held_at(fleet, "worker-2");
    host.sh(": >/etc/sudoers.d/deploy && rm /run/hold && usermod --expiredate 1 deploy");
    let ended = run.end();
    host.sh("echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/deploy; usermod --expiredate '' deploy");
    ended.with(0, &["ROTATED"]);
    all_are_new(fleet, &before);
}
