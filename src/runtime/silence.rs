//! What a drill does to hosts: it does not talk to them after the cut until their leases have ended, as a coordinator that died.
//!
//! **Invariant:** nothing here brings a host forward; a host that does not go back by itself is taken back as in any other run.
//! Tested in `tests/it/drill.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::host::{Request, Which};
use crate::model::{Activation, Drill, Event, HostName, Millis, Reason, ReasonKind, Step};

use super::actor::{Actor, STEP_MAX};
use super::clock;
use super::drive::Outcome;
use super::step::{Work, perform};

/// How long after the end of its lease a host may be found to have gone back, besides the time that its services may take: it looks
/// once a second, and the machine may be busy.
const LATE_MAX: Millis = Millis::from_secs(30);

/// How often a host is asked whether it has gone back.
const ASK: Duration = Duration::from_millis(500);

/// What a host has written down when its switch has taken it back, services and all.
const GONE_BACK: &str = "fired reverted";

type Actors = BTreeMap<HostName, Arc<Mutex<Actor>>>;

/// Keeps a drill's word from some hosts.
pub(super) struct Silence {
    drill: Drill,
    fallen: bool,
    over: CancellationToken,
}

impl Silence {
    pub(super) fn of(drill: Drill) -> Self {
        Self { drill, fallen: false, over: CancellationToken::new() }
    }

    /// Nobody waits for a lease any more: whoever is still silent is taken back as in any other run.
    pub(super) fn end(&self) {
        self.over.cancel();
    }

    /// What is done instead of a step, where the silence makes it another.
    pub(super) fn instead(
        &mut self,
        actors: &Actors,
        work: &Work,
        host: &HostName,
        step: Step,
    ) -> Option<BoxFuture<'static, Outcome>> {
        if !self.drill.silences(host) {
            return None;
        }
        match step {
            // All hosts are cut by now. Nobody of them hears from us any more, whether or not it was to activate first.
            Step::Activate => {
                self.fallen = true;
                let silent = actors.iter().filter(|(name, _)| self.drill.silences(name));
                let silent: Vec<_> = silent.map(|(_, actor)| Arc::clone(actor)).collect();
                Some(Box::pin(async move {
                    // One that is not connected is not asked for a longer lease either.
                    for actor in silent {
                        actor.lock().await.hang_up().await;
                    }
                    Outcome::Unknown(Reason::new(ReasonKind::Drill, "not talked to since the cut: this is a drill"))
                }))
            }
            Step::Revert if self.fallen => {
                let (actor, work, host) = (Arc::clone(actors.get(host)?), work.clone(), host.clone());
                let over = self.over.clone();
                Some(Box::pin(async move {
                    let mut actor = actor.lock().await;
                    let watched = over.run_until_cancelled(watch(&mut actor, &work)).await.flatten();
                    if let Some((after, back)) = watched {
                        // It is a fact: whoever listens makes it durable before it hears of the step.
                        let _unheard = work.verifier.notes.send(Event::SwitchWatched { host, after, back });
                    }
                    perform(&mut actor, &work, Step::Revert).await
                }))
            }
            _ => None,
        }
    }
}

/// Waits until the host's lease has ended, and then asks whether it has gone back: how long after our last word, and whether. None if it
/// was never armed, or says nothing.
async fn watch(actor: &mut Actor, work: &Work) -> Option<(Millis, bool)> {
    let lease = actor.lease().get()?;
    let ends = lease.asked + lease.length;
    let late = work.plan.activate.iter().fold(ends + LATE_MAX, |until, activation| match activation {
        Activation::Systemd { deadline, .. } | Activation::Command { deadline, .. } => until + *deadline,
    });
    while clock::boot_now() < ends {
        tokio::time::sleep(ASK).await;
    }
    loop {
        // It changes nothing there, and gives no more time.
        let said = actor.call(&Request::Which, STEP_MAX).await.ok();
        let back = said.and_then(|said| Which::parse(&said).ok()).map(|which| which.record == GONE_BACK);
        let now = clock::boot_now();
        if back == Some(true) || now > late {
            return Some((now.since(lease.asked), back?));
        }
        tokio::time::sleep(ASK).await;
    }
}
