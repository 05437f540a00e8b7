//! One host in a run: how far it has come, and which steps are legal from there.

use crate::model::{Certainty, Decision, HostState, Reason, ReasonKind, Step};

/// How far a host has come. Built by [`super::Run::apply`] only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Host {
    /// The last step forward that is done.
    pub(super) forward: Option<Step>,
    /// The last step back that is done.
    pub(super) back: Option<Step>,
    /// The step that may be happening now.
    pub(super) doing: Option<Step>,
    /// The step that did not end well.
    pub(super) trouble: Option<Trouble>,
    /// Lock was begun: there may be something to clean.
    pub(super) entered: bool,
    /// Cut was begun: the new content may be in place.
    pub(super) moved: bool,
    /// Activate was begun: the services may run with the new value.
    pub(super) woken: bool,
    /// It did not answer, and has not answered since. The others do not wait for it on their way back.
    pub(super) lost: bool,
    /// It holds the old content, and that its services take it is the operator's word alone. Or else it holds the new content, and was
    /// cleaned before anybody who lives could see that.
    pub(super) unproved: bool,
    /// Clean was begun, and may be done.
    pub(super) cleaning: bool,
    /// It was isolated after the run had begun: it gets nothing, and nobody waits for it.
    pub(super) left_out: bool,
    /// Nothing of the run is left there.
    pub(super) clean: bool,
    /// It heard that the new value stays from a process that had not seen its proof, and is to show it again before it is cleaned.
    pub(super) proof: Option<Proof>,
    /// How often it had gone back by itself when it heard that the new value stays, and was brought forward again.
    pub(super) again: u32,
}

/// A host that goes back by itself this often after a decision has a clock or a coordinator that a person must look at.
const AGAIN_MAX: u32 = 3;

/// How far a confirmed host has come in showing the new value again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Proof {
    /// Not at all.
    Due,
    /// It did not: its services are to be told of the new value, should they have been told of the old one meanwhile.
    Failed,
    /// They were told.
    Told,
}

/// A step that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trouble {
    /// Which.
    pub step: Step,
    /// Whether it is known not to be done.
    pub certainty: Certainty,
    /// Why.
    pub reason: Reason,
}

/// What a host holds that has nothing of the run any more, if the run went as this ledger tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// The new values.
    New,
    /// The old ones.
    Old,
    /// It was never cut: whatever it holds, the new values it does not.
    Untouched,
}

impl Trouble {
    /// Whether another coordinator has the host, or has finished with it: then this ledger does not know what it holds.
    #[must_use]
    pub const fn is_anothers(&self) -> bool {
        matches!(self.reason.kind, ReasonKind::Fenced | ReasonKind::NothingLeft)
    }
}

