//! A worker's own rules on real hosts: loaded over the operator's way to it, held on to by a service, there again after a power cut before
//! anybody can be reached, and released so that every byte is as it was. No verb does this yet: here it is the program on the host.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use lockturn::host::{CallError, Held, HostProgram, Nonce, Request, ScriptKind, SeenFrom, Which};
use lockturn::model::{ReasonKind, RunId, Secret};
use lockturn::quarantine::{Address, HostRules, Management, Table};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::fleet::Fleet;
use crate::host::Host;
use crate::tools::eventually;

/// How long an answer may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

const STATE: &str = "/var/lib/lockturn-quarantine";

/// A connection of its own to a worker, and the program in it.
struct Session {
    program: HostProgram<ChildStdout, ChildStdin>,
    _ssh: Child,
}

impl Session {
    /// Through the control plane, as the operator goes; every time a fresh one.
    async fn open(fleet: &Fleet, host: &str, run: &str, epoch: u64) -> Result<Self, CallError> {
        let home = fleet.home.display();
        let ssh = format!(
            "ssh -i {home}/.ssh/id_ed25519 -o UserKnownHostsFile={home}/.ssh/known_hosts -o BatchMode=yes -o ConnectTimeout=20"
        );
        let domain = "nanoclaw.example";
        let line = format!(
            "mount --bind {home}/hosts /etc/hosts && exec {ssh} -o ProxyCommand='{ssh} -W %h:%p deploy@control.{domain}' \
             deploy@{host}.{domain} exec sudo -n -- /bin/sh -s"
        );
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-c", &line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let program = HostProgram::start(stdout, stdin, Nonce::new([9; 16]), LIMIT).await?;
        let mut session = Self { program, _ssh: child };
        let run: RunId = run.parse().unwrap();
        session.program.call(&Request::Hello { run: &run, epoch, state_dir: STATE, path: "" }, LIMIT).await?;
        Ok(session)
    }

    async fn ok(&mut self, request: &Request<'_>) -> Secret {
        match self.program.call(request, LIMIT).await {
            Ok(payload) => payload,
            Err(error) => panic!("`{}`: {error:?}", request.verb()),
        }
    }

    /// A session that has the host, with this staged and armed.
    async fn armed(fleet: &Fleet, host: &str, run: &str, load: &str, lease_seconds: u64) -> Self {
        let mut session = Self::open(fleet, host, run, 1).await.unwrap();
        session.ok(&Request::Lock).await;
        let parts = [
            ("table", Secret::new(format!("{}\n", Table::own()).into_bytes())),
            ("load", Secret::new(load.as_bytes().to_vec())),
        ];
        session.ok(&Request::StageScript { number: 1, kind: ScriptKind::Rules, target: "", parts: &parts }).await;
        session.ok(&Request::Rehearse).await;
        let said = session.ok(&Request::Arm { lease_seconds, services: &[] }).await;
        assert_eq!(said.expose(), b"switch systemd");
        session
    }

    /// Loaded by one connection, confirmed by another one.
    async fn through(fleet: &Fleet, host: &str, run: &str, load: &str) {
        let mut first = Self::armed(fleet, host, run, load, 120).await;
        first.ok(&Request::Cut).await;
        let mut fresh = Self::open(fleet, host, run, 2).await.unwrap();
        fresh.ok(&Request::Lock).await;
        assert_eq!(Which::parse(&fresh.ok(&Request::Which).await).unwrap().held, [Held::New]);
        fresh.ok(&Request::Confirm).await;
        fresh.ok(&Request::Clean).await;
    }
}

/// Whether a program on the host reaches the control plane's sshd.
fn reaches(host: &Host) -> bool {
    let line = "timeout 3 bash -c ': <>/dev/tcp/control.nanoclaw.example/22' 2>/dev/null";
    host.try_sh(line, "").status.success()
}

