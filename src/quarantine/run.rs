//! A run that isolates hosts, as its events tell it: what comes next on each machine, and what may be said of the whole.
//!
//! There is no barrier here: each machine goes its own way, because to wait for the slowest is to leave the others open. Peers are named
//! first. `next` and `apply` do nothing themselves; they are the whole of what is decided.

use std::collections::BTreeMap;

use crate::model::{Event, HostName, IsolationPlan, Step};

use super::keeper::{Keeper, Memory};
use super::member::{Containment, Member, Role};
use super::staged::roles;

/// What the runtime must do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Make `StepBegan` durable for each, apply it, then begin these steps, all at once; peers stand first.
    Begin(Vec<(HostName, Step)>),
    /// Wait for a step to end.
    Wait,
    /// Nothing is left to be done in this process.
    Ended(Outcome),
}

impl Next {
    const fn is_going_on(&self) -> bool {
        !matches!(self, Self::Ended(_))
    }
}

/// What may be said in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every peer is proved to drop the hosts, and all who are to forget them have.
    Quarantined,
    /// So many of so many peers are; or all of them, and somebody has not forgotten.
    Partial {
        /// That are proved.
        enforced: usize,
        /// That there are.
        peers: usize,
    },
}

/// An event that cannot follow what happened before: a bug, or a damaged ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IllegalStep {
    /// The event's word.
    pub event: &'static str,
    /// Why it cannot be.
    pub because: String,
}

