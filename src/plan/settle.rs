//! A draft and what the hosts said become a plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Activation, Become, Change, Fingerprint, HostName, HostPlan, Millis, PLAN_VERSION, Plan, PlannedValue, Playbook,
    Reason, ReasonKind, Switch, ValueId,
};

use super::{Draft, DraftChange, DraftHost};

/// What a lease has beyond the longest wait: a host that answers slowly, and the confirmation.
const LEASE_MARGIN: Millis = Millis::from_secs(30);

/// What one host said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Where it was reached.
    pub address: String,
    /// How the program got its rights there.
    pub become_user: Become,
    /// Its login directory.
    pub login: String,
    /// Where it keeps the state of runs.
    pub state: String,
    /// Directories that it searches first for tools, empty for none.
    pub path: String,
    /// What watches its time while it is armed.
    pub switch: Switch,
    /// What it holds, change by change in the draft's order.
    pub changes: Vec<Result<ChangeFacts, Reason>>,
    /// Probes that cannot be tried there, and why.
    pub probes: Vec<(String, Reason)>,
}

/// What a host holds where one change will be made. Values are known by their fingerprints, in the draft's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeFacts {
    /// For a file: its real path, and the fingerprint of its whole content.
    pub file: Option<(String, Fingerprint)>,
    /// The values that it holds now.
    pub values: Vec<Fingerprint>,
}

/// Why a host cannot take part as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostProblem {
    /// Which host.
    pub host: HostName,
    /// Where on it, as the playbook names it.
    pub place: String,
    /// Why.
    pub reason: Reason,
}

/// Makes the plan. `apart` are hosts that may hold other values than the rest: they were in quarantine.
///
/// # Errors
/// Everything that is in the way, on all hosts together.
pub fn settle(
    playbook: &Playbook,
    draft: &Draft,
    facts: &BTreeMap<HostName, HostFacts>,
    apart: &BTreeSet<HostName>,
) -> Result<Plan, Vec<HostProblem>> {
    let mut problems = Vec::new();
    let mut old: BTreeMap<ValueId, (Fingerprint, HostName)> = BTreeMap::new();
    let mut others: BTreeMap<ValueId, BTreeMap<HostName, Fingerprint>> = BTreeMap::new();
    let mut hosts = BTreeMap::new();
    // What the rest holds is the old value; of those that are apart it is known then where they differ.
    let (last, first): (Vec<_>, Vec<_>) = draft.hosts.iter().partition(|(name, _)| apart.contains(*name));
    for (name, host) in first.into_iter().chain(last) {
        let Some(said) = facts.get(name) else {
            let reason = Reason::new(ReasonKind::Unreachable, "it was not asked");
            problems.push(HostProblem { host: name.clone(), place: String::new(), reason });
            continue;
        };
        let mut changes = Vec::new();
        for (change, held) in host.changes.iter().zip(&said.changes) {
            let place = place(change);
            match held {
                Err(reason) => problems.push(HostProblem { host: name.clone(), place, reason: reason.clone() }),
                Ok(held) => {
                    for (value, fingerprint) in change.values().into_iter().zip(&held.values) {
                        let (known, first) = old.entry(value.clone()).or_insert_with(|| (*fingerprint, name.clone()));
                        let own = others.get(value).and_then(|others| others.get(name));
                        let differs = known != fingerprint;
                        if differs
                            && apart.contains(name)
                            && *first != *name
                            && own.is_none_or(|own| own == fingerprint)
                        {
                            others.entry(value.clone()).or_default().insert(name.clone(), *fingerprint);
                        } else if differs || own.is_some() {
                            let detail = format!("it holds {fingerprint} as `{value}`, but `{first}` holds {known}");
                            let reason = Reason::new(ReasonKind::Disagrees, detail);
                            problems.push(HostProblem { host: name.clone(), place: place.clone(), reason });
                        }
                    }
                    changes.push(settled(change, held));
                }
            }
        }
        for (probe, reason) in &said.probes {
            problems.push(HostProblem { host: name.clone(), place: probe.clone(), reason: reason.clone() });
        }
        hosts.insert(name.clone(), host_plan(host, said, changes));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let planned = |(value, generate): (&ValueId, &_)| {
        let (old, _) = old.get(value)?;
        let apart = others.get(value).cloned().unwrap_or_default();
        Some((value.clone(), PlannedValue { generate: *generate, old: *old, apart }))
    };
    Ok(Plan {
        version: PLAN_VERSION,
        playbook: playbook.name.clone(),
        summary: playbook.summary.clone(),
        values: draft.values.iter().filter_map(planned).collect(),
        hosts,
        activate_batches: draft.activate_batches.clone(),
        strategy: playbook.rollout.strategy,
        lease: lease(playbook, draft),
        unreachable: playbook.rollout.unreachable,
    })
}

/// While a service restarts, or between two tries of a probe, nobody asks for more time: a lease that is shorter than the longest of
/// them would end it in the middle.
fn lease(playbook: &Playbook, draft: &Draft) -> Millis {
    let hosts = draft.hosts.values();
    let activations = hosts.clone().flat_map(|host| &host.activate).map(|activation| match activation {
        Activation::Systemd { deadline, .. } | Activation::Command { deadline, .. } => *deadline,
    });
    let pauses = hosts.flat_map(|host| &host.verify).map(|planned| planned.probe.interval);
    playbook.rollout.lease.max(activations.chain(pauses).max().unwrap_or_default() + LEASE_MARGIN)
}

fn host_plan(host: &DraftHost, said: &HostFacts, changes: Vec<Change>) -> HostPlan {
    HostPlan {
        address: said.address.clone(),
        become_user: said.become_user,
        login: said.login.clone(),
        state: said.state.clone(),
        path: said.path.clone(),
        switch: said.switch,
        changes,
        activate: host.activate.clone(),
        verify: host.verify.clone(),
    }
}

fn place(change: &DraftChange) -> String {
    match change {
        DraftChange::File { path, .. } => path.clone(),
        DraftChange::Sqlite { file, .. } => file.clone(),
        DraftChange::Command { read, .. } => read.join(" "),
    }
}

fn settled(change: &DraftChange, held: &ChangeFacts) -> Change {
    match change {
        DraftChange::File { path, edits, .. } => {
            let (real_path, content) = held.file.clone().expect("a file was read as a file");
            Change::File { path: path.clone(), real_path, content, edits: edits.clone() }
        }
        DraftChange::Sqlite { file, rows } => Change::Sqlite { file: file.clone(), rows: rows.clone() },
        DraftChange::Command { read, write, value } => {
            Change::Command { read: read.clone(), write: write.clone(), value: value.clone() }
        }
    }
}
