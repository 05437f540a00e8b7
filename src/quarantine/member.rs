//! One machine in a run of a quarantine: how far its rules have come.

use crate::model::{Certainty, Reason, ReasonKind, Step};

/// What a machine is to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It drops whoever is in quarantine.
    Peer,
    /// It is in quarantine itself.
    Isolated,
}

/// What is known of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Containment {
    /// Its rules were read back over a fresh connection, and what they forbid was tried in vain.
    Enforced,
    /// It does not answer.
    Unreachable,
    /// It answered, and that its rules hold is not proved.
    Unverified,
}

impl Containment {
    /// Its one word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Unreachable => "unreachable",
            Self::Unverified => "unverified",
        }
    }
}

/// How far the rules have come on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Nothing is there.
    Outside,
    /// The rules are staged, and the machine's own nft takes them.
    Staged,
    /// It takes them away by itself unless they are confirmed.
    Armed,
    /// They may be loaded.
    Loaded,
    /// They stay.
    Confirmed,
    /// They are to go: they could not be loaded.
    Back,
    /// They are gone.
    Gone,
    /// Nothing of the run is left there. Rules that were confirmed stay.
    Clean,
}

/// One machine. Changed by [`super::Isolation::apply`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    role: Role,
    at: At,
    /// The session of this process has the machine.
    locked: bool,
    /// The machine was locked once: there may be something to clean.
    entered: bool,
    confirmed: bool,
    proved: bool,
    /// The proof was tried in this process.
    tried: bool,
    /// What somebody else undid is done anew in this process.
    anew: bool,
    doing: Option<Step>,
    /// Nothing more is done here before the run is resumed.
    over: bool,
    trouble: Option<(Step, Certainty, Reason)>,
}

impl Member {
    pub(super) const fn new(role: Role) -> Self {
        Self {
            role,
            at: At::Outside,
            locked: false,
            entered: false,
            confirmed: false,
            proved: false,
            tried: false,
            anew: false,
            doing: None,
            over: false,
            trouble: None,
        }
    }

    /// What it is to the run.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// What is known of it now.
    #[must_use]
    pub const fn containment(&self) -> Containment {
        match &self.trouble {
            Some((_, Certainty::Unknown, _)) => Containment::Unreachable,
            None if self.proved => Containment::Enforced,
            // What could not be cleaned up afterwards takes no rule away.
            Some((Step::Clean, Certainty::Failed, _)) if self.proved => Containment::Enforced,
            _ => Containment::Unverified,
        }
    }

    /// The step that did not end well last, and why.
    #[must_use]
    pub fn trouble(&self) -> Option<(Step, &Reason)> {
        self.trouble.as_ref().map(|(step, _, reason)| (*step, reason))
    }

    /// Whether anything of the run may be left there.
    #[must_use]
    pub fn left_over(&self) -> bool {
        self.entered && self.at != At::Clean
    }

    pub(super) const fn doing(&self) -> Option<Step> {
        self.doing
    }

    /// The next step here, whatever the others do.
    pub(super) fn next(&self) -> Option<Step> {
        if self.over || self.doing.is_some() {
            return None;
        }
        let looks = self.confirmed && !self.tried;
        match self.at {
            // Only looking takes no lock.
            At::Clean => looks.then_some(Step::Verify),
            _ if !self.locked => Some(Step::Lock),
            At::Outside => Some(Step::Stage),
            At::Staged => Some(Step::Arm),
            At::Armed => Some(Step::Cut),
            At::Loaded => Some(Step::Confirm),
            At::Confirmed if looks => Some(Step::Verify),
            At::Back => Some(Step::Revert),
            At::Confirmed | At::Gone => Some(Step::Clean),
        }
    }

    pub(super) fn begin(&mut self, step: Step) {
        self.doing = Some(step);
        match step {
            Step::Lock => self.entered = true,
            // From here on the rules may be there, whatever is heard.
            Step::Cut => self.at = At::Loaded,
            _ => {}
        }
    }

    pub(super) fn done(&mut self, step: Step) {
        self.doing = None;
        match step {
            Step::Lock => self.locked = true,
            Step::Stage => self.at = At::Staged,
            Step::Arm => self.at = At::Armed,
            Step::Confirm => (self.at, self.confirmed) = (At::Confirmed, true),
            Step::Verify => (self.tried, self.proved) = (true, true),
            Step::Revert => self.at = At::Gone,
            Step::Clean => self.at = At::Clean,
            // Whoever goes on comes in through the rules: what confirms is never the session that loaded them.
            Step::Cut => self.locked = false,
            Step::Activate | Step::Reactivate | Step::Reverify | Step::Stop | Step::Forget => {}
        }
    }

    pub(super) fn failed(&mut self, step: Step, certainty: Certainty, reason: Reason) {
        self.doing = None;
        let unknown = certainty == Certainty::Unknown;
        let fired = reason.kind == ReasonKind::Fired;
        match step {
            // The rules may be what cut us off: whoever comes in through them finds out.
            Step::Cut if unknown => {
                self.locked = false;
                return;
            }
            Step::Cut | Step::Confirm if !unknown && fired => self.at = At::Gone,
            Step::Cut if !unknown => self.at = At::Back,
            // An earlier answer may have been lost, and what is confirmed is not opened again. If it is not, it opens by itself.
            Step::Confirm => self.over = true,
            // Nothing of it was loaded, so nothing has to go back.
            Step::Stage | Step::Arm if !unknown => self.at = At::Gone,
            // It was all done once, and somebody undid it since: it is done anew, and once only.
            Step::Verify if !unknown && reason.kind == ReasonKind::Changed && self.at == At::Clean && !self.anew => {
                (self.at, self.confirmed, self.proved, self.anew) = (At::Outside, false, false, true);
                return;
            }
            // The rules stay: what is not proved is said.
            Step::Verify if !unknown => (self.tried, self.proved) = (true, false),
            _ => self.over = true,
        }
        self.proved &= step == Step::Clean;
        self.trouble = Some((step, certainty, reason));
    }

    /// Another process took the run up: what was under way is open, what failed is tried again, what was proved is proved again.
    pub(super) fn resumed(&mut self) {
        *self = Self {
            role: self.role,
            at: self.at,
            entered: self.entered,
            confirmed: self.confirmed,
            ..Self::new(self.role)
        };
        // An answer to a cut may be lost, and the host may have taken the rules away since: confirming asks it. What went back begins anew.
        match self.at {
            At::Clean | At::Gone if !self.confirmed => self.at = At::Outside,
            // Staging puts nothing in place, and an armed host without rules is armed again.
            At::Staged | At::Armed => self.at = At::Outside,
            _ => {}
        }
    }
}
