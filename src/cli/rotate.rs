//! `plan` and `rotate`: look, ask, do, prove.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::coordinator::{Rest, Run};
use crate::inventory::Inventory;
use crate::journal::JournalError;
use crate::model::{
    Common, Drill, Entry, Event, Fingerprint, FingerprintKey, HostName, Plan, Playbook, Reason, ReasonKind, RunId,
    ValueId, Verdict, fold_few,
};
use crate::plan::{Draft, HostFacts, HostProblem, settle};
use crate::report::{describe, hint, plural, summarise};
use crate::runtime::drive::{DriveError, Voices, drive};
use crate::runtime::inspect::{Content, Inspected, Purpose};
use crate::runtime::mint::mint;
use crate::runtime::rest::Prints;
use crate::runtime::step::Work;
use crate::runtime::verify::Verifier;
use crate::runtime::{Fleet, Pair, Surroundings, Vault, clock, epoch, random};

use super::args::Output;
use super::late::Late;
use super::quarantine::{leave_out, released};
use super::session::{Session, interrupts, journal, journal_failed, unless_stopped};
use super::{Args, CliError, Exit, files, say, surroundings};

/// How many names or ranges of names are shown of hosts with the same trouble.
const NAMES_MAX: usize = 8;

/// What was seen before anything is changed.
struct Looked {
    plan: Plan,
    fleet: Fleet,
    inspected: BTreeMap<HostName, Inspected>,
    /// Locks that go before a run begins.
    late: Vec<Late>,
}

/// `plan`.
pub(super) async fn plan(args: &Args, file: &Path) -> Result<Exit, CliError> {
    let (inventory, playbook, draft) = read(args, file)?;
    let mut session = Session::open_to_look(args)?;
    let draft = leave_out(&session.journal, draft)?;
    let mut interrupts = interrupts()?;
    let run = new_run();
    let looked = unless_stopped(&mut interrupts, look(args, &mut session, &inventory, &playbook, &draft, &run)).await?;
    session.reporter.finish();
    if args.output == Some(Output::Json) {
        let json = serde_json::to_string(&looked.plan).expect("a plan has only string keys and finite numbers");
        say::out(&format!("{json}\n"));
    } else {
        say::out(&describe(&looked.plan));
    }
    looked.fleet.leave().await;
    Ok(Exit::Done)
}

/// `rotate`.
pub(super) async fn rotate(args: &Args, file: &Path) -> Result<Exit, CliError> {
    let (inventory, playbook, draft) = read(args, file)?;
    look_ask_do(args, &inventory, &playbook, &draft, |plan| Ask {
        question: format!("Rotate now on {}?", plural(plan.hosts.len(), "host")),
        drill: None,
    })
    .await
}

/// What is asked once the plan is shown.
pub(super) struct Ask {
    pub(super) question: String,
    /// What goes wrong on purpose, if this is a drill.
    pub(super) drill: Option<Drill>,
}

/// Looks, shows the plan, asks, and does it.
pub(super) async fn look_ask_do(
    args: &Args,
    inventory: &Inventory,
    playbook: &Playbook,
    draft: &Draft,
    ask: impl FnOnce(&Plan) -> Ask,
) -> Result<Exit, CliError> {
    let mut session = Session::open(args)?;
    // Nothing is built upon a ledger that was tampered with.
    session.journal.verify().map_err(journal)?;
    if let Some(run) = session.unfinished_rotation()? {
        return Err(CliError::new(Exit::Locked, format!("the run {run} is not finished, and hosts may still hold it"))
            .hint(format!("lockturn resume {run}")));
    }
    let draft = &leave_out(&session.journal, draft.clone())?;
    let mut interrupts = interrupts()?;
    let run = new_run();
    let mut looked =
        unless_stopped(&mut interrupts, look(args, &mut session, inventory, playbook, draft, &run)).await?;
    session.reporter.finish();
    say::err(&describe(&looked.plan));
    let Ask { question, drill } = ask(&looked.plan);
    if !args.yes && !unless_stopped(&mut interrupts, confirm(question)).await? {
        return Err(CliError::new(Exit::Refused, "not confirmed; nothing was changed"));
    }
    for lock in std::mem::take(&mut looked.late) {
        say::err(&format!("{}\n", lock.describe()));
        let in_the_way = |reason: Reason| CliError::new(Exit::Refused, format!("{reason}; no run was begun"));
        lock.take_away().await.map_err(in_the_way)?;
    }
    begin(session, run, looked, drill, &mut interrupts).await
}

