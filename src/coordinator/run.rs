//! A run: its hosts, its one decision, and the one place where they change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{Cause, Decision, Drill, Event, Found, HostName, Plan, Reason, ReasonKind, Step, Verdict};

use super::{Host, way};

/// A run as its events tell it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Run {
    pub(super) hosts: BTreeMap<HostName, Host>,
    pub(super) activate_batches: Vec<Vec<HostName>>,
    pub(super) began: bool,
    pub(super) minted: bool,
    pub(super) interrupted: bool,
    pub(super) abandoned: bool,
    pub(super) lapsed: bool,
    pub(super) waived: bool,
    /// What it rehearses. Such a run never stays.
    pub(super) drill: Option<Drill>,
    /// Another process took the drill up: it goes back, and has shown nothing.
    pub(super) drill_left: bool,
    /// Whose switch was waited for, and whether it had taken its host back.
    pub(super) watched: BTreeMap<HostName, bool>,
    /// Which way the hosts said that it goes, after its journal was lost.
    pub(super) found: Option<Decision>,
    pub(super) decision: Option<Decision>,
    pub(super) cause: Option<Cause>,
    pub(super) verdict: Option<Verdict>,
}

/// An event that cannot follow what happened before: a bug, or a damaged ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IllegalMove {
    /// The event's word.
    pub event: &'static str,
    /// Why it cannot be.
    pub because: String,
}

