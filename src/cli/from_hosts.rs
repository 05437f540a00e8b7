//! `resume --from-hosts`: the journal is lost, so the hosts are asked what they know.
//!
//! What a host says counts for itself only: its share of the plan is done on it and nowhere else, with values that it keeps itself.
//! What all must say alike (the plan's name, its hosts, each value) is compared, and where one says otherwise nothing is done.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::coordinator::{Next, Run};
use crate::host::{CallError, Request};
use crate::inventory::Inventory;
use crate::model::{Become, Event, Found, HostName, Reason, ReasonKind, RunId, Stands, fold_few};
use crate::report::{describe_found, plural};
use crate::runtime::actor::{Actor, STEP_MAX, Who};
use crate::runtime::drive::Voices;
use crate::runtime::left::{look, runs_left};
use crate::runtime::{Fleet, clock, epoch};

use super::quarantine::{is_in, standing};
use super::resume::finish;
use super::rotate::confirm;
use super::seen::Seen;
use super::session::{Session, interrupts, journal, unless_stopped};
use super::{Args, CliError, Exit, files, say, surroundings};

/// How many names or ranges of names are shown of a set of hosts.
const NAMES_MAX: usize = 8;

/// Where every answer is true, and nothing was sent that changes anything.
const STILL: &str = "nothing was changed; hosts that are armed go back by themselves when their lease ends";

/// `resume --from-hosts`.
pub(super) async fn resume(args: &Args, wanted: Option<&str>) -> Result<Exit, CliError> {
    let inventory = files::inventory(args)?;
    let limit = files::limit(args, &inventory)?;
    let names: Vec<HostName> = inventory
        .hosts
        .keys()
        .filter(|name| limit.as_ref().is_none_or(|limit| limit.contains(*name)))
        .cloned()
        .collect();
    let mut session = Session::open(args)?;
    session.journal.verify().map_err(journal)?;
    let mut interrupts = interrupts()?;
    let asking = Asking { args, inventory: &inventory, names: &names };
    let (run, seen) = unless_stopped(&mut interrupts, asking.first(&mut session, wanted)).await?;
    session.reporter.finish();
    say::err(&describe_found(&run, &seen.common, &seen.found, seen.way));
    let question = format!("Take the run up now on {}?", plural(seen.found.len(), "host"));
    if !args.yes && !unless_stopped(&mut interrupts, confirm(question)).await? {
        return Err(CliError::new(Exit::Refused, "not confirmed; nothing was changed"));
    }
    take_up(&asking, session, run, seen, &mut interrupts).await
}

/// Who is asked.
struct Asking<'a> {
    args: &'a Args,
    inventory: &'a Inventory,
    names: &'a [HostName],
}

/// What hosts said when they were asked which runs have left something.
#[derive(Default)]
struct Answers {
    /// Where each run has left something, and how the program gets its rights there.
    runs: BTreeMap<RunId, BTreeMap<HostName, Become>>,
    /// Hosts that did not answer, asked without rights of their own and by sudo.
    silent: BTreeMap<HostName, BTreeMap<&'static str, Reason>>,
}

