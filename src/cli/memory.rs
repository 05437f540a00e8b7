//! The part of `status` that is about what hosts in quarantine know: who has forgotten it. The ledger says so; nobody is asked.

use std::collections::BTreeSet;

use crate::inventory::Inventory;
use crate::journal::Journal;
use crate::model::{HostName, Keeps, RunId};
use crate::quarantine::{Keeper, Memory};

use super::again::Again;
use super::args::Output;
use super::quarantine::{is_in, replay, standing};
use super::session::journal;
use super::status::row;
use super::{Args, CliError, files, say};

/// Says of each host in quarantine which keeper has forgotten it, proved, and which not yet. Whether all who were to have.
pub(super) fn look(args: &Args, ledger: &Journal, inventory: &Inventory, again: &Again) -> Result<bool, CliError> {
    let standing = standing(ledger)?;
    let only = files::limit(args, inventory)?;
    let shown = |name: &HostName| only.as_ref().is_none_or(|only| only.contains(name));
    let mut open: BTreeSet<&RunId> = BTreeSet::new();
    for host in inventory.hosts.keys().filter(|host| is_in(&standing, host)) {
        let run = &standing[host].0;
        let Some(plan) = ledger.isolation(run).map_err(journal)? else { continue };
        let Some(forgetting) = &plan.forgetting else {
            if shown(host) {
                print(args, host, host, None, "NOT forgotten: nobody was asked to (quarantine --playbook)");
            }
            continue;
        };
        let state = replay(&plan, &ledger.entries(run).map_err(journal)?)?;
        let keepers = forgetting.keepers.iter().filter(|(name, keeps)| shown(name) && keeps_of(keeps, host));
        for (name, _) in keepers {
            let Some(keeper) = state.keepers().get(name) else { continue };
            print(args, name, host, Some(keeper.memory()), &word(keeper));
            if keeper.memory() != Memory::Forgotten {
                open.insert(run);
            }
        }
    }
    for run in &open {
        say::err(&again.in_text(&format!("next: lockturn resume {run} has them forget what is not forgotten yet\n")));
    }
    Ok(open.is_empty())
}

/// Whether that keeper has anything of this host.
fn keeps_of(keeps: &Keeps, host: &HostName) -> bool {
    keeps.stop.contains_key(host) || keeps.rows.values().flatten().any(|row| row.host == *host)
}

fn word(keeper: &Keeper) -> String {
    match (keeper.memory(), keeper.trouble()) {
        (Memory::Forgotten, _) => "forgotten, proved".to_owned(),
        (memory, None) => format!("NOT forgotten yet: {}", memory.label()),
        (memory, Some((step, reason))) => format!("NOT forgotten yet: {} in `{step}`: {reason}", memory.label()),
    }
}

fn print(args: &Args, name: &HostName, isolated: &HostName, memory: Option<Memory>, word: &str) {
    if args.output == Some(Output::Json) {
        let label = memory.map_or("untouched", Memory::label);
        let line = serde_json::json!({"v": 1, "host": name, "knows": isolated, "memory": label, "why": word});
        say::out(&format!("{line}\n"));
    } else {
        say::out(&row(name.as_str(), &format!("what {isolated} knows"), word));
    }
}