fn has_rules(host: &Host) -> Option<()> {
    host.try_sh("nft list table inet lockturn_quarantine", "").status.success().then_some(())
}

fn rules(from: &str) -> String {
    let from: Address = from.parse().unwrap();
    let ports = BTreeSet::from([22_u16.try_into().unwrap()]);
    HostRules::new(Management { from: BTreeSet::from([from]), declared: BTreeSet::new(), ports }).unwrap().render()
}

fn wait<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
}

pub(super) fn a_worker_s_own_rules(fleet: &Fleet) {
    fleet.begin();
    let host = fleet.host("worker-2");
    let before = host.sh("nft list ruleset");
    assert!(reaches(host), "it reaches nobody before: this shows nothing");
    let seen = wait(async {
        let mut looking = Session::open(fleet, "worker-2", "01LOOK", 1).await.unwrap();
        SeenFrom::parse(&looking.ok(&Request::SeenFrom).await).unwrap()
    });
    assert_eq!((seen.address.as_str(), seen.port.get()), (fleet.network.address(10).v4.as_str(), 22));
    wait(Session::through(fleet, "worker-2", "01RUN", &rules(&seen.address)));
    assert!(!reaches(host), "it is in quarantine, and reaches the control plane");
    assert_eq!(host.sh("systemctl is-active lockturn-quarantine"), "active\n");

    // Its own firewall begins with `flush ruleset`.
    for other in ["nft flush ruleset", "systemctl restart nftables", "nft delete table inet lockturn_quarantine"] {
        host.sh(other);
        eventually(&format!("the rules come back after `{other}`"), || has_rules(host));
    }
    assert!(!reaches(host));

    host.power_cut(&fleet.network);
    host.boot();
    eventually("the rules are there after a power cut", || has_rules(host));
    assert!(!reaches(host), "it came back, and is open");
    let times = host.sh(
        "for unit in lockturn-quarantine.service network-pre.target; do systemctl show -P ActiveEnterTimestampMonotonic $unit; done",
    );
    let times: Vec<u64> = times.lines().map(|line| line.parse().unwrap()).collect();
    assert!(times[0] > 0 && times[0] <= times[1], "the network was there before the rules: {times:?}");

    wait(Session::through(fleet, "worker-2", "02RUN", ""));
    assert_eq!(host.sh("nft list ruleset"), before, "the release left something, or took something");
    assert!(reaches(host));
    assert_eq!(host.sh(&format!("find {STATE} -mindepth 1")), "");
    fleet.is_clean();
}

/// Rules that let in somebody else only: whoever loaded them is not heard of again, and they go by themselves.
pub(super) fn rules_that_cut_off_whoever_loaded_them(fleet: &Fleet) {
    fleet.begin();
    let host = fleet.host("worker-1");
    let before = host.sh("nft list ruleset");
    wait(async {
        let mut session = Session::armed(fleet, "worker-1", "01RUN", &rules("192.0.2.200"), 10).await;
        // The answer does not arrive.
        let cut = session.program.call(&Request::Cut, Duration::from_secs(3)).await;
        assert!(matches!(cut, Err(CallError::Lost(_))), "{:?}", cut.err());
    });
    eventually("the rules go", || (host.sh("nft list ruleset") == before).then_some(()));
    wait(async {
        let mut fresh = Session::open(fleet, "worker-1", "01RUN", 2).await.unwrap();
        fresh.ok(&Request::Lock).await;
        let Err(CallError::Refused(reason)) = fresh.program.call(&Request::Confirm, LIMIT).await else {
            panic!("it was confirmed after all")
        };
        assert_eq!(reason.kind, ReasonKind::Fired);
        fresh.ok(&Request::Revert).await;
        fresh.ok(&Request::Clean).await;
    });
    assert_eq!(host.sh("nft list ruleset"), before);
    assert_eq!(host.sh(&format!("find {STATE} -mindepth 1")), "");
    fleet.is_clean();
}
