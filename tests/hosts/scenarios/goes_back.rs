//! A service that does not take the new value takes the whole fleet back.

use crate::canary::{Recorder, files_with, holds, logs_are_clean};
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

/// It is active, its health is 200, and it takes nothing but the old value. On the way back no value is seen either.
pub(super) fn a_service_that_lies(fleet: &Fleet) {
    let before = fleet.begin();
    fleet.host("worker-3").sh_with("cat >/opt/nanoclaw/trusts", &before["worker-3"]);
    let recorder = Recorder::start(fleet);
    let mut run = fleet.rotation(WORKER_SECRET);
    run.until("step-began", "control", "activate");
    let new = fleet.agreed();
    let said = run.end().with(1, &["ROLLED BACK", "because of", "worker-3", "refuses the new value"]).said;
    fleet.holds(&before);
    fleet.refuses(&new, &WORKERS);
    fleet.is_clean();

    let all = [&before, &new];
    recorder.end(&all);
    logs_are_clean(fleet, &all);
    assert!(!holds(&said, &all), "lockturn shows a value");
    assert!(!holds(&String::from_utf8_lossy(&fleet.written()), &all), "lockturn's state has a value");
    let mut new = new;
    new.remove("os");
    let kept: Vec<String> =
        files_with(fleet, &[&new]).into_iter().filter(|path| !path.contains("messages.db")).collect();
    assert_eq!(kept, Vec::<String>::new(), "values that came to nothing");
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

/// One host cannot go back: the others are back all the same, and a person can mend that one with the commands that are printed.
pub(super) fn one_revert_fails(fleet: &Fleet) {
    let before = fleet.begin();
    fleet.host("worker-1").sh_with("cat >/opt/nanoclaw/trusts", &before["worker-1"]);
    let host = fleet.host("worker-2");
    host.sh("touch /run/hold; setfattr -n user.note -v kept /opt/nanoclaw/.env");
    let mut run = fleet.rotation(WORKER_SECRET);
    run.until("step-began", "worker-2", "activate");
    host.sh("chattr +i /opt/nanoclaw; rm /run/hold");
    let said = run.end().with(6, &["A PERSON MUST LOOK", "worker-2  inconsistent in `revert`", "read-only"]).said;

    let held = fleet.held();
    assert!(held["worker-2"].0 != before["worker-2"], "worker-2 is back, so nothing was tried");
    for (name, (own, row)) in held {
        assert!(row == before[&name] && (own == before[&name] || name == "worker-2"), "{name} is not back");
    }

    host.sh("chattr -i /opt/nanoclaw");
    let commands = to_paste(&said, "by hand, on worker-2.nanoclaw.example:22, as root:");
    // Pasted twice, as one does who was not sure about the first time.
    for _ in 0..2 {
        host.sh(&commands);
        host.serves();
    }
    fleet.holds(&before);
    assert_eq!(
        host.sh("cd /opt/nanoclaw && stat -c '%a %U' .env && getfattr --only-values -n user.note .env"),
        "600 nanoclaw\nkept"
    );
    fleet.resume().with(1, &["ROLLED BACK"]);
    fleet.holds(&before);
    fleet.is_clean();
}

/// The commands that are printed below a heading, as a person would copy them.
fn to_paste(said: &str, heading: &str) -> String {
    let below = said.lines().skip_while(|line| line.trim() != heading).skip(1);
    let commands: Vec<&str> = below.take_while(|line| line.starts_with("        ")).map(str::trim).collect();
    assert!(!commands.is_empty(), "nothing to paste below `{heading}`:\n{said}");
    commands.join("\n")
}
