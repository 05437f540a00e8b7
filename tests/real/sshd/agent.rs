//! OpenSSH's agent.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use super::fleet::{Fleet, PATIENCE, ended};

pub(super) struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

impl Agent {
    pub(super) fn start(fleet: &Fleet) -> Self {
        let socket = fleet.at("agent");
        let process = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn();
        let process = process.expect("ssh-agent is missing; `make test` installs it");
        let until = Instant::now() + PATIENCE;
        while !socket.exists() {
            assert!(Instant::now() < until, "the agent does not come up");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Self { process, socket }
    }

    pub(super) fn add(&self, fleet: &Fleet, key: &str) {
        let mut add = Command::new("ssh-add");
        add.arg("-q").arg(fleet.at(key)).env("SSH_AUTH_SOCK", &self.socket);
        assert!(add.status().unwrap().success());
    }

    pub(super) fn rotate(&self, fleet: &Fleet) -> Output {
        fleet.rotation().env("SSH_AUTH_SOCK", &self.socket).output().unwrap()
    }
}

#[test]
fn each_kind_of_key_signs_in_the_agent() {
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let fleet = Fleet::up(&[""]);
        fleet.make_key("mine", kind, "");
        fleet.authorize(&["mine"]);
        fleet.inventory(|_| "labels: {}".to_owned());
        let agent = Agent::start(&fleet);
        agent.add(&fleet, "mine");
        // Only the agent has it.
        std::fs::remove_file(fleet.at("mine")).unwrap();
        ended(&agent.rotate(&fleet), 0);
    }
}

#[test]
fn of_many_keys_a_few_are_tried_and_the_right_one_can_be_named() {
    let fleet = Fleet::up(&["MaxAuthTries 6"]);
    let agent = Agent::start(&fleet);
    for number in 0..8 {
        let key = format!("key-{number}");
        fleet.make_key(&key, "ed25519", "");
        agent.add(&fleet, &key);
        std::fs::remove_file(fleet.at(&key)).unwrap();
    }
    fleet.authorize(&["key-7"]);
    fleet.inventory(|_| "labels: {}".to_owned());
    let said = ended(&agent.rotate(&fleet), 4);
    assert!(said.contains("auth-refused") && said.contains("key-2 (agent)") && said.contains("5 more"), "{said}");
    fleet.inventory(|_| "identity_file: key-7.pub".to_owned());
    ended(&agent.rotate(&fleet), 0);
}

#[test]
fn a_server_that_counts_says_so_itself() {
    let fleet = Fleet::up(&["MaxAuthTries 2"]);
    let agent = Agent::start(&fleet);
    for key in ["a", "b", "c"] {
        fleet.make_key(key, "ed25519", "");
        agent.add(&fleet, key);
    }
    fleet.inventory(|_| "labels: {}".to_owned());
    let said = ended(&agent.rotate(&fleet), 4);
    assert!(said.contains("auth-refused") && said.contains("Too many authentication failures"), "{said}");
    assert!(said.contains("tried a (agent), b (agent)"), "{said}");
}

#[test]
fn an_agent_that_is_gone_or_empty_or_hangs_is_named() {
    let fleet = Fleet::up(&[""]);
    fleet.inventory(|_| "labels: {}".to_owned());
    let empty = Agent::start(&fleet);
    let said = ended(&empty.rotate(&fleet), 4);
    assert!(said.contains("auth-refused") && said.contains("no SSH agent with a key"), "{said}");
    let socket = empty.socket.clone();
    drop(empty);
    let rotate = || ended(&fleet.rotation().env("SSH_AUTH_SOCK", &socket).output().unwrap(), 4);
    let said = rotate();
    assert!(said.contains("agent-unusable") && said.contains("does not answer"), "{said}");
    // Somebody listens there and never speaks.
    let _gone = std::fs::remove_file(&socket);
    let _silent = UnixListener::bind(&socket).unwrap();
    let said = rotate();
    assert!(said.contains("agent-unusable") && said.contains("does not list its keys"), "{said}");
    // Who has no agent and names no key is told both.
    fleet.refuses("auth-refused", "names no `identity_file`");
}
