//! What an isolated worker knows is worthless from then on: its control plane forgets it, whoever dies meanwhile, and a release puts
//! nothing back.

use std::fs;

use crate::fleet::{Fleet, Values, WORKERS};
use crate::operator::{Ended, OS_HTTP_SECRET, WORKER_SECRET};
use crate::tools::eventually;

const ISOLATED: &str = "worker-2";

const PLAYBOOK: &str = "playbooks/quarantine.yml";

/// The tunnel of a worker: as the real one, whose health check sets the row online again.
const TUNNEL: &str = "[Unit]
Description=tunnel to %i, as the tests play it
[Service]
User=nanoclaw
ExecStart=/bin/sh -c 'while :; do sqlite3 -cmd \".timeout 5000\" /opt/nanoclaw/store/messages.db \
\"UPDATE workers SET status = \\'online\\' WHERE id = \\'%i\\' AND status != \\'online\\'\"; sleep 1; done'
[Install]
WantedBy=multi-user.target
";

const UNIT: &str = "/etc/systemd/system/nanoclaw-worker-tunnel@.service";

fn lockturn(fleet: &Fleet, words: &[&str]) -> Ended {
    fleet.lockturn(words).output().unwrap().into()
}

fn tunnels(fleet: &Fleet, verb: &str) {
    let control = fleet.host("control");
    control.sh_with(&format!("cat >{UNIT} && systemctl daemon-reload"), TUNNEL);
    for worker in WORKERS {
        control.sh(&format!("systemctl {verb} --now nanoclaw-worker-tunnel@{worker}"));
    }
    if verb == "disable" {
        control.sh(&format!("rm {UNIT} && systemctl daemon-reload"));
    }
}

fn sql(fleet: &Fleet, text: &str) -> String {
    let sqlite = "sqlite3 -batch -bail -init /dev/null -cmd '.timeout 5000' /opt/nanoclaw/store/messages.db";
    fleet.host("control").sh_with(sqlite, text).trim().to_owned()
}

fn status(fleet: &Fleet, worker: &str) -> String {
    sql(fleet, &format!("SELECT status FROM workers WHERE id = '{worker}';"))
}

/// What the control plane answers to a worker with this value.
fn answer(fleet: &Fleet, worker: &str, values: &Values) -> String {
    let line = format!("{worker} {}\n", values[worker]);
    fleet.host("control").sh_with("/opt/nanoclaw/service.py ask control-plane", &line).trim().to_owned()
}

/// Nothing that the worker knows opens anything, and it gets no work.
#[track_caller]
fn is_forgotten(fleet: &Fleet, values: &Values) {
    assert_eq!(answer(fleet, ISOLATED, values), "401");
    let tunnel = fleet.host("control").try_sh(&format!("systemctl is-active nanoclaw-worker-tunnel@{ISOLATED}"), "");
    assert!(!tunnel.status.success(), "its tunnel goes on");
    let tunnel = fleet.host("control").try_sh(&format!("systemctl is-enabled nanoclaw-worker-tunnel@{ISOLATED}"), "");
    assert!(!tunnel.status.success(), "its tunnel begins again at the next start");
    // Where a tunnel lives a row does not stay offline: by then this one would be online too.
    sql(fleet, "UPDATE workers SET status = 'offline' WHERE id = 'worker-1';");
    eventually("the row of a worker with a tunnel is online", || (status(fleet, "worker-1") == "online").then_some(()));
    assert_eq!(status(fleet, ISOLATED), "offline");
    let own = fs::read_to_string(fleet.host(ISOLATED).path("/opt/nanoclaw/.env")).unwrap();
    assert!(own.contains(&values[ISOLATED]), "the isolated worker was written to");
}

