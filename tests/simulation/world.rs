//! The simulated world: hosts, links, what was noted and counted, and the checkers' eyes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use lockturn::model::{Become, Event, HostName, HostPlan, Millis, PLAN_VERSION, Plan, Strategy, Switch, Unreachable};

use super::host::Host;
use super::invariants::{Effect, Eyes};
use super::kernel::{Kernel, Machine};
use super::knobs::Knobs;
use super::mutants::Mutant;
use super::wire::{Link, Reply, Request};

/// What a checker found.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) words: String,
    pub(crate) at: u64,
}

/// The world of one seed.
pub(crate) struct World {
    pub(crate) kernel: Rc<Kernel>,
    pub(crate) knobs: Knobs,
    pub(crate) plan: Plan,
    /// Nothing goes wrong any more.
    pub(crate) healed: Cell<bool>,
    /// A host that stays dead when everything else has healed.
    pub(crate) dead: Cell<Option<usize>>,
    pub(crate) eyes: RefCell<Eyes>,
    hosts: Vec<RefCell<Host>>,
    links: RefCell<BTreeMap<(Machine, usize), Link>>,
    violation: RefCell<Option<Violation>>,
    trace: Option<RefCell<Vec<String>>>,
    tally: RefCell<BTreeMap<&'static str, u64>>,
    mutant: Option<Mutant>,
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>, traced: bool) -> Rc<Self> {
        let kernel = Kernel::new(seed);
        let knobs = Knobs::draw(&kernel);
        let hosts: Vec<RefCell<Host>> =
            (0..knobs.hosts).map(|number| RefCell::new(Host::new(&kernel, &knobs, number))).collect();
        Rc::new(Self {
            plan: plan(&knobs),
            eyes: RefCell::new(Eyes::new(knobs.hosts)),
            kernel,
            knobs,
            healed: Cell::new(false),
            dead: Cell::new(None),
            hosts,
            links: RefCell::default(),
            violation: RefCell::default(),
            trace: traced.then(RefCell::default),
            tally: RefCell::default(),
            mutant,
        })
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn host<T>(&self, host: usize, look: impl FnOnce(&Host) -> T) -> T {
        look(&self.hosts[host].borrow())
    }

    pub(crate) fn host_mut<T>(&self, host: usize, change: impl FnOnce(&mut Host) -> T) -> T {
        change(&mut self.hosts[host].borrow_mut())
    }

    pub(crate) fn link(&self, operator: Machine, host: usize) -> Link {
        self.links.borrow().get(&(operator, host)).copied().unwrap_or_default()
    }

    pub(crate) fn link_mut(&self, operator: Machine, host: usize, change: impl FnOnce(&mut Link)) {
        change(self.links.borrow_mut().entry((operator, host)).or_default());
    }

    pub(crate) fn heal_links(&self) {
        self.links.borrow_mut().clear();
    }

    /// The name of a host, in the order of their numbers.
    pub(crate) fn name(&self, host: usize) -> &HostName {
        self.plan.hosts.keys().nth(host).expect("a host of the plan")
    }

    pub(crate) fn number(&self, name: &HostName) -> usize {
        self.plan.hosts.keys().position(|known| known == name).expect("a host of the plan")
    }

    /// One line of the trace, if anybody wants it.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace.borrow_mut().push(format!("{:>9} {}", self.kernel.now(), line()));
        }
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        self.trace.as_ref().map(|trace| trace.borrow().clone()).unwrap_or_default()
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.tally.borrow_mut().entry(what).or_default() += 1;
    }

    pub(crate) fn tally(&self) -> BTreeMap<&'static str, u64> {
        self.tally.borrow().clone()
    }

    /// A checker's word: the first one counts.
    pub(crate) fn violated(&self, found: Option<(&'static str, String)>) {
        let Some((invariant, words)) = found else { return };
        if self.violation.borrow().is_none() {
            self.note(|| format!("{invariant} VIOLATED: {words}"));
            *self.violation.borrow_mut() = Some(Violation { invariant, words, at: self.kernel.now() });
        }
    }

    pub(crate) fn violation(&self) -> Option<Violation> {
        self.violation.borrow().clone()
    }

    /// Something is about to change on a host, by the session of this epoch and shell, or by the host itself.
    pub(crate) fn effect(&self, host: usize, effect: Effect, by: Option<(u64, u64)>) {
        self.note(|| {
            format!("{}: {effect:?}{}", self.name(host), by.map_or(String::new(), |by| format!(" by {by:?}")))
        });
        let operator =
            by.and_then(|(_, pid)| self.host(host, |h| h.sessions.get(&pid).map(|session| session.operator)));
        let found = self.eyes.borrow_mut().effect(self, host, effect, by.map(|(epoch, pid)| (epoch, pid, operator)));
        self.violated(found);
    }

    /// A host has made up its answer.
    pub(crate) fn replied(&self, host: usize, request: Request, reply: Reply, _epoch: u64) {
        let found = self.eyes.borrow_mut().replied(self, host, request, reply);
        self.violated(found);
    }

    /// A coordinator has heard an answer.
    pub(crate) fn heard(&self, host: usize, request: Request, reply: Reply) {
        self.eyes.borrow_mut().heard(host, request, reply);
    }

    /// A record is durable.
    pub(crate) fn recorded(&self, book: usize, event: &Event) {
        self.note(|| format!("journal {book}: {}", brief(event)));
        let found = self.eyes.borrow_mut().recorded(self, book, event);
        self.violated(found);
    }

    /// After each event.
    pub(crate) fn look(&self) {
        let found = self.eyes.borrow_mut().look(self);
        self.violated(found);
    }
}

fn brief(event: &Event) -> String {
    match event {
        Event::StepBegan { host, step } => format!("{host} {step} began"),
        Event::StepDone { host, step } => format!("{host} {step} done"),
        Event::StepFailed { host, step, certainty, reason } => {
            format!("{host} {step} {certainty:?}: {}", reason.kind.label())
        }
        Event::Decided { decision, .. } => format!("decided {decision:?}"),
        Event::RunEnded { verdict } => format!("ended {verdict}"),
        other => other.label().to_owned(),
    }
}

/// Workers first, the control plane last.
fn plan(knobs: &Knobs) -> Plan {
    let host = || HostPlan {
        address: "192.0.2.1:22".to_owned(),
        become_user: Become::None,
        switch: Switch::Systemd,
        login: "/root".to_owned(),
        state: "/var/lib/lockturn".to_owned(),
        path: String::new(),
        changes: Vec::new(),
        activate: Vec::new(),
        verify: Vec::new(),
    };
    let names: Vec<HostName> =
        (0..knobs.hosts).map(|number| format!("host-{number}").parse().expect("it is a name")).collect();
    let (control, workers) = names.split_first().expect("there is a host");
    Plan {
        version: PLAN_VERSION,
        playbook: "simulated".to_owned(),
        summary: String::new(),
        values: BTreeMap::new(),
        hosts: names.iter().map(|name| (name.clone(), host())).collect(),
        activate_batches: vec![workers.to_vec(), vec![control.clone()]],
        strategy: Strategy::Lockstep,
        lease: Millis::from_secs(knobs.lease),
        unreachable: Unreachable::Abort,
    }
}
