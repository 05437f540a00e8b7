//! `drill`: a rehearsal on real hosts that breaks something on purpose, and ends on the old secret.

use std::path::Path;

use crate::model::{Drill, DrillFault, HostName, Plan, fold_few};
use crate::plan::Draft;
use crate::report::plural;

use super::args::FaultName;
use super::rotate::{Ask, look_ask_do};
use super::{Args, CliError, Exit, files, say};

/// How many names or ranges of names are shown of those that take part.
const NAMES_MAX: usize = 6;

/// `drill`.
pub(super) async fn run(args: &Args, file: &Path, fault: FaultName) -> Result<Exit, CliError> {
    let inventory = files::inventory(args)?;
    let playbook = files::playbook(file)?;
    let whole = files::resolve(&inventory, &playbook, file)?;
    let everybody = whole.hosts.len();
    let draft = match &args.limit {
        Some(_) => files::limited(args, &inventory, whole)?,
        None => smallest(whole)?,
    };
    look_ask_do(args, &inventory, &playbook, &draft, |plan| {
        let drill = Drill { fault: fault.into(), host: broken_host(plan) };
        say::err(&told(plan, &drill, everybody));
        let question = format!("Drill now on {}? They get new values, and go back.", plural(plan.hosts.len(), "host"));
        Ask { question, drill: Some(drill) }
    })
    .await
}

/// The fewest hosts that can be rotated without the others.
fn smallest(whole: Draft) -> Result<Draft, CliError> {
    let canary = whole.canary();
    whole.limited(&canary).map_err(|error| {
        CliError::new(Exit::Refused, format!("no part of the fleet can be drilled alone: {error}"))
            .hint("choose the hosts yourself with --limit")
    })
}

/// Where something goes wrong: on one whose value is its own, else on the first.
fn broken_host(plan: &Plan) -> HostName {
    let owners = plan.values.keys().filter_map(|value| value.owner.as_ref());
    let mut chosen = owners.chain(plan.hosts.keys()).filter(|host| plan.hosts.contains_key(*host));
    chosen.next().expect("a plan has a host").clone()
}

/// What will go wrong, below the plan.
fn told(plan: &Plan, Drill { fault, host }: &Drill, everybody: usize) -> String {
    let lease = plan.lease;
    let wrong = match fault {
        DrillFault::Proof => {
            format!("every host proves the new value; then the proof of {host} is declared failed, and all go back")
        }
        DrillFault::LostHost => format!(
            "after the cut {host} hears nothing for {lease} and must go back by itself; all others go back with us, at once"
        ),
        DrillFault::DeadCoordinator => {
            format!("after the cut nobody hears anything for {lease}; every host must go back by itself")
        }
    };
    let hosts = plan.hosts.len();
    let who = if everybody == 1 {
        format!("the only host that takes part: {}", fold_few(plan.hosts.keys(), NAMES_MAX))
    } else if hosts == everybody {
        format!("all {}: no part of the fleet was chosen, or can be touched, without the rest", plural(hosts, "host"))
    } else {
        format!("{} of {}: {}", hosts, plural(everybody, "host"), fold_few(plan.hosts.keys(), NAMES_MAX))
    };
    format!(
        "\n  drill     {}: {wrong}\n            on {who}\n            it ends on the old secret; its new values are never used again{}\n",
        fault.label(),
        if *fault == DrillFault::Proof {
            ""
        } else {
            "\n            Ctrl-C ends the silence: whoever has not gone back by then is taken back"
        }
    )
}
