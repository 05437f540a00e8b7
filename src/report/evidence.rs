//! What was taken of hosts before they were isolated, for a person.

use std::collections::BTreeMap;

use crate::model::{Entry, Event, EvidenceTaken, IsolationPlan, Missing, RunId};

use super::plural;

/// One line: how much there is, and what is missing.
#[must_use]
pub fn evidence_line(taken: &EvidenceTaken) -> String {
    let items = plural(usize::try_from(taken.items).unwrap_or(usize::MAX), "item");
    let missing: Vec<String> = taken.missing.iter().map(lack).collect();
    let missing = if missing.is_empty() { String::new() } else { format!("; MISSING {}", missing.join("; ")) };
    format!("{}: {items}, {}{missing}", taken.host, bytes(taken.bytes))
}

fn lack(Missing { items, reason }: &Missing) -> String {
    match &items[..] {
        [first, _, .., last] => format!("{first} to {last} ({reason})"),
        _ => format!("{} ({reason})", items.join(", ")),
    }
}

/// The end of a run that was to take evidence: a line for each host, from what the ledger has of it.
#[must_use]
pub fn summarise_evidence(run: &RunId, plan: &IsolationPlan, entries: &[Entry]) -> String {
    let Some(wanted) = &plan.evidence else { return String::new() };
    let mut last: BTreeMap<_, Option<&EvidenceTaken>> = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::EvidenceBegan { host } => {
                last.insert(host, None);
            }
            Event::EvidenceTaken(taken) => {
                last.insert(&taken.host, Some(taken));
            }
            _ => {}
        }
    }
    let mut text = format!("evidence in {}/{run}\n", wanted.directory);
    for host in plan.hosts.keys() {
        let line = match last.get(host) {
            None => format!("{host}: nothing was taken"),
            Some(None) => {
                format!("{host}: INCOMPLETE, whoever took it was ended in the middle; what came by then lies there")
            }
            Some(Some(taken)) => {
                let sums = taken.sums.as_ref().map_or(String::new(), |sums| format!("\n    SHA256SUMS has {sums}"));
                format!("{}{sums}", evidence_line(taken))
            }
        };
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// What is wanted, before anybody is asked.
#[must_use]
pub fn describe_evidence(plan: &IsolationPlan) -> String {
    let Some(wanted) = &plan.evidence else { return String::new() };
    let sealed = match wanted.recipients.len() {
        0 => "as it comes: it is as secret as the host".to_owned(),
        count => format!("encrypted to {}", plural(count, "recipient")),
    };
    format!(
        "first, evidence: for at most {}, at most {} from each host, into {}, {sealed}\n",
        wanted.time,
        bytes(wanted.bytes),
        wanted.directory
    )
}

/// As a person reads it.
fn bytes(count: u64) -> String {
    let tenth = |unit: u64| format!("{}.{}", count / unit, count % unit * 10 / unit);
    match count {
        0..1_024 => format!("{count} bytes"),
        1_024..1_048_576 => format!("{} KiB", tenth(1_024)),
        1_048_576..1_073_741_824 => format!("{} MiB", tenth(1_048_576)),
        _ => format!("{} GiB", tenth(1_073_741_824)),
    }
}
