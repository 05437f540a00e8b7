//! Hosts that are reached through another one.

use std::fs;

use super::fleet::{Fleet, user};

/// `h0` is the jump host; only `h1` is rotated, through it.
fn behind(config: &str) -> Fleet {
    let fleet = Fleet::up(&[config, ""]);
    through(&fleet, "jump: h0");
    fleet
}

fn through(fleet: &Fleet, jump: &str) {
    fleet.inventory(|number| {
        let more = if number == 1 { format!(", {jump}") } else { String::new() };
        format!("identity_file: ed25519{more}")
    });
    fleet.playbook_for(&[1], "");
}

#[track_caller]
fn went_through(fleet: &Fleet) {
    fleet.rotate(0);
    let log = fleet.log(0);
    assert!(
        log.contains("Accepted publickey") && !log.contains("Starting session"),
        "the jump host was no jump: {log}"
    );
    assert!(fleet.log(1).contains("Accepted publickey"), "{}", fleet.log(1));
}

#[test]
fn a_host_is_reached_through_another_with_a_key_for_each() {
    let fleet =
        behind("AllowTcpForwarding local\nPermitOpen 127.0.0.1:*\nMatch User *\nAuthorizedKeysFile DIR/to-jump.pub");
    for key in ["to-jump", "to-host"] {
        fleet.make_key(key, "ed25519", "");
    }
    fleet.authorize(&["to-host"]);
    fleet.inventory(|number| ["identity_file: to-jump", "identity_file: to-host, jump: h0"][number].to_owned());
    went_through(&fleet);
    // Neither key opens the other's door.
    fs::write(fleet.env(1), "TOKEN=\"old-old-old\"\n").unwrap();
    fleet.inventory(|number| ["identity_file: to-host", "identity_file: to-host, jump: h0"][number].to_owned());
    fleet.refuses("auth-refused", "the jump host `h0`");
    fleet.inventory(|number| ["identity_file: to-jump", "identity_file: to-jump, jump: h0"][number].to_owned());
    fleet.refuses("auth-refused", "h1: auth-refused");
}

#[test]
fn a_jump_host_that_is_no_host_of_the_inventory_is_named_by_its_address_or_by_sshs_own_option() {
    let fleet = behind("");
    let jump = format!("{}@127.0.0.1:{}", user(), fleet.hosts[0].port);
    for words in [
        format!("jump: \"{jump}\""),
        format!("ansible_ssh_common_args: \"-o ProxyJump={jump}\""),
        format!("ansible_ssh_common_args: '-J {jump}'"),
        "ansible_ssh_common_args: -o ProxyJump=h0".to_owned(),
    ] {
        through(&fleet, &words);
        fs::write(fleet.at("log-0"), "").unwrap();
        went_through(&fleet);
    }
}

#[test]
fn a_jump_host_that_does_not_let_through_is_named_with_what_to_change() {
    let fleet = behind("AllowTcpForwarding no");
    fleet.refuses("jump-failed", "the jump host `h0` does not let us through");
    let fleet = behind("PermitOpen 127.0.0.1:1");
    fleet.refuses("jump-failed", "PermitOpen");
}

#[test]
fn a_jump_host_that_fails_itself_is_named_with_its_own_reason() {
    let mut fleet = behind("");
    fleet.know(|_| "host-1".to_owned());
    fleet.refuses("host-key-changed", "the jump host `h0`");
    fleet.know(|number| format!("host-{number}"));
    fs::write(fleet.at("authorized"), "").unwrap();
    fleet.refuses("auth-refused", "the jump host `h0`");
    fleet.authorize(&["ed25519"]);
    // The host behind it is gone, then the jump host itself.
    fleet.hosts[1].stop();
    fleet.refuses("unreachable", "the jump host `h0` cannot reach 127.0.0.1");
    fleet.hosts[0].stop();
    fleet.refuses("connection-refused", "the jump host `h0`");
}
