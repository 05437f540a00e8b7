//! `resume` and `rollback`: take up a run that was left, asking the hosts what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::coordinator::{Host, Run};
use crate::host::Request;
use crate::model::{Decision, Entry, Event, Fingerprint, HostName, Plan, RunId, ValueId, Verdict, fold_few};
use crate::report::plural;
use crate::runtime::actor::{STEP_MAX, Who};
use crate::runtime::drive::Voices;
use crate::runtime::step::KEPT;
use crate::runtime::take::{Announced, Witness, shown, take};
use crate::runtime::{Fleet, Vault, epoch};

use super::quarantine::{is_in, standing};
use super::rotate::{confirm, go, minted};
use super::session::{Session, find_run, interrupts, journal, unless_stopped};
use super::witness::{against, contradiction};
use super::{Args, CliError, Exit, files, say, surroundings};

/// How many names or ranges of names are shown of a set of hosts.
const NAMES_MAX: usize = 8;

/// `resume`.
pub(super) async fn resume(args: &Args, run: Option<&str>) -> Result<Exit, CliError> {
    take_up(args, run, Way::AsDecided).await
}

/// `rollback`.
pub(super) async fn rollback(args: &Args, run: Option<&str>, unproved: bool) -> Result<Exit, CliError> {
    take_up(args, run, if unproved { Way::BackUnproved } else { Way::Back }).await
}

/// Which way a run is taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As it has decided, or would.
    AsDecided,
    /// Back, proved.
    Back,
    /// Back; where that cannot be proved the operator has seen for himself.
    BackUnproved,
}

async fn take_up(args: &Args, wanted: Option<&str>, way: Way) -> Result<Exit, CliError> {
    let inventory = files::inventory(args)?;
    let mut session = Session::open(args)?;
    let run = which(&session, wanted)?;
    session.works_on(&run);
    // A plan that is not the one that the run began with must not be done.
    session.journal.verify().map_err(journal)?;
    // Not before: a large ledger takes a while, in which nobody would hear that the operator asks to stop.
    let mut interrupts = interrupts()?;
    if let Some(plan) = session.journal.isolation(&run).map_err(journal)? {
        if way != Way::AsDecided {
            return Err(CliError::new(Exit::Refused, format!("the run {run} is no rotation; nothing was changed"))
                .hint("lockturn release HOST lets a host out of quarantine"));
        }
        return super::quarantine::resume(args, session, inventory, run, plan, &mut interrupts).await;
    }
    let plan = session.journal.plan(&run).map_err(journal)?;
    let entries = session.journal.entries(&run).map_err(journal)?;
    let mut state = Run::replay(&plan, entries.iter().map(|entry| &entry.event)).map_err(|error| {
        CliError::new(Exit::PersonMustLook, format!("the ledger tells a run that cannot be: {error}"))
            .hint("lockturn ledger verify")
    })?;
    let back = way != Way::AsDecided;
    if back && state.decision() == Some(Decision::Commit) {
        return Err(CliError::new(Exit::Refused, "the run has decided that the new values stay; nothing was changed")
            .hint(format!("lockturn resume {run} finishes it; a new rotation gives new values")));
    }
    let standing = standing(&session.journal)?;
    let isolated: BTreeSet<HostName> = plan.hosts.keys().filter(|host| is_in(&standing, host)).cloned().collect();
    if let Some(host) = still_isolated(&state, &isolated) {
        return Err(CliError::new(
            Exit::Refused,
            format!("the run {run} is over but for {host}, which is in quarantine; nothing was changed"),
        )
        .hint(format!("lockturn release {host}, then lockturn resume {run} cleans up there")));
    }
    let resumed = Event::Resumed { operator: session.operator.clone() };
    state.apply(&resumed).map_err(|_| {
        CliError::new(Exit::Refused, format!("the run {run} is over; nothing was changed"))
            .hint(format!("lockturn show {run}"))
    })?;
    // A run that was left before its values existed has no step that could be open.
    let mut events = vec![resumed];
    let interrupted = (back && state.decision().is_none()).then_some(Event::Interrupted);
    let waived = (way == Way::BackUnproved).then(|| Event::ProofWaived { operator: session.operator.clone() });
    // Whoever was isolated meanwhile gets nothing of it, whatever the run had still to do there.
    let left_out = (!isolated.is_empty()).then(|| Event::HostsLeftOut { hosts: isolated.clone() });
    for event in interrupted.into_iter().chain(waived).chain(left_out) {
        state.apply(&event).map_err(|error| CliError::new(Exit::Bug, error.to_string()))?;
        events.push(event);
    }
    if back && !args.yes && !unless_stopped(&mut interrupts, confirm(question(&run, &plan))).await? {
        return Err(CliError::new(Exit::Refused, "not confirmed; nothing was changed"));
    }
    let epoch = next_epoch(&entries);
    let mut voices = Voices { journal: &mut session.journal, reporter: &mut *session.reporter, since: session.since };
    voices.record(&run, events).map_err(journal)?;
    let surroundings = surroundings::of_operator(args);
    let whos: Vec<Who> = plan
        .hosts
        .iter()
        .filter(|(name, _)| !isolated.contains(*name))
        .filter_map(|(name, host)| surroundings.who(&inventory, name, Some(host.become_user)))
        .collect();
    let fleet = Fleet::new(whos, &run, epoch, &session.connector, &session.cancel);
    fleet.unlock().await;
    finish(session, run, plan, state, fleet, &minted(&entries), &mut interrupts).await
}

