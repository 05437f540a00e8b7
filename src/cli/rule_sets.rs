//! `quarantine --show`: the rules that each machine would get, for a person to review. Changes nothing.

use tokio::sync::mpsc;

use crate::host::CallError;
use crate::inventory::Inventory;
use crate::model::{HostName, IsolationPlan, Reason, ReasonKind};
use crate::quarantine::{Table, staged};
use crate::runtime::actor::Actor;
use crate::runtime::actor::Who;
use crate::runtime::isolate::{STATE, learn};

use super::args::Output;
use super::rotate::new_run;
use super::session::{Session, unless_stopped};
use super::{Args, CliError, Exit, say, surroundings};

/// Asks each machine what its rules need, and prints them; who does not answer is named. Exit 6 if somebody did not.
pub(super) async fn show(
    args: &Args,
    session: &Session,
    inventory: &Inventory,
    plan: &IsolationPlan,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<Exit, CliError> {
    let surroundings = surroundings::of_operator(args);
    let run = new_run();
    let asking = plan.members.iter().filter_map(|(name, member)| {
        let who = surroundings.who(inventory, name, Some(member.become_user))?;
        let who = Who { state_dir: STATE.to_owned(), ..who };
        let actor = Actor::new(who, run.clone(), 1, session.connector.clone(), session.cancel.clone());
        Some(async move { (name, rules(actor, plan, name).await) })
    });
    let asking = async { Ok(futures::future::join_all(asking).await) };
    let mut exit = Exit::Done;
    for (name, said) in unless_stopped(interrupts, asking).await? {
        match said {
            Ok(tables) => tables.iter().for_each(|(table, rules)| print(args, name, table, rules)),
            Err(reason) => {
                say::err(&format!("{name}: unknown: {reason}\n"));
                exit = Exit::PersonMustLook;
            }
        }
    }
    Ok(exit)
}

async fn rules(mut actor: Actor, plan: &IsolationPlan, name: &HostName) -> Result<Vec<(Table, String)>, Reason> {
    let learned = learn(&mut actor, plan, name).await;
    actor.leave().await;
    let learned = learned.map_err(|error| match error {
        CallError::Refused(reason) | CallError::Lost(reason) => reason,
    })?;
    staged(plan, name, &learned).map_err(|error| Reason::new(ReasonKind::Unclear, error.to_string()))
}

fn print(args: &Args, name: &HostName, table: &Table, rules: &str) {
    if args.output == Some(Output::Json) {
        let line = serde_json::json!({"v": 1, "host": name, "table": table.to_string(), "rules": rules});
        say::out(&format!("{line}\n"));
    } else {
        say::out(&format!("### {name}\n{rules}\n"));
    }
}
