//! The part of `quarantine` that is about secrets: what the others are to forget of the isolated hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::inventory::Inventory;
use crate::journal::Journal;
use crate::model::{Become, Forgetting, HostName, IsolationPlan, RunId, SqliteRow, Way, fold_few};
use crate::runtime::Surroundings;
use crate::runtime::forget::Forgetter;

use super::quarantine::{NAMES_MAX, Standing, is_in};
use super::session::{Session, journal};
use super::{CliError, Exit, files};

/// What `--playbook` says of these hosts.
pub(super) fn read(
    inventory: &Inventory,
    file: &Path,
    hosts: &BTreeSet<HostName>,
    away: &BTreeSet<HostName>,
) -> Result<Forgetting, CliError> {
    let (playbook, draft) = files::forgetting(inventory, file)?;
    let rights = |name: &HostName| inventory.hosts.get(name).map_or(Become::None, |host| host.become_user);
    let forgetting = draft.forgetting(&playbook.name, hosts, away, rights);
    let knows = |host: &&HostName| forgetting.values.keys().any(|value| value.owner.as_ref() == Some(*host));
    if let Some(host) = hosts.iter().find(|host| !knows(host)) {
        return Err(CliError::new(
            Exit::Refused,
            format!("{} knows nothing of {host}, so nobody would forget it; nothing was changed", file.display()),
        )
        .hint("`per:` and `for_each:` there say whom it knows; without --playbook the network alone is closed"));
    }
    if forgetting.keepers.is_empty() {
        return Err(CliError::new(
            Exit::Refused,
            format!("whoever is to forget by {} is in quarantine too; nothing was changed", file.display()),
        )
        .hint("without --playbook the network alone is closed"));
    }
    Ok(forgetting)
}

/// A host that is in quarantine already, by a run that goes on where something is open. One that left secrets alone is done anew for them.
pub(super) fn already<'a>(
    ledger: &Journal,
    standing: &'a Standing,
    hosts: &'a BTreeSet<HostName>,
    forgets: bool,
) -> Result<Option<(&'a HostName, &'a RunId)>, CliError> {
    for host in hosts.iter().filter(|host| is_in(standing, host)) {
        let run = &standing[host].0;
        let plan = ledger.isolation(run).map_err(journal)?;
        let knows = plan.is_some_and(|plan| plan.forgetting.is_some());
        if knows || !forgets {
            return Ok(Some((host, run)));
        }
    }
    Ok(None)
}

/// What is about to become of what the hosts know, before anybody is asked.
pub(super) fn describe(plan: &IsolationPlan) -> String {
    let Some(forgetting) = &plan.forgetting else {
        return "secrets are not touched: what is known there is still accepted where packets get through\n".to_owned();
    };
    let hosts = fold_few(plan.hosts.keys(), NAMES_MAX);
    let mut text = String::new();
    for (name, keeps) in &forgetting.keepers {
        let units = keeps.stop.values().flatten().map(|unit| format!("; {unit} ends there")).collect::<String>();
        text.push_str(&format!("{name}: what {hosts} knows becomes worthless there, for good{units}\n"));
    }
    text
}

/// What released hosts hold now that is worthless, and what gives them secrets again. A release puts nothing back.
pub(super) fn of_released(ledger: &Journal, plan: &IsolationPlan) -> Result<String, CliError> {
    let mut text = String::new();
    for host in plan.hosts.keys() {
        let (mut stopped, mut forgotten) = (BTreeMap::<HostName, BTreeSet<String>>::new(), false);
        let mut rotations = BTreeSet::new();
        for run in ledger.runs().map_err(journal)? {
            let Some(isolates) = run.isolates else {
                let plan = ledger.plan(&run.run).map_err(journal)?;
                rotations.extend(plan.hosts.contains_key(host).then_some(run.playbook));
                continue;
            };
            let of_host = isolates.way == Way::Quarantine && isolates.hosts.contains(host);
            let plan = if of_host { ledger.isolation(&run.run).map_err(journal)? } else { None };
            for (name, keeps) in plan.and_then(|plan| plan.forgetting).into_iter().flat_map(|known| known.keepers) {
                forgotten = true;
                let about_it = |row: &&SqliteRow| row.host == *host;
                if keeps.rows.values().flatten().any(|row| about_it(&row)) {
                    let units = keeps.stop.get(host).cloned().unwrap_or_default();
                    stopped.entry(name).or_default().extend(units);
                }
            }
        }
        if !forgotten {
            continue;
        }
        let keepers = fold_few(stopped.keys(), NAMES_MAX);
        text.push_str(&format!("{host} holds secrets that are worthless on {keepers}; nothing of them is put back\n"));
        let which: Vec<String> = rotations.into_iter().map(|name| format!("`{name}`")).collect();
        let which = if which.is_empty() { String::new() } else { format!(", that of {}", which.join(", ")) };
        text.push_str(&format!(
            "      lockturn rotate PLAYBOOK gives it new ones: every playbook that has it{which}\n"
        ));
        for (name, units) in stopped.iter().filter(|(_, units)| !units.is_empty()) {
            let units: Vec<&str> = units.iter().map(String::as_str).collect();
            text.push_str(&format!("      then, on {name}: systemctl enable --now {}\n", units.join(" ")));
        }
    }
    Ok(text)
}

/// Who is asked to forget.
pub(super) fn forgetter(
    session: &Session,
    surroundings: &Surroundings,
    inventory: &Inventory,
    plan: &IsolationPlan,
    run: (&RunId, u64),
) -> Forgetter {
    let Some(forgetting) = &plan.forgetting else { return Forgetter::default() };
    let whos = forgetting.keepers.iter();
    let whos = whos.filter_map(|(name, keeps)| surroundings.who(inventory, name, Some(keeps.become_user)));
    Forgetter::new(whos.collect(), forgetting, plan.lease, run, &session.connector, &session.cancel)
}
