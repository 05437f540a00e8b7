//! A plan, for a person: hosts to which the same happens are said once, so that it reads alike for 4 hosts and for 10,000.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Activation, Change, Check, FileEdit, Generator, HostName, HostPlan, Plan, PlannedValue, SecretName, Switch,
    ValueId, fold_few,
};

use super::plural;

/// How many names or ranges of names are shown of a set of hosts.
const NAMES_MAX: usize = 6;

/// As it is printed.
#[must_use]
pub fn describe(plan: &Plan) -> String {
    let mut lines = vec![format!("plan {}  {}: {}", &plan.hash()[..12], plan.playbook, plan.summary), String::new()];
    lines.extend(secrets(&plan.values));
    for (happens, names) in alike(&plan.hosts) {
        let host = &plan.hosts[names[0]];
        lines.push(String::new());
        lines.push(format!("  {}  ({})", fold_few(names.iter().copied(), NAMES_MAX), plural(names.len(), "host")));
        lines.extend(happens.lines().map(|line| format!("    {line}")));
        if !host.unproved().is_empty() {
            let secrets: BTreeSet<&str> = host.unproved().iter().map(|id| id.secret.as_str()).collect();
            let secrets = secrets.into_iter().collect::<Vec<_>>().join(", ");
            lines.push(format!(
                "    NOT PROVED  no probe tells the new `{secrets}` from the old; a success will be exit 7"
            ));
        }
    }
    let order: Vec<String> = plan.activate_batches.iter().map(|batch| fold_few(batch, NAMES_MAX)).collect();
    lines.push(String::new());
    lines.push(format!(
        "  order     stage all, arm all, cut all together; activate {}; prove; decide",
        order.join(", then ")
    ));
    lines.push(
        "  gap       from the first cut until the last service has restarted two sides may share no value".to_owned(),
    );
    lines.push(
        "  way back  rehearsed on every host before the cut; one host that fails takes all of them back".to_owned(),
    );
    lines.push(format!(
        "            a host that hears nothing for {} goes back by itself, whatever became of us",
        plan.lease
    ));
    let by_process = plan.hosts.iter().filter(|(_, host)| host.switch == Switch::Process).map(|(name, _)| name);
    let by_process = fold_few(by_process, NAMES_MAX);
    if !by_process.is_empty() {
        lines.push(format!(
            "            (without root and systemd that does not survive a restart of the host: {by_process})"
        ));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Each secret once: its one value, or how many values it has.
fn secrets(values: &BTreeMap<ValueId, PlannedValue>) -> Vec<String> {
    let mut of_secret: BTreeMap<&SecretName, Vec<(&ValueId, &PlannedValue)>> = BTreeMap::new();
    for (id, value) in values {
        of_secret.entry(&id.secret).or_default().push((id, value));
    }
    let line = |(secret, values): (&SecretName, Vec<(&ValueId, &PlannedValue)>)| {
        let shape = shape(values[0].1.generate);
        let owners: Vec<&HostName> = values.iter().filter_map(|(id, _)| id.owner.as_ref()).collect();
        match (owners.len(), &values[..]) {
            (0, [(_, value)]) => format!("  secret    {secret}: {shape}; held now: {}", value.old),
            (1, _) => format!("  secret    {secret}: {shape}; 1 value, that of {}", fold_few(owners, NAMES_MAX)),
            (count, _) => format!(
                "  secret    {secret}: {shape}; {}, one for each of {}",
                plural(count, "value"),
                fold_few(owners, NAMES_MAX)
            ),
        }
    };
    let mut lines: Vec<String> = of_secret.into_iter().map(line).collect();
    let apart: BTreeSet<&HostName> = values.values().flat_map(|value| value.apart.keys()).collect();
    if !apart.is_empty() {
        let apart = fold_few(apart, NAMES_MAX);
        lines.push(format!(
            "            since its quarantine {apart} holds older values than the others; they die with the rest"
        ));
    }
    lines
}

fn shape(generate: Generator) -> String {
    match generate {
        Generator::Hex(bytes) => format!("{bytes} random bytes in hex"),
        Generator::Base64(bytes) => format!("{bytes} random bytes in base64"),
        Generator::Alphanumeric(characters) => format!("{characters} random letters and digits"),
        Generator::Uuid => "a random UUID".to_owned(),
    }
}

/// Hosts by what happens to them, in the order of the first name of each.
fn alike(hosts: &BTreeMap<HostName, HostPlan>) -> Vec<(String, Vec<&HostName>)> {
    let mut groups: Vec<(String, Vec<&HostName>)> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for (name, host) in hosts {
        let happens = happens(host);
        let at = *known.entry(happens.clone()).or_insert_with(|| {
            groups.push((happens, Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(name);
    }
    groups
}

/// What happens on one host, without its name.
fn happens(host: &HostPlan) -> String {
    let mut lines = Vec::new();
    for change in &host.changes {
        lines.push(format!(
            "change    {}",
            match change {
                Change::File { path, edits, .. } => {
                    let key = |edit: &FileEdit| edit.dotenv_key.clone().unwrap_or_else(|| "the whole file".to_owned());
                    format!("{path}: {}", edits.iter().map(key).collect::<Vec<_>>().join(", "))
                }
                Change::Sqlite { file, rows } => format!("{file}: {}", plural(rows.len(), "row")),
                Change::Command { write, .. } => format!("through `{}`", write.join(" ")),
            }
        ));
    }
    for activation in &host.activate {
        lines.push(format!(
            "activate  {}",
            match activation {
                Activation::Systemd { action, unit, .. } => format!("{action} {unit}"),
                Activation::Command { run, .. } => format!("run `{}`", run.join(" ")),
            }
        ));
    }
    // A probe that is tried for many hosts' values is one line.
    let mut probes: Vec<(&str, &Check, usize)> = Vec::new();
    for planned in &host.verify {
        match probes.iter_mut().find(|(name, ..)| *name == planned.probe.name) {
            Some((.., count)) => *count += 1,
            None => probes.push((&planned.probe.name, &planned.probe.check, 1)),
        }
    }
    for (name, check, count) in probes {
        let times = if count > 1 { format!(", for {}", plural(count, "value")) } else { String::new() };
        lines.push(match check.is_proof() {
            true => format!("prove     {name}: new taken, old refused{times}"),
            false => format!("look      {name}{times}"),
        });
    }
    lines.join("\n")
}
