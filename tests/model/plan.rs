//! A plan for some hosts, and how a run of it begins.

use std::collections::BTreeMap;

use lockturn::model::{
    Become, Event, HostName, HostPlan, Millis, PLAN_VERSION, Plan, RunId, Step, Strategy, Switch, Unreachable,
};

/// Workers, and a control plane that is activated after them.
pub(crate) fn of(hosts: usize) -> Plan {
    let host = HostPlan {
        address: "127.0.0.1:22".to_owned(),
        become_user: Become::None,
        switch: Switch::Process,
        login: "/home/op".to_owned(),
        state: "/var/lib/lockturn".to_owned(),
        path: String::new(),
        changes: Vec::new(),
        activate: Vec::new(),
        verify: Vec::new(),
    };
    let control: HostName = "c".parse().unwrap();
    let workers: Vec<HostName> = (1..hosts).map(|n| format!("w{n}").parse().unwrap()).collect();
    Plan {
        version: PLAN_VERSION,
        playbook: "p".to_owned(),
        summary: String::new(),
        values: BTreeMap::new(),
        hosts: workers.iter().chain([&control]).map(|name| (name.clone(), host.clone())).collect(),
        activate_batches: vec![workers, vec![control]],
        strategy: Strategy::Lockstep,
        lease: Millis::from_secs(120),
        unreachable: Unreachable::Abort,
    }
}

/// What is recorded when every host is locked, staged and armed.
pub(crate) fn until_armed(plan: &Plan) -> Vec<Event> {
    let run: RunId = "01J".parse().unwrap();
    let began = Event::RunBegan {
        run,
        plan: plan.hash(),
        playbook: "p".to_owned(),
        hosts: plan.hosts.len() as u64,
        operator: String::new(),
        version: "0".to_owned(),
    };
    let mut events = vec![began, Event::ValuesMinted { values: BTreeMap::new() }];
    for step in [Step::Lock, Step::Stage, Step::Arm] {
        events.extend(plan.hosts.keys().map(|host| Event::StepBegan { host: host.clone(), step }));
        events.extend(plan.hosts.keys().map(|host| Event::StepDone { host: host.clone(), step }));
    }
    events
}
