//! `status`: what each host really holds now, by fingerprint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::model::{Event, Fingerprint, HostName, Reason, RunId, ValueId};
use crate::plan::{DraftHost, LimitError};
use crate::runtime::inspect::Inspected;
use crate::runtime::{Fleet, clock};

use super::args::Output;
use super::session::{Session, interrupts, unless_stopped};
use super::{Args, CliError, Exit, files, say, surroundings};

/// `status`. Exit 0: hosts that share a value hold the same, and no run has left anything; 6: some hold another one, or did not answer;
/// 7: a run has left something.
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
    let mut session = Session::open_to_look(args)?;
    let mut interrupts = interrupts()?;
    let surroundings = surroundings::of_operator(args);
    let whos = draft.hosts.iter().filter_map(|(name, host)| surroundings.who(&inventory, name, host.become_user));
    let nobody: RunId = "status".parse().expect("it is a name");
    let fleet = Fleet::new(whos.collect(), &nobody, 1, &session.connector, &session.cancel);
    let (reporter, since) = (&mut session.reporter, session.since);
    let look = fleet.inspect(&draft, &session.key, |event: Event| reporter.entry(&clock::entry(since, event)));
    let said = unless_stopped(&mut interrupts, async { Ok(look.await) }).await?;
    session.reporter.finish();
    let mut status = Status { json: args.output == Some(Output::Json), ..Status::default() };
    for (name, answer) in &said {
        status.host(name, draft.hosts.get(name).expect("only hosts of the draft were asked"), answer);
    }
    fleet.leave().await;
    Ok(status.end())
}

/// What was seen so far.
#[derive(Default)]
struct Status {
    json: bool,
    held: BTreeMap<ValueId, Fingerprint>,
    split: bool,
    left: BTreeSet<String>,
}

impl Status {
    fn host(&mut self, name: &HostName, host: &DraftHost, answer: &Result<Inspected, Reason>) {
        let read = match answer {
            Err(reason) => return self.line(name, "-", &format!("unknown: {reason}"), false),
            Ok(read) => read,
        };
        for run in &read.left {
            self.line(name, "-", &format!("something of the run {run} is left here"), true);
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
                let state = if agrees { print.to_string() } else { format!("{print}  DISAGREES") };
                self.line(name, &id.to_string(), &state, agrees);
            }
        }
    }

    fn line(&mut self, host: &HostName, value: &str, state: &str, good: bool) {
        self.split |= !good;
        if self.json {
            let line = serde_json::json!({"v": 1, "host": host, "value": value, "holds": state, "agrees": good});
            say::out(&format!("{line}\n"));
        } else {
            say::out(&format!("{host:20}  {value:40}  {state}\n"));
        }
    }

    fn end(&self) -> Exit {
        for run in &self.left {
            say::err(&format!("next: lockturn resume {run}\n"));
        }
        match (self.split, self.left.is_empty()) {
            (true, _) => Exit::PersonMustLook,
            (false, false) => Exit::Owing,
            (false, true) => Exit::Done,
        }
    }
}
