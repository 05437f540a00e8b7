//! A drill on real servers: each host goes back by its own switch, and nothing of the run is left.

use std::fs;

use super::fleet::{Fleet, ended};

#[test]
fn hosts_that_hear_nothing_go_back_by_themselves() {
    let fleet = Fleet::up(&["", ""]);
    let playbook = fs::read_to_string(fleet.at("playbook")).unwrap();
    fs::write(fleet.at("playbook"), format!("{playbook}rollout: {{ lease: 10s }}\n")).unwrap();
    for (fault, switches) in [("proof", 0), ("lost-host", 1), ("dead-coordinator", 2)] {
        let mut drill = fleet.command(&["--yes", "--output", "plain", "drill", "--fault", fault]);
        let said = ended(&drill.arg(fleet.at("playbook")).output().unwrap(), 0);
        assert!(said.contains("DRILLED  every host went back and proves the old secret"), "{fault}: {said}");
        assert_eq!(said.matches(": back by itself, ").count(), switches, "{fault}: {said}");
        // One value for both: the smallest part is everybody, and that is said.
        assert!(said.contains("on all 2 hosts"), "{fault}: {said}");
        for number in 0..2 {
            let env = fs::read_to_string(fleet.env(number)).unwrap();
            assert_eq!(env, "# kept\r\nA=1\r\nTOKEN=\"old-old-old\"\r\n", "{fault}: h{number}");
            assert_eq!(fs::read_dir(fleet.at(&format!("state-{number}"))).unwrap().count(), 0, "{fault}: h{number}");
            assert_eq!(fs::read_dir(fleet.at(&format!("files-{number}"))).unwrap().count(), 1, "{fault}: h{number}");
        }
    }
}
