//! A run that isolates hosts, as its events tell it: what comes next on each machine, and what may be said of the whole.
//!
//! There is no barrier here: each machine goes its own way, because to wait for the slowest is to leave the others open. Peers are named
//! first. `next` and `apply` do nothing themselves; they are the whole of what is decided.

use std::collections::BTreeMap;

use crate::model::{Event, HostName, Step};

use super::member::{Containment, Member, Role};

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
    /// Every peer is proved to drop the hosts.
    Quarantined,
    /// So many of so many peers are.
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
    began: bool,
    stopped: bool,
}

impl Isolation {
    /// A run in which nothing has happened.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = (HostName, Role)>) -> Self {
        let members = members.into_iter().map(|(name, role)| (name, Member::new(role))).collect();
        Self { members, began: false, stopped: false }
    }

    /// Builds the run that these events tell.
    ///
    /// # Errors
    /// Names the first event that cannot follow the ones before it.
    pub fn replay<'a>(
        members: impl IntoIterator<Item = (HostName, Role)>,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Result<Self, IllegalStep> {
        let mut run = Self::new(members);
        events.into_iter().try_for_each(|event| run.apply(event))?;
        Ok(run)
    }

    /// Its machines.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<HostName, Member> {
        &self.members
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
        if self.members.values().any(|member| member.doing().is_some()) {
            return Next::Wait;
        }
        Next::Ended(self.outcome())
    }

    /// What may be said now. Only what is proved of the peers counts: the host's own word changes nothing.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let peers = || self.members.values().filter(|member| member.role() == Role::Peer);
        let (enforced, all) =
            (peers().filter(|peer| peer.containment() == Containment::Enforced).count(), peers().count());
        // Nobody to drop it: then nothing contains it.
        if all > 0 && enforced == all { Outcome::Quarantined } else { Outcome::Partial { enforced, peers: all } }
    }

    /// What may be said of a run that releases: every machine counts, those that are released too.
    #[must_use]
    pub fn released(&self) -> Outcome {
        let all = self.members.len();
        let done = self.members.values().filter(|member| member.containment() == Containment::Enforced).count();
        if done == all { Outcome::Quarantined } else { Outcome::Partial { enforced: done, peers: all } }
    }
}
