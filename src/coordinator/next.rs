//! What to do next: a function of the run's state alone.

use crate::model::{Cause, Decision, Event, HostName, HostState, Reason, ReasonKind, Step, Verdict};

use super::{Host, Run};

/// What the runtime must do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Make this event durable, then apply it.
    Record(Event),
    /// Make `StepBegan` durable for all of these hosts, apply it, then begin the step on all of them at once.
    Begin {
        /// Which step.
        step: Step,
        /// Where, in the order of their names.
        hosts: Vec<HostName>,
    },
    /// Steps are under way: wait for one to end.
    Wait,
    /// Steps are under way, and the run goes back whatever they find: those that only look need not go on. Wait for one to end.
    Hurry,
    /// The run has ended.
    Ended(Verdict),
}

/// The way forward, up to the decision.
const FORWARD: [Step; 6] = [Step::Lock, Step::Stage, Step::Arm, Step::Cut, Step::Activate, Step::Verify];

impl Run {
    /// What to do next.
    #[must_use]
    pub fn next(&self) -> Next {
        if let Some(verdict) = self.verdict {
            return Next::Ended(verdict);
        }
        if self.hosts.values().any(Host::is_taken_away) {
            // A newer coordinator goes on with this run, and will have all its hosts: what is done from here on, only it should do.
            return if self.decision.is_none() && self.under_way() { Next::Hurry } else { self.next_of(&[]) };
        }
        match self.decision {
            None if self.found.is_some() => self.next_found(),
            None => self.next_forward(),
            Some(Decision::Commit) if self.all_confirmed() => {
                self.next_of(&[Step::Activate, Step::Verify, Step::Clean])
            }
            // A host that had gone back before it heard of the decision is brought forward again. Until everybody has heard of it nobody
            // is cleaned: should this ledger be lost, a confirmed host is all that tells of the decision.
            Some(Decision::Commit) => {
                self.next_of(&[Step::Arm, Step::Cut, Step::Activate, Step::Verify, Step::Confirm])
            }
            Some(Decision::Rollback) => self.next_of(&[Step::Revert, Step::Reactivate, Step::Reverify, Step::Clean]),
        }
    }

    /// The journal was lost: what the hosts say decides.
    fn next_found(&self) -> Next {
        let nobody_heard =
            Reason::new(ReasonKind::JournalLost, "the ledger was lost, and no host had heard that the new value stays");
        let cause = Cause { host: None, step: None, reason: nobody_heard };
        match self.found {
            Some(Decision::Commit) => decide(Decision::Commit, None),
            Some(Decision::Rollback) | None => decide(Decision::Rollback, Some(cause)),
        }
    }

    fn next_forward(&self) -> Next {
        if let Some(cause) = self.reason_to_go_back() {
            return if self.under_way() { Next::Hurry } else { decide(Decision::Rollback, Some(cause)) };
        }
        for step in FORWARD {
            match self.pending(step) {
                Pending::Nobody => {}
                Pending::Begin(hosts) => return Next::Begin { step, hosts },
                Pending::UnderWay => return Next::Wait,
            }
        }
        match &self.drill {
            None => decide(Decision::Commit, None),
            Some(drill) => {
                let reason = Reason::new(ReasonKind::Drill, "its proof is declared failed: this is a drill");
                let cause = Cause { host: Some(drill.host.clone()), step: Some(Step::Verify), reason };
                decide(Decision::Rollback, Some(cause))
            }
        }
    }

    fn next_of(&self, steps: &[Step]) -> Next {
        for &step in steps {
            match self.pending(step) {
                Pending::Nobody => {}
                Pending::Begin(hosts) => return Next::Begin { step, hosts },
                Pending::UnderWay => return Next::Wait,
            }
        }
        // A host that was not waited for may still be at it.
        if self.hosts.values().any(|host| host.doing.is_some()) {
            return Next::Wait;
        }
        Next::Record(Event::RunEnded { verdict: self.judge() })
    }

    /// Who has a step still before them. Nobody begins a step while another host is busy with an earlier one: that is the barrier.
    /// Only a host that was lost before the decision goes back by itself, so that the others need not wait until it is given up.
    fn pending(&self, step: Step) -> Pending {
        if self.under_way() {
            return Pending::UnderWay;
        }
        let may = |name: &HostName| self.hosts.get(name).is_some_and(|host| host.may_begin(step, self.decision));
        let hosts: Vec<HostName> = match step {
            Step::Activate | Step::Reactivate => self
                .activate_batches
                .iter()
                .map(|batch| batch.iter().filter(|name| may(name)).cloned().collect::<Vec<_>>())
                .find(|batch| !batch.is_empty())
                .unwrap_or_default(),
            Step::Lock
            | Step::Stage
            | Step::Arm
            | Step::Cut
            | Step::Verify
            | Step::Confirm
            | Step::Revert
            | Step::Reverify
            | Step::Clean
            | Step::Stop
            | Step::Forget => self.hosts.keys().filter(|name| may(name)).cloned().collect(),
        };
        if hosts.is_empty() { Pending::Nobody } else { Pending::Begin(hosts) }
    }

    fn all_confirmed(&self) -> bool {
        self.hosts.values().all(|host| host.left_out || host.forward == Some(Step::Confirm))
    }

    fn under_way(&self) -> bool {
        let alone = |host: &Host| host.lost && self.decision.is_some();
        self.hosts.values().any(|host| host.doing.is_some() && !alone(host))
    }

    /// The verdict of a run in which nothing is left to be done.
    fn judge(&self) -> Verdict {
        let state = |wanted: HostState| self.hosts.values().any(|host| host.state(self.decision) == wanted);
        // What is left on an isolated host waits until that is released; nobody knows what its root makes of it.
        let unclean = self.hosts.values().any(|host| host.left_over() && !host.left_out);
        let moved = self.hosts.values().any(|host| host.moved);
        if state(HostState::InDoubt) || state(HostState::Inconsistent) {
            return Verdict::Inconsistent;
        }
        match (self.decision, moved, unclean) {
            (Some(Decision::Commit), _, false) => Verdict::Rotated,
            (Some(Decision::Commit), _, true) => Verdict::RotatedWithDebt,
            // What was staged and not removed is a thing that a person must know of.
            (Some(Decision::Rollback) | None, _, true) => Verdict::Inconsistent,
            (Some(Decision::Rollback) | None, true, false) if self.has_drilled() => Verdict::Drilled,
            (Some(Decision::Rollback) | None, true, false) => Verdict::RolledBack,
            (Some(Decision::Rollback) | None, false, false) => Verdict::Refused,
        }
    }
}

enum Pending {
    Nobody,
    Begin(Vec<HostName>),
    UnderWay,
}

const fn decide(decision: Decision, cause: Option<Cause>) -> Next {
    Next::Record(Event::Decided { decision, cause })
}

impl Host {
    /// Whether anything of the run may be left there.
    #[must_use]
    pub const fn left_over(&self) -> bool {
        self.entered && !self.clean
    }

    /// Whether it may have been cleaned, as far as that was asked for.
    #[must_use]
    pub const fn may_be_cleaned(&self) -> bool {
        self.cleaning
    }

    /// Whether the new content may be in place, or may have been.
    #[must_use]
    pub const fn moved(&self) -> bool {
        self.moved
    }
}