/// A rollback is another way than the one that was confirmed when the run began.
fn question(run: &RunId, plan: &Plan) -> String {
    let hosts = plural(plan.hosts.len(), "host");
    format!("Take the run {run} of {} back now on {hosts}? Whoever has the new secret gets the old one.", plan.playbook)
}

/// A host that keeps a run from being taken up: all that is left to do is on hosts that are isolated still.
fn still_isolated<'a>(run: &'a Run, isolated: &BTreeSet<HostName>) -> Option<&'a HostName> {
    let ended =
        matches!(run.verdict(), Some(Verdict::Rotated | Verdict::RolledBack | Verdict::Drilled | Verdict::Refused));
    let mut left_out = run.left_out().filter(|host| isolated.contains(*host));
    if ended && run.owed_by_isolated() { left_out.next() } else { None }
}

/// Takes the values back from the hosts and goes on with the run.
pub(super) async fn finish(
    mut session: Session,
    run: RunId,
    plan: Plan,
    mut state: Run,
    mut fleet: Fleet,
    minted: &BTreeMap<ValueId, Fingerprint>,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<Exit, CliError> {
    let (vault, witnesses) = tokio::select! {
        biased;
        Some(()) = interrupts.recv() => {
            return Err(CliError::new(Exit::PersonMustLook, format!("interrupted; the run {run} was left as it was"))
                .hint(format!("lockturn resume {run}")));
        }
        recovered = recover(&session, &fleet, &state, &plan, minted) => recovered,
    };
    let entries = session.journal.entries(&run).map_err(journal)?;
    let newer = witnesses.iter().filter(|(_, witness)| matches!(witness, Witness::Newer(_)));
    let newer: Vec<&HostName> = newer.map(|(name, _)| name).collect();
    if let Some(said) = contradiction(&entries, &state, &witnesses) {
        return Err(CliError::new(Exit::PersonMustLook, format!("{said}; nothing was done to any host"))
            .hint("put the newest copy of the state directory back, then resume there")
            .hint("lockturn status PLAYBOOK shows what each host holds"));
    }
    if !newer.is_empty() {
        let names = fold_few(newer, NAMES_MAX);
        let error = format!(
            "a newer coordinator has taken the run {run} up, and is or was on {names}; nothing more was done from here"
        );
        return Err(CliError::new(Exit::Locked, error)
            .hint("let it finish where it remembers the run: another copy of this state directory is in use")
            .hint(format!(
                "if it has ended and the run has not, the next one from here is newer: lockturn resume {run}"
            )));
    }
    // Services of hosts that went back by themselves would refuse the new value, and that would be taken for the reason.
    let fired = |witness: &Witness| matches!(witness, Witness::Holds(which) if which.record.starts_with("fired"));
    if state.decision().is_none() && !state.would_go_back() && witnesses.values().any(fired) {
        let lapsed = Event::LeaseLapsed;
        state.apply(&lapsed).map_err(|error| CliError::new(Exit::Bug, error.to_string()))?;
        let mut voices =
            Voices { journal: &mut session.journal, reporter: &mut *session.reporter, since: session.since };
        voices.record(&run, vec![lapsed]).map_err(journal)?;
    }
    go(session, run, plan, state, &mut fleet, Arc::new(vault), BTreeMap::new(), interrupts).await
}

/// The number of the coordinator that takes this run up now: greater than that of each one before it.
pub(super) fn next_epoch(entries: &[Entry]) -> u64 {
    let anew = entries.iter().find_map(|entry| match entry.event {
        Event::Rebuilt { epoch, .. } => Some(epoch),
        _ => None,
    });
    let resumed = entries.iter().filter(|entry| matches!(entry.event, Event::Resumed { .. })).count();
    epoch::next(anew, resumed)
}

fn which(session: &Session, wanted: Option<&str>) -> Result<RunId, CliError> {
    match wanted {
        Some(beginning) => find_run(&session.journal, beginning),
        None => session.unfinished()?.ok_or_else(|| {
            CliError::new(Exit::Refused, "no run is unfinished; nothing was changed").hint("lockturn runs lists them").hint("if this is not the ledger that it was begun with, and that one is lost: lockturn resume --from-hosts")
        }),
    }
}

/// Looks at every host that may have something of the run, then takes them all, so that an older coordinator that wakes up is refused.
/// Takes the values back from those that keep them, and believes those only whose fingerprints are in the ledger. Hosts that the run never
/// reached, or has cleaned, are left alone: being told would leave something there.
async fn recover(
    session: &Session,
    fleet: &Fleet,
    state: &Run,
    plan: &Plan,
    minted: &BTreeMap<ValueId, Fingerprint>,
) -> (Vault, BTreeMap<HostName, Witness>) {
    let involved = |name: &HostName| state.hosts().get(name).is_some_and(Host::left_over);
    let involved: Vec<_> = fleet.actors().filter(|(name, _)| involved(name)).collect();
    let looking = involved.iter().map(|(name, actor)| async move {
        let mut actor = actor.lock().await;
        // A host that does not answer now is looked at, and taken, before its next step.
        actor.leave_to_take(Some(Announced::of(state, name)));
        let looked = shown(&mut actor).await;
        let witness = looked.as_ref().ok().cloned().flatten().map(Witness::Holds);
        (looked.is_ok(), witness.map(|witness| ((*name).clone(), witness)))
    });
    let looked = futures::future::join_all(looking).await;
    let witnesses: BTreeMap<_, _> = looked.iter().filter_map(|(_, witness)| witness.clone()).collect();
    // Nobody is taken by one who knows less.
    if against(state, &witnesses).is_some() {
        return (Vault::default(), witnesses);
    }
    let answered = involved.iter().zip(&looked).filter(|(_, (answered, _))| *answered);
    let taking = answered.map(|((name, actor), _)| async move {
        let mut actor = actor.lock().await;
        let taken = take(&mut actor, plan.lease).await;
        let ours = !matches!(taken, Err(_) | Ok(Some(Witness::Newer(_))));
        if ours {
            actor.leave_to_take(None);
        }
        let kept = if ours { actor.call(&Request::Fetch { name: KEPT }, STEP_MAX).await.ok() } else { None };
        (*name, taken.ok().flatten(), kept)
    });
    let (mut vault, mut witnesses) = (Vault::default(), BTreeMap::new());
    for (name, witness, kept) in futures::future::join_all(taking).await {
        witnesses.extend(witness.map(|witness| (name.clone(), witness)));
        let mut from_host = Vault::default();
        let Some(kept) = kept else { continue };
        if let Err(error) = from_host.take_kept(&kept) {
            say::err(&format!("warning: {name}: {error}\n"));
        }
        for (id, planned) in &plan.values {
            let Some(pair) = from_host.get(id) else { continue };
            let old = session.key.fingerprint(&pair.old) == planned.old_on(name);
            let new = minted.get(id) == Some(&session.key.fingerprint(&pair.new));
            if old && new && planned.apart.contains_key(name) {
                vault.insert_apart(name.clone(), id.clone(), pair.clone());
            } else if old && new {
                vault.insert(id.clone(), pair.clone());
            } else {
                say::err(&format!(
                    "warning: {name} keeps other values of `{id}` than the ledger has; they are not used\n"
                ));
            }
        }
    }
    (vault, witnesses)
}
