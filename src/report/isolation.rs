//! The end of a run that isolates hosts or releases them, for a person.

use crate::model::{HostName, IsolationPlan, RunId, Verdict, Way, fold_few};
use crate::quarantine::{Containment, Isolation, Outcome, Role};

use super::{forgotten, plural};

/// How many names or ranges of names stand on one line.
pub(super) const NAMES_MAX: usize = 8;

/// The same of a run that somebody works on just now.
#[must_use]
pub fn isolation_goes_on(run: &RunId, plan: &IsolationPlan, state: &Isolation, holder: &str) -> String {
    let hosts = fold_few(plan.hosts.keys(), NAMES_MAX);
    let headline = "RUNNING  the run goes on now; what it has written down so far of each machine is as below";
    let mut text = format!("{headline}; {hosts}\n  by  {holder}\n");
    text.push_str(&machines(plan, state, false));
    text.push_str(&format!("next: let it end, then: lockturn show {run}\n"));
    text
}

/// What is true now, machine by machine where that is not all well, and what to do next.
#[must_use]
pub fn summarise_isolation(run: &RunId, plan: &IsolationPlan, state: &Isolation, verdict: Option<Verdict>) -> String {
    let hosts = fold_few(plan.hosts.keys(), NAMES_MAX);
    let mut text = match (plan.way, verdict) {
        (_, None) => format!("LEFT  the run was left; what each machine has is as below; {hosts}\n"),
        (Way::Quarantine, Some(Verdict::Quarantined)) => {
            let peers = plural(state.members().values().filter(|member| member.role() == Role::Peer).count(), "peer");
            format!("QUARANTINED  {hosts}: dropped by {peers}, proved{}\n", forgotten::in_headline(state))
        }
        (Way::Quarantine, Some(_)) => match state.outcome() {
            Outcome::Partial { enforced, peers } => {
                let others = if enforced == peers { "" } else { ", and not the others" };
                let secrets = forgotten::in_headline(state);
                format!(
                    "PARTIAL {enforced}/{peers}  {hosts}: so many of its peers are proved to drop it{others}{secrets}\n"
                )
            }
            Outcome::Quarantined => format!("PARTIAL  {hosts}\n"),
        },
        (Way::Release, Some(Verdict::Released)) => {
            let peers =
                plan.members.iter().filter(|(name, member)| !member.contained && !plan.hosts.contains_key(*name));
            let peers = plural(peers.count(), "peer");
            format!(
                "RELEASED  {hosts}: the rules are gone from there and from every peer; reached again by {peers}, proved\n"
            )
        }
        (Way::Release, Some(_)) => match state.released() {
            Outcome::Partial { enforced, peers } => {
                format!(
                    "PARTIAL {enforced}/{peers}  {hosts}: from so many machines the rules are gone, and traffic flows again, proved; not from \
                     the others\n"
                )
            }
            Outcome::Quarantined => format!("PARTIAL  {hosts}\n"),
        },
    };
    text.push_str(&machines(plan, state, verdict.is_some()));
    text.push_str(forgotten::untouched(plan));
    match (plan.way, verdict) {
        (Way::Quarantine, Some(Verdict::Quarantined)) => {
            text.push_str(&forgotten::next(plan));
            text.push_str(&format!("      lockturn release {hosts} lets it back in\n"));
        }
        (Way::Release, Some(Verdict::Released)) => {
            text.push_str("next: rotate, so that it gets secrets that nobody else has\n");
        }
        _ => text.push_str(&format!("next: lockturn resume {run}\n")),
    }
    text
}

/// Each machine; where the run has ended, only those that are not as they should be.
fn machines(plan: &IsolationPlan, state: &Isolation, ended: bool) -> String {
    let width = state.members().keys().map(|name| name.as_str().len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, member) in state.members() {
        if ended && member.containment() == Containment::Enforced && !member.left_over() {
            continue;
        }
        let word = word(plan, name, member.containment());
        let why = member.trouble().map_or(String::new(), |(step, reason)| format!("  in `{step}`: {reason}"));
        text.push_str(&format!("  {name:width$}  {word}{why}\n"));
    }
    text.push_str(&forgotten::lines(state, width));
    text
}

/// What is known of a machine, in one word.
fn word(plan: &IsolationPlan, name: &HostName, containment: Containment) -> &'static str {
    match (plan.way, containment) {
        (Way::Release, Containment::Enforced) => match plan.members.get(name) {
            Some(member) if !member.contained && !plan.hosts.contains_key(name) => "flows",
            // Nothing is tried from there.
            _ => "released",
        },
        (Way::Quarantine, Containment::Enforced) if plan.hosts.contains_key(name) => "isolated",
        (_, containment) => containment.label(),
    }
}
