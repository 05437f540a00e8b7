//! `quarantine` and `release`: who is meant, what speaks against it, ask, do, say what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::inventory::{Inventory, Jump};
use crate::journal::Journal;
use crate::model::{
    Become, Entry, Event, HostName, ISOLATION_VERSION, Isolates, IsolationMember, IsolationPlan, Known, Manager,
    Millis, Reached, RunId, Verdict, Way, fold_few,
};
use crate::plan::Draft;
use crate::quarantine::{Address, Danger, Fleet, Isolation, dangers, inventory_host_in};
use crate::report::{describe_evidence, plural, summarise_evidence, summarise_isolation};
use crate::runtime::contain::contain;
use crate::runtime::drive::{DriveError, Voices};
use crate::runtime::isolate::Isolator;
use crate::runtime::{Surroundings, addresses, epoch};

use super::before::Before;
use super::evidence::EvidenceArgs;
use super::resume::next_epoch;
use super::rotate::{confirm, new_run};
use super::session::{Session, interrupts, journal, journal_failed, unless_stopped};
use super::{Args, CliError, Exit, evidence, files, forgetting, rule_sets, say, surroundings};

/// How long a machine waits for a confirmation before it takes rules away again. Whoever is cut off by them waits no longer than that.
const LEASE: Millis = Millis::from_secs(120);

/// How many names or ranges of names stand on one line.
pub(super) const NAMES_MAX: usize = 8;

/// What was typed.
pub(super) struct Wanted<'a> {
    pub(super) hosts: &'a [HostName],
    pub(super) reason: &'a str,
    /// Whom it is meant for although something speaks against it.
    pub(super) even: &'a [HostName],
    /// What is to be forgotten of them.
    pub(super) playbook: Option<&'a Path>,
    /// From where else they may be managed.
    pub(super) managers: &'a [Manager],
    /// Only show the rules.
    pub(super) show: bool,
    /// After how long somebody must look at it again.
    pub(super) expires: Option<Millis>,
    /// What hosts are to show first.
    pub(super) evidence: &'a EvidenceArgs,
}

/// `quarantine`.
pub(super) async fn quarantine(args: &Args, wanted: Wanted<'_>) -> Result<Exit, CliError> {
    let inventory = files::inventory(args)?;
    let hosts = known_hosts(&inventory, wanted.hosts)?;
    let session = Session::open(args)?;
    session.journal.verify().map_err(journal)?;
    let standing = standing(&session.journal)?;
    let already = forgetting::already(&session.journal, &standing, &hosts, wanted.playbook.is_some())?;
    if let (Some((host, run)), false) = (already, wanted.show) {
        return Err(CliError::new(Exit::Refused, format!("{host} is in quarantine already; nothing was changed"))
            .hint(format!("lockturn show {run} says how far; lockturn resume {run} goes on where something is open")));
    }
    let quarantined: BTreeSet<HostName> = standing.keys().filter(|host| is_in(&standing, host)).cloned().collect();
    let forgetting =
        wanted.playbook.map(|file| forgetting::read(&inventory, file, &hosts, &quarantined)).transpose()?;
    let mut interrupts = interrupts()?;
    let known = unless_stopped(&mut interrupts, async { Ok(addresses::of_all(&inventory).await) }).await?;
    if let Some(host) = hosts.iter().find(|host| known.get(*host).is_none_or(BTreeSet::is_empty)) {
        return Err(CliError::new(
            Exit::Refused,
            format!("no address of {host} is known that its peers could drop; nothing was changed"),
        )
        .hint("its name does not resolve here, or only to this machine's own: give it an `address` in the inventory"));
    }
    let ours = addresses::ours(known.values().flatten());
    let fleet = Fleet { inventory: &inventory, addresses: &known, coordinator: &ours, quarantined: &quarantined };
    let typed: BTreeSet<HostName> = wanted.even.iter().cloned().collect();
    let against: Vec<Danger> = dangers(&hosts, fleet).into_iter().filter(|danger| !danger.is_meant(&typed)).collect();
    if !against.is_empty() && !wanted.show {
        return Err(refused(&against));
    }
    let surroundings = surroundings::of_operator(args);
    let plan = plan(Way::Quarantine, wanted.reason, &hosts, &known, &inventory, &surroundings, &quarantined);
    let managers = managers(wanted.managers, &known)?;
    let mut plan = IsolationPlan { forgetting, managers, ..plan };
    if wanted.show {
        return rule_sets::show(args, &session, &inventory, &plan, &mut interrupts).await;
    }
    plan.evidence = evidence::plan(wanted.evidence)?;
    say::err(&(describe_evidence(&plan) + &describe(&plan)));
    ask_and_do(args, session, inventory, (plan, wanted.expires), &mut interrupts).await
}

