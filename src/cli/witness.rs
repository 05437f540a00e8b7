//! What hosts know of a run that its ledger does not: the ledger is older than the run, because a copy of it was put back.
//!
//! Every effect on a host was announced in the ledger first. So a host that shows one which the ledger has not announced proves
//! that this is not the ledger of the run as it went on, and nothing that it says may be built upon.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordinator::{Host, Run};
use crate::host::{CallError, Held, Request, Which};
use crate::model::{Decision, Entry, Event, HostName, Step};
use crate::runtime::actor::{Actor, STEP_MAX};

/// What a host shows of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Witness {
    /// Nothing of it is there, or another coordinator has it.
    Gone,
    /// What it holds, and how far it has written down that it came.
    Holds(Which),
}

const OLDER: &str = "this ledger is older than the run";

/// Asks a host; one that cannot say what it holds shows nothing.
///
/// # Errors
/// If it does not answer.
pub(super) async fn shown(actor: &mut Actor) -> Result<Option<Which>, CallError> {
    match actor.call(&Request::Which, STEP_MAX).await {
        Ok(said) => Ok(Which::parse(&said).ok()),
        Err(CallError::Refused(_)) => Ok(None),
        Err(lost) => Err(lost),
    }
}

/// What a host shows that the ledger has not announced.
pub(super) fn against(entries: &[Entry], run: &Run, host: &HostName, which: &Which) -> Option<String> {
    if which.is_confirmed() && run.decision() != Some(Decision::Commit) {
        return Some(format!("{host} was told that the new value stays, and the ledger has no such decision: {OLDER}"));
    }
    // Where the hosts were asked in place of a lost ledger, one may have been half cleaned before.
    let rebuilt = entries.iter().any(|entry| matches!(entry.event, Event::Rebuilt { .. }));
    if which.is_cleaned() && !rebuilt && !hosts_of(entries, Began(Step::Clean)).contains(host) {
        return Some(format!("{host} is half cleaned, and the ledger does not know who cleans it: {OLDER}"));
    }
    let moved = run.hosts().get(host).is_some_and(Host::moved);
    (which.held.contains(&Held::New) && !moved)
        .then(|| format!("{host} holds the new value, and the ledger does not know that it was cut: {OLDER}"))
}

/// What cannot be if the ledger tells the whole run.
pub(super) fn contradiction(entries: &[Entry], run: &Run, witnesses: &BTreeMap<HostName, Witness>) -> Option<String> {
    let mut said = witnesses.iter().filter_map(|(host, witness)| match witness {
        Witness::Holds(which) => against(entries, run, host, which),
        Witness::Gone => None,
    });
    if let Some(said) = said.next() {
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
