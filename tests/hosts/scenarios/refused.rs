//! What is in the way before anything is changed: exit 4, and nothing was changed and nothing is left.

use std::fs;

use crate::fleet::{Fleet, Values};
use crate::network::Way;
use crate::operator::{Ended, WORKER_SECRET, shipped};

#[track_caller]
fn refused(fleet: &Fleet, ended: Ended, before: &Values, words: &[&str]) {
    ended.with(4, words).with(4, &["nothing was changed"]);
    fleet.holds(before);
    fleet.is_clean();
}

pub(super) fn a_host_that_is_cut_off(fleet: &Fleet) {
    let before = fleet.begin();
    fleet.network.cut_off(&fleet.host("worker-2").port(), Way::Both);
    let ended = fleet.rotate(WORKER_SECRET);
    fleet.network.mend();
    refused(fleet, ended, &before, &["the jump host `control`", "reach worker-2.nanoclaw.example:22"]);
}

pub(super) fn a_sudo_that_asks_for_a_password(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host("worker-1");
    host.sh("echo 'deploy ALL=(ALL) ALL' >/etc/sudoers.d/deploy");
    let ended = fleet.rotate(WORKER_SECRET);
    host.sh("echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/deploy");
    refused(fleet, ended, &before, &["worker-1", "a password is required", "NOPASSWD"]);
}

pub(super) fn a_user_whom_a_host_does_not_know(fleet: &Fleet) {
    let before = fleet.begin();
    let inventory = fs::read_to_string(shipped("inventory/nanoclaw.yml")).unwrap();
    let other = fleet.home.join("other.yml");
    let address = "address: worker-1.nanoclaw.example";
    fs::write(&other, inventory.replace(address, &format!("{address}\n          user: depoly"))).unwrap();
    let ended = fleet.lockturn_with(&other, &["--yes", "rotate", WORKER_SECRET]).output().unwrap().into();
    refused(fleet, ended, &before, &["worker-1", "auth-refused", "depoly"]);
}

/// Synced, because only then the file system has really given the room away.
const FILL: &str = "cd /opt; for size in 1M 4k; do n=0; \
    while dd if=/dev/zero of=filler-$size-$n bs=$size count=1 conv=fsync 2>/dev/null; do n=$((n + 1)); done; done; \
    ! dd if=/dev/zero of=filler bs=4k count=1 conv=fsync 2>/dev/null";

pub(super) fn a_disk_that_is_full(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host("worker-3");
    host.sh(FILL);
    let ended = fleet.rotate(WORKER_SECRET);
    host.sh("rm /opt/filler*");
    refused(fleet, ended, &before, &["worker-3  failed in `lock`", "make room"]);
}

/// There is room for the run's own state, and none for the new file.
pub(super) fn a_disk_that_gets_full_while_staging(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host("worker-3");
    let file = fs::read(host.path("/opt/nanoclaw/.env")).unwrap();
    host.sh("cd /opt/nanoclaw && { echo; yes '# a long file' | head -c 400000; } >>.env");
    host.sh(&format!("{FILL}; rm filler-4k-[0-9]"));
    let long = fs::read(host.path("/opt/nanoclaw/.env")).unwrap();
    let ended = fleet.rotate(WORKER_SECRET);
    host.sh("rm /opt/filler*");
    assert!(fs::read(host.path("/opt/nanoclaw/.env")).unwrap() == long, "the file was changed");
    fs::write(host.path("/opt/nanoclaw/.env"), file).unwrap();
    refused(fleet, ended, &before, &["worker-3  failed in `stage`", "make room"]);
}

pub(super) fn a_file_that_may_not_be_replaced(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host("worker-2");
    host.sh("cd /opt/nanoclaw && setfattr -n user.note -v kept .env && setfacl -m u:daemon:r .env && chattr +i .env");
    let ended = fleet.rotate(WORKER_SECRET);
    host.sh("cd /opt/nanoclaw && chattr -i .env && setfattr -x user.note .env && setfacl -b .env");
    refused(fleet, ended, &before, &["worker-2", "read-only"]);
}
