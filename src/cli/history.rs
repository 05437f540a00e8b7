//! `runs`, `show` and `ledger verify`: what was done, from the ledger alone.

use std::fmt::Write as _;

use crate::coordinator::Run;
use crate::journal::{Journal, JournalError};
use crate::model::{DrillFault, Entry, Event, Verdict, fold_few};
use crate::report::{
    Json, Plain, Reporter as _, isolation_goes_on, summarise, summarise_evidence, summarise_isolation,
};
use crate::runtime::clock;

use super::again::Again;
use super::args::Output;
use super::session::{find_run, holder_of, journal, state_dir};
use super::{Args, CliError, Exit, overdue, say};

/// How many names or ranges of names stand on one line.
const NAMES_MAX: usize = 8;

fn open(args: &Args) -> Result<Option<Journal>, CliError> {
    Journal::open_to_read(&state_dir(args)?).map_err(journal)
}

/// `runs`: the newest first. Exit 7: a quarantine is overdue.
pub(super) fn runs(args: &Args) -> Result<Exit, CliError> {
    // Before they are read: a run that ends meanwhile has its verdict.
    let at_work = state_dir(args)?.at_work().and_then(|at_work| at_work.run);
    let ledger = open(args)?;
    let runs = match &ledger {
        Some(ledger) => ledger.runs().map_err(journal)?,
        None => Vec::new(),
    };
    for run in runs.iter().rev() {
        let running = run.verdict.is_none() && at_work.as_ref() == Some(&run.run);
        let verdict = run.verdict.map_or(if running { "running" } else { "unfinished" }, Verdict::label);
        let drill = run.drill.map(DrillFault::label);
        let began = clock::iso(run.began_unix);
        let until = overdue::until(run).map(clock::iso);
        if args.output == Some(Output::Json) {
            let line = serde_json::json!({
                "v": 1, "run": run.run, "playbook": run.playbook, "began": began, "operator": run.operator,
                "verdict": run.verdict, "unfinished": run.is_unfinished(), "running": running, "drill": drill, "isolates": run.isolates,
                "expires": until,
            });
            say::out(&format!("{line}\n"));
        } else {
            let drill = drill.map_or(String::new(), |fault| format!("  drill: {fault}"));
            let whom = run
                .isolates
                .as_ref()
                .map_or(String::new(), |isolates| format!(" {}", fold_few(&isolates.hosts, NAMES_MAX)));
            let what = format!("{}{whom}", run.playbook);
            let until = until.map_or(String::new(), |until| format!("  expires {until}"));
            say::out(&format!("{}  {began}  {verdict:17}  {what}  by {}{drill}{until}\n", run.run, run.operator));
        }
    }
    if runs.is_empty() {
        say::err("no run yet\n");
    }
    match ledger {
        Some(ledger) => overdue::look(&ledger, &Again::of(args)),
        None => Ok(Exit::Done),
    }
}

/// `show`: what happened when, and the same words as at the end of the run.
pub(super) fn show(args: &Args, beginning: &str) -> Result<Exit, CliError> {
    let missing = || journal(JournalError::NoSuchRun(beginning.to_owned()));
    let ledger = open(args)?.ok_or_else(missing)?;
    let id = find_run(&ledger, beginning)?;
    // Before the entries are read: a run that ends meanwhile has its verdict.
    let holder = holder_of(args, &id)?;
    let entries = ledger.entries(&id).map_err(journal)?;
    if args.output == Some(Output::Json) {
        let mut json = Json::new(std::io::stdout());
        entries.iter().for_each(|entry| json.entry(entry));
        return Ok(Exit::Done);
    }
    if let Some(plan) = ledger.isolation(&id).map_err(journal)? {
        let state = super::quarantine::replay(&plan, &entries)?;
        let verdict = entries.iter().rev().find_map(|entry| match entry.event {
            Event::RunEnded { verdict } => Some(Some(verdict)),
            Event::Resumed { .. } => Some(None),
            _ => None,
        });
        let goes_on = verdict.flatten().is_none() && holder.is_some();
        let summary = match (verdict.flatten(), holder) {
            (None, Some(holder)) => isolation_goes_on(&id, &plan, &state, &holder),
            (verdict, _) => summarise_isolation(&id, &plan, &state, verdict),
        };
        say::out(&format!("{}\n{}", timeline(&entries), Again::of(args).in_text(&summary)));
        if !goes_on {
            say::out(&summarise_evidence(&id, &plan, &entries));
        }
        return Ok(Exit::Done);
    }
    let plan = ledger.plan(&id).map_err(journal)?;
    let run = Run::replay(&plan, entries.iter().map(|entry| &entry.event)).map_err(|error| {
        CliError::new(Exit::PersonMustLook, format!("the ledger tells a run that cannot be: {error}"))
            .hint("lockturn ledger verify")
    })?;
    say::out(&timeline(&entries));
    let mut summary = summarise(&id, &plan, &run, &entries);
    summary.name_every_host();
    if let Some(holder) = holder {
        summary.goes_on(holder);
    }
    say::out(&format!("\n{}", Again::of(args).in_text(&summary.render())));
    Ok(Exit::Done)
}

/// The lines that were said while the run went on, each with its time: as many for ten thousand hosts as for three.
fn timeline(entries: &[Entry]) -> String {
    let (mut plain, mut text) = (Plain::new(Vec::new()), String::new());
    for entry in entries {
        plain.entry(entry);
        for line in plain.take().lines() {
            let _infallible = writeln!(text, "{}  {line}", clock::iso(entry.at_unix));
        }
    }
    text
}

/// `ledger verify`.
pub(super) fn verify(args: &Args) -> Result<Exit, CliError> {
    let count = match open(args)? {
        Some(ledger) => ledger.verify().map_err(|error| match error {
            JournalError::Broken(_) => CliError { exit: Exit::PersonMustLook, ..journal(error) },
            error => journal(error),
        })?,
        None => 0,
    };
    say::out(&format!("{count} entries, each as it was written\n"));
    Ok(Exit::Done)
}
