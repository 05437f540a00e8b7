//! Rules as a change on a host, under every shell: checked, armed, loaded, confirmed over another session, held on to, and taken away so
//! that every other byte is as it was.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lockturn::host::{CallError, Held, HelloFacts, Kept, KeptState, Request, ScriptKind, SeenFrom};
use lockturn::model::{Reason, ReasonKind, Secret};
use lockturn::quarantine::{PeerRules, Table};
use tokio::process::Command;

use super::rules::OTHERS;
use super::space::{Space, eventually};
use crate::host_program::shell_host::{Home, ShellHost};

pub(super) const SHELLS: [&[&str]; 5] = [&["dash"], &["bash"], &["bash", "--posix"], &["busybox", "sh"], &["mksh"]];

pub(super) fn table() -> Table {
    Table::of(&"worker-1".parse().unwrap())
}

pub(super) fn rules(address: &str) -> String {
    PeerRules::new("worker-1".parse().unwrap(), BTreeSet::from([address.parse().unwrap()]), None).unwrap().render()
}

/// A host with somebody else's rules.
pub(super) struct Firewalled {
    pub(super) space: Space,
    pub(super) home: Home,
    shell: &'static [&'static str],
    before: String,
}

impl Firewalled {
    pub(super) fn new(shell: &'static [&'static str]) -> Self {
        let space = Space::new();
        space.load(OTHERS);
        let before = space.run("nft list ruleset");
        Self { space, home: Home::new(), shell, before }
    }

    pub(super) async fn session(&self, run: &str, epoch: u64) -> ShellHost {
        let mut command = Command::new("nsenter");
        command.args(["--net", "-t", &self.space.pid()]).args(self.shell).arg("-s");
        ShellHost::on(command, &self.home, run, epoch).await.unwrap()
    }

    /// A session that has the host, with this text staged.
    async fn staged(&self, run: &str, load: &str) -> Result<ShellHost, Reason> {
        let mut host = self.session(run, 1).await;
        host.ok(&Request::Lock).await;
        let parts = [
            ("table", Secret::new(format!("{}\n", table()).into_bytes())),
            ("load", Secret::new(load.as_bytes().to_vec())),
        ];
        host.ok(&Request::StageScript { number: 1, kind: ScriptKind::Rules, target: "", parts: &parts }).await;
        match host.call(&Request::Rehearse).await {
            Ok(_) => Ok(host),
            Err(CallError::Refused(reason)) => Err(reason),
            Err(lost) => panic!("{lost}"),
        }
    }

    async fn cut(&self, run: &str, load: &str, lease_seconds: u64) -> ShellHost {
        let mut host = self.staged(run, load).await.unwrap();
        host.ok(&Request::Arm { lease_seconds, services: &[] }).await;
        host.ok(&Request::Cut).await;
        host
    }

    /// Confirmed as it must be: by whoever came in through the rules.
    pub(super) async fn confirmed(&self, run: &str, load: &str) {
        let _first = self.cut(run, load, 60).await;
        let mut fresh = self.session(run, 2).await;
        fresh.ok(&Request::Lock).await;
        assert_eq!(fresh.which().await.held, [Held::New]);
        fresh.ok(&Request::Confirm).await;
        fresh.ok(&Request::Clean).await;
        assert_eq!(fresh.ok(&Request::Leftovers).await.expose(), b"", "what is kept is no unfinished run");
    }

    pub(super) fn ruleset(&self) -> String {
        self.space.run("nft list ruleset")
    }

    pub(super) fn drops(&self, address: &str) -> bool {
        self.ruleset().contains(&format!("elements = {{ {address} }}"))
    }

    pub(super) async fn kept(&self) -> Vec<(String, KeptState)> {
        let mut looking = self.session("09LOOK", 1).await;
        Kept::parse(&looking.ok(&Request::Kept).await).unwrap().0
    }

    fn nothing_comes_back(&self) {
        assert!(!self.home.path(".lockturn/kept").exists(), "what is not confirmed would come back");
        assert_eq!(self.ruleset(), self.before);
    }

    /// What the service does that holds on to the rules: once.
    pub(super) fn load_again(&self) {
        let state = self.home.path(".lockturn");
        let program = state.join("kept/program");
        let status = self.space.command("/bin/sh").arg(program).arg("load").arg(state).status().unwrap();
        assert!(status.success());
    }
}

