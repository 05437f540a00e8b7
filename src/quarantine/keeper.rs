//! One machine that keeps what isolated hosts know: how far it has forgotten it.

use crate::model::{Certainty, Reason, Step};

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Memory {
    /// What the isolated hosts know is refused there, proved, and nothing leads to them any more.
    Forgotten,
    /// It does not answer.
    Unreachable,
    /// It answered, and that it has forgotten is not proved.
    Unverified,
}

impl Memory {
    /// Its one word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forgotten => "forgotten",
            Self::Unreachable => "unreachable",
            Self::Unverified => "unverified",
        }
    }
}

/// One such machine. Changed by [`super::Isolation::apply`] only. Each step may be done again: what was forgotten stays so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keeper {
    /// Nothing leads from there to the isolated hosts.
    stopped: bool,
    forgotten: bool,
    /// What was tried in this process, whatever came of it.
    tried: Vec<Step>,
    doing: Option<Step>,
    /// Begun once, in any process: the run may have left something there.
    entered: bool,
    trouble: Option<(Step, Certainty, Reason)>,
}

impl Keeper {
    /// What is known of it now.
    #[must_use]
    pub const fn memory(&self) -> Memory {
        match &self.trouble {
            Some((_, Certainty::Unknown, _)) => Memory::Unreachable,
            None if self.stopped && self.forgotten => Memory::Forgotten,
            _ => Memory::Unverified,
        }
    }

    /// The step that did not end well last, and why.
    #[must_use]
    pub fn trouble(&self) -> Option<(Step, &Reason)> {
        self.trouble.as_ref().map(|(step, _, reason)| (*step, reason))
    }

    /// Whether anything of the run may be left there.
    #[must_use]
    pub const fn left_over(&self) -> bool {
        self.entered && !self.forgotten
    }

    pub(super) const fn doing(&self) -> Option<Step> {
        self.doing
    }

    /// The next step here. What leads to a host ends first: a tunnel that lives gives it work again.
    pub(super) fn next(&self) -> Option<Step> {
        let lost = matches!(self.trouble, Some((_, Certainty::Unknown, _)));
        if self.doing.is_some() || lost {
            return None;
        }
        let open = |step: &Step| match step {
            Step::Stop => !self.stopped,
            _ => !self.forgotten,
        };
        [Step::Stop, Step::Forget].into_iter().find(|step| open(step) && !self.tried.contains(step))
    }

    pub(super) fn begin(&mut self, step: Step) {
        self.doing = Some(step);
        self.tried.push(step);
        self.entered |= step == Step::Forget;
    }

    pub(super) fn done(&mut self, step: Step) {
        self.doing = None;
        match step {
            Step::Stop => self.stopped = true,
            _ => self.forgotten = true,
        }
    }

    /// What could not be stopped keeps nobody from forgetting.
    pub(super) fn failed(&mut self, step: Step, certainty: Certainty, reason: Reason) {
        self.doing = None;
        self.trouble = Some((step, certainty, reason));
    }

    /// Another process took the run up: what is open is tried again, and what was stopped is looked at again.
    pub(super) fn resumed(&mut self) {
        *self = Self { forgotten: self.forgotten, entered: self.entered, ..Self::default() };
    }
}