impl Host {
    /// Whether a newer coordinator has it.
    pub(super) fn is_taken_away(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.reason.kind == ReasonKind::Fenced)
    }

    /// What it holds once nothing of the run is left there.
    #[must_use]
    pub const fn rest(&self, decision: Option<Decision>) -> Rest {
        match decision {
            Some(Decision::Commit) => Rest::New,
            Some(Decision::Rollback) | None if self.moved => Rest::Old,
            Some(Decision::Rollback) | None => Rest::Untouched,
        }
    }

    /// The step that did not end well, if any.
    #[must_use]
    pub const fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// The step that may be happening now.
    #[must_use]
    pub const fn doing(&self) -> Option<Step> {
        self.doing
    }

    /// The word that the operator reads.
    #[must_use]
    pub fn state(&self, decision: Option<Decision>) -> HostState {
        if self.left_out {
            return HostState::Quarantined;
        }
        match (decision, &self.trouble) {
            // Before the decision a host in trouble shows how far it came; the decision follows at once, and ends that trouble.
            (_, Some(trouble)) if trouble.is_anothers() || (trouble.step != Step::Clean && decision.is_some()) => {
                match trouble.certainty {
                    Certainty::Unknown => HostState::InDoubt,
                    Certainty::Failed => HostState::Inconsistent,
                }
            }
            (Some(Decision::Rollback), _) if self.moved => match self.back {
                Some(Step::Reverify) => HostState::Reverted,
                _ => HostState::Reverting,
            },
            _ => match self.forward {
                None | Some(Step::Lock) => HostState::Pending,
                Some(Step::Stage) => HostState::Staged,
                Some(Step::Arm) => HostState::Armed,
                Some(Step::Cut | Step::Activate) => HostState::Cut,
                Some(Step::Verify) => HostState::Verified,
                Some(Step::Confirm) => HostState::Confirmed,
                Some(Step::Revert | Step::Reactivate | Step::Reverify | Step::Clean | Step::Stop | Step::Forget) => {
                    unreachable!("neither a step back nor one of a quarantine is kept as a step forward")
                }
            },
        }
    }

    /// Whether `step` may begin here: the one table of legal moves. A step may begin again as long as the next one has not been done,
    /// because an answer may have been lost and every step on a host is idempotent.
    pub(super) fn may_begin(&self, step: Step, decision: Option<Decision>) -> bool {
        if self.doing.is_some() || self.trouble.is_some() || self.clean || self.left_out {
            return false;
        }
        match (decision, step) {
            (None, Step::Lock) => self.forward.is_none(),
            (None, Step::Stage) => self.forward == Some(Step::Lock),
            (None, Step::Arm) => self.forward == Some(Step::Stage),
            (None, Step::Cut) => self.forward == Some(Step::Arm),
            (None, Step::Activate) => self.forward == Some(Step::Cut),
            (None, Step::Verify) => self.forward == Some(Step::Activate),
            (Some(Decision::Commit), Step::Arm) => self.forward == Some(Step::Stage),
            (Some(Decision::Commit), Step::Cut) => self.forward == Some(Step::Arm),
            (Some(Decision::Commit), Step::Activate) => {
                self.forward == Some(Step::Cut) || self.proof == Some(Proof::Failed)
            }
            // Where a proof is due the host hears of the decision first: it may have gone back.
            (Some(Decision::Commit), Step::Verify) => match self.forward {
                Some(Step::Confirm) => matches!(self.proof, Some(Proof::Due | Proof::Told)),
                forward => forward == Some(Step::Activate),
            },
            (Some(Decision::Commit), Step::Confirm) => self.forward == Some(Step::Verify),
            (Some(Decision::Commit), Step::Clean) => self.forward == Some(Step::Confirm) && self.proof.is_none(),
            (Some(Decision::Rollback), Step::Revert) => self.moved && self.back.is_none(),
            (Some(Decision::Rollback), Step::Reactivate) => self.woken && self.back == Some(Step::Revert),
            (Some(Decision::Rollback), Step::Reverify) => {
                self.back == Some(if self.woken { Step::Reactivate } else { Step::Revert })
            }
            (Some(Decision::Rollback), Step::Clean) => {
                self.entered && (!self.moved || self.back == Some(Step::Reverify))
            }
            (None, Step::Confirm | Step::Revert | Step::Reactivate | Step::Reverify | Step::Clean)
            | (Some(Decision::Commit), Step::Lock | Step::Stage | Step::Revert | Step::Reactivate | Step::Reverify)
            | (
                Some(Decision::Rollback),
                Step::Lock | Step::Stage | Step::Arm | Step::Cut | Step::Activate | Step::Verify | Step::Confirm,
            )
            | (_, Step::Stop | Step::Forget) => false,
        }
    }

    /// A step is about to be done: from here on it may have happened.
    pub(super) fn begin(&mut self, step: Step) {
        self.doing = Some(step);
        self.entered |= step == Step::Lock;
        self.moved |= step == Step::Cut;
        self.woken |= step == Step::Activate;
        self.cleaning |= step == Step::Clean;
    }

    /// The host said that the step is done.
    pub(super) fn done(&mut self, step: Step) {
        self.doing = None;
        self.lost = false;
        match step {
            // It stays confirmed while it shows the new value again.
            Step::Activate if self.proof.is_some() => self.proof = Some(Proof::Told),
            Step::Verify if self.proof.is_some() => self.proof = None,
            Step::Lock | Step::Stage | Step::Arm | Step::Cut | Step::Activate | Step::Verify | Step::Confirm => {
                self.forward = Some(step)
            }
            Step::Revert | Step::Reactivate | Step::Reverify => self.back = Some(step),
            Step::Clean => self.clean = true,
            Step::Stop | Step::Forget => {}
        }
    }

    /// The step is not done, or nobody knows.
    pub(super) fn failed(&mut self, step: Step, certainty: Certainty, reason: Reason, decision: Option<Decision>) {
        self.doing = None;
        self.lost = certainty == Certainty::Unknown;
        let fired = decision == Some(Decision::Commit) && reason.kind == ReasonKind::Fired && step != Step::Clean;
        if fired && self.again < AGAIN_MAX {
            // It said no, so nobody guesses: it is on the old value, its new one is still staged, and the decision stands.
            self.again += 1;
            self.forward = Some(Step::Stage);
            // On this way it is proved before it is confirmed.
            self.proof = None;
            return;
        }
        let trouble = Trouble { step, certainty, reason };
        if certainty == Certainty::Failed {
            match (step, trouble.reason.kind) {
                // Another coordinator has it: nothing was removed.
                (Step::Clean, ReasonKind::Fenced) => self.cleaning = false,
                // Another run holds it: nothing of this one is there.
                (Step::Lock, ReasonKind::HostLocked) => self.entered = false,
                (Step::Verify, _) if self.proof == Some(Proof::Due) && !trouble.is_anothers() => {
                    self.proof = Some(Proof::Failed);
                    return;
                }
                // Nobody told its services of the new content, and they may have it all the same: a host that started again in between.
                // So they are told of the old one.
                (Step::Reverify, _) if !self.woken => {
                    self.woken = true;
                    return;
                }
                _ => {}
            }
        }
        self.trouble = Some(trouble);
    }

    /// The operator answers for the services. Whether the old content is in place the host says again, just before the run's copies of
    /// it are cleaned away.
    pub(super) fn waived(&mut self) {
        if matches!(self.back, Some(Step::Revert | Step::Reactivate)) {
            self.back = None;
            self.unproved = false;
        }
    }

    /// The services could not be made to take the old content, or to show it, and the operator answers for them.
    pub(super) fn accepted(&mut self, step: Step, certainty: Certainty) {
        self.doing = None;
        self.lost = certainty == Certainty::Unknown;
        self.unproved = true;
        self.back = Some(step);
    }

    /// A decision ends the trouble that led to it: the way back begins without it.
    pub(super) fn decided(&mut self) {
        self.trouble = None;
    }

    /// Another process took the run up: what was under way is open again, and what failed may be tried again.
    pub(super) fn resumed(&mut self, decision: Option<Decision>) {
        self.doing = None;
        self.trouble = None;
        self.lost = false;
        self.left_out = false;
        self.again = 0;
        match (decision, self.forward) {
            // Since it was proved somebody with a copy of this ledger may have brought it forward again, and have come to its cut only.
            (None, Some(Step::Verify)) => self.forward = Some(Step::Activate),
            (Some(Decision::Commit), Some(Step::Verify)) => self.proof = Some(Proof::Due),
            (Some(Decision::Commit), Some(Step::Confirm)) if self.proof.is_some() => self.proof = Some(Proof::Due),
            // It was being brought forward again, and may have gone back by itself meanwhile: every step of that way may be repeated.
            (Some(Decision::Commit), Some(Step::Arm | Step::Cut | Step::Activate)) => self.forward = Some(Step::Stage),
            // Or somebody may have begun to take it back once more. If its services take the old value they need not be told again.
            (Some(Decision::Rollback), _) if self.back == Some(Step::Reverify) && !self.cleaning => {
                self.back = Some(Step::Revert);
                self.woken = false;
            }
            _ => {}
        }
    }
}