#[tokio::test]
async fn there_and_back_leaves_every_byte_as_it_was() {
    for shell in SHELLS {
        let host = Firewalled::new(shell);
        let mut session = host.staged("01RUN", &rules("192.0.2.1")).await.unwrap();
        assert_eq!(host.ruleset(), host.before, "{shell:?}: a check changed something");
        session.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
        for _ in 0..2 {
            session.ok(&Request::Cut).await;
            assert_eq!(session.which().await.held, [Held::New], "{shell:?}");
            assert!(host.drops("192.0.2.1"), "{shell:?}");
        }
        for _ in 0..2 {
            session.ok(&Request::Revert).await;
            assert_eq!(host.ruleset(), host.before, "{shell:?}");
            assert_eq!(session.which().await.held, [Held::Old], "{shell:?}");
        }
        session.ok(&Request::Clean).await;
        assert_eq!(fs::read_dir(host.home.path(".lockturn")).unwrap().count(), 0, "{shell:?}: something is left");
    }
}

#[tokio::test]
async fn what_is_confirmed_stays_comes_back_and_is_released_exactly() {
    for shell in SHELLS {
        let host = Firewalled::new(shell);
        for run in ["01RUN", "02RUN"] {
            host.confirmed(run, &rules("192.0.2.1")).await;
            assert_eq!(host.kept().await, [(table().to_string(), KeptState::InPlace)], "{shell:?} {run}");
        }
        let with_rules = host.ruleset();
        // Another firewall is loaded, and begins with nothing.
        host.space.run("nft flush ruleset");
        host.space.load(OTHERS);
        assert_eq!(host.kept().await, [(table().to_string(), KeptState::Gone)], "{shell:?}");
        host.load_again();
        assert_eq!(host.ruleset(), with_rules, "{shell:?}");
        host.space.run(&format!("nft add rule inet {} lockturn_output accept", table()));
        assert_eq!(host.kept().await, [(table().to_string(), KeptState::Changed)], "{shell:?}");
        host.load_again();
        assert_eq!(host.kept().await, [(table().to_string(), KeptState::InPlace)], "{shell:?}");
        for run in ["03RUN", "04RUN"] {
            host.confirmed(run, "").await;
            assert_eq!(host.ruleset(), host.before, "{shell:?} {run}");
            assert_eq!(host.kept().await, [], "{shell:?}");
        }
        assert_eq!(fs::read_dir(host.home.path(".lockturn")).unwrap().count(), 0, "{shell:?}: something is left");
    }
}

#[tokio::test]
async fn rules_that_nobody_confirms_go_by_themselves() {
    for shell in SHELLS {
        let host = Firewalled::new(shell);
        let session = host.cut("01RUN", &rules("192.0.2.1"), 3).await;
        assert!(host.drops("192.0.2.1"), "{shell:?}");
        // Whoever loaded them is cut off by them.
        session.kill().await;
        eventually("the rules go", || (host.ruleset() == host.before).then_some(()));
        let mut fresh = host.session("01RUN", 2).await;
        fresh.ok(&Request::Lock).await;
        assert_eq!(fresh.refused(&Request::Confirm).await, ReasonKind::Fired, "{shell:?}");
        fresh.ok(&Request::Revert).await;
        fresh.ok(&Request::Clean).await;
        host.nothing_comes_back();
    }
}

#[tokio::test]
async fn a_second_quarantine_that_fails_leaves_the_first() {
    let host = Firewalled::new(SHELLS[0]);
    host.confirmed("01RUN", &rules("192.0.2.1")).await;
    let first = host.ruleset();
    let mut session = host.cut("02RUN", &rules("192.0.2.2"), 60).await;
    assert!(host.drops("192.0.2.2") && !host.drops("192.0.2.1"));
    session.ok(&Request::Revert).await;
    assert_eq!(host.ruleset(), first);
    session.ok(&Request::Clean).await;
    assert_eq!(host.kept().await, [(table().to_string(), KeptState::InPlace)]);
    // A release that nobody confirms is none.
    let mut session = host.cut("03RUN", "", 60).await;
    assert_eq!(host.ruleset(), host.before);
    session.ok(&Request::Revert).await;
    assert_eq!(host.ruleset(), first);
    session.ok(&Request::Clean).await;
    assert_eq!(host.kept().await, [(table().to_string(), KeptState::InPlace)]);
}