/// `release`.
pub(super) async fn release(args: &Args, wanted: &[HostName]) -> Result<Exit, CliError> {
    let inventory = files::inventory(args)?;
    let hosts = known_hosts(&inventory, wanted)?;
    let session = Session::open(args)?;
    session.journal.verify().map_err(journal)?;
    let standing = standing(&session.journal)?;
    if let Some(host) = hosts.iter().find(|host| !standing.contains_key(*host)) {
        return Err(CliError::new(
            Exit::Refused,
            format!("{host} is not in quarantine, as far as this ledger knows; nothing was changed"),
        )
        .hint("lockturn runs lists what was done, in this ledger"));
    }
    if let Some(host) = hosts.iter().find(|host| !is_in(&standing, host)) {
        let run = &standing[host].0;
        return Err(CliError::new(Exit::Refused, format!("{host} is released already; nothing was changed"))
            .hint(format!("lockturn show {run} says how far; lockturn resume {run} goes on where something is open")));
    }
    // Nothing is looked up: it is tried again at the addresses that its peers dropped.
    let known = Before::of(&session.journal, &hosts, None)?.known;
    let quarantined = standing.keys().filter(|host| is_in(&standing, host)).cloned().collect();
    let surroundings = surroundings::of_operator(args);
    let mut plan = plan(Way::Release, "", &hosts, &BTreeMap::new(), &inventory, &surroundings, &quarantined);
    plan.hosts.extend(known);
    say::err(&describe(&plan));
    say::err(&session.again.in_text(&forgetting::of_released(&session.journal, &plan)?));
    let mut interrupts = interrupts()?;
    ask_and_do(args, session, inventory, (plan, None), &mut interrupts).await
}

