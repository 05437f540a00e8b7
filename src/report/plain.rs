//! Lines, one after the other: for logs, pipes and terminals that cannot redraw.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use crate::model::{
    Certainty, Decision, Drill, Entry, Event, HostName, Isolates, Millis, Reason, ReasonKind, Step, fold_few, harmless,
};

use super::{Reporter, evidence_line, plural};

/// How many names or ranges of names stand on one line.
const NAMES_MAX: usize = 8;

/// Speaks in lines: one for each step of the whole fleet, and one for each host that fails.
pub struct Plain<W> {
    out: W,
    silent: bool,
    /// Whether the last entry was that somebody took the run up.
    resumed: bool,
    /// How many hosts the run has, once that was said.
    everybody: Option<u64>,
    drill: Option<Drill>,
    begun: BTreeMap<Step, Begun>,
    connect: (u64, usize),
}

/// A step that is under way on the whole fleet, or on some of it.
struct Begun {
    hosts: BTreeSet<HostName>,
    left: usize,
    failed: usize,
    not_waited_for: usize,
    since: Millis,
}

impl<W: Write> Plain<W> {
    /// Speaks there.
    pub const fn new(out: W) -> Self {
        Self {
            out,
            silent: false,
            resumed: false,
            everybody: None,
            drill: None,
            begun: BTreeMap::new(),
            connect: (0, 0),
        }
    }

    fn say(&mut self, line: &str) {
        if !self.silent {
            self.silent = writeln!(self.out, "{line}").and_then(|()| self.out.flush()).is_err();
        }
    }

    fn step(&mut self, event: &Event, at: Millis) {
        match event {
            Event::StepBegan { host, step } => {
                let none = Begun { hosts: BTreeSet::new(), left: 0, failed: 0, not_waited_for: 0, since: at };
                let begun = self.begun.entry(*step).or_insert(none);
                begun.hosts.insert(host.clone());
                begun.left += 1;
            }
            Event::StepDone { step, .. } => self.ended(*step, at, None),
            Event::StepFailed { step, reason, .. } if reason.kind == ReasonKind::Fleet => {
                self.ended(*step, at, Some(reason));
            }
            Event::StepFailed { host, step, certainty, reason } => {
                let word = match certainty {
                    Certainty::Failed => "failed",
                    Certainty::Unknown => "unknown",
                };
                self.say(&format!("{step}: {host}: {word}: {reason}"));
                self.ended(*step, at, Some(reason));
            }
            _ => {}
        }
    }

    /// One more host has ended a step; the last one is worth a line.
    fn ended(&mut self, step: Step, at: Millis, failed: Option<&Reason>) {
        let Some(begun) = self.begun.get_mut(&step) else { return };
        begun.left -= 1;
        match failed {
            None => {}
            Some(reason) if reason.kind == ReasonKind::Fleet => begun.not_waited_for += 1,
            Some(_) => begun.failed += 1,
        }
        if begun.left > 0 {
            return;
        }
        let Some(Begun { hosts, failed, not_waited_for, since, .. }) = self.begun.remove(&step) else { return };
        let took = at.since(since);
        // One batch after the other does the same step: which one it was must be said.
        let all = self.everybody == Some(hosts.len() as u64);
        let whose = if all { String::new() } else { format!(" {}:", fold_few(&hosts, NAMES_MAX)) };
        if failed + not_waited_for == 0 {
            return self.say(&format!("{step}:{whose} done in {took}"));
        }
        let others = if not_waited_for == 0 { String::new() } else { format!(", {not_waited_for} not waited for") };
        self.say(&format!("{step}:{whose} ended in {took}, {} failed{others}", plural(failed, "host")));
    }
}

/// Whom it isolates or releases, why, and when somebody must look at it again.
fn isolates_line(Isolates { way, hosts, reason, expires }: &Isolates) -> String {
    let why = if reason.is_empty() { String::new() } else { format!(": {}", harmless(reason)) };
    let until = expires.map_or(String::new(), |time| format!("; to be looked at again after {time}"));
    format!("{}: {}{why}{until}", way.label(), fold_few(hosts, NAMES_MAX))
}

