//! `status`: what each host really holds now, by fingerprint.

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::{Event, RunId};
use crate::runtime::{Fleet, clock};

use super::args::Output;
use super::session::Session;
use super::{Args, CliError, Exit, files, say, surroundings};

/// `status`. Exit 0: hosts that share a value hold the same; 6: some do not, or did not answer.
pub(super) async fn run(args: &Args, file: &Path) -> Result<Exit, CliError> {
    let inventory = files::inventory(args)?;
    let playbook = files::playbook(file)?;
    let mut draft = files::resolve(&inventory, &playbook, file)?;
    // Nothing is proved here, so it does not matter whether it could be.
    draft.hosts.values_mut().for_each(|host| host.verify.clear());
    let mut session = Session::open(args)?;
    let surroundings = surroundings::of_operator(args);
    let whos = draft.hosts.iter().filter_map(|(name, host)| surroundings.who(&inventory, name, host.become_user));
    let nobody: RunId = "status".parse().expect("it is a name");
    let fleet = Fleet::new(whos.collect(), &nobody, 1, &session.connector, &session.cancel);
    let (reporter, since) = (&mut session.reporter, session.since);
    let said = fleet.inspect(&draft, &session.key, |event: Event| reporter.entry(&clock::entry(since, event))).await;
    session.reporter.finish();
    let (mut seen, mut split) = (BTreeMap::new(), false);
    let mut line = |host: &str, value: &str, state: &str, good: bool| {
        split |= !good;
        if args.output == Some(Output::Json) {
            say::out(&format!(
                "{}\n",
                serde_json::json!({"v": 1, "host": host, "value": value, "holds": state, "agrees": good})
            ));
        } else {
            say::out(&format!("{host:20}  {value:40}  {state}\n"));
        }
    };
    for (name, answer) in &said {
        let host = draft.hosts.get(name).expect("only hosts of the draft were asked");
        let read = match answer {
            Err(reason) => {
                line(name.as_str(), "-", &format!("unknown: {reason}"), false);
                continue;
            }
            Ok(read) => read,
        };
        for (change, facts) in host.changes.iter().zip(&read.facts.changes) {
            let ids = change.values();
            match facts {
                Err(reason) => {
                    ids.iter().for_each(|id| line(name.as_str(), &id.to_string(), &format!("unknown: {reason}"), false))
                }
                Ok(facts) => {
                    for (id, print) in ids.iter().zip(&facts.values) {
                        let agrees = *seen.entry((*id).clone()).or_insert(*print) == *print;
                        let state = if agrees { print.to_string() } else { format!("{print}  DISAGREES") };
                        line(name.as_str(), &id.to_string(), &state, agrees);
                    }
                }
            }
        }
    }
    fleet.leave().await;
    Ok(if split { Exit::PersonMustLook } else { Exit::Done })
}
