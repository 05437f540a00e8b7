//! A file is rotated; a host that is another gets no login.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::fleet::Fleet;

#[test]
fn a_file_is_rotated_with_each_kind_of_key_and_every_other_byte_stays() {
    let fleet = Fleet::up(&[""]);
    fleet.make_key("rsa", "rsa", "");
    fleet.make_key("ecdsa", "ecdsa", "");
    fleet.authorize(&["ed25519", "rsa", "ecdsa"]);
    fs::set_permissions(fleet.env(0), fs::Permissions::from_mode(0o640)).unwrap();
    for key in ["ed25519", "rsa", "ecdsa"] {
        let before = fs::read_to_string(fleet.env(0)).unwrap();
        fleet.inventory(|_| format!("identity_file: {key}"));
        fleet.rotate(0);
        let after = fs::read_to_string(fleet.env(0)).unwrap();
        assert_ne!(before, after, "{key}");
        assert!(after.starts_with("# kept\r\nA=1\r\nTOKEN=\"") && after.ends_with("\"\r\n"), "{after:?}");
        assert_eq!(fs::metadata(fleet.env(0)).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(fleet.at("state-0")).unwrap().count(), 0, "the run left something");
    }
}

#[test]
fn a_host_that_is_another_gets_no_login_and_no_byte() {
    let fleet = Fleet::up(&[""]);
    fleet.make_key("other", "ed25519", "");
    fleet.make_key("ecdsa", "ecdsa", "");
    fleet.know(|_| "other".to_owned());
    fleet.refuses("host-key-changed", "known:1");
    // A known host that shows a key of another algorithm is another host, not an unknown one.
    fleet.know(|_| "ecdsa".to_owned());
    fleet.refuses("host-key-changed", "known:1");
    fs::write(fleet.at("known"), "").unwrap();
    fleet.refuses("host-key-unknown", "known");
    assert!(!fleet.log(0).contains("Accepted"), "we logged in: {}", fleet.log(0));
}
