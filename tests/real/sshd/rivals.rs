//! Operators who know nothing of each other, at the same moment, on the same hosts or on some of the same.

use std::fs;
use std::process::Stdio;

use super::fleet::Fleet;

/// One that had looked before the other one's cut, and came when that had ended, is told that something changed. One that looked in the
/// middle of it is told who holds the hosts.
const WHYS: [&str; 2] = ["holds this host", "not what it was"];

/// Both rotate at once, each with a state directory of his own; says how each ended. Whoever is refused is told one of these.
fn both(fleet: &Fleet, hosts: [&[usize]; 2], round: usize, whys: &[&str]) -> [i32; 2] {
    let start = |who: usize| {
        fleet.playbook_for(hosts[who], "");
        let (playbook, state) = (fleet.at(&format!("playbook-{who}")), fleet.at(&format!("state-of-{who}")));
        fs::rename(fleet.at("playbook"), &playbook).unwrap();
        let mut command = fleet.command(&["--yes", "rotate"]);
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let own = words.into_iter().map(|word| if word == fleet.at("state") { state.clone().into() } else { word });
        let own: Vec<_> = own.collect();
        let envs: Vec<_> = command.get_envs().map(|(k, v)| (k.to_owned(), v.unwrap().to_owned())).collect();
        command = std::process::Command::new(command.get_program());
        command.args(own).arg(playbook).env_clear().envs(envs).stdin(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let ended = [0, 1].map(start).map(|running| running.wait_with_output().unwrap());
    let codes = ended.each_ref().map(|output| output.status.code().unwrap());
    for (code, output) in codes.iter().zip(&ended) {
        let said = String::from_utf8_lossy(&output.stderr);
        let why = whys.iter().any(|why| said.contains(why));
        assert!(*code == 0 || (*code == 4 && why && said.contains("nothing was changed")), "round {round}: {said}");
    }
    codes
}

fn token(fleet: &Fleet, host: usize) -> String {
    let env = fs::read_to_string(fleet.env(host)).unwrap();
    env.lines().find(|line| line.starts_with("TOKEN=")).unwrap().to_owned()
}

/// Nothing is left, and all hosts of a run hold one value.
fn whole(fleet: &Fleet, hosts: usize) {
    for host in 0..hosts {
        let left = fs::read_dir(fleet.env(host).parent().unwrap()).unwrap().count();
        let state = fs::read_dir(fleet.at(&format!("state-{host}"))).map_or(0, Iterator::count);
        assert_eq!((left, state), (1, 0), "h{host}: something is left");
    }
}

#[test]
fn two_who_begin_at_the_same_moment_do_not_mix() {
    let fleet = Fleet::up(&["", ""]);
    let mut stopped = 0;
    for round in 0..4 {
        let before = token(&fleet, 0);
        let codes = both(&fleet, [&[0, 1], &[0, 1]], round, &WHYS);
        whole(&fleet, 2);
        assert_eq!(token(&fleet, 0), token(&fleet, 1), "round {round}: {codes:?}: the hosts are split");
        assert_eq!(token(&fleet, 0) != before, codes.contains(&0), "round {round}: {codes:?}");
        stopped += codes.iter().filter(|code| **code == 4).count();
    }
    assert!(stopped > 0, "they were never at it at the same moment");
}

#[test]
fn two_who_share_one_host_do_not_wait_for_each_other() {
    let fleet = Fleet::up(&["", "", ""]);
    let mut stopped = 0;
    for round in 0..4 {
        // Each playbook's hosts agree before it begins.
        for host in 0..3 {
            fs::write(fleet.env(host), "# kept\r\nA=1\r\nTOKEN=\"old-old-old\"\r\n").unwrap();
        }
        let before = token(&fleet, 0);
        // Once the other one has ended its hosts and the rest of mine do disagree.
        let codes = both(&fleet, [&[0, 1], &[1, 2]], round, &[&WHYS[..], &["disagrees: "]].concat());
        whole(&fleet, 3);
        let new = [0, 1, 2].map(|host| token(&fleet, host) != before);
        match codes {
            [0, 4] => assert_eq!((new, token(&fleet, 0)), ([true, true, false], token(&fleet, 1))),
            [4, 0] => assert_eq!((new, token(&fleet, 2)), ([false, true, true], token(&fleet, 1))),
            [4, 4] => assert_eq!(new, [false; 3]),
            _ => {}
        }
        stopped += codes.iter().filter(|code| **code == 4).count();
    }
    assert!(stopped > 0, "they were never at it at the same moment");
}
