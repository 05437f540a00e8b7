//! Logins that sshd, the shell or sudo do not give.

use std::io::Read as _;
use std::net::TcpStream;

use super::fleet::{Fleet, ended, user, write_program};

#[test]
fn a_key_or_a_user_that_the_server_does_not_take_is_said_to_be_refused() {
    let fleet = Fleet::up(&[""]);
    fleet.inventory(|_| "identity_file: ed25519, user: no-such-user".to_owned());
    fleet.refuses("auth-refused", "`no-such-user`");
    fleet.inventory(|_| "identity_file: ed25519".to_owned());
    std::fs::write(fleet.at("authorized"), "").unwrap();
    fleet.refuses("auth-refused", "ed25519");
}

#[test]
fn who_is_not_named_is_the_operator() {
    let fleet = Fleet::up(&[""]);
    let text = std::fs::read_to_string(fleet.at("inventory.yml")).unwrap();
    std::fs::write(fleet.at("inventory.yml"), text.replace(&format!("user: {}, ", user()), "")).unwrap();
    fleet.rotate(0);
    // Nor is a key named: without an agent it is ssh's usual one.
    let text = text.replace(&format!("user: {}, ", user()), "").replace("identity_file: ed25519", "labels: {}");
    std::fs::write(fleet.at("inventory.yml"), text).unwrap();
    std::fs::create_dir(fleet.at(".ssh")).unwrap();
    std::fs::copy(fleet.at("ed25519"), fleet.at(".ssh/id_ed25519")).unwrap();
    fleet.rotate(0);
    std::fs::write(fleet.env(0), "TOKEN=\"old-old-old\"\n").unwrap();
    let said = ended(&fleet.rotation().env("USER", "somebody-else").output().unwrap(), 4);
    assert!(said.contains("auth-refused") && said.contains("`somebody-else`"), "{said}");
}

#[test]
fn one_key_too_many_is_refused_and_not_lost() {
    let fleet = Fleet::up(&["MaxAuthTries 1"]);
    std::fs::write(fleet.at("authorized"), "").unwrap();
    fleet.refuses("auth-refused", "Too many authentication failures");
}

#[test]
fn a_login_without_a_shell_says_what_it_said() {
    let nologin = "ForceCommand /bin/sh -c 'echo This account is not available; exit 1'";
    let fleet = Fleet::up(&[nologin]);
    fleet.refuses("no-shell", "This account is not available");
    let fleet = Fleet::up(&["ForceCommand internal-sftp"]);
    fleet.refuses("no-shell", "");
    let fleet = Fleet::up(&["MaxSessions 0"]);
    fleet.refuses("no-shell", "the server starts no program");
}

#[test]
fn a_server_that_is_full_is_said_to_throttle() {
    let fleet = Fleet::up(&["MaxStartups 1:100:1"]);
    // One that never logs in takes the only place, once the knock that showed that sshd is up is forgotten.
    let rude = loop {
        let (mut rude, mut said) = (TcpStream::connect(("127.0.0.1", fleet.hosts[0].port)).unwrap(), [0; 8]);
        rude.read_exact(&mut said).unwrap();
        if said == *b"SSH-2.0-" {
            break rude;
        }
    };
    // In its own words: `Exceeded MaxStartups`, since OpenSSH 9.8 `Not allowed at this time`.
    fleet.refuses("throttled", "the server closed the connection and said");
    // It is asked again after a while; by then there is room.
    let leaving = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        drop(rude);
    });
    fleet.rotate(0);
    leaving.join().unwrap();
}

#[test]
fn a_sudo_that_asks_refuses_or_is_missing_is_named() {
    let fleet = Fleet::up(&["SetEnv PATH=DIR/tools:/usr/bin:/bin"]);
    let tools = fleet.at("tools");
    fleet.inventory(|_| "identity_file: ed25519, become: sudo".to_owned());
    write_program(&tools.join("sudo"), "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n");
    fleet.refuses("sudo-refused", "a password is required");
    write_program(&tools.join("sudo"), "#!/bin/sh\necho \"$USER is not in the sudoers file.\" >&2\nexit 1\n");
    fleet.refuses("sudo-refused", "is not in the sudoers file");
    // One that never ends asks somebody who is not there.
    write_program(&tools.join("sudo"), "#!/bin/sh\necho '[sudo] password:' >&2\nsleep 100\n");
    fleet.refuses("no-shell", "[sudo] password:");
    write_program(&tools.join("sudo"), "#!/bin/sh\n[ \"$1 $2\" = '-n --' ] || exit 9\nshift 2\nexec \"$@\"\n");
    fleet.rotate(0);
}

#[test]
fn a_server_with_one_session_for_each_connection_is_enough() {
    Fleet::up(&["MaxSessions 1"]).rotate(0);
}

#[test]
fn a_server_that_knows_weak_algorithms_only_gets_no_login() {
    for weak in [
        "KexAlgorithms diffie-hellman-group14-sha1,diffie-hellman-group1-sha1",
        "Ciphers aes256-cbc,3des-cbc",
        "Ciphers aes256-ctr\nMACs hmac-md5,hmac-sha1-96",
    ] {
        let fleet = Fleet::up(&[weak]);
        fleet.refuses("no-common-algorithm", "");
        assert!(!fleet.log(0).contains("Accepted"), "{weak}: {}", fleet.log(0));
    }
}
