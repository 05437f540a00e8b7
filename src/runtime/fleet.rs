//! All hosts of a run: who they are, what they hold, and a step on any of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::coordinator::{Rest, Run};
use crate::inventory::{Host, Inventory, Jump};
use crate::model::{Become, Drill, Event, FingerprintKey, HostName, Reason, ReasonKind, RunId, Step};
use crate::plan::Draft;
use crate::ssh::{Connector, Endpoint};

use super::actor::{Actor, Who};
use super::clock;
use super::drive::{Outcome, Perform};
use super::inspect::{Inspected, Purpose, inspect};
use super::lease::HeldLease;
use super::rehearse::rehearse;
use super::silence::Silence;
use super::step::{Work, perform};

/// How often it is looked whether a lease must be renewed.
const KEEP: Duration = Duration::from_secs(2);

/// What the inventory leaves open, from the operator's own surroundings.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The operator's name.
    pub user: String,
    /// The operator's home.
    pub home: PathBuf,
    /// The key to log in with where the inventory names none: there is no agent, and this is ssh's usual one.
    pub identity_file: Option<PathBuf>,
    /// Host keys to trust instead of those that the inventory names.
    pub known_hosts: Option<PathBuf>,
}

impl Surroundings {
    fn path(&self, path: &std::path::Path) -> PathBuf {
        path.strip_prefix("~").map_or_else(|_| path.to_owned(), |rest| self.home.join(rest))
    }

    /// Where ssh looks when nobody says otherwise: what the operator knows, and what everybody on this machine does.
    fn usual_known_hosts(&self) -> Vec<PathBuf> {
        let (own, all) = (self.home.join(".ssh"), PathBuf::from("/etc/ssh"));
        ["known_hosts", "known_hosts2"]
            .map(|name| own.join(name))
            .into_iter()
            .chain(["ssh_known_hosts", "ssh_known_hosts2"].map(|name| all.join(name)))
            .collect()
    }

    /// How a host of the inventory is reached.
    #[must_use]
    pub fn endpoint(&self, inventory: &Inventory, name: &HostName) -> Option<Endpoint> {
        let host = inventory.hosts.get(name)?;
        let named = self.known_hosts.as_deref().or(host.known_hosts.as_deref());
        let known_hosts = named.map_or_else(|| self.usual_known_hosts(), |path| vec![self.path(path)]);
        let identity_file = host.identity_file.as_ref().or(self.identity_file.as_ref());
        let identity_files: Vec<PathBuf> = identity_file.iter().map(|path| self.path(path)).collect();
        // Each host of the way is reached through the ones before it; the first one in its own way.
        let mut jump: Option<Box<Endpoint>> = None;
        for hop in &host.jump {
            let mut next = match hop {
                Jump::Host(name) => self.endpoint(inventory, name)?,
                Jump::Other { user, address, port } => Endpoint {
                    host: address.parse().ok()?,
                    address: address.clone(),
                    port: *port,
                    user: user.clone().unwrap_or_else(|| self.user.clone()),
                    identity_files: identity_files.clone(),
                    known_hosts: known_hosts.clone(),
                    jump: None,
                },
            };
            next.jump = jump.or(next.jump);
            jump = Some(Box::new(next));
        }
        Some(Endpoint {
            host: name.clone(),
            address: host.address.clone(),
            port: host.port,
            user: host.user.clone().unwrap_or_else(|| self.user.clone()),
            identity_files,
            known_hosts,
            jump,
        })
    }

    /// Who a host of the inventory is. `become_user` is the playbook's word, which goes before the inventory's.
    #[must_use]
    pub fn who(&self, inventory: &Inventory, name: &HostName, become_user: Option<Become>) -> Option<Who> {
        let Host { become_user: own, state_dir, path, .. } = inventory.hosts.get(name)?;
        Some(Who {
            host: name.clone(),
            endpoint: self.endpoint(inventory, name)?,
            become_user: become_user.unwrap_or(*own),
            state_dir: state_dir.clone(),
            path: path.clone(),
        })
    }
}

/// All hosts of a run.
pub struct Fleet {
    connector: Arc<Connector>,
    endpoints: Vec<Endpoint>,
    actors: BTreeMap<HostName, Arc<Mutex<Actor>>>,
    leases: Vec<HeldLease>,
    works: BTreeMap<HostName, Work>,
    futile: CancellationToken,
    silence: Option<Silence>,
}

impl Fleet {
    /// Hosts that are not connected yet.
    #[must_use]
    pub fn new(
        whos: Vec<Who>,
        run: &RunId,
        epoch: u64,
        connector: &Arc<Connector>,
        cancel: &CancellationToken,
    ) -> Self {
        let mut leases = Vec::new();
        let actor = |who: Who| {
            let name = who.host.clone();
            let actor = Actor::new(who, run.clone(), epoch, Arc::clone(connector), cancel.clone());
            leases.push(actor.lease().clone());
            (name, Arc::new(Mutex::new(actor)))
        };
        let endpoints = whos.iter().map(|who| who.endpoint.clone()).collect();
        let actors = whos.into_iter().map(actor).collect();
        let (works, futile) = (BTreeMap::new(), CancellationToken::new());
        Self { connector: Arc::clone(connector), endpoints, actors, leases, works, futile, silence: None }
    }