impl Asking<'_> {
    /// Finds the run, and what every host of it says. Changes nothing.
    async fn first(&self, session: &mut Session, wanted: Option<&str>) -> Result<(RunId, Seen), CliError> {
        let answers = self.answers(session).await?;
        let run = self.choose(&answers, wanted)?;
        if session.journal.plan(&run).is_ok() {
            return Err(CliError::new(Exit::Refused, format!("this ledger knows the run {run}; nothing was changed"))
                .hint(format!("lockturn resume {run}")));
        }
        let whos = answers.runs[&run].iter().filter_map(|(name, become_user)| self.who(name, *become_user)).collect();
        let fleet = Fleet::new(whos, &run, 0, &session.connector, &session.cancel);
        let left = all(ask_all(&fleet, async |actor| look(actor, &run).await).await)?;
        fleet.leave().await;
        let common = Seen::common(&left, &answers.runs[&run])?;
        let hosts = common
            .hosts()
            .map_err(|error| CliError::new(Exit::PersonMustLook, format!("the plan's hosts: {error}; {STILL}")))?;
        self.all_there(&hosts, &answers, common.is_known())?;
        let standing = standing(&session.journal)?;
        if let Some(host) = hosts.keys().find(|host| is_in(&standing, host)) {
            return Err(CliError::new(
                Exit::Refused,
                format!("{host} has a part in the run {run}, and is in quarantine: it would be given values; {STILL}"),
            )
            .hint(format!(
                "lockturn resume {run} where it was begun leaves {host} out; without its ledger: release {host} first"
            )));
        }
        Ok((run, Seen::of(common, left, &session.key)?))
    }

    fn who(&self, name: &HostName, become_user: Become) -> Option<Who> {
        surroundings::of_operator(self.args).who(self.inventory, name, Some(become_user))
    }

    /// Asks every host which runs have left something: as the inventory says, and the other way, because a playbook may say otherwise.
    async fn answers(&self, session: &mut Session) -> Result<Answers, CliError> {
        let nobody: RunId = "from-hosts".parse().expect("it is a name");
        let mut answers = Answers::default();
        for other in [false, true] {
            let become_of = |name: &HostName| match (self.inventory.hosts[name].become_user, other) {
                (Become::Sudo, false) | (Become::None, true) => Become::Sudo,
                (Become::None, false) | (Become::Sudo, true) => Become::None,
            };
            let whos = self.names.iter().filter_map(|name| self.who(name, become_of(name))).collect();
            let fleet = Fleet::new(whos, &nobody, 0, &session.connector, &session.cancel);
            fleet.unlock().await;
            let mut note = |event| session.reporter.entry(&clock::entry(session.since, event));
            if !other {
                note(Event::ConnectBegan { hosts: self.names.len() as u64 });
            }
            for (name, said) in ask_all(&fleet, async |actor| runs_left(actor).await).await {
                match said {
                    Ok(runs) => {
                        for run in runs.iter().filter_map(|run| run.parse().ok()) {
                            let hosts: &mut BTreeMap<_, _> = answers.runs.entry(run).or_default();
                            hosts.entry(name.clone()).or_insert(become_of(&name));
                        }
                    }
                    Err(reason) => {
                        if !other {
                            note(Event::HostUnconnected { host: name.clone(), reason: reason.clone() });
                        }
                        let by = word(become_of(&name));
                        answers.silent.entry(name).or_default().insert(by, reason);
                    }
                }
            }
            fleet.leave().await;
        }
        Ok(answers)
    }

    fn choose(&self, answers: &Answers, wanted: Option<&str>) -> Result<RunId, CliError> {
        let beginning = wanted.unwrap_or_default().to_uppercase();
        let found: Vec<_> =
            answers.runs.iter().filter(|(run, _)| run.as_str().to_uppercase().starts_with(&beginning)).collect();
        let silent = self.silent(answers);
        let of_it = wanted.map_or(String::new(), |wanted| format!(" that begins with `{wanted}`"));
        match found[..] {
            [(run, _)] => Ok(run.clone()),
            [] if silent.is_empty() => {
                let asked = plural(self.names.len(), "host");
                Err(CliError::new(
                    Exit::Refused,
                    format!("none of {asked} has anything of a run{of_it}; nothing was changed"),
                ))
            }
            [] => {
                let error =
                    format!("no host that answered has anything of a run{of_it}, and some did not answer; {STILL}");
                Err(unanswered(error, &silent))
            }
            _ => {
                let mut text = String::from("error: several runs have left something; nothing was changed\n");
                for (run, hosts) in found {
                    text.push_str(&format!("  {run}  {}\n", fold_few(hosts.keys(), NAMES_MAX)));
                }
                Err(CliError::rendered(Exit::Refused, text).hint("name one of them: lockturn resume --from-hosts RUN"))
            }
        }
    }

    /// Hosts that did not answer as the inventory says that they are asked.
    fn silent(&self, answers: &Answers) -> BTreeMap<HostName, Reason> {
        let reason =
            |name: &HostName| answers.silent.get(name)?.get(word(self.inventory.hosts[name].become_user)).cloned();
        self.names.iter().filter_map(|name| Some((name.clone(), reason(name)?))).collect()
    }

    /// Every host of the plan must have answered: one that does not may be the only one that has heard of a decision.
    fn all_there(&self, hosts: &BTreeMap<HostName, Become>, answers: &Answers, known: bool) -> Result<(), CliError> {
        let foreign: Vec<&HostName> = hosts.keys().filter(|name| !self.names.contains(name)).collect();
        if !foreign.is_empty() {
            let names = fold_few(foreign, NAMES_MAX);
            return Err(CliError::new(
                Exit::Refused,
                format!("the plan has hosts that are not asked: {names}; {STILL}"),
            )
            .hint("name the inventory that has them with -i, and no --limit that leaves them out"));
        }
        let silent = if known {
            let reason = |(name, become_user): (&HostName, &Become)| {
                Some((name.clone(), answers.silent.get(name)?.get(word(*become_user))?.clone()))
            };
            hosts.iter().filter_map(reason).collect()
        } else {
            // Who takes part nobody knows.
            self.silent(answers)
        };
        if silent.is_empty() { Ok(()) } else { Err(undecided(&silent)) }
    }
}

const fn word(become_user: Become) -> &'static str {
    match become_user {
        Become::None => "none",
        Become::Sudo => "sudo",
    }
}

fn unanswered(text: String, silent: &BTreeMap<HostName, Reason>) -> CliError {
    let mut text = format!("error: {text}\n");
    for (name, reason) in silent {
        text.push_str(&format!("  {name}: {}: {reason}\n", reason.kind.label()));
    }
    CliError::rendered(Exit::PersonMustLook, text).hint(
        "one that does not answer may be the one that heard that the new value stays; make it answer, then try again",
    )
}

