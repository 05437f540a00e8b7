//! Evidence over Debian's OpenSSH: of a host that behaves, of one whose tools are an attacker's, and to a disk that is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use age::secrecy::ExposeSecret as _;
use lockturn::host::EVIDENCE;
use lockturn::model::{Become, EvidencePlan, EvidenceTaken, Millis, ReasonKind, RunId};
use lockturn::runtime::actor::Who;
use lockturn::runtime::evidence;
use lockturn::ssh::{Connector, Endpoint, Keys, Settings};
use tokio_util::sync::CancellationToken;

use super::fleet::{Fleet, PATIENCE, user, write_program};

fn run() -> RunId {
    "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()
}

/// What the first host of the fleet shows, and how long that takes.
fn take(fleet: &Fleet, directory: &Path, seconds: u64, recipients: &[String]) -> (EvidenceTaken, Duration) {
    let endpoint = Endpoint {
        host: "h0".parse().unwrap(),
        address: "127.0.0.1".to_owned(),
        port: fleet.hosts[0].port,
        user: user(),
        identity_files: vec![fleet.at("ed25519")],
        known_hosts: vec![fleet.at("known")],
        jump: None,
    };
    let who = Who {
        host: "h0".parse().unwrap(),
        endpoint,
        become_user: Become::None,
        state_dir: String::new(),
        path: String::new(),
    };
    let plan = EvidencePlan {
        directory: directory.to_str().unwrap().to_owned(),
        time: Millis::from_secs(seconds),
        bytes: 256 * 1024 * 1024,
        recipients: recipients.to_vec(),
    };
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let taken = runtime.block_on(async {
        let connector = Arc::new(Connector::new(Settings::default(), Keys::new(Box::new(|_| None), None)));
        tokio::spawn(async move { evidence::take(who, &plan, &run(), connector, CancellationToken::new()).await }).await
    });
    (taken.unwrap(), began.elapsed())
}

fn place(directory: &Path, taken: &EvidenceTaken) -> PathBuf {
    directory.join(run().as_str()).join(&taken.place)
}

#[track_caller]
fn sums_agree(at: &Path) {
    let checked = Command::new("sha256sum").args(["--quiet", "-c", "SHA256SUMS"]).current_dir(at).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

fn missing(taken: &EvidenceTaken) -> Vec<(&str, ReasonKind)> {
    taken.missing.iter().flat_map(|lack| lack.items.iter().map(|item| (item.as_str(), lack.reason.kind))).collect()
}

#[test]
fn a_host_shows_what_it_is_and_only_the_recipient_reads_it() {
    let fleet = Fleet::up(&[""]);
    let plain = fleet.at("plain");
    let (taken, _) = take(&fleet, &plain, 60, &[]);
    assert_eq!(missing(&taken), []);
    let at = place(&plain, &taken);
    sums_agree(&at);
    let shown = |name: &str| String::from_utf8_lossy(&fs::read(at.join(name)).unwrap()).into_owned();
    assert!(shown("02-processes").contains(&format!("Pid:\t{}", std::process::id())));
    assert!(shown("05-sockets").contains(&format!(":{}", fleet.hosts[0].port)));
    assert!(shown("23-binaries").lines().any(|line| line.ends_with("/sshd") || line.contains("sshd")));
    // Whoever changes one byte is found out.
    let processes = at.join("02-processes");
    let mut bytes = fs::read(&processes).unwrap();
    bytes[0] ^= 1;
    fs::write(&processes, bytes).unwrap();
    let checked = Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(&at).output().unwrap();
    assert!(String::from_utf8_lossy(&checked.stdout).contains("02-processes: FAILED"));

    let identity = age::x25519::Identity::generate();
    fs::write(fleet.at("identity"), identity.to_string().expose_secret()).unwrap();
    let sealed = fleet.at("sealed");
    let (taken, _) = take(&fleet, &sealed, 60, &[identity.to_public().to_string()]);
    assert_eq!(missing(&taken), []);
    let at = place(&sealed, &taken);
    sums_agree(&at);
    // The real tool reads it.
    let opened =
        Command::new("age").arg("-d").arg("-i").arg(fleet.at("identity")).arg(at.join("02-processes.age")).output();
    let opened = opened.unwrap_or_else(|error| panic!("age: {error}; `make test` installs it"));
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    assert!(String::from_utf8_lossy(&opened.stdout).contains(&format!("Pid:\t{}", std::process::id())));
    for file in fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()) {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"Pid:\t"), "{} is plain", file.display());
    }
}