impl Plain<Vec<u8>> {
    /// Takes what was said since the last time.
    pub fn take(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.out)).into_owned()
    }
}

fn left_out(hosts: &BTreeSet<HostName>) -> String {
    format!("in quarantine since the run began, and left out until released: {}", fold_few(hosts, NAMES_MAX))
}

impl<W: Write + Send> Reporter for Plain<W> {
    fn entry(&mut self, entry: &Entry) {
        let at = entry.elapsed;
        let resumed = std::mem::replace(&mut self.resumed, matches!(entry.event, Event::Resumed { .. }));
        match &entry.event {
            Event::ConnectBegan { hosts } => {
                self.connect = (*hosts, 0);
                self.say(&format!("connect: {}", plural(usize::try_from(*hosts).unwrap_or(usize::MAX), "host")));
            }
            Event::HostConnected { .. }
            | Event::ProbeTried { .. }
            | Event::ValuesMinted { .. }
            | Event::ReachedBefore { .. } => {}
            Event::RunIsolates(isolates) => self.say(&isolates_line(isolates)),
            Event::EvidenceBegan { host } => self.say(&format!("evidence: {host}: asked for")),
            Event::EvidenceTaken(taken) => self.say(&format!("evidence: {}", evidence_line(taken))),
            Event::HostInspected { .. } => {
                self.connect.1 += 1;
                if self.connect.1 as u64 == self.connect.0 {
                    self.say(&format!("inspect: {} read", plural(self.connect.1, "host")));
                }
            }
            Event::HostUnconnected { host, reason } => self.say(&format!("connect: {host}: {reason}")),
            Event::RunBegan { run, playbook, hosts, .. } => {
                self.everybody = Some(*hosts);
                let hosts = plural(usize::try_from(*hosts).unwrap_or(usize::MAX), "host");
                self.say(&format!("run {run}: {playbook}, {hosts}"));
            }
            Event::RunIsDrill(drill) => {
                self.drill = Some(drill.clone());
                self.say(&format!("drill: {drill}; it ends on the old value"));
            }
            Event::SwitchWatched { host, after, back: true } => {
                self.say(&format!("{host}: back by itself, {after} after it last heard from us"));
            }
            Event::SwitchWatched { host, after, back: false } => {
                self.say(&format!("{host}: NOT back by itself, {after} after it last heard from us"));
            }
            Event::StepBegan { .. } | Event::StepDone { .. } | Event::StepFailed { .. } => self.step(&entry.event, at),
            Event::Decided { decision: Decision::Commit, .. } => {
                self.say("decided: the new value stays");
            }
            Event::Decided { decision: Decision::Rollback, cause } => {
                let why = cause.as_ref().map_or(String::new(), |cause| match (&cause.host, &self.drill) {
                    (_, Some(drill)) if cause.reason.kind == ReasonKind::Drill => {
                        format!(", because of {}", drill.made_happen())
                    }
                    (Some(host), _) => format!(", because of {host}: {}", cause.reason),
                    (None, _) => format!(": {}", cause.reason),
                });
                self.say(&format!("decided: the whole fleet goes back{why}"));
            }
            Event::LeaseLapsed => self.say("too late: hosts that wait no longer go back by themselves"),
            // Nothing lies between: a rollback was asked for.
            Event::Interrupted if resumed => self.say("asked to go back: everybody is brought to the old value"),
            Event::Interrupted => {
                self.say("interrupted: going to the nearest safe end; once more leaves the run as it is")
            }
            Event::Resumed { operator } => {
                // What was under way then nobody heard the end of; each step that is open begins once more.
                self.begun.clear();
                self.say(&format!("resumed by {operator}"));
            }
            Event::Rebuilt { operator, hosts, .. } => {
                let hosts = plural(hosts.len(), "host");
                self.say(&format!("the ledger was lost: begun anew by {operator}, from what {hosts} said"));
            }
            Event::HostsLeftOut { hosts } => self.say(&left_out(hosts)),
            Event::ProofWaived { operator } => {
                self.say(&format!("proof waived: {operator} has seen that the services take the old value"));
            }
            Event::RunEnded { verdict } => self.say(&format!("ended: {verdict}")),
        }
    }
}
