//! What `src/host/program.sh` does with the requests that matter after a host is armed, as a function of the host alone.

use std::collections::BTreeSet;

use lockturn::model::{ReasonKind, Step};

/// The bugs that the model is run with, to see that it finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// None: what the product does.
    None,
    /// `confirm` removes the switch without looking whether it has fired.
    BlindDisarm,
    /// The old value dies as soon as the run decides that the new one stays.
    RetireAtDecision,
    /// Neither `lock` nor any other verb looks who holds the host.
    NoEpochCheck,
    /// A lease is believed for longer than the host keeps it.
    LongLease,
    /// Whoever finds nothing to clean says that it is done, whoever did it.
    BlindClean,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    Old,
    New,
}

/// Who asks: a process that works with some ledger, and its epoch. Its sessions are told apart by [`Host::lock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Asker {
    pub(crate) who: usize,
    pub(crate) epoch: u16,
}

/// The host's side of one answer.
pub(crate) type Answer = Result<(), ReasonKind>;

/// One host: its file, its service, the files `armed`, `fired` and `confirmed`, and who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    pub(crate) file: Content,
    pub(crate) running: Content,
    pub(crate) armed: bool,
    pub(crate) fired: bool,
    /// It has gone all the way back, and neither fired nor been armed since (`has_gone_back`).
    pub(crate) back: bool,
    pub(crate) confirmed: bool,
    /// The directories beside the target are there, with both contents, and the run's own.
    pub(crate) staged: bool,
    /// What `session` names; it is forgotten with everything else.
    pub(crate) holder: Option<Asker>,
    /// Requests that nobody waits for any more, and that a hanging session of the holder may still do.
    pub(crate) late: BTreeSet<(Asker, Step)>,
}

impl Host {
    /// One that the first coordinator has locked, staged and armed.
    pub(crate) fn armed(epoch: u16) -> Self {
        Self {
            file: Content::Old,
            running: Content::Old,
            armed: true,
            fired: false,
            back: false,
            confirmed: false,
            staged: true,
            holder: Some(Asker { who: 0, epoch }),
            late: BTreeSet::new(),
        }
    }

    /// Nothing of the run is on it.
    pub(crate) fn is_clean(&self) -> bool {
        !self.staged && !self.armed && self.holder.is_none()
    }

    /// `do_lock again`: the newest coordinator, and of it the newest session (`take_turn`, `end_session`), as long as the host is held.
    pub(crate) fn lock(&mut self, by: Asker, bug: Bug) -> Answer {
        if bug == Bug::NoEpochCheck {
            self.holder = Some(by);
            return Ok(());
        }
        if self.holder.is_none() || self.epoch() > by.epoch {
            return Err(ReasonKind::Fenced);
        }
        self.holder = Some(by);
        self.late.clear();
        Ok(())
    }

    pub(crate) fn epoch(&self) -> u16 {
        self.holder.map_or(0, |holder| holder.epoch)
    }

    /// `ours`.
    fn ours(&self, by: Asker, bug: Bug) -> Answer {
        if bug == Bug::NoEpochCheck || self.holder == Some(by) { Ok(()) } else { Err(ReasonKind::Fenced) }
    }

    /// `not_armed`.
    const fn not_armed(&self) -> ReasonKind {
        if self.fired { ReasonKind::Fired } else { ReasonKind::Changed }
    }

    /// `do_renew`.
    pub(crate) fn renew(&self, by: Asker, bug: Bug) -> Answer {
        self.ours(by, bug)?;
        if self.armed { Ok(()) } else { Err(self.not_armed()) }
    }

    /// One step, as `src/runtime/step.rs` asks for it.
    pub(crate) fn perform(&mut self, by: Asker, step: Step, bug: Bug) -> Answer {
        match step {
            Step::Lock | Step::Stage => unreachable!("the model begins when every host is armed"),
            Step::Stop | Step::Forget => unreachable!("no step of a rotation"),
            Step::Arm => self.arm(by, bug),
            Step::Cut => self.cut(by, bug),
            // `do_activate_unit` asks nobody whose host it is: the service takes what the file holds.
            Step::Activate | Step::Reactivate => {
                self.running = self.file;
                Ok(())
            }
            Step::Verify => self.shows(Content::New).ok_or(ReasonKind::NewRefused),
            Step::Reverify => self.shows(Content::Old).ok_or(ReasonKind::ServiceFailed),
            Step::Confirm => self.confirm(by, bug),
            Step::Revert => self.revert(by, bug),
            Step::Clean => self.clean(by, bug),
        }
    }

    fn shows(&self, content: Content) -> Option<()> {
        (self.running == content && self.file == content).then_some(())
    }

    /// `do_arm`: also of a host that had fired, once it is back (`wait_for_switch`; see [`Host::busy`]).
    fn arm(&mut self, by: Asker, bug: Bug) -> Answer {
        self.ours(by, bug)?;
        if self.confirmed || !self.staged {
            return Err(ReasonKind::Changed);
        }
        (self.armed, self.fired, self.back) = (true, false, false);
        Ok(())
    }

    /// `do_cut`.
    fn cut(&mut self, by: Asker, bug: Bug) -> Answer {
        self.ours(by, bug)?;
        if !self.armed {
            return Err(self.not_armed());
        }
        self.file = Content::New;
        Ok(())
    }

    /// `do_confirm`: still on the new content, and `armed` becomes `confirmed` in one rename.
    fn confirm(&mut self, by: Asker, bug: Bug) -> Answer {
        self.ours(by, bug)?;
        if bug == Bug::BlindDisarm {
            (self.armed, self.confirmed) = (false, true);
            return Ok(());
        }
        if self.confirmed {
            return Ok(());
        }
        if self.armed && self.file == Content::New {
            (self.armed, self.confirmed) = (false, true);
            return Ok(());
        }
        Err(if self.armed { ReasonKind::Changed } else { self.not_armed() })
    }

    /// `do_revert`, behind the `lock` that goes before it. It stays armed: its services are to be told, by whomever.
    fn revert(&mut self, by: Asker, bug: Bug) -> Answer {
        self.ours(by, bug)?;
        // Whoever asks that goes by another ledger than the one in which it was decided.
        if self.confirmed {
            return Err(ReasonKind::Changed);
        }
        // What was cleaned has no changes to take back.
        if self.staged {
            (self.file, self.back) = (Content::Old, true);
        }
        Ok(())
    }

    /// `do_clean`: a host that no session has taken is clean already.
    fn clean(&mut self, by: Asker, bug: Bug) -> Answer {
        if self.holder.is_some() {
            self.ours(by, bug)?;
        }
        // Whoever cleans may know less than this host does.
        if self.file == Content::New && (self.armed || (self.fired && !self.back)) {
            return Err(ReasonKind::Changed);
        }
        // The files `fired` and `confirmed` go too; whether it had fired tells nobody anything any more.
        (self.armed, self.fired, self.back, self.confirmed, self.staged) = (false, false, false, false, false);
        self.holder = None;
        Ok(())
    }

    /// Whether a request has to wait: `wait_for_switch` before `arm` and `revert`.
    pub(crate) fn busy(&self, step: Step) -> bool {
        self.fired && !self.back && matches!(step, Step::Arm | Step::Revert)
    }

    /// `fire`: whoever renames `armed` first has decided.
    pub(crate) fn fire(&mut self) {
        (self.armed, self.fired, self.back) = (false, true, false);
    }

    /// `go_back`, and `serve_again`.
    pub(crate) fn go_back(&mut self) {
        (self.file, self.running, self.back) = (Content::Old, Content::Old, true);
    }
}
