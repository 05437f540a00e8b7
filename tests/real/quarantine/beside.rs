//! Whoever else manages rules on a host: what they do to theirs leaves ours alone, and what takes ours away is seen and put back. And hosts
//! whose rules nobody can manage.

use std::fs;
use std::os::unix::fs::chown;
use std::process::{Child, Command, Stdio};

use lockturn::host::{CallError, KeptState, Request, ScriptKind};
use lockturn::model::{ReasonKind, Secret};

use super::program::{Firewalled, SHELLS, rules, table};
use super::space::{Space, eventually};
use crate::host_program::shell_host::{Home, ShellHost};

/// What others do, each with its own tables: a text on the standard input of a program.
const OTHERS: [(&str, &str, &str); 7] = [
    (
        "ufw is reloaded: its chains are flushed and filled again",
        "iptables-restore -n",
        "*filter\n:ufw-user-input - [0:0]\n-F ufw-user-input\n-A ufw-user-input -p tcp --dport 22 -j ACCEPT\nCOMMIT\n",
    ),
    (
        "rules that were saved are loaded over all of iptables",
        "iptables-restore",
        "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\nCOMMIT\n",
    ),
    (
        "Docker starts",
        "iptables-restore -n",
        "*nat\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE\nCOMMIT\n\
         *filter\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN\nCOMMIT\n",
    ),
    ("iptables is flushed", "iptables -F", ""),
    ("its translations are flushed", "iptables -t nat -F", ""),
    (
        "firewalld is reloaded: its table goes and comes in one transaction",
        "nft -f -",
        "table inet firewalld\ndelete table inet firewalld\ntable inet firewalld {\nchain filter_INPUT {\n\
         type filter hook input priority 10; policy accept;\nct state established,related accept\n}\n}\n",
    ),
    ("the same again", "nft -f -", "table inet firewalld\ndelete table inet firewalld\ntable inet firewalld {\n}\n"),
];

fn does(space: &Space, program: &str, text: &str) {
    let input = tempfile::NamedTempFile::new().unwrap();
    fs::write(input.path(), text).unwrap();
    let mut words = program.split(' ');
    let output = space
        .command(words.next().unwrap())
        .args(words)
        .stdin(fs::File::open(input.path()).unwrap())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; `make test` installs it"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn what_others_do_with_their_rules_leaves_ours_alone() {
    let host = Firewalled::new(SHELLS[0]);
    host.confirmed("01RUN", &rules("192.0.2.1")).await;
    for (what, program, text) in OTHERS {
        let before = host.ruleset();
        does(&host.space, program, text);
        assert_ne!(host.ruleset(), before, "{what}: nothing happened");
        assert_eq!(host.kept().await, [(table().to_string(), KeptState::InPlace)], "{what}");
        assert!(host.drops("192.0.2.1"), "{what}");
    }
    let theirs = host.space.run("nft list tables");
    host.confirmed("02RUN", "").await;
    let left = theirs.replace(&format!("table inet {}\n", table()), "");
    assert_eq!(host.space.run("nft list tables"), left, "the release took something of theirs, or left ours");
}

/// What the service does that holds on to the rules, as long as this lives.
struct Holding(Child);

impl Holding {
    fn on(host: &Firewalled) -> Self {
        let state = host.home.path(".lockturn");
        let program = state.join("kept/program");
        Self(host.space.command("/bin/sh").arg(program).arg("hold").arg(state).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        // Ended already, or ending now.
        let _ended = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[tokio::test]
async fn what_takes_ours_away_is_seen_and_put_back() {
    let host = Firewalled::new(SHELLS[0]);
    host.confirmed("01RUN", &rules("192.0.2.1")).await;
    // A reload of nftables.service: everything goes, and what stands in its file comes.
    let reload =
        "flush ruleset\ntable inet filter {\nchain input {\ntype filter hook input priority 0; policy accept;\n}\n}\n";
    let takes: [(&str, &str, KeptState); 5] = [
        ("nft -f -", reload, KeptState::Gone),
        ("nft flush ruleset", "", KeptState::Gone),
        ("nft -f -", &format!("delete table inet {}\n", table()), KeptState::Gone),
        ("nft -f -", &format!("flush table inet {}\n", table()), KeptState::Changed),
        ("nft -f -", &format!("insert rule inet {} lockturn_prerouting accept\n", table()), KeptState::Changed),
    ];
    for (program, text, state) in takes {
        does(&host.space, program, text);
        assert_eq!(host.kept().await, [(table().to_string(), state)], "{program} {text}");
        // Loaded once, as at a start; and again and again, as afterwards.
        host.load_again();
        assert_eq!(host.kept().await, [(table().to_string(), KeptState::InPlace)], "{program} {text}");
        let _holding = Holding::on(&host);
        does(&host.space, program, text);
        let wanted = host.home.path(&format!(".lockturn/kept/{}.nft.listed", table()));
        let wanted = fs::read_to_string(wanted).unwrap();
        eventually("the rules come back", || (listing(&host.space) == wanted.trim()).then_some(()));
        assert_eq!(host.kept().await, [(table().to_string(), KeptState::InPlace)], "{program} {text}");
    }
}

/// The digest of our table as the kernel has it; of nothing where there is none.
fn listing(space: &Space) -> String {
    let line = format!("printf %s \"$(nft -s list table inet {} 2>/dev/null)\" | sha256sum", table());
    let output = space.command("/bin/sh").args(["-c", &line]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_host_whose_rules_nobody_can_manage_says_so_and_has_none() {
    // Without nft; and with it, for somebody who is not root.
    let nowhere = "mkdir \"$HOME/none\" && mount --bind \"$HOME/none\" /usr/sbin && exec sh -s";
    let somebody = ["--reuid=54321", "--regid=54321", "--clear-groups", "sh", "-s"];
    for (who, why) in [("nobody has nft", "not found"), ("not root", "not permitted")] {
        let (space, home) = (Space::new(), Home::new());
        let before = space.run("nft list ruleset");
        let mut command = Command::new("nsenter");
        command.args(["--net", "-t", &space.pid()]);
        if who == "not root" {
            chown(home.path(""), Some(54_321), Some(54_321)).unwrap();
            command.arg("setpriv").args(somebody);
        } else {
            command.args(["unshare", "--mount", "sh", "-c", nowhere]);
        }
        let mut host = ShellHost::on(command.into(), &home, "01RUN", 1).await.unwrap();
        host.ok(&Request::Lock).await;
        let parts = [
            ("table", Secret::new(format!("{}\n", table()).into_bytes())),
            ("load", Secret::new(rules("192.0.2.1").into_bytes())),
        ];
        let staged = Request::StageScript { number: 1, kind: ScriptKind::Rules, target: "", parts: &parts };
        let refused = match host.call(&staged).await {
            Ok(_) => host.call(&Request::Rehearse).await.err(),
            Err(error) => Some(error),
        };
        let Some(CallError::Refused(reason)) = refused else { panic!("{who}: {refused:?}") };
        assert!(reason.detail.to_lowercase().contains(why), "{who}: {reason:?}");
        assert_eq!(reason.kind, ReasonKind::RehearsalFailed, "{who}");
        host.ok(&Request::Clean).await;
        assert_eq!(space.run("nft list ruleset"), before, "{who}");
    }
}
