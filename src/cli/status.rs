//! `status`: what each host really holds now, by fingerprint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::journal::{AtWork, Journal, JournalError};
use crate::model::{Event, Fingerprint, HostName, Reason, RunId, ValueId};
use crate::plan::{DraftHost, LimitError};
use crate::runtime::inspect::{Inspected, Purpose};
use crate::runtime::{Fleet, clock};

use super::again::Again;
use super::args::Output;
use super::session::{Session, interrupts, journal, state_dir, unless_stopped};
use super::{Args, CliError, Exit, files, held, memory, overdue, say, surroundings};

/// `status`. Exit 0: hosts that share a value hold the same, and no run has left anything; 6: some hold another one, or did not answer;
/// 7: a run has left something, or a quarantine is overdue. 6 too where a machine has not the rules about a host in quarantine, or has not
/// forgotten what that knows and was to.
pub(super) async fn run(args: &Args, file: &Path) -> Result<Exit, CliError> {
    let inventory = files::inventory(args)?;
    let playbook = files::playbook(file)?;
    let mut draft = files::resolve(&inventory, &playbook, file)?;
    // Nothing is proved here, so it does not matter whether it could be.
    draft.hosts.values_mut().for_each(|host| host.verify.clear());
    // Looking changes nothing, so hosts that share a value may be looked at apart.
    if let Some(only) = files::limit(args, &inventory)? {
        draft = draft.seen_on(&only);
        if draft.hosts.is_empty() {
            return Err(CliError::new(Exit::Usage, format!("the limit: {}", LimitError::Nobody)));
        }
    }
    let dir = state_dir(args)?;
    let mut session = Session::open_to_look(args)?;
    // A run that ends while hosts are asked was seen before, and one that begins then is seen after.
    let before = dir.at_work();
    let mut interrupts = interrupts()?;
    let surroundings = surroundings::of_operator(args);
    let whos = draft.hosts.iter().filter_map(|(name, host)| surroundings.who(&inventory, name, host.become_user));
    let nobody: RunId = "status".parse().expect("it is a name");
    let fleet = Fleet::new(whos.collect(), &nobody, 1, &session.connector, &session.cancel);
    let (reporter, since) = (&mut session.reporter, session.since);
    let note = |event: Event| reporter.entry(&clock::entry(since, event));
    let look = fleet.inspect(&draft, &session.key, Purpose::Look, note);
    let said = unless_stopped(&mut interrupts, async { Ok(look.await) }).await?;
    session.reporter.finish();
    if args.output != Some(Output::Json) {
        say::out(&row("HOST", "SECRET", "HOLDS"));
    }
    let at_work = [before, dir.at_work()].into_iter().flatten().collect();
    let mut status = Status { json: args.output == Some(Output::Json), at_work, ..Status::default() };
    for run in said.values().flatten().flat_map(|read| &read.left) {
        status.runs.extend(Sides::of(&session.journal, run)?.map(|sides| (run.clone(), sides)));
        if !knows(&session.journal, run)? {
            status.unknown.insert(run.clone());
        }
    }
    for (name, answer) in &said {
        status.host(name, draft.hosts.get(name).expect("only hosts of the draft were asked"), answer);
    }
    fleet.leave().await;
    status.split |= !held::look(args, &session, &inventory, &mut interrupts).await?;
    status.split |= !memory::look(args, &session.journal, &inventory, &session.again)?;
    let overdue = overdue::look(&session.journal, &session.again)?;
    Ok(match status.end(&session.again) {
        Exit::Done => overdue,
        exit => exit,
    })
}

/// One row of the table.
pub(super) fn row(host: &str, what: &str, state: &str) -> String {
    format!("{host:20}  {what:40}  {state}\n")
}

/// What was seen so far.
#[derive(Default)]
struct Status {
    json: bool,
    held: BTreeMap<ValueId, Fingerprint>,
    split: bool,
    left: BTreeSet<String>,
    /// Those of them that this ledger does not know.
    unknown: BTreeSet<String>,
    /// Who worked with this state directory meanwhile.
    at_work: Vec<AtWork>,
    /// Runs that have left something, as far as this ledger knows them.
    runs: BTreeMap<String, Sides>,
}