impl fmt::Display for IllegalMove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` cannot happen here: {}", self.event, self.because)
    }
}

impl std::error::Error for IllegalMove {}

impl Run {
    /// A run of this plan in which nothing has happened.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            hosts: plan.hosts.keys().map(|name| (name.clone(), Host::default())).collect(),
            activate_batches: plan.activate_batches.clone(),
            began: false,
            minted: false,
            interrupted: false,
            abandoned: false,
            lapsed: false,
            waived: false,
            drill: None,
            drill_left: false,
            watched: BTreeMap::new(),
            found: None,
            decision: None,
            cause: None,
            verdict: None,
        }
    }

    /// Builds the run that these events tell.
    ///
    /// # Errors
    /// Names the first event that cannot follow the ones before it.
    pub fn replay<'a>(plan: &Plan, events: impl IntoIterator<Item = &'a Event>) -> Result<Self, IllegalMove> {
        let mut run = Self::new(plan);
        events.into_iter().try_for_each(|event| run.apply(event))?;
        Ok(run)
    }

    /// Moves the run by one event: the only place where it changes, live and in replay.
    ///
    /// # Errors
    /// Rejects, by name, every event that cannot follow what happened before. The run is then as it was.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalMove> {
        let illegal = |because: &str| Err(IllegalMove { event: event.label(), because: because.to_owned() });
        if self.verdict.is_some() && !matches!(event, Event::Resumed { .. }) {
            return illegal("the run has ended");
        }
        if !self.began && !matches!(event, Event::RunBegan { .. }) {
            return illegal("the run has not begun");
        }
        match event {
            Event::ConnectBegan { .. }
            | Event::HostConnected { .. }
            | Event::HostUnconnected { .. }
            | Event::HostInspected { .. }
            | Event::ProbeTried { .. } => return illegal("it is a note, not a fact of a run"),
            Event::RunBegan { .. } if self.began => return illegal("the run has begun already"),
            Event::RunBegan { .. } => self.began = true,
            Event::RunIsDrill(_) if self.drill.is_some() => return illegal("it is one already"),
            Event::RunIsDrill(_) if self.hosts.values().any(|host| host.entered) => {
                return illegal("the run goes on already");
            }
            Event::RunIsDrill(drill) if !self.hosts.contains_key(&drill.host) => {
                return illegal("its host is not in the plan");
            }
            Event::RunIsDrill(drill) => self.drill = Some(drill.clone()),
            Event::ValuesMinted { .. } if self.minted => return illegal("a run has one set of values"),
            Event::ValuesMinted { .. } => self.minted = true,
            Event::StepBegan { host, step } => self.begin(host, *step)?,
            Event::StepDone { host, step } => self.doing(event, host, *step)?.done(*step),
            Event::StepFailed { host, step: step @ (Step::Reactivate | Step::Reverify), certainty, .. }
                if self.waived =>
            {
                self.doing(event, host, *step)?.accepted(*step, *certainty);
            }
            Event::StepFailed { host, step, certainty, reason } => {
                let decision = self.decision;
                self.doing(event, host, *step)?.failed(*step, *certainty, reason.clone(), decision);
            }
            Event::Decided { decision, cause } => self.decide(*decision, cause.as_ref())?,
            Event::Interrupted => self.interrupted = true,
            Event::LeaseLapsed if self.decision.is_some() => return illegal("the run has decided"),
            Event::LeaseLapsed => self.lapsed = true,
            Event::Resumed { .. } => {
                if self.verdict.is_some_and(|verdict| !resumable(verdict)) && !self.owed_by_isolated() {
                    return illegal("the run has ended");
                }
                self.verdict = None;
                self.drill_left |= self.drill.is_some();
                self.abandoned |= !self.passed_the_barrier();
                let decision = self.decision;
                self.hosts.values_mut().for_each(|host| host.resumed(decision));
            }
            Event::Rebuilt { hosts, .. } => self.rebuild(hosts)?,
            Event::ProofWaived { .. } => self.waive()?,
            Event::HostsLeftOut { hosts } => self.leave_out(hosts)?,
            Event::SwitchWatched { host, back, .. } => {
                if !self.drill.as_ref().is_some_and(|drill| drill.silences(host)) {
                    return illegal("no drill was silent to this host");
                }
                self.watched.insert(host.clone(), *back);
            }
            Event::RunIsolates(_)
            | Event::ReachedBefore { .. }
            | Event::EvidenceBegan { .. }
            | Event::EvidenceTaken(_) => {
                return illegal("it is no event of a rotation");
            }
            Event::RunEnded { verdict } => self.verdict = Some(*verdict),
        }
        Ok(())
    }

    fn begin(&mut self, name: &HostName, step: Step) -> Result<(), IllegalMove> {
        let illegal = |because| IllegalMove { event: "step-began", because };
        // After the decision to stay nobody is held up: the one that is cut then is behind all others.
        let barrier = step != Step::Cut || self.decision.is_some() || self.hosts.values().all(Host::may_be_cut);
        let (minted, decision) = (self.minted, self.decision);
        let host = self.hosts.get_mut(name).ok_or_else(|| illegal(format!("`{name}` is not in the plan")))?;
        if !minted {
            return Err(illegal("the new values do not exist yet".to_owned()));
        }
        if !barrier {
            return Err(illegal(format!("`{name}` must not be cut before every host is armed")));
        }
        if !host.may_begin(step, decision) {
            let state = host.state(decision);
            return Err(illegal(format!("`{step}` is not a legal step for `{name}`, which is {state}")));
        }
        host.begin(step);
        Ok(())
    }

    fn doing(&mut self, event: &Event, name: &HostName, step: Step) -> Result<&mut Host, IllegalMove> {
        self.hosts
            .get_mut(name)
            .filter(|host| host.doing == Some(step))
            .ok_or_else(|| IllegalMove { event: event.label(), because: format!("`{name}` is not doing `{step}`") })
    }

    fn decide(&mut self, decision: Decision, cause: Option<&Cause>) -> Result<(), IllegalMove> {
        let illegal = |because: &str| Err(IllegalMove { event: "decided", because: because.to_owned() });
        if self.decision.is_some() {
            return illegal("a run decides once");
        }
        if self.hosts.values().any(|host| host.doing.is_some()) {
            return illegal("a step is still under way");
        }
        if let Some(found) = self.found {
            if decision != found {
                return illegal("the hosts said otherwise");
            }
            self.decision = Some(decision);
            self.cause = cause.cloned();
            return Ok(());
        }
        if decision == Decision::Commit && self.drill.is_some() {
            return illegal("a drill never stays");
        }
        if decision == Decision::Commit && self.interrupted {
            return illegal("the operator asked to stop");
        }
        if decision == Decision::Commit && !self.hosts.values().all(|host| host.forward == Some(Step::Verify)) {
            return illegal("not every host has proved the new value");
        }
        self.decision = Some(decision);
        self.cause = cause.cloned();
        self.hosts.values_mut().for_each(Host::decided);
        Ok(())
    }

    fn rebuild(&mut self, found: &BTreeMap<HostName, Found>) -> Result<(), IllegalMove> {
        let illegal = |because: String| Err(IllegalMove { event: "rebuilt", because });
        if !self.minted || self.decision.is_some() || self.hosts.values().any(|host| *host != Host::default()) {
            return illegal("it is not where this ledger begins".to_owned());
        }
        if !self.hosts.keys().eq(found.keys()) {
            return illegal("not every host of the plan has said something".to_owned());
        }
        let decision = match way(found) {
            Ok(decision) => decision,
            Err((one, other)) => return illegal(format!("what `{one}` and `{other}` say does not fit")),
        };
        self.hosts = found.iter().map(|(name, said)| (name.clone(), Host::found(said.stands, decision))).collect();
        self.found = Some(decision);
        Ok(())
    }

    fn waive(&mut self) -> Result<(), IllegalMove> {
        let illegal = |because: &str| Err(IllegalMove { event: "proof-waived", because: because.to_owned() });
        if self.decision == Some(Decision::Commit) || (self.decision.is_none() && !self.interrupted) {
            return illegal("the run is not on its way back");
        }
        if self.hosts.values().any(|host| host.doing.is_some()) {
            return illegal("a step is still under way");
        }
        self.waived = true;
        self.hosts.values_mut().for_each(Host::waived);
        Ok(())
    }

    fn leave_out(&mut self, names: &BTreeSet<HostName>) -> Result<(), IllegalMove> {
        let illegal = |because: &str| Err(IllegalMove { event: "hosts-left-out", because: because.to_owned() });
        if !names.iter().all(|name| self.hosts.contains_key(name)) {
            return illegal("not all of them are in the plan");
        }
        if self.hosts.values().any(|host| host.doing.is_some()) {
            return illegal("a step is still under way");
        }
        for (_, host) in self.hosts.iter_mut().filter(|(name, _)| names.contains(*name)) {
            (host.left_out, host.trouble) = (true, None);
        }
        Ok(())
    }

    /// The hosts that were isolated after the run had begun, and are left out.
    pub fn left_out(&self) -> impl Iterator<Item = &HostName> {
        self.hosts.iter().filter(|(_, host)| host.left_out).map(|(name, _)| name)
    }

    /// Whether it ended without hosts that may have something of it. Once they are released they can be asked.
    #[must_use]
    pub fn owed_by_isolated(&self) -> bool {
        self.hosts.values().any(|host| host.left_out && host.left_over())
    }

    /// The hosts by name.
    #[must_use]
    pub const fn hosts(&self) -> &BTreeMap<HostName, Host> {
        &self.hosts
    }

    /// The one decision, once it is made.
    #[must_use]
    pub const fn decision(&self) -> Option<Decision> {
        self.decision
    }

    /// What made it go back.
    #[must_use]
    pub const fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// What became of it, once it has ended.
    #[must_use]
    pub const fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// Whether its journal was lost, and this one begins with what the hosts said.
    #[must_use]
    pub const fn is_rebuilt(&self) -> bool {
        self.found.is_some()
    }

    /// What it rehearses, if it is a drill.
    #[must_use]
    pub const fn drill(&self) -> Option<&Drill> {
        self.drill.as_ref()
    }

    /// The hosts that should have gone back by themselves in a drill, and had not.
    #[must_use]
    pub fn not_back_by_themselves(&self) -> BTreeSet<&HostName> {
        self.watched.iter().filter(|(_, back)| !**back).map(|(host, _)| host).collect()
    }

    /// Whether the drill has shown what it was to show: it was its own fault that took everybody back, in this process, and every switch
    /// that was waited for did its work.
    pub(super) fn has_drilled(&self) -> bool {
        let Some(drill) = &self.drill else { return false };
        let own = self.cause.as_ref().is_some_and(|cause| cause.reason.kind == ReasonKind::Drill);
        let watched = |host: &HostName| !drill.silences(host) || self.watched.get(host) == Some(&true);
        own && !self.drill_left
            && self.hosts.iter().all(|(name, host)| !host.unproved && !host.left_out && watched(name))
    }

    /// The hosts of which nothing shows now that their services take what is meant to be there. After a rollback these hold the old
    /// content again, and the services take it by the operator's word; else they were cleaned before the journal was lost.
    pub fn unproved(&self) -> impl Iterator<Item = &HostName> {
        self.hosts.iter().filter(|(_, host)| host.unproved).map(|(name, _)| name)
    }

    /// Whether a cut was begun. Then every host was staged, so every new value lies on a host and a resumed run can go on; before
    /// that some values existed only in the coordinator that died, and a run never mints a second value.
    #[must_use]
    pub fn passed_the_barrier(&self) -> bool {
        self.hosts.values().any(|host| host.moved)
    }

    /// Whether it goes back when it is taken up again: the operator asked to stop, or some new values died with their coordinator.
    #[must_use]
    pub fn would_go_back(&self) -> bool {
        let isolated = self.left_out().next().is_some();
        self.decision.is_none() && (self.interrupted || isolated || self.drill.is_some() || !self.passed_the_barrier())
    }

    /// What must be decided, if anything: trouble on a host, or the operator's word.
    pub(super) fn reason_to_go_back(&self) -> Option<Cause> {
        // A host that was not waited for is no cause: another host, or the operator, was before it.
        let from_host = |waited_for: bool| {
            self.hosts.iter().find_map(|(name, host)| {
                let trouble = host.trouble.as_ref()?;
                let cause =
                    Cause { host: Some(name.clone()), step: Some(trouble.step), reason: trouble.reason.clone() };
                ((trouble.reason.kind != ReasonKind::Fleet) == waited_for).then_some(cause)
            })
        };
        let from_run = |kind, detail| Some(Cause { host: None, step: None, reason: Reason::new(kind, detail) });
        if let Some(isolated) = self.left_out().next() {
            let reason = Reason::new(ReasonKind::Quarantined, "it was isolated after the run had begun");
            return Some(Cause { host: Some(isolated.clone()), step: None, reason });
        }
        match from_host(true) {
            Some(cause) => Some(cause),
            None if self.interrupted => from_run(ReasonKind::Interrupted, "the operator asked to stop"),
            None if self.lapsed => from_run(ReasonKind::Fired, "it was too late to confirm the hosts"),
            None if self.abandoned => {
                from_run(ReasonKind::ValueLost, "the run was left before the new values lay on every host")
            }
            None if self.drill_left => from_run(ReasonKind::Interrupted, "a drill that was left goes back"),
            None => from_host(false),
        }
    }
}

/// Whether a run that ended so can be taken up again.
const fn resumable(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Rotated | Verdict::RolledBack | Verdict::Drilled | Verdict::Refused => false,
        Verdict::RotatedWithDebt | Verdict::Inconsistent => true,
        // Those of runs that isolate: no rotation ends so.
        Verdict::Quarantined | Verdict::Released | Verdict::Partial => false,
    }
}

impl Host {
    /// Whether the barrier is open as far as this host goes: it is armed, or was cut already.
    fn may_be_cut(&self) -> bool {
        self.trouble.is_none() && (self.moved || self.forward == Some(Step::Arm))
    }
}