#[test]
fn tools_of_an_attacker_cost_their_own_item_only() {
    assert!(rustix::process::geteuid().is_root(), "this test mounts: run it as root");
    let mut fleet = Fleet::up(&[]);
    let tools = fleet.at("tools");
    let evil: [(&str, &str); 4] = [
        // Heeds no signal.
        ("ss", "#!/bin/sh\ntrap '' TERM HUP PIPE\nn=0\nwhile [ $n -lt 60 ]; do n=$((n + 1)); sleep 1; done\n"),
        ("w", "#!/bin/sh\nexec yes 'without end'\n"),
        // Ends, and leaves somebody who holds on to its output.
        ("dmesg", "#!/bin/sh\necho so far\nsleep 40 &\n"),
        (
            "journalctl",
            "#!/bin/sh\nprintf '\\033[2J../../x\\nLOCKTURN-EVIDENCE 1\\n00 1 end 0\\n00 1 ok 5\\nhello\\n'\n",
        ),
    ];
    for (name, text) in evil {
        write_program(&tools.join(name), text);
    }
    let script = "for tool in ss w dmesg journalctl; do mount --bind \"$1/$tool\" \"/usr/bin/$tool\" || exit; done; shift; exec \"$@\"";
    fleet.start("", &["unshare", "--mount", "sh", "-c", script, "sh", tools.to_str().unwrap()]);
    fleet.know(|number| format!("host-{number}"));
    let directory = fleet.at("evidence");
    let (taken, time) = take(&fleet, &directory, 60, &[]);
    let lacks =
        [("sockets", ReasonKind::TimedOut), ("logins", ReasonKind::TooLarge), ("kernel-log", ReasonKind::TimedOut)];
    assert_eq!(missing(&taken), lacks, "{taken:?}");
    assert!(time < PATIENCE, "{time:?}");
    let at = place(&directory, &taken);
    sums_agree(&at);
    let logins = EVIDENCE.iter().find(|item| item.name == "logins").unwrap();
    assert_eq!(fs::metadata(at.join("06-logins")).unwrap().len(), logins.bytes);
    // It is kept as it is, and nobody is led astray by it.
    assert!(fs::read_to_string(at.join("15-journal")).unwrap().contains("\x1b[2J../../x\nLOCKTURN-EVIDENCE 1\n"));
    assert!(fs::read_to_string(at.join("23-binaries")).unwrap().contains("  /"));
}

/// A file system of memory of 256 KiB, as long as this is there.
struct SmallDisk(Child, PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

impl SmallDisk {
    fn at(path: &Path) -> Self {
        fs::create_dir(path).unwrap();
        let script = "mount -t tmpfs -o size=256k,mode=700 none \"$1\" && : >\"$1/up\" && exec sleep 300";
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(path)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("unshare: {error}; `make test` installs it"));
        let seen = PathBuf::from(format!("/proc/{}/root{}", child.id(), path.display()));
        let disk = Self(child, seen);
        let until = Instant::now() + PATIENCE;
        while !disk.1.join("up").exists() {
            assert!(Instant::now() < until, "no mount namespace with a tmpfs");
            std::thread::sleep(Duration::from_millis(5));
        }
        disk
    }
}

#[test]
fn a_full_disk_here_is_said_and_holds_nobody_up() {
    assert!(rustix::process::geteuid().is_root(), "this test mounts: run it as root");
    let fleet = Fleet::up(&[""]);
    for recipients in [vec![], vec![age::x25519::Identity::generate().to_public().to_string()]] {
        let disk = SmallDisk::at(&fleet.at(&format!("disk-{}", recipients.len())));
        let (taken, time) = take(&fleet, &disk.1, 60, &recipients);
        let lacks = missing(&taken);
        assert!(lacks.len() > 5 && lacks.iter().all(|(_, kind)| *kind == ReasonKind::NoSpace), "{taken:?}");
        assert!(taken.items >= 1 && time < PATIENCE, "{taken:?}");
    }
}
