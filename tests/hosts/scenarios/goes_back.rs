//! A service that does not take the new value takes the whole fleet back.

use crate::fleet::{Fleet, WORKERS};
use crate::operator::WORKER_SECRET;

/// It ends as often as systemd starts it, until the start limit forbids every start: the way back must start it all the same.
pub(super) fn a_service_that_refuses_to_start(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host("worker-2");
    host.sh_with("cat >/opt/nanoclaw/only-starts-with", &before["worker-2"]);
    fleet.rotate(WORKER_SECRET).with(1, &["ROLLED BACK", "because of", "worker-2", "nanoclaw-worker"]);
    let log = host.sh("journalctl --no-pager --unit nanoclaw-worker");
    assert!(log.contains("Start request repeated too quickly"), "the start limit was not hit:\n{log}");
    fleet.holds(&before);
    fleet.is_clean();
}

/// It is active, its health is 200, and it takes nothing but the old value.
pub(super) fn a_service_that_lies(fleet: &Fleet) {
    let before = fleet.begin();
    fleet.host("worker-3").sh_with("cat >/opt/nanoclaw/trusts", &before["worker-3"]);
    fleet.rotate(WORKER_SECRET).with(1, &["ROLLED BACK", "because of", "worker-3", "refuses the new value"]);
    fleet.holds(&before);
    fleet.is_clean();
}

/// The workers are well and the control plane does not know them.
pub(super) fn a_control_plane_that_does_not_start(fleet: &Fleet) {
    let before = fleet.begin();
    let host = fleet.host("control");
    // It starts once more for nobody: the cut is done by then, and every worker has restarted.
    host.sh("touch /run/hold");
    let mut run = fleet.rotation(WORKER_SECRET);
    run.until("step-began", "control", "activate");
    assert!(WORKERS.iter().all(|worker| fleet.held()[*worker].0 != before[*worker]), "the workers were cut");
    host.sh("echo nobody >/opt/nanoclaw/only-starts-with; rm /run/hold");
    run.until_decided();
    host.sh("rm /opt/nanoclaw/only-starts-with");
    run.end().with(1, &["ROLLED BACK", "control"]);
    fleet.holds(&before);
    fleet.is_clean();
}
