//! Where the hosts' keys are looked up, as ssh does it.

use std::fs;
use std::process::Command;

use super::fleet::{Fleet, ended};

#[test]
fn hashed_names_are_understood() {
    let fleet = Fleet::up(&["", ""]);
    let mut hash = Command::new("ssh-keygen");
    assert!(hash.args(["-q", "-H", "-f"]).arg(fleet.at("known")).output().unwrap().status.success());
    let text = fs::read_to_string(fleet.at("known")).unwrap();
    assert!(text.starts_with("|1|") && !text.contains("127.0.0.1"), "{text}");
    fleet.rotate(0);
}

#[test]
fn patterns_and_bare_names_are_understood_and_revoked_keys_refused() {
    let fleet = Fleet::up(&[""]);
    let key = fleet.public("host-0");
    let write = |text: String| fs::write(fleet.at("known"), text).unwrap();
    write(format!("[127.0.0.*]:* {key}"));
    fleet.rotate(0);
    write(format!("127.0.0.1 {key}"));
    fleet.rotate(0);
    fs::write(fleet.env(0), "TOKEN=\"old-old-old\"\n").unwrap();
    write(format!("!*,* {key}"));
    fleet.refuses("host-key-unknown", "known");
    write(format!("* {key}@revoked * {key}"));
    fleet.refuses("host-key-revoked", "known:2");
    write(format!("@cert-authority * {key}"));
    fleet.refuses("host-key-unknown", "known");
}

#[test]
fn a_file_that_cannot_be_read_is_not_an_empty_one() {
    let fleet = Fleet::up(&[""]);
    fs::remove_file(fleet.at("known")).unwrap();
    fleet.refuses("host-key-unknown", "known");
    fs::create_dir(fleet.at("known")).unwrap();
    fleet.refuses("known-hosts-unreadable", "known");
    assert!(!fleet.log(0).contains("Accepted"), "{}", fleet.log(0));
}

#[test]
fn files_are_found_relative_to_the_inventory_at_home_and_where_the_operator_says() {
    let fleet = Fleet::up(&[""]);
    let lines = fs::read_to_string(fleet.at("known")).unwrap();
    // The operator's home is the fleet's directory here.
    fs::create_dir(fleet.at(".ssh")).unwrap();
    fs::rename(fleet.at("known"), fleet.at("elsewhere")).unwrap();
    fs::rename(fleet.at("ed25519"), fleet.at(".ssh/mine")).unwrap();
    let inventory = |known: &str| fleet.inventory(|_| format!("identity_file: ~/.ssh/mine, known_hosts: {known}"));
    inventory("~/elsewhere");
    fleet.rotate(0);
    inventory("./elsewhere");
    fleet.rotate(0);
    // Nobody says where: one of the files at which ssh looks.
    let text = fs::read_to_string(fleet.at("inventory.yml")).unwrap();
    fs::write(fleet.at("inventory.yml"), text.replace(", known_hosts: ./elsewhere", "")).unwrap();
    fs::write(fleet.at(".ssh/known_hosts2"), &lines).unwrap();
    fleet.rotate(0);
    fs::remove_file(fleet.at(".ssh/known_hosts2")).unwrap();
    fs::write(fleet.env(0), "TOKEN=\"old-old-old\"\n").unwrap();
    fleet.refuses("host-key-unknown", ".ssh/known_hosts");
    for file in ["~/elsewhere", fleet.at("elsewhere").to_str().unwrap()] {
        ended(&fleet.rotation().arg(format!("--known-hosts={file}")).output().unwrap(), 0);
    }
}
