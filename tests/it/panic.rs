//! A bug of our own in the middle of a step: the fleet goes back, and what the panic prints holds no value.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use futures::future::BoxFuture;
use lockturn::coordinator::Run;
use lockturn::journal::{Journal, StateDir};
use lockturn::model::{
    Become, Event, HostName, HostPlan, Millis, PLAN_VERSION, Plan, RunId, Secret, Step, Strategy, Switch, Unreachable,
    Verdict,
};
use lockturn::report::Plain;
use lockturn::runtime::drive::{Outcome, Perform, Voices, drive};

use super::canary::Canary;

const VALUE: &[u8] = b"a-value-that-nobody-may-see-00000000000000000000";

/// Does every step, but panics in one with the value in its hands.
struct Buggy;

impl Perform for Buggy {
    fn begin(&mut self, _run: &Run, host: &HostName, step: Step) -> BoxFuture<'static, Outcome> {
        let bug = host.as_str() == "worker-1" && step == Step::Verify;
        let value = Secret::new(VALUE.to_vec());
        Box::pin(async move {
            let shorter = Secret::new(value.expose()[..VALUE.len() - 1].to_vec());
            tokio::task::yield_now().await;
            assert!(!bug || value.same_as(&shorter), "a bug on purpose");
            Outcome::Done
        })
    }

    fn all_wait(&self) -> bool {
        true
    }

    fn hurry(&mut self) {}
}

fn plan() -> Plan {
    let host = HostPlan {
        address: "127.0.0.1:22".to_owned(),
        become_user: Become::None,
        switch: Switch::Process,
        login: String::new(),
        state: String::new(),
        path: String::new(),
        changes: Vec::new(),
        activate: Vec::new(),
        verify: Vec::new(),
    };
    let names: Vec<HostName> = ["control", "worker-1"].iter().map(|name| name.parse().unwrap()).collect();
    Plan {
        version: PLAN_VERSION,
        playbook: "p".to_owned(),
        summary: String::new(),
        values: BTreeMap::new(),
        hosts: names.iter().map(|name| (name.clone(), host.clone())).collect(),
        activate_batches: vec![names],
        strategy: Strategy::Lockstep,
        lease: Millis(1),
        unreachable: Unreachable::Abort,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_in_one_step_takes_the_fleet_back() {
    let temp = tempfile::tempdir().unwrap();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    let (mut journal, plan, id) = (Journal::open(&dir).unwrap(), plan(), "01J".parse::<RunId>().unwrap());
    let mut said = Vec::new();
    let mut reporter = Plain::new(&mut said);
    let mut voices = Voices { journal: &mut journal, reporter: &mut reporter, since: Instant::now() };
    let began = Event::RunBegan {
        run: id.clone(),
        plan: plan.hash(),
        playbook: "p".to_owned(),
        hosts: 2,
        operator: "op@here".to_owned(),
        version: "0".to_owned(),
    };
    let first = vec![began, Event::ValuesMinted { values: BTreeMap::new() }];
    let mut run = Run::replay(&plan, &first).unwrap();
    voices.begin(&id, &plan, "op@here", first).unwrap();
    let (_tell, mut notes) = tokio::sync::mpsc::unbounded_channel();
    let (_ask, mut interrupts) = tokio::sync::mpsc::channel(1);
    let ended = drive(&id, &mut run, &mut voices, &mut Buggy, &mut notes, &mut interrupts).await;
    assert_eq!(ended.unwrap(), Verdict::RolledBack);
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("because of worker-1: a bug in lockturn"), "{said}");
}

/// Runs the test above again where everything that a panic can print is printed.
#[test]
fn what_a_panic_prints_holds_no_value() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "panic::a_bug_in_one_step_takes_the_fleet_back", "--nocapture"])
        .env("RUST_BACKTRACE", "full")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    assert!(text.contains("a bug on purpose") && text.contains("stack backtrace"), "{text}");
    let mut canary = Canary::default();
    canary.learn(VALUE);
    assert_eq!(canary.seen_in(&said), None);
}
