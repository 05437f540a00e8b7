//! What hosts know of a run that its ledger does not: the ledger is older than the run, because a copy of it was put back or used.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordinator::Run;
use crate::model::{Entry, Event, HostName, Step};
use crate::runtime::take::{Announced, OLDER, Witness};

/// What a host shows that the ledger has not announced.
pub(super) fn against(run: &Run, witnesses: &BTreeMap<HostName, Witness>) -> Option<String> {
    witnesses.iter().find_map(|(host, witness)| match witness {
        Witness::Holds(which) => Announced::of(run, host).against(host, which),
        Witness::Gone | Witness::Newer(_) => None,
    })
}

/// What cannot be if the ledger tells the whole run.
pub(super) fn contradiction(entries: &[Entry], run: &Run, witnesses: &BTreeMap<HostName, Witness>) -> Option<String> {
    if let Some(said) = against(run, witnesses) {
        return Some(said);
    }
    let (taken, cleaned) = (hosts_of(entries, Ended(Step::Lock)), hosts_of(entries, Began(Step::Clean)));
    let mut taken = witnesses.iter().filter(|(host, _)| taken.contains(host)).peekable();
    // One host alone may have lost its state; that it did is said by its next step, and holds up nobody else. Where this ledger knows
    // of some that were cleaned, those that are left may be such hosts.
    let gone = cleaned.is_empty() && taken.peek().is_some() && taken.all(|(_, witness)| *witness == Witness::Gone);
    gone.then(|| {
        format!("no host has anything of the run any more, and the ledger does not know who cleaned them: {OLDER}")
    })
}

/// A word of the ledger about a step.
enum Told {
    Began(Step),
    Ended(Step),
}

use Told::{Began, Ended};

fn hosts_of(entries: &[Entry], told: Told) -> BTreeSet<HostName> {
    let told = |event: &Event| match (&told, event) {
        (Began(wanted), Event::StepBegan { host, step }) | (Ended(wanted), Event::StepDone { host, step })
            if step == wanted =>
        {
            Some(host.clone())
        }
        _ => None,
    };
    entries.iter().filter_map(|entry| told(&entry.event)).collect()
}