/// Asks on a thread of its own, so that Ctrl-C is heard at the question too.
pub(super) async fn confirm(question: String) -> Result<bool, CliError> {
    let asked = tokio::task::spawn_blocking(move || surroundings::confirm(&question)).await;
    asked.unwrap_or_else(|error| Err(CliError::new(Exit::Bug, error.to_string())))
}

fn read(args: &Args, file: &Path) -> Result<(Inventory, Playbook, Draft), CliError> {
    let inventory = files::inventory(args)?;
    let playbook = files::playbook(file)?;
    let draft = files::resolve(&inventory, &playbook, file)?;
    let draft = files::limited(args, &inventory, draft)?;
    Ok((inventory, playbook, draft))
}

/// A ULID, so that runs sort by the time they began.
pub(super) fn new_run() -> RunId {
    let random = u128::from_be_bytes(random::bytes());
    let id = ulid::Ulid::from_parts(clock::unix_now().0, random);
    id.to_string().parse().expect("a ULID is letters and digits")
}

/// Connects all hosts, reads what they hold and makes the plan. Changes nothing.
async fn look(
    args: &Args,
    session: &mut Session,
    inventory: &Inventory,
    playbook: &Playbook,
    draft: &Draft,
    run: &RunId,
) -> Result<Looked, CliError> {
    let whos = whos(inventory, &surroundings::of_operator(args), draft);
    let mut fleet = Fleet::new(whos, run, epoch::first(), &session.connector, &session.cancel);
    let released = released(&session.journal, &playbook.name)?;
    let mut said = read_all(args, session, inventory, draft, &fleet).await?;
    let mut planned = made_out(&mut fleet, &session.key, playbook, draft, &released, &said).await?;
    if planned.is_err() && said.problems.is_empty() {
        // Another run may have changed hosts while they were read: then one holds them now, or they hold something else.
        let again = read_all(args, session, inventory, draft, &fleet).await?;
        if again.facts != said.facts {
            said = again;
            planned = made_out(&mut fleet, &session.key, playbook, draft, &released, &said).await?;
        }
    }
    let plan = planned.map_err(|problems| refused(&problems))?;
    Ok(Looked { plan, fleet, inspected: said.inspected, late: said.late })
}

/// What all hosts say.
#[derive(Default)]
struct Said {
    facts: BTreeMap<HostName, HostFacts>,
    inspected: BTreeMap<HostName, Inspected>,
    late: Vec<Late>,
    /// Hosts that did not say what they hold, or that a run holds.
    problems: Vec<HostProblem>,
}

async fn read_all(
    args: &Args,
    session: &mut Session,
    inventory: &Inventory,
    draft: &Draft,
    fleet: &Fleet,
) -> Result<Said, CliError> {
    let surroundings = surroundings::of_operator(args);
    let (reporter, since) = (&mut session.reporter, session.since);
    let said =
        fleet.inspect(draft, &session.key, Purpose::Change, |event| reporter.entry(&clock::entry(since, event))).await;
    let Said { mut facts, mut inspected, mut late, mut problems } = Said::default();
    for (host, mut said) in said {
        if let Ok(Inspected { left, .. }) = &mut said
            && let Some(who) = draft.hosts.get(&host).and_then(|of| surroundings.who(inventory, &host, of.become_user))
            && let Some(lock) = Late::look(session, who, left).await?
        {
            left.clear();
            late.push(lock);
        }
        match said {
            Ok(Inspected { left, .. }) if !left.is_empty() => {
                let reason =
                    Reason::new(ReasonKind::HostLocked, format!("the run {} holds this host", left.join(", ")));
                problems.push(HostProblem { host, place: String::new(), reason });
            }
            Ok(read) => {
                facts.insert(host.clone(), read.facts.clone());
                inspected.insert(host, read);
            }
            Err(reason) => problems.push(HostProblem { host, place: String::new(), reason }),
        }
    }
    Ok(Said { facts, inspected, late, problems })
}

