//! The part of `status` that is about quarantines: whether every machine still has its rules.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

use crate::host::{Kept, KeptState, Request};
use crate::inventory::Inventory;
use crate::model::{HostName, Reason, RunId};
use crate::quarantine::Table;
use crate::runtime::actor::{Actor, STEP_MAX, Who};
use crate::runtime::isolate::STATE;

use super::args::Output;
use super::quarantine::{is_in, rights, standing};
use super::rotate::new_run;
use super::session::{Session, unless_stopped};
use super::status::row;
use super::{Args, CliError, files, say, surroundings};

/// Asks every machine of the inventory, or of the limit, whether the rules about hosts in quarantine are there as they were loaded.
/// Whether they all are. Nobody is asked where nobody is in quarantine.
pub(super) async fn look(
    args: &Args,
    session: &Session,
    inventory: &Inventory,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<bool, CliError> {
    let standing = standing(&session.journal)?;
    let isolated: BTreeSet<&HostName> = inventory.hosts.keys().filter(|host| is_in(&standing, host)).collect();
    if isolated.is_empty() {
        return Ok(true);
    }
    let only = files::limit(args, inventory)?;
    let surroundings = surroundings::of_operator(args);
    let asked = inventory.hosts.keys().filter(|name| only.as_ref().is_none_or(|only| only.contains(*name)));
    let run = new_run();
    let asking = asked.filter_map(|name| {
        let who = surroundings.who(inventory, name, None)?;
        let who = Who { become_user: rights(&who.endpoint.user), state_dir: STATE.to_owned(), ..who };
        let mut actor = Actor::new(who, run.clone(), 1, session.connector.clone(), session.cancel.clone());
        Some(async move {
            let said = actor.call(&Request::Kept, STEP_MAX).await.map_err(|error| error.reason().clone());
            actor.leave().await;
            (name, said.and_then(|said| Kept::parse(&said)))
        })
    });
    let asking = async { Ok(futures::future::join_all(asking).await) };
    let mut good = true;
    let mut open: BTreeSet<&RunId> = BTreeSet::new();
    for (name, said) in unless_stopped(interrupts, asking).await? {
        for host in &isolated {
            let table = if *host == name { Table::own() } else { Table::of(host) };
            let (word, holds) = word(&said, &table);
            print(args, name, host, &word, holds);
            // Of the host itself its own word is advice only.
            good &= holds || *host == name;
            open.extend((!holds).then_some(&standing[*host].0));
        }
    }
    for run in open {
        let next = format!("next: lockturn resume {run} looks there again, and puts the rules back where they were\n");
        say::err(&session.again.in_text(&next));
    }
    Ok(good)
}

fn word(said: &Result<Kept, Reason>, table: &Table) -> (String, bool) {
    let kept = match said {
        Err(reason) => return (format!("unknown: {reason}"), false),
        Ok(Kept(kept)) => kept.iter().map(|(name, state)| (name.clone(), *state)).collect::<BTreeMap<_, _>>(),
    };
    match kept.get(&table.to_string()) {
        Some(KeptState::InPlace) => ("rules in place".to_owned(), true),
        Some(KeptState::Changed) => ("rules CHANGED".to_owned(), false),
        Some(KeptState::Gone) => ("rules GONE".to_owned(), false),
        None => ("NO rules".to_owned(), false),
    }
}

fn print(args: &Args, name: &HostName, isolated: &HostName, word: &str, holds: bool) {
    if args.output == Some(Output::Json) {
        let line = serde_json::json!({"v": 1, "host": name, "quarantine": isolated, "rules": word, "holds": holds});
        say::out(&format!("{line}\n"));
    } else {
        let what = format!("quarantine of {isolated}");
        say::out(&row(name.as_str(), &what, word));
    }
}
