//! What became of the secrets of isolated hosts, for a person.

use crate::model::{HostName, IsolationPlan, Way, fold_few};
use crate::quarantine::{Isolation, Keeper, Memory};

use super::isolation::NAMES_MAX;

/// Behind what is said of the peers: what the whole says of those who were to forget. Nothing where nobody was.
pub(super) fn in_headline(state: &Isolation) -> String {
    if state.keepers().is_empty() {
        return String::new();
    }
    let open = state.keepers().iter().filter(|(_, keeper)| keeper.memory() != Memory::Forgotten);
    let open: Vec<_> = open.map(|(name, _)| name).collect();
    let whom = fold_few(if open.is_empty() { state.keepers().keys().collect() } else { open.clone() }, NAMES_MAX);
    let word = if open.is_empty() { "forgotten, proved" } else { "NOT proved to be forgotten" };
    format!("; what it knew: {word} by {whom}")
}

/// Machine by machine.
pub(super) fn lines(state: &Isolation, width: usize) -> String {
    let line = |(name, keeper): (&HostName, &Keeper)| {
        let why = keeper.trouble().map_or(String::new(), |(step, reason)| format!("  in `{step}`: {reason}"));
        format!("  {name:width$}  {}{why}\n", keeper.memory().label())
    };
    state.keepers().iter().map(line).collect()
}

/// What is to be known where nobody was to forget anything.
pub(super) fn untouched(plan: &IsolationPlan) -> &'static str {
    match (plan.way, &plan.forgetting) {
        (Way::Quarantine, None) => {
            "  the credential plane was NOT touched: what it knows is still accepted where packets get through\n"
        }
        _ => "",
    }
}

/// What to do next about the secrets of hosts that are isolated now.
pub(super) fn next(plan: &IsolationPlan) -> String {
    let hosts = fold_few(plan.hosts.keys(), NAMES_MAX);
    if plan.forgetting.is_some() {
        return "next: rotate, so that what it shares with others dies too; it is left out, and gets nothing\n"
            .to_owned();
    }
    format!(
        "next: lockturn quarantine {hosts} --playbook FILE, with what the control plane is to forget (playbooks/quarantine.yml)\n      \
         then rotate, so that what it shares with others dies\n"
    )
}