/// The plan for what all hosts say, rehearsed; or all that is in the way.
async fn made_out(
    fleet: &mut Fleet,
    key: &Arc<FingerprintKey>,
    playbook: &Playbook,
    draft: &Draft,
    released: &BTreeSet<HostName>,
    said: &Said,
) -> Result<Result<Plan, Vec<HostProblem>>, CliError> {
    let mut problems = said.problems.clone();
    match settle(playbook, draft, &said.facts, released) {
        Ok(plan) if problems.is_empty() => {
            problems.extend(rehearse(fleet, key, &plan, &said.inspected).await?);
            return Ok(if problems.is_empty() { Ok(plan) } else { Err(problems) });
        }
        Ok(_) => {}
        Err(more) => {
            let is_at_work = problems.iter().any(|problem| problem.reason.kind == ReasonKind::HostLocked);
            let tells = |problem: &HostProblem| {
                // A host that could not be asked is named once, with its own reason; and in the middle of a run hosts do disagree.
                let is_of_the_run = is_at_work && problem.reason.kind == ReasonKind::Disagrees;
                said.facts.contains_key(&problem.host) && !is_of_the_run
            };
            problems.extend(more.into_iter().filter(tells));
        }
    }
    Ok(Err(problems))
}

/// Tries services and probes with the values that are held now, and with ones that nobody will ever hold. Says what is in the way.
async fn rehearse(
    fleet: &mut Fleet,
    key: &Arc<FingerprintKey>,
    plan: &Plan,
    inspected: &BTreeMap<HostName, Inspected>,
) -> Result<Vec<HostProblem>, CliError> {
    let decoys = Arc::new(mint_all(plan, inspected)?);
    let (tell, _nobody) = mpsc::unbounded_channel();
    let prints = Arc::new(Prints { key: Arc::clone(key), new: decoys.fingerprints(key) });
    assign(fleet, plan, &decoys, &prints, &mut BTreeMap::new(), &tell);
    let mut problems = Vec::new();
    for (host, said) in fleet.rehearse().await {
        let found = said.unwrap_or_else(|reason| vec![(String::new(), reason)]);
        problems.extend(found.into_iter().map(|(place, reason)| HostProblem { host: host.clone(), place, reason }));
    }
    Ok(problems)
}

/// Says to each host what its steps need.
fn assign(
    fleet: &mut Fleet,
    plan: &Plan,
    vault: &Arc<Vault>,
    prints: &Arc<Prints>,
    contents: &mut BTreeMap<HostName, BTreeMap<usize, Content>>,
    notes: &mpsc::UnboundedSender<Event>,
) {
    let (common, values) = (Arc::new(Common::of(plan)), Arc::new(plan.values.clone()));
    for (host, host_plan) in &plan.hosts {
        let work = Work {
            plan: Arc::new(host_plan.clone()),
            common: Arc::clone(&common),
            values: Arc::clone(&values),
            vault: if vault.is_apart(host) { Arc::new(vault.of(host)) } else { Arc::clone(vault) },
            prints: Arc::clone(prints),
            rest: Rest::Untouched,
            is_decided: false,
            contents: Arc::new(contents.remove(host).unwrap_or_default()),
            lease: plan.lease,
            verifier: Verifier { notes: notes.clone(), futile: fleet.futile().clone() },
        };
        fleet.assign(host.clone(), work);
    }
}

fn whos(inventory: &Inventory, surroundings: &Surroundings, draft: &Draft) -> Vec<crate::runtime::actor::Who> {
    draft.hosts.iter().filter_map(|(name, host)| surroundings.who(inventory, name, host.become_user)).collect()
}