/// Asks all hosts the same.
async fn ask_all<T>(
    fleet: &Fleet,
    ask: impl AsyncFn(&mut Actor) -> Result<T, Reason>,
) -> BTreeMap<HostName, Result<T, Reason>> {
    let ask = &ask;
    let asking = fleet.actors().map(|(name, actor)| async move { (name.clone(), ask(&mut *actor.lock().await).await) });
    futures::future::join_all(asking).await.into_iter().collect()
}

/// What all of them said, if all of them did.
fn all<T>(said: BTreeMap<HostName, Result<T, Reason>>) -> Result<BTreeMap<HostName, T>, CliError> {
    let (mut all, mut silent) = (BTreeMap::new(), BTreeMap::new());
    for (name, said) in said {
        match said {
            Ok(said) => drop(all.insert(name, said)),
            Err(reason) => drop(silent.insert(name, reason)),
        }
    }
    if silent.is_empty() { Ok(all) } else { Err(undecided(&silent)) }
}

fn undecided(silent: &BTreeMap<HostName, Reason>) -> CliError {
    unanswered(format!("nothing is decided without {}: {STILL}", plural(silent.len(), "host")), silent)
}

/// Tells every host that there is a newer coordinator, asks once more, writes it down and goes on as `resume` does.
async fn take_up(
    asking: &Asking<'_>,
    mut session: Session,
    run: RunId,
    seen: Seen,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<Exit, CliError> {
    // What a host says of its own address, or of where its tools are, is not shown to anybody.
    let address = |seen: &mut Seen| {
        for (name, host) in &mut seen.plan.hosts {
            let Some(who) = asking.who(name, host.become_user) else { continue };
            host.address = format!("{}:{}", who.endpoint.address, who.endpoint.port);
            host.path = who.path;
        }
    };
    let epoch = epoch::anew(seen.epoch);
    let whos = seen.plan.hosts.iter().filter_map(|(name, host)| asking.who(name, host.become_user)).collect();
    let fleet = Fleet::new(whos, &run, epoch, &session.connector, &session.cancel);
    let mut seen = tokio::select! {
        biased;
        Some(()) = interrupts.recv() => {
            return Err(CliError::new(Exit::PersonMustLook, format!("interrupted; the run {run} was taken from its earlier coordinator, and nothing else was changed"))
                .hint("lockturn resume --from-hosts"));
        }
        seen = fenced(&session, &fleet, &run, &seen) => seen?,
    };
    address(&mut seen);
    let operator = session.operator.clone();
    let minted = seen.vault.fingerprints(&session.key);
    let mut events = vec![
        Event::RunBegan {
            run: run.clone(),
            plan: seen.plan.hash(),
            playbook: seen.plan.playbook.clone(),
            hosts: seen.plan.hosts.len() as u64,
            operator: operator.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        Event::ValuesMinted { values: minted.clone() },
        Event::Rebuilt { operator: operator.clone(), epoch, hosts: seen.found },
    ];
    let mut state = Run::replay(&seen.plan, &events).map_err(|error| CliError::new(Exit::Bug, error.to_string()))?;
    if let Next::Record(decided @ Event::Decided { .. }) = state.next() {
        state.apply(&decided).map_err(|error| CliError::new(Exit::Bug, error.to_string()))?;
        events.push(decided);
    }
    let mut voices = Voices { journal: &mut session.journal, reporter: &mut *session.reporter, since: session.since };
    voices.begin(&run, &seen.plan, &operator, events).map_err(journal)?;
    session.works_on(&run);
    finish(session, run, seen.plan, state, fleet, &minted, interrupts).await
}

/// From here on an earlier coordinator that still lives is refused, so what the hosts say now stays true.
async fn fenced(session: &Session, fleet: &Fleet, run: &RunId, before: &Seen) -> Result<Seen, CliError> {
    let taken = |name: &HostName| before.found[name].stands != Stands::Nothing;
    let take = async |actor: &mut Actor| {
        if !taken(&actor.who().host) {
            return Ok(true);
        }
        match actor.call(&Request::LockAgain, STEP_MAX).await {
            Ok(_) => Ok(true),
            // It was cleaned meanwhile, or a newer coordinator is there: the next answer says so.
            Err(CallError::Refused(reason)) if reason.kind == ReasonKind::Fenced => Ok(false),
            Err(error) => Err(error.reason().clone()),
        }
    };
    let ours = all(ask_all(fleet, take).await)?;
    let left = all(ask_all(fleet, async |actor| look(actor, run).await).await)?;
    let others = left.iter().any(|(name, left)| left.is_some() && !(taken(name) && ours[name]));
    if others || left.values().all(Option::is_none) {
        return Err(CliError::new(Exit::Locked, format!("another coordinator goes on with the run {run}; {STILL}"))
            .hint("let it finish, or end it, and ask the hosts again: lockturn resume --from-hosts"));
    }
    let seen = Seen::of(before.common.clone(), left, &session.key)?;
    if seen.way != before.way {
        say::err(&describe_found(run, &seen.common, &seen.found, seen.way));
    }
    Ok(seen)
}

/// A host that has nothing of the run.
pub(super) fn nothing() -> Found {
    Found { stands: Stands::Nothing, said: "has nothing of the run".to_owned() }
}