    /// Cancelled once the run goes back whatever its hosts still show.
    #[must_use]
    pub const fn futile(&self) -> &CancellationToken {
        &self.futile
    }

    /// Asks for what only a person can give, before anything else is shown.
    pub async fn unlock(&self) {
        self.connector.unlock(&self.endpoints).await;
        // Whoever waits for Ctrl-C beside us could hear nothing while a person typed: now it is heard first.
        tokio::task::yield_now().await;
    }

    /// From here on this is done on purpose.
    pub fn drill(&mut self, drill: Drill) {
        self.silence = Some(Silence::of(drill));
    }

    /// Says what the steps on a host need.
    pub fn assign(&mut self, host: HostName, work: Work) {
        self.works.insert(host, work);
    }

    /// Connects all hosts and reads what the draft names on each. Changes nothing.
    pub async fn inspect(
        &self,
        draft: &Draft,
        key: &Arc<FingerprintKey>,
        purpose: Purpose,
        mut note: impl FnMut(Event),
    ) -> BTreeMap<HostName, Result<Inspected, Reason>> {
        self.unlock().await;
        note(Event::ConnectBegan { hosts: self.actors.len() as u64 });
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for (name, actor) in &self.actors {
            let (name, actor, key, tell) = (name.clone(), Arc::clone(actor), Arc::clone(key), tell.clone());
            let host = draft.hosts.get(&name).cloned().unwrap_or_default();
            tasks.spawn(async move {
                let mut actor = actor.lock().await;
                let inspected = match actor.connect().await {
                    Err(reason) => Err(reason),
                    Ok(_) => {
                        let _unheard = tell.send(Event::HostConnected { host: name.clone() });
                        inspect(&mut actor, &host, &key, purpose).await
                    }
                };
                let _unheard = tell.send(match &inspected {
                    Ok(_) => Event::HostInspected { host: name.clone() },
                    Err(reason) => Event::HostUnconnected { host: name.clone(), reason: reason.clone() },
                });
                (name, inspected)
            });
        }
        drop(tell);
        while let Some(event) = told.recv().await {
            note(event);
        }
        tasks.join_all().await.into_iter().collect()
    }

    /// Tries, on every host that has work, what its services and probes say now. Changes nothing; hosts where nothing is in the way are
    /// left out.
    pub async fn rehearse(&self) -> BTreeMap<HostName, Result<Vec<(String, Reason)>, Reason>> {
        let mut tasks = JoinSet::new();
        for (name, work) in &self.works {
            let Some(actor) = self.actors.get(name).cloned() else { continue };
            let (name, work) = (name.clone(), work.clone());
            tasks.spawn(async move { (name, rehearse(&mut *actor.lock().await, &work).await) });
        }
        let in_the_way =
            |(_, said): &(HostName, Result<Vec<_>, _>)| said.as_ref().map_or(true, |found| !found.is_empty());
        tasks.join_all().await.into_iter().filter(in_the_way).collect()
    }

    /// Asks armed hosts to wait for as long as this run goes on. Ends when what it returns is dropped.
    #[must_use]
    pub fn keep_leases(&self) -> DropGuard {
        let token = CancellationToken::new();
        for actor in self.actors.values() {
            let (actor, token) = (Arc::clone(actor), token.clone());
            tokio::spawn(token.run_until_cancelled_owned(async move {
                loop {
                    tokio::time::sleep(KEEP).await;
                    // A host that is busy asks by itself; one that has fired says so to its next step.
                    if let Ok(mut actor) = actor.try_lock() {
                        actor.renew_aside().await;
                    }
                }
            }));
        }
        token.drop_guard()
    }

    /// The hosts, to be asked one by one.
    pub fn actors(&self) -> impl Iterator<Item = (&HostName, &Arc<Mutex<Actor>>)> {
        self.actors.iter()
    }

    /// Ends all programs and connections.
    pub async fn leave(self) {
        let leaving = self.actors.into_values().filter_map(Arc::into_inner).map(|actor| actor.into_inner().leave());
        futures::future::join_all(leaving).await;
    }
}

impl Perform for Fleet {
    fn begin(&mut self, run: &Run, host: &HostName, step: Step) -> BoxFuture<'static, Outcome> {
        let (Some(actor), Some(work)) = (self.actors.get(host).cloned(), self.works.get(host).cloned()) else {
            let reason = Reason::new(ReasonKind::Missing, format!("`{host}` is in the plan and not in the inventory"));
            return Box::pin(async { Outcome::Unknown(reason) });
        };
        let rest = run.hosts().get(host).map_or(Rest::Untouched, |known| known.rest(run.decision()));
        let work = Work { rest, is_decided: run.decision().is_some(), ..work };
        let drilled = self.silence.as_mut().and_then(|silence| silence.instead(&self.actors, &work, host, step));
        if let Some(doing) = drilled {
            return doing;
        }
        Box::pin(async move { perform(&mut *actor.lock().await, &work, step).await })
    }

    fn hurry(&mut self) {
        self.futile.cancel();
    }

    fn interrupted(&mut self) {
        if let Some(silence) = &self.silence {
            silence.end();
        }
    }

    fn all_wait(&self) -> bool {
        // Also of a host that is asked for more time just now: after a sleep all of them are, and may have gone back long ago.
        let now = clock::boot_now();
        self.leases.iter().all(|lease| lease.get().is_some_and(|lease| lease.holds(now, Duration::ZERO)))
    }
}