/// Everything that is in the way, each with what to do.
fn refused(problems: &[HostProblem]) -> CliError {
    let mut hosts: Vec<&HostName> = problems.iter().map(|problem| &problem.host).collect();
    hosts.dedup();
    let mut text = format!("error: nothing was changed: {} cannot take part\n", plural(hosts.len(), "host"));
    for (Reason { kind, detail }, place, hosts) in alike(problems) {
        let place = if place.is_empty() { String::new() } else { format!(" {place}:") };
        let hosts = fold_few(hosts, NAMES_MAX);
        let _infallible = writeln!(text, "  {hosts}:{place} {}: {detail}", kind.label());
        if let Some(hint) = hint(*kind) {
            let _infallible = writeln!(text, "      hint: {hint}");
        }
    }
    CliError::rendered(Exit::Refused, text)
}

/// Hosts with the same trouble at the same place, in the order of the first of each.
fn alike(problems: &[HostProblem]) -> Vec<(&Reason, &str, Vec<&HostName>)> {
    let mut groups: Vec<(&Reason, &str, Vec<&HostName>)> = Vec::new();
    for HostProblem { host, place, reason } in problems {
        match groups.iter_mut().find(|(known, at, _)| *known == reason && at == place) {
            Some((.., hosts)) => hosts.push(host),
            None => groups.push((reason, place, vec![host])),
        }
    }
    groups
}