#[tokio::test]
async fn what_the_host_s_own_nft_does_not_take_is_refused_before_anything_changes() {
    let host = Firewalled::new(SHELLS[0]);
    let broken = rules("192.0.2.1").replace("priority 310", "priority nobody");
    let refused = host.staged("01RUN", &broken).await.err().unwrap();
    assert_eq!(refused.kind, ReasonKind::RehearsalFailed);
    assert!(refused.detail.contains(&table().to_string()) && refused.detail.contains("Error"), "{refused}");
    assert_eq!(host.ruleset(), host.before);
    let mut session = host.session("01RUN", 2).await;
    session.ok(&Request::Lock).await;
    session.ok(&Request::Clean).await;
}

#[tokio::test]
async fn a_death_at_any_command_of_nft_is_mended_by_the_next_session() {
    for shell in [SHELLS[0], SHELLS[4]] {
        // The how manyth call of nft ends the shell, before it does what it should, or after.
        for (when, call) in ["before", "after"].iter().flat_map(|when| (1..=4).map(move |call| (*when, call))) {
            let host = Firewalled::new(shell);
            let mut session = host.staged("01RUN", &rules("192.0.2.1")).await.unwrap();
            session.ok(&Request::Arm { lease_seconds: 600, services: &[] }).await;
            fs::create_dir(host.home.path("deadly")).unwrap();
            let count = host.home.path("calls");
            let program = format!(
                "#!/bin/sh\necho x >>{0}\nn=$(wc -l <{0})\n[ $n != {call} ] || [ {when} = after ] || {{ kill -9 $PPID; exit 1; }}\n\
                 /usr/sbin/nft \"$@\"; r=$?\n[ $n != {call} ] || kill -9 $PPID\nexit $r\n",
                count.display()
            );
            fs::write(host.home.path("deadly/nft"), program).unwrap();
            fs::set_permissions(host.home.path("deadly/nft"), fs::Permissions::from_mode(0o755)).unwrap();
            session.hello(1, ".lockturn", "deadly").await.unwrap();
            let died = session.call(&Request::Cut).await;
            fs::remove_dir_all(host.home.path("deadly")).unwrap();
            assert!(matches!(died, Err(CallError::Lost(_))), "{shell:?} {when} {call}: nobody died");
            let mut next = host.session("01RUN", 2).await;
            next.ok(&Request::Lock).await;
            if call % 2 == 0 {
                next.ok(&Request::Cut).await;
                assert_eq!(next.which().await.held, [Held::New], "{shell:?} {when} {call}");
                assert!(host.drops("192.0.2.1"));
            }
            next.ok(&Request::Revert).await;
            assert_eq!(host.ruleset(), host.before, "{shell:?} {when} {call}");
            next.ok(&Request::Clean).await;
            assert_eq!(fs::read_dir(host.home.path(".lockturn")).unwrap().count(), 0, "{shell:?} {when} {call}");
        }
    }
}

#[tokio::test]
async fn a_host_says_what_it_has_and_where_we_come_from() {
    for shell in SHELLS {
        let host = Firewalled::new(shell);
        let mut session = host.session("01RUN", 1).await;
        let facts = HelloFacts::parse(&session.hello(1, ".lockturn", "").await.unwrap()).unwrap();
        assert!(facts.has("nft"));
        assert_eq!(session.refused(&Request::SeenFrom).await, ReasonKind::Missing, "{shell:?}: nobody came over SSH");
        // As sudo does: our own environment does not have it, that of a process above us has.
        let outer = format!(
            "env 'SSH_CONNECTION=fe80::1%eth0 40000 192.0.2.7 2222' sh -c 'env -u SSH_CONNECTION {} -s; exit'",
            shell.join(" ")
        );
        let mut command = Command::new("sh");
        command.args(["-c", &outer]);
        let mut above = ShellHost::on(command, &host.home, "01RUN", 1).await.unwrap();
        let seen = SeenFrom::parse(&above.ok(&Request::SeenFrom).await).unwrap();
        assert_eq!((seen.address.as_str(), seen.port.get()), ("fe80::1%eth0", 2222), "{shell:?}");
    }
}