/// `resume` of such a run.
pub(super) async fn resume(
    args: &Args,
    mut session: Session,
    inventory: Inventory,
    run: RunId,
    plan: IsolationPlan,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<Exit, CliError> {
    session.journal.verify().map_err(journal)?;
    let standing = standing(&session.journal)?;
    if let Some((host, (later, ..))) =
        standing.iter().find(|(host, (last, ..))| plan.hosts.contains_key(*host) && *last != run)
    {
        return Err(CliError::new(Exit::Refused, format!("a later run is about {host}: {later}; nothing was changed"))
            .hint(format!("lockturn show {later}")));
    }
    let entries = session.journal.entries(&run).map_err(journal)?;
    let mut state = replay(&plan, &entries)?;
    let over = entries.iter().rev().find_map(|entry| match entry.event {
        Event::RunEnded { verdict } => Some(verdict != Verdict::Partial),
        Event::Resumed { .. } => Some(false),
        _ => None,
    });
    // One that isolates is looked at again as often as somebody likes: what another one undid since is put back.
    if over == Some(true) && plan.way == Way::Release {
        return Err(CliError::new(Exit::Refused, format!("the run {run} is over; nothing was changed"))
            .hint(format!("lockturn show {run}")));
    }
    let resumed = Event::Resumed { operator: session.operator.clone() };
    state.apply(&resumed).map_err(|error| CliError::new(Exit::Bug, error.to_string()))?;
    let epoch = next_epoch(&entries);
    let mut voices = Voices { journal: &mut session.journal, reporter: &mut *session.reporter, since: session.since };
    voices.record(&run, vec![resumed]).map_err(journal)?;
    go(args, session, &inventory, (run, epoch), plan, state, interrupts).await
}

/// The hosts that were typed, each of the inventory.
fn known_hosts(inventory: &Inventory, typed: &[HostName]) -> Result<BTreeSet<HostName>, CliError> {
    match typed.iter().find(|host| !inventory.hosts.contains_key(*host)) {
        Some(host) => {
            Err(CliError::new(Exit::Usage, format!("`{host}` is no host of the inventory; nothing was changed"))
                .hint("lockturn hosts lists who there is"))
        }
        None => Ok(typed.iter().cloned().collect()),
    }
}

/// The last run that is about each host, and which way it goes.
pub(super) type Standing = BTreeMap<HostName, (RunId, Way)>;

/// Who was isolated or released last by which run.
pub(super) fn standing(ledger: &Journal) -> Result<Standing, CliError> {
    let mut standing = Standing::new();
    for run in ledger.runs().map_err(journal)? {
        for host in run.isolates.iter().flat_map(|isolates| &isolates.hosts) {
            let way = run.isolates.as_ref().map_or(Way::Quarantine, |isolates| isolates.way);
            standing.insert(host.clone(), (run.run.clone(), way));
        }
    }
    Ok(standing)
}

/// Whether it counts as in quarantine: until a release has begun.
pub(super) fn is_in(standing: &Standing, host: &HostName) -> bool {
    standing.get(host).is_some_and(|(_, way)| *way == Way::Quarantine)
}

/// The hosts that were released, and that no rotation by this playbook has reached since: what they hold may be others' past.
pub(super) fn released(ledger: &Journal, playbook: &str) -> Result<BTreeSet<HostName>, CliError> {
    let mut released = BTreeSet::new();
    for run in ledger.runs().map_err(journal)? {
        match run.isolates {
            Some(isolates) if isolates.way == Way::Release => released.extend(isolates.hosts),
            Some(_) => {}
            None if run.verdict == Some(Verdict::Rotated) && run.playbook == playbook && !released.is_empty() => {
                let plan = ledger.plan(&run.run).map_err(journal)?;
                released.retain(|host| !plan.hosts.contains_key(host));
            }
            None => {}
        }
    }
    Ok(released)
}

/// What a rotation does without the hosts that are in quarantine; says so. They get nothing until they are released.
pub(super) fn leave_out(ledger: &Journal, draft: Draft) -> Result<Draft, CliError> {
    let standing = standing(ledger)?;
    let out: BTreeSet<HostName> = draft.hosts.keys().filter(|host| is_in(&standing, host)).cloned().collect();
    if out.is_empty() {
        return Ok(draft);
    }
    let names = fold_few(&out, NAMES_MAX);
    say::err(&format!("in quarantine, and left out until released: {names}\n"));
    let left = draft.without(&out);
    if left.hosts.is_empty() {
        return Err(CliError::new(Exit::Refused, "nobody of this playbook is left; nothing was changed")
            .hint(format!("lockturn release HOST lets a host out of quarantine: {names}")));
    }
    Ok(left)
}

/// How a login gets the rights of root: only root may change rules or see them, whatever playbooks say of the secrets there.
pub(super) fn rights(login: &str) -> Become {
    if login == "root" { Become::None } else { Become::Sudo }
}

fn refused(against: &[Danger]) -> CliError {
    let mut text = "error: nothing was changed: this may be a mistake\n".to_owned();
    for danger in against {
        text.push_str(&format!("  {danger}\n"));
    }
    let hosts: BTreeSet<&HostName> = against.iter().flat_map(Danger::hosts).collect();
    let even: String = hosts.into_iter().map(|host| format!(" --even {host}")).collect();
    CliError::rendered(Exit::Refused, text).hint(format!("if you mean it, say so by name:{even}"))
}

/// Everybody of the inventory takes part: who is isolated later, or released, finds the same rules about the others on all machines.
fn plan(
    way: Way,
    reason: &str,
    hosts: &BTreeSet<HostName>,
    addresses: &BTreeMap<HostName, BTreeSet<Address>>,
    inventory: &Inventory,
    surroundings: &Surroundings,
    quarantined: &BTreeSet<HostName>,
) -> IsolationPlan {
    let known = |host: &HostName| {
        let addresses = addresses.get(host).into_iter().flatten().map(|address| address.ip()).collect();
        Known { addresses, port: inventory.hosts.get(host).map_or(22, |host| host.port) }
    };
    let member = |name: &HostName| {
        let leads_to = |host: &&HostName| {
            let last = inventory.hosts.get(*host).and_then(|host| host.jump.last());
            matches!(last, Some(Jump::Host(jump)) if jump == name)
        };
        let login = surroundings.endpoint(inventory, name).map(|endpoint| endpoint.user).unwrap_or_default();
        IsolationMember {
            become_user: rights(&login),
            way_to: hosts.iter().filter(leads_to).map(|host| (host.clone(), login.clone())).collect(),
            contained: quarantined.contains(name),
        }
    };
    IsolationPlan {
        isolation: ISOLATION_VERSION,
        way,
        reason: reason.to_owned(),
        hosts: hosts.iter().map(|host| (host.clone(), known(host))).collect(),
        members: inventory.hosts.keys().map(|name| (name.clone(), member(name))).collect(),
        lease: LEASE,
        managers: BTreeSet::new(),
        evidence: None,
        forgetting: None,
    }
}

/// From where else hosts may be managed: from no host that is to drop them.
fn managers(typed: &[Manager], known: &BTreeMap<HostName, BTreeSet<Address>>) -> Result<BTreeSet<Manager>, CliError> {
    let managers = typed.iter().copied().collect();
    let Some((manager, host, address)) = inventory_host_in(&managers, known) else { return Ok(managers) };
    let has = if manager.is_network() { format!("has {host} in it ({address})") } else { format!("is {host}") };
    let what = format!("--manager {manager} {has}, and no host of the inventory may reach one in quarantine");
    Err(CliError::new(Exit::Refused, format!("{what}; nothing was changed"))
        .hint("where we come from ourselves is let in anyway, also through a host of the inventory"))
}

/// What is about to happen, before anybody is asked.
fn describe(plan: &IsolationPlan) -> String {
    let peers = plural(plan.members.len() - plan.hosts.len(), "peer");
    let mut text = String::new();
    match plan.way {
        Way::Quarantine => {
            for (host, known) in &plan.hosts {
                let addresses: Vec<String> = known.addresses.iter().map(ToString::to_string).collect();
                text.push_str(&format!("{host}: dropped by {peers}: {}\n", addresses.join(", ")));
                let others: String = plan.managers.iter().map(|manager| format!(", from {manager}")).collect();
                text.push_str(&format!("{host}: itself drops everything but SSH from where we come{others}\n"));
            }
            text.push_str("what is not confirmed over a fresh connection goes by itself\n");
            text.push_str(&forgetting::describe(plan));
        }
        Way::Release => {
            let hosts = fold_few(plan.hosts.keys(), NAMES_MAX);
            text.push_str(&format!("{hosts}: the rules go from there and from {peers}; secrets are not touched\n"));
            text.push_str("then each peer tries whether it reaches it again\n");
            text.push_str("what it knew is still known to it: rotate afterwards\n");
        }
    }
    text
}

async fn ask_and_do(
    args: &Args,
    mut session: Session,
    inventory: Inventory,
    (plan, expires): (IsolationPlan, Option<Millis>),
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<Exit, CliError> {
    let hosts = fold_few(plan.hosts.keys(), NAMES_MAX);
    let question = match plan.way {
        Way::Quarantine => format!("Isolate {hosts} now?"),
        Way::Release => format!("Release {hosts} now?"),
    };
    if !args.yes && !unless_stopped(interrupts, confirm(question)).await? {
        return Err(CliError::new(Exit::Refused, "not confirmed; nothing was changed"));
    }
    let run = new_run();
    let operator = session.operator.clone();
    let first = vec![
        Event::RunBegan {
            run: run.clone(),
            plan: plan.hash(),
            playbook: plan.way.label().to_owned(),
            hosts: plan.members.len() as u64,
            operator: operator.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        Event::RunIsolates(Isolates {
            way: plan.way,
            hosts: plan.hosts.keys().cloned().collect(),
            reason: plan.reason.clone(),
            expires,
        }),
    ];
    let mut state = Isolation::of(&plan);
    for event in &first {
        state.apply(event).map_err(|error| CliError::new(Exit::Bug, error.to_string()))?;
    }
    let mut voices = Voices { journal: &mut session.journal, reporter: &mut *session.reporter, since: session.since };
    voices.begin_isolation(&run, &plan, &operator, first).map_err(journal)?;
    go(args, session, &inventory, (run, epoch::first()), plan, state, interrupts).await
}

/// What answered from each peer before this run had rules.
fn reached_in(entries: &[Entry]) -> BTreeMap<HostName, Vec<Reached>> {
    let reached = entries.iter().filter_map(|entry| match &entry.event {
        Event::ReachedBefore { host, answered } => Some((host.clone(), answered.clone())),
        _ => None,
    });
    reached.collect()
}

/// Builds what these entries tell.
pub(super) fn replay(plan: &IsolationPlan, entries: &[Entry]) -> Result<Isolation, CliError> {
    Isolation::replay(plan, entries.iter().map(|entry| &entry.event)).map_err(|error| {
        CliError::new(Exit::PersonMustLook, format!("the ledger tells a run that cannot be: {error}"))
            .hint("lockturn ledger verify")
    })
}

/// Drives a run to its end and says what became of it.
async fn go(
    args: &Args,
    mut session: Session,
    inventory: &Inventory,
    (run, epoch): (RunId, u64),
    plan: IsolationPlan,
    mut state: Isolation,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<Exit, CliError> {
    session.works_on(&run);
    let entries = session.journal.entries(&run).map_err(journal)?;
    let before = match plan.way {
        Way::Quarantine => reached_in(&entries),
        Way::Release => Before::of(&session.journal, plan.hosts.keys(), Some(&run))?.reached,
    };
    let surroundings = surroundings::of_operator(args);
    let who =
        |(name, member): (&HostName, &IsolationMember)| surroundings.who(inventory, name, Some(member.become_user));
    let whos: Vec<_> = plan.members.iter().filter_map(who).collect();
    session.connector.unlock(whos.iter().map(|who| &who.endpoint)).await;
    let shows: Vec<_> = whos.iter().filter(|who| plan.hosts.contains_key(&who.host)).cloned().collect();
    let (tell, mut facts) = mpsc::unbounded_channel();
    let plan = Arc::new(plan);
    let isolator =
        Isolator::new(whos, Arc::clone(&plan), (&run, epoch), &session.connector, &session.cancel, before, tell)
            .with(forgetting::forgetter(&session, &surroundings, inventory, &plan, (&run, epoch)));
    let mut voices = Voices { journal: &mut session.journal, reporter: &mut *session.reporter, since: session.since };
    let first = (&run, &*plan, &entries[..]);
    let ended = match evidence::take(first, &shows, &session.connector, &mut state, &mut voices, interrupts).await {
        Ok(()) => contain((&run, plan.way), &mut state, &mut voices, &isolator, &mut facts, interrupts).await,
        Err(error) => Err(error),
    };
    session.reporter.finish();
    isolator.leave().await;
    let verdict = ended.as_ref().ok().copied();
    say::err(&format!("\n{}", session.again.in_text(&summarise_isolation(&run, &plan, &state, verdict))));
    // A ledger that cannot be read has been complained of.
    say::err(&summarise_evidence(&run, &plan, &session.journal.entries(&run).unwrap_or_default()));
    if plan.way == Way::Release {
        say::err(&session.again.in_text(&forgetting::of_released(&session.journal, &plan)?));
    }
    match ended {
        Ok(verdict) => Ok(Exit::from(verdict)),
        Err(DriveError::Abandoned) => Err(CliError::new(Exit::PersonMustLook, "left in the middle, as you asked")
            .hint(format!("lockturn resume {run}"))),
        Err(DriveError::Journal(error)) => Err(journal_failed(&error, &run)),
        Err(DriveError::Illegal(error)) => Err(CliError::new(Exit::Bug, error.to_string())),
    }
}