impl std::fmt::Display for IllegalStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` cannot happen here: {}", self.event, self.because)
    }
}

impl std::error::Error for IllegalStep {}

/// A run that isolates hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    members: BTreeMap<HostName, Member>,
    keepers: BTreeMap<HostName, Keeper>,
    began: bool,
    stopped: bool,
}

impl Isolation {
    /// A run in which nothing has happened.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = (HostName, Role)>) -> Self {
        let members = members.into_iter().map(|(name, role)| (name, Member::new(role))).collect();
        Self { members, keepers: BTreeMap::new(), began: false, stopped: false }
    }

    /// The run of this plan in which nothing has happened.
    #[must_use]
    pub fn of(plan: &IsolationPlan) -> Self {
        let keepers = plan.forgetting.iter().flat_map(|forgetting| forgetting.keepers.keys());
        Self { keepers: keepers.map(|name| (name.clone(), Keeper::default())).collect(), ..Self::new(roles(plan)) }
    }

    /// Builds the run that these events tell.
    ///
    /// # Errors
    /// Names the first event that cannot follow the ones before it.
    pub fn replay<'a>(plan: &IsolationPlan, events: impl IntoIterator<Item = &'a Event>) -> Result<Self, IllegalStep> {
        let mut run = Self::of(plan);
        events.into_iter().try_for_each(|event| run.apply(event))?;
        Ok(run)
    }

    /// Its machines.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<HostName, Member> {
        &self.members
    }

    /// The machines that are to forget.
    #[must_use]
    pub const fn keepers(&self) -> &BTreeMap<HostName, Keeper> {
        &self.keepers
    }

    /// Moves the run by one event: the only place where it changes, live and in replay.
    ///
    /// # Errors
    /// Rejects every event that cannot follow what happened before. The run is then as it was.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalStep> {
        let illegal = |because: String| IllegalStep { event: event.label(), because };
        let known = |name: &HostName| illegal(format!("`{name}` is not in the run"));
        match event {
            Event::RunBegan { .. } | Event::RunIsolates(_) if self.began => {
                return Err(illegal("the run goes on already".to_owned()));
            }
            Event::RunBegan { .. } | Event::RunIsolates(_) => {}
            Event::ReachedBefore { host, .. } if !self.members.contains_key(host) => return Err(known(host)),
            Event::ReachedBefore { .. } => {}
            // Evidence decides nothing: whatever came of it, the host is isolated.
            Event::EvidenceBegan { host } if !self.members.contains_key(host) => return Err(known(host)),
            Event::EvidenceTaken(taken) if !self.members.contains_key(&taken.host) => return Err(known(&taken.host)),
            Event::EvidenceBegan { .. } | Event::EvidenceTaken(_) => {}
            Event::RunEnded { .. } if self.next().is_going_on() => {
                return Err(illegal("something is still to be done".to_owned()));
            }
            Event::RunEnded { .. } => {}
            Event::StepBegan { host, step } if is_of_keepers(*step) => {
                let next = self.next_of_keeper(host);
                let keeper = self.keepers.get_mut(host).ok_or_else(|| known(host))?;
                if next != Some(*step) {
                    return Err(illegal(format!("`{step}` is not the next step of `{host}`")));
                }
                keeper.begin(*step);
                self.began = true;
            }
            Event::StepDone { host, step } | Event::StepFailed { host, step, .. } if is_of_keepers(*step) => {
                let keeper = self.keepers.get_mut(host).ok_or_else(|| known(host))?;
                if keeper.doing() != Some(*step) {
                    return Err(illegal(format!("`{step}` is not under way on `{host}`")));
                }
                match event {
                    Event::StepFailed { certainty, reason, .. } => keeper.failed(*step, *certainty, reason.clone()),
                    _ => keeper.done(*step),
                }
            }
            Event::StepBegan { host, step } => {
                let member = self.members.get_mut(host).ok_or_else(|| known(host))?;
                if member.next() != Some(*step) {
                    return Err(illegal(format!("`{step}` is not the next step of `{host}`")));
                }
                member.begin(*step);
                self.began = true;
            }
            Event::StepDone { host, step } | Event::StepFailed { host, step, .. } => {
                let member = self.members.get_mut(host).ok_or_else(|| known(host))?;
                if member.doing() != Some(*step) {
                    return Err(illegal(format!("`{step}` is not under way on `{host}`")));
                }
                match event {
                    Event::StepFailed { certainty, reason, .. } => member.failed(*step, *certainty, reason.clone()),
                    _ => member.done(*step),
                }
            }
            Event::Interrupted => self.stopped = true,
            Event::Resumed { .. } => {
                self.stopped = false;
                self.members.values_mut().for_each(Member::resumed);
                self.keepers.values_mut().for_each(Keeper::resumed);
            }
            _ => return Err(illegal("it is no event of a quarantine".to_owned())),
        }
        Ok(())
    }

    /// What to do next: a function of the run's state alone.
    #[must_use]
    pub fn next(&self) -> Next {
        let mut begin: Vec<(&HostName, &Member, Step)> = Vec::new();
        if !self.stopped {
            begin.extend(self.members.iter().filter_map(|(name, member)| Some((name, member, member.next()?))));
        }
        if !begin.is_empty() {
            begin.sort_by_key(|(_, member, _)| member.role());
            return Next::Begin(begin.into_iter().map(|(name, _, step)| (name.clone(), step)).collect());
        }
        let forget = |name: &HostName| Some((name.clone(), self.next_of_keeper(name)?));
        let forget: Vec<(HostName, Step)> = self.keepers.keys().filter_map(forget).collect();
        if !forget.is_empty() {
            return Next::Begin(forget);
        }
        let forgetting = self.keepers.values().any(|keeper| keeper.doing().is_some());
        if forgetting || self.members.values().any(|member| member.doing().is_some()) {
            return Next::Wait;
        }
        Next::Ended(self.outcome())
    }

    /// A machine drops the isolated hosts first, and forgets them then: it waits for itself only.
    fn next_of_keeper(&self, name: &HostName) -> Option<Step> {
        let dropping = |member: &Member| member.doing().is_some() || member.next().is_some();
        if self.stopped || self.members.get(name).is_some_and(dropping) {
            return None;
        }
        self.keepers.get(name)?.next()
    }

    /// What may be said now. Only what is proved of the peers counts: the host's own word changes nothing.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let peers = || self.members.values().filter(|member| member.role() == Role::Peer);
        let (enforced, all) =
            (peers().filter(|peer| peer.containment() == Containment::Enforced).count(), peers().count());
        // Nobody to drop it: then nothing contains it.
        let forgotten = self.keepers.values().all(|keeper| keeper.memory() == Memory::Forgotten);
        if all > 0 && enforced == all && forgotten {
            Outcome::Quarantined
        } else {
            Outcome::Partial { enforced, peers: all }
        }
    }

    /// What may be said of a run that releases: every machine counts, those that are released too.
    #[must_use]
    pub fn released(&self) -> Outcome {
        let all = self.members.len();
        let done = self.members.values().filter(|member| member.containment() == Containment::Enforced).count();
        if done == all { Outcome::Quarantined } else { Outcome::Partial { enforced: done, peers: all } }
    }
}

/// Whether it is done by those who keep what isolated hosts know.
const fn is_of_keepers(step: Step) -> bool {
    matches!(step, Step::Stop | Step::Forget)
}