/// Both values of each secret in an unfinished run.
struct Sides {
    old: BTreeMap<ValueId, Fingerprint>,
    new: BTreeMap<ValueId, Fingerprint>,
}

fn knows(ledger: &Journal, run: &str) -> Result<bool, CliError> {
    let Ok(run) = run.parse() else { return Ok(false) };
    Ok(!ledger.entries(&run).map_err(journal)?.is_empty())
}

impl Sides {
    /// None if the run is another ledger's.
    fn of(ledger: &Journal, run: &str) -> Result<Option<Self>, CliError> {
        let Ok(run) = run.parse() else { return Ok(None) };
        if matches!(ledger.isolation(&run), Ok(Some(_))) {
            return Ok(None);
        }
        let plan = match ledger.plan(&run) {
            Err(JournalError::NoSuchRun(_)) => return Ok(None),
            plan => plan.map_err(journal)?,
        };
        let entries = ledger.entries(&run).map_err(journal)?;
        let minted = entries.into_iter().find_map(|entry| match entry.event {
            Event::ValuesMinted { values } => Some(values),
            _ => None,
        });
        let old = plan.values.iter().map(|(id, value)| (id.clone(), value.old)).collect();
        Ok(Some(Self { old, new: minted.unwrap_or_default() }))
    }

    fn name(&self, id: &ValueId, print: Fingerprint) -> Option<&'static str> {
        let is = |side: &BTreeMap<ValueId, Fingerprint>| side.get(id) == Some(&print);
        if is(&self.old) { Some("old") } else { is(&self.new).then_some("new") }
    }
}

impl Status {
    fn host(&mut self, name: &HostName, host: &DraftHost, answer: &Result<Inspected, Reason>) {
        let read = match answer {
            Err(reason) => return self.line(name, "-", &format!("unknown: {reason}"), false),
            Ok(read) => read,
        };
        for run in &read.left {
            let said = match self.holder_of(run) {
                Some(_) => format!("the run {run} goes on here"),
                None => format!("something of the run {run} is left here"),
            };
            self.line(name, "-", &said, true);
            self.left.insert(run.clone());
        }
        for (change, facts) in host.changes.iter().zip(&read.facts.changes) {
            for (at, id) in change.values().into_iter().enumerate() {
                let print = match facts {
                    Err(reason) => {
                        self.line(name, &id.to_string(), &format!("unknown: {reason}"), false);
                        continue;
                    }
                    Ok(facts) => facts.values[at],
                };
                let agrees = *self.held.entry(id.clone()).or_insert(print) == print;
                let side = read.left.iter().find_map(|run| self.runs.get(run)?.name(id, print));
                let side = side.map_or(String::new(), |side| format!("  {side}"));
                let state = format!("{print}{side}{}", if agrees { "" } else { "  DISAGREES" });
                self.line(name, &id.to_string(), &state, agrees);
            }
        }
    }

    fn holder_of(&self, run: &str) -> Option<&str> {
        let on_it = |at_work: &&AtWork| at_work.run.as_ref().is_some_and(|at| at.as_str() == run);
        self.at_work.iter().find(on_it).map(|at_work| &*at_work.holder)
    }

    fn line(&mut self, host: &HostName, value: &str, state: &str, good: bool) {
        self.split |= !good;
        if self.json {
            let line = serde_json::json!({"v": 1, "host": host, "value": value, "holds": state, "agrees": good});
            say::out(&format!("{line}\n"));
        } else {
            say::out(&row(host.as_str(), value, state));
        }
    }

    fn end(&self, again: &Again) -> Exit {
        for run in &self.left {
            let next = match self.holder_of(run) {
                Some(holder) => {
                    format!("the run {run} goes on now, by {holder}\nnext: let it end, then ask once more\n")
                }
                None if self.unknown.contains(run) => format!(
                    "this ledger does not know the run {run}: resume it where it was begun\n\
                     next: lockturn resume --from-hosts {run}   if the ledger that knew it is lost\n"
                ),
                None => format!("next: lockturn resume {run}\n"),
            };
            say::err(&again.in_text(&next));
        }
        match (self.split, self.left.is_empty()) {
            (true, _) => Exit::PersonMustLook,
            (false, false) => Exit::Owing,
            (false, true) => Exit::Done,
        }
    }
}
