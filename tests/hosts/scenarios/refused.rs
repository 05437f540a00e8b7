//! What is in the way before anything is changed: exit 4, and nothing was changed and nothing is left.

use std::fs;

use crate::canary::holds;
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

fn rule(tags: &str, defaults: &str) -> String {
    format!("deploy ALL=(ALL) NOPASSWD: {tags} ALL\n{defaults}\n")
}

/// On one of each Debian.
const RECORDS: [(&str, &str); 4] = [
    ("worker-1", "Defaults log_input"),
    ("worker-2", "Defaults use_pty, log_output"),
    ("worker-2", "Defaults:deploy log_stdin"),
    ("control", "Defaults!/bin/sh log_input"),
];

pub(super) fn a_sudo_that_records_what_it_is_sent(fleet: &Fleet) {
    let before = fleet.begin();
    for (name, told) in RECORDS {
        let host = fleet.host(name);
        let may = |tags| {
            host.sh_with(
                "cat >/etc/sudoers.d/deploy && chmod 440 /etc/sudoers.d/deploy && visudo -c -q",
                &rule(tags, told),
            )
        };
        may("");
        let ended = fleet.rotate(WORKER_SECRET);
        host.sh_with("runuser -u deploy -- sudo -n -- /bin/sh -s", "echo 'a line of the test'\n");
        let records = host.sh("find /var/log/sudo-io -type f -exec zcat -f {} + 2>/dev/null; rm -r /var/log/sudo-io");
        may("NOLOG_INPUT: NOLOG_OUTPUT:");
        assert!(records.contains("a line of the test"), "{name}: `{told}` makes sudo record nothing");
        assert!(
            !holds(&records, &[&before]) && !records.contains(" read-file 3 "),
            "{name}: `{told}`: a value is kept"
        );
        refused(fleet, ended, &before, &[name, "sudo keeps a record", "NOLOG_INPUT"]);
    }
    // In a container root may not look at sudo: then it is asked.
    let host = fleet.host("worker-3");
    let dir = "/run/systemd/system/ssh.service.d";
    host.sh_with(
        &format!("mkdir {dir} && cat >{dir}/bound.conf && systemctl daemon-reload && systemctl restart ssh"),
        "[Service]\nCapabilityBoundingSet=~CAP_SYS_PTRACE\n",
    );
    host.sh_with("cat >/etc/sudoers.d/deploy", &rule("LOG_INPUT:", ""));
    refused(fleet, fleet.rotate(WORKER_SECRET), &before, &["worker-3", "sudo keeps a record"]);
    host.sh("rm -r /var/log/sudo-io");
    host.sh_with("cat >/etc/sudoers.d/deploy", &rule("NOLOG_INPUT:", "Defaults !log_output"));
    // What the hint says is enough, and hosts whose sudo knows how to record are not refused for that.
    fleet.rotate(WORKER_SECRET).with(0, &[]);
    for (name, _) in RECORDS {
        let host = fleet.host(name);
        host.sh_with("cat >/etc/sudoers.d/deploy", &rule("", ""));
        host.sh("! find /var/log/sudo-io -type f | grep .");
    }
    host.sh_with("cat >/etc/sudoers.d/deploy", &rule("", ""));
    host.sh(&format!("rm -r {dir} && systemctl daemon-reload && systemctl restart ssh"));
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
    refused(fleet, ended, &before, &["because of    worker-3, lock: ", "make room"]);
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
    refused(fleet, ended, &before, &["because of    worker-3, stage: ", "make room"]);
}

pub(super) fn a_file_that_may_not_be_replaced(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host("worker-2");
    host.sh("cd /opt/nanoclaw && setfattr -n user.note -v kept .env && setfacl -m u:daemon:r .env && chattr +i .env");
    let ended = fleet.rotate(WORKER_SECRET);
    host.sh("cd /opt/nanoclaw && chattr -i .env && setfattr -x user.note .env && setfacl -b .env");
    refused(fleet, ended, &before, &["worker-2", "read-only"]);
}
