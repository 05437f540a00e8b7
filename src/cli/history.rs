//! `runs`, `show` and `ledger verify`: what was done, from the ledger alone.

use crate::coordinator::Run;
use crate::journal::Journal;
use crate::model::{Entry, RunId, Verdict};
use crate::report::summarise;
use crate::runtime::clock;

use super::args::Output;
use super::session::{journal, state_dir};
use super::{Args, CliError, Exit, say};

fn open(args: &Args) -> Result<Option<Journal>, CliError> {
    Journal::open_to_read(&state_dir(args)?).map_err(journal)
}

/// `runs`.
pub(super) fn runs(args: &Args) -> Result<Exit, CliError> {
    let runs = match open(args)? {
        Some(ledger) => ledger.runs().map_err(journal)?,
        None => Vec::new(),
    };
    for run in &runs {
        let verdict = run.verdict.map_or("unfinished", Verdict::label);
        let began = clock::iso(run.began_unix);
        if args.output == Some(Output::Json) {
            let line = serde_json::json!({
                "v": 1, "run": run.run, "playbook": run.playbook, "began": began, "operator": run.operator,
                "verdict": run.verdict, "unfinished": run.is_unfinished(),
            });
            say::out(&format!("{line}\n"));
        } else {
            say::out(&format!("{}  {began}  {verdict:17}  {}  by {}\n", run.run, run.playbook, run.operator));
        }
    }
    if runs.is_empty() {
        say::err("no run yet\n");
    }
    Ok(Exit::Done)
}

/// `show`.
pub(super) fn show(args: &Args, text: &str) -> Result<Exit, CliError> {
    let id: RunId = text.parse().map_err(|error| CliError::new(Exit::Usage, format!("`{text}`: {error}")))?;
    let missing = || CliError::new(Exit::Usage, format!("there is no run `{id}`")).hint("lockturn runs lists them");
    let ledger = open(args)?.ok_or_else(missing)?;
    let (plan, entries) = (ledger.plan(&id).map_err(journal)?, ledger.entries(&id).map_err(journal)?);
    if args.output == Some(Output::Json) {
        let mut json = crate::report::Json::new(std::io::stdout());
        entries.iter().for_each(|entry| crate::report::Reporter::entry(&mut json, entry));
        return Ok(Exit::Done);
    }
    for Entry { at_unix, event, .. } in &entries {
        let data = serde_json::to_value(event).unwrap_or_default();
        let data = data.as_object().and_then(|fields| fields.values().next()).map(ToString::to_string);
        say::out(&format!(
            "{}  {:14} {}\n",
            clock::iso(*at_unix),
            event.label(),
            crate::model::harmless(&data.unwrap_or_default())
        ));
    }
    let run = Run::replay(&plan, entries.iter().map(|entry| &entry.event))
        .map_err(|error| CliError::new(Exit::PersonMustLook, error.to_string()).hint("lockturn ledger verify"))?;
    say::out(&format!("\n{}", summarise(&id, &plan, &run, &entries).render()));
    Ok(Exit::Done)
}

/// `ledger verify`.
pub(super) fn verify(args: &Args) -> Result<Exit, CliError> {
    let count = match open(args)? {
        Some(ledger) => ledger.verify().map_err(journal)?,
        None => 0,
    };
    say::out(&format!("{count} entries, each as it was written\n"));
    Ok(Exit::Done)
}