pub(super) fn what_a_worker_knows_dies(fleet: &Fleet) {
    fleet.begin();
    fleet.rotate(WORKER_SECRET).with(0, &["ROTATED"]);
    let values = fleet.agreed();
    tunnels(fleet, "enable");
    // The network alone first: that is said, and what it knows lives on.
    lockturn(fleet, &["--yes", "quarantine", ISOLATED]).with(
        0,
        &["QUARANTINED  worker-2: dropped by 3 peers", "credential plane was NOT touched", "worker-2 --playbook FILE"],
    );
    assert_eq!((answer(fleet, ISOLATED, &values).as_str(), status(fleet, ISOLATED).as_str()), ("400", "online"));
    let forget = ["--yes", "quarantine", ISOLATED, "--playbook", PLAYBOOK];
    lockturn(fleet, &forget).with(0, &["QUARANTINED  worker-2: dropped by 3 peers", "forgotten, proved by control"]);
    is_forgotten(fleet, &values);
    lockturn(fleet, &forget).with(4, &["in quarantine already"]);
    let runs = lockturn(fleet, &["runs"]).with(0, &["quarantine worker-2"]).said;
    lockturn(fleet, &["show", runs.split(' ').next().unwrap()]).with(0, &["forgotten, proved by control"]);

    // It is left out of what comes then, and all that it still knows is refused.
    for playbook in [WORKER_SECRET, OS_HTTP_SECRET] {
        fleet.rotate(playbook).with(0, &["ROTATED"]);
    }
    for worker in WORKERS {
        assert_eq!(answer(fleet, worker, &values), "401", "{worker}");
    }
    is_forgotten(fleet, &values);

    let told = ["worthless on control", "`worker-secret`", "systemctl enable --now nanoclaw-worker-tunnel@worker-2"];
    lockturn(fleet, &["--yes", "release", ISOLATED]).with(0, &[&["RELEASED  worker-2"], &told[..]].concat());
    is_forgotten(fleet, &values);
    let apart = "since its quarantine worker-2 holds older values";
    fleet.rotate(WORKER_SECRET).with(0, &["ROTATED", apart]);
    let after = fleet.agreed();
    assert!(WORKERS.iter().all(|worker| after[*worker] != values[*worker]));
    fleet.holds(&after);
    fleet.refuses(&values, &WORKERS);
    let again = fleet.rotate(WORKER_SECRET).with(0, &["ROTATED"]);
    assert!(!again.said.contains(apart), "{}", again.said);
    tunnels(fleet, "disable");
    fleet.is_clean();
}

pub(super) fn whoever_makes_it_forget_dies(fleet: &Fleet) {
    for (event, step) in [("step-done", "stop"), ("step-began", "forget"), ("step-done", "forget")] {
        let values = fleet.begin();
        tunnels(fleet, "enable");
        let mut going = fleet.going(&["quarantine", ISOLATED, "--playbook", PLAYBOOK]);
        going.until(event, "control", step);
        going.kill();
        lockturn(fleet, &["resume"])
            .with(0, &["QUARANTINED  worker-2: dropped by 3 peers", "forgotten, proved by control"]);
        is_forgotten(fleet, &values);
        lockturn(fleet, &["--yes", "release", ISOLATED]).with(0, &["RELEASED  worker-2", "worthless on control"]);
        tunnels(fleet, "disable");
        fleet.is_clean();
    }
}

/// A rotation is under way when the worker is isolated.
pub(super) fn a_rotation_was_under_way(fleet: &Fleet) {
    let values = fleet.begin();
    tunnels(fleet, "enable");
    let mut going = fleet.rotation(&fleet.short());
    going.until("step-done", ISOLATED, "cut");
    going.kill();
    // The network does not wait for it. The control plane forgets once the rotation holds it no more.
    lockturn(fleet, &["--yes", "quarantine", ISOLATED, "--playbook", PLAYBOOK])
        .with(6, &["PARTIAL 3/3", "NOT proved to be forgotten by control", "unverified", "holds this host"]);
    let runs = lockturn(fleet, &["runs"]).with(0, &["unfinished"]).said;
    let rotation = runs.lines().find(|line| line.contains("unfinished")).unwrap().split(' ').next().unwrap();
    lockturn(fleet, &["resume", rotation])
        .with(7, &["left out until released: worker-2", "ROLLED BACK, WITH DEBT", "worker-2 was isolated meanwhile"]);
    lockturn(fleet, &["resume"])
        .with(0, &["QUARANTINED  worker-2: dropped by 3 peers", "forgotten, proved by control"]);
    // What it got before, and what its own switch put back.
    assert_eq!(answer(fleet, ISOLATED, &values), "401");
    let held = fleet.held();
    assert_eq!(held["worker-1"], (values["worker-1"].clone(), values["worker-1"].clone()));
    fleet.rotate(WORKER_SECRET).with(0, &["ROTATED", "left out until released: worker-2"]);

    lockturn(fleet, &["--yes", "release", ISOLATED]).with(0, &["RELEASED  worker-2", "worthless on control"]);
    lockturn(fleet, &["resume", rotation]).with(1, &["ROLLED BACK"]);
    fleet.rotate(WORKER_SECRET).with(0, &["ROTATED"]);
    let after = fleet.agreed();
    fleet.holds(&after);
    fleet.refuses(&values, &WORKERS);
    tunnels(fleet, "disable");
    fleet.is_clean();
}