/// Mints, remembers, does.
async fn begin(
    mut session: Session,
    run: RunId,
    looked: Looked,
    drill: Option<Drill>,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<Exit, CliError> {
    let Looked { plan, mut fleet, inspected, late: _ } = looked;
    let vault = Arc::new(mint_all(&plan, &inspected)?);
    let operator = session.operator.clone();
    let mut voices = Voices { journal: &mut session.journal, reporter: &mut *session.reporter, since: session.since };
    let began = Event::RunBegan {
        run: run.clone(),
        plan: plan.hash(),
        playbook: plan.playbook.clone(),
        hosts: plan.hosts.len() as u64,
        operator: operator.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let minted = Event::ValuesMinted { values: vault.fingerprints(&session.key) };
    let mut state = Run::new(&plan);
    let first: Vec<Event> =
        [Some(began), drill.clone().map(Event::RunIsDrill), Some(minted)].into_iter().flatten().collect();
    for event in &first {
        state.apply(event).map_err(|error| CliError::new(Exit::Bug, error.to_string()))?;
    }
    voices.begin(&run, &plan, &operator, first).map_err(journal)?;
    session.works_on(&run);
    if let Some(drill) = drill {
        fleet.drill(drill);
    }
    let contents = inspected.into_iter().map(|(host, read)| (host, read.contents)).collect();
    go(session, run, plan, state, &mut fleet, vault, contents, interrupts).await
}

/// How the new values of a run are recognised: none before they exist.
pub(super) fn minted(entries: &[Entry]) -> BTreeMap<ValueId, Fingerprint> {
    let minted = entries.iter().find_map(|entry| match &entry.event {
        Event::ValuesMinted { values } => Some(values.clone()),
        _ => None,
    });
    minted.unwrap_or_default()
}

/// New values; one that is the old one would prove nothing.
fn mint_all(plan: &Plan, inspected: &BTreeMap<HostName, Inspected>) -> Result<Vault, CliError> {
    let mut vault = Vault::default();
    for (id, planned) in &plan.values {
        let of = |host: &HostName| inspected.get(host).and_then(|read| read.values.get(id));
        let held = inspected.keys().filter(|host| !planned.apart.contains_key(*host)).find_map(of);
        let old = held.ok_or_else(|| CliError::new(Exit::Bug, format!("no host holds `{id}`")))?;
        let new = mint(planned.generate, &mut random::fill);
        if new.same_as(old) {
            return Err(CliError::new(Exit::Refused, format!("the new value of `{id}` would be the old one")));
        }
        let new = Arc::new(new);
        for (host, old) in planned.apart.keys().filter_map(|host| Some((host, of(host)?))) {
            vault.insert_apart(host.clone(), id.clone(), Pair { old: Arc::clone(old), new: Arc::clone(&new) });
        }
        vault.insert(id.clone(), Pair { old: Arc::clone(old), new });
    }
    Ok(vault)
}

/// Drives a run to its end and says what became of it.
#[expect(
    clippy::too_many_arguments,
    reason = "a run is all of these; a struct of them would have one maker and one user"
)]
pub(super) async fn go(
    mut session: Session,
    run: RunId,
    plan: Plan,
    mut state: Run,
    fleet: &mut Fleet,
    vault: Arc<Vault>,
    mut contents: BTreeMap<HostName, BTreeMap<usize, Content>>,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<Exit, CliError> {
    let (tell, mut notes) = mpsc::unbounded_channel();
    let new = minted(&session.journal.entries(&run).map_err(journal)?);
    let prints = Arc::new(Prints { key: Arc::clone(&session.key), new });
    assign(fleet, &plan, &vault, &prints, &mut contents, &tell);
    let mut voices = Voices { journal: &mut session.journal, reporter: &mut *session.reporter, since: session.since };
    let leases = fleet.keep_leases();
    let ended = drive(&run, &mut state, &mut voices, fleet, &mut notes, interrupts).await;
    drop(leases);
    session.reporter.finish();
    let exit = match &ended {
        // Exit 0 is a promise that the new value is proved; where the playbook proves nothing a person owes that proof.
        Ok(Verdict::Rotated) if plan.unproved().next().is_some() => Exit::Owing,
        Ok(Verdict::Drilled) if plan.unproved().next().is_some() => Exit::Owing,
        // They are back now, but a person must look at their switches.
        Ok(Verdict::RolledBack) if !state.not_back_by_themselves().is_empty() => Exit::PersonMustLook,
        Ok(Verdict::Rotated | Verdict::RolledBack) if state.unproved().next().is_some() => Exit::Owing,
        // They owe it: what they hold nobody asked them.
        Ok(Verdict::Rotated | Verdict::RolledBack) if state.owed_by_isolated() => Exit::Owing,
        Ok(verdict) => Exit::from(*verdict),
        Err(DriveError::Abandoned) => Exit::PersonMustLook,
        Err(DriveError::Journal(_)) => Exit::PersonMustLook,
        Err(DriveError::Illegal(_)) => Exit::Bug,
    };
    let entries = session.journal.entries(&run).unwrap_or_default();
    // What could not be written down was not done: the ledger knows better than the memory of this process.
    if let (Err(DriveError::Journal(_)), Ok(durable)) =
        (&ended, Run::replay(&plan, entries.iter().map(|entry| &entry.event)))
    {
        state = durable;
    }
    let mut summary = summarise(&run, &plan, &state, &entries);
    if matches!(ended, Err(DriveError::Journal(JournalError::Gone { .. }))) {
        summary.take_back_by_hand(&plan, &state);
    }
    say::err(&format!("\n{}", session.again.in_text(&summary.render())));
    match ended {
        Ok(_) => Ok(exit),
        Err(DriveError::Abandoned) => {
            Err(CliError::new(exit, "left in the middle, as you asked").hint(format!("lockturn resume {run}")))
        }
        Err(DriveError::Journal(error)) => Err(journal_failed(&error, &run)),
        Err(DriveError::Illegal(error)) => Err(CliError::new(exit, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_of_many_is_said_once() {
        let problem = |host: &str, place: &str, detail: &str| HostProblem {
            host: host.parse().expect("it is a name"),
            place: place.to_owned(),
            reason: Reason::new(ReasonKind::Missing, detail),
        };
        let problems = [
            problem("w-1", "", "no file"),
            problem("w-2", "", "no file"),
            problem("w-3", "", "no table"),
            problem("w-3", "verify", "no file"),
        ];
        let text = refused(&problems).message;
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains("hint: ")).collect();
        let wanted = ["  w-[1:2]: missing: no file", "  w-3: missing: no table", "  w-3: verify: missing: no file"];
        assert_eq!(lines[0], "error: nothing was changed: 3 hosts cannot take part");
        assert_eq!(lines[1..], wanted, "{text}");
    }
}
