//! What hosts said of a run whose journal is lost, for the operator who is asked whether to go on with it.

use std::collections::BTreeMap;

use crate::model::{Common, Decision, Found, HostName, RunId, Stands, fold_few, harmless};

use super::plural;

/// How many names or ranges of names are shown of hosts that say the same.
const NAMES_MAX: usize = 8;

/// As it is printed: hosts that say the same are said once.
#[must_use]
pub fn describe_found(run: &RunId, common: &Common, found: &BTreeMap<HostName, Found>, way: Decision) -> String {
    let Common { playbook, summary, .. } = common;
    let about = format!("{}: {}", harmless(playbook), harmless(summary));
    let mut lines = vec![format!("run {run}  {about}"), format!("  as {} say:", plural(found.len(), "host"))];
    let mut alike: Vec<(&Found, Vec<&HostName>)> = Vec::new();
    for (name, said) in found {
        match alike.iter_mut().find(|(known, _)| *known == said) {
            Some((_, names)) => names.push(name),
            None => alike.push((said, vec![name])),
        }
    }
    for (Found { stands, said }, names) in alike {
        let would = match (stands, way) {
            (Stands::Nothing, _) => "is left alone",
            (Stands::Confirmed, _) => "is cleaned once everybody is confirmed",
            (Stands::Cut, Decision::Commit) => "is armed, cut and proved again, then confirmed",
            (Stands::Cut, Decision::Rollback) => "goes back, proved",
            (Stands::Uncut, _) => "is cleaned",
        };
        lines.push(format!("  {}  {said}: {would}", fold_few(names, NAMES_MAX)));
    }
    lines.push(match way {
        Decision::Commit => "the new value stays: that was decided, because some hosts have heard so".to_owned(),
        Decision::Rollback => "everybody goes back: no host has heard that the new value stays".to_owned(),
    });
    lines.iter().map(|line| format!("{line}\n")).collect()
}
