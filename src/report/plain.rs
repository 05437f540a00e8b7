//! Lines, one after the other: for logs, pipes and terminals that cannot redraw.

use std::collections::BTreeMap;
use std::io::Write;

use crate::model::{Certainty, Decision, Entry, Event, Millis, Step};

use super::{Reporter, plural};

/// Speaks in lines: one for each step of the whole fleet, and one for each host that fails.
pub struct Plain<W> {
    out: W,
    silent: bool,
    begun: BTreeMap<Step, (usize, usize, Millis)>,
    connect: (u64, usize),
}

impl<W: Write> Plain<W> {
    /// Speaks there.
    pub const fn new(out: W) -> Self {
        Self { out, silent: false, begun: BTreeMap::new(), connect: (0, 0) }
    }

    fn say(&mut self, line: &str) {
        if !self.silent {
            self.silent = writeln!(self.out, "{line}").and_then(|()| self.out.flush()).is_err();
        }
    }

    /// One more host has ended a step; the last one is worth a line.
    fn ended(&mut self, step: Step, at: Millis, done: bool) {
        let Some((left, failed, since)) = self.begun.get_mut(&step) else { return };
        *left -= 1;
        *failed += usize::from(!done);
        let (left, failed, took) = (*left, *failed, at.since(*since));
        if left == 0 {
            self.begun.remove(&step);
            match failed {
                0 => self.say(&format!("{step}: done in {took}")),
                failed => self.say(&format!("{step}: ended in {took}, {} failed", plural(failed, "host"))),
            }
        }
    }
}

impl<W: Write + Send> Reporter for Plain<W> {
    fn entry(&mut self, entry: &Entry) {
        let at = entry.elapsed;
        match &entry.event {
            Event::ConnectBegan { hosts } => {
                self.connect = (*hosts, 0);
                self.say(&format!("connect: {}", plural(usize::try_from(*hosts).unwrap_or(usize::MAX), "host")));
            }
            Event::HostConnected { .. } | Event::ProbeTried { .. } | Event::ValuesMinted { .. } => {}
            Event::HostInspected { .. } => {
                self.connect.1 += 1;
                if self.connect.1 as u64 == self.connect.0 {
                    self.say(&format!("inspect: {} read", plural(self.connect.1, "host")));
                }
            }
            Event::HostUnconnected { host, reason } => self.say(&format!("connect: {host}: {reason}")),
            Event::RunBegan { run, playbook, hosts, .. } => {
                let hosts = plural(usize::try_from(*hosts).unwrap_or(usize::MAX), "host");
                self.say(&format!("run {run}: {playbook}, {hosts}"));
            }
            Event::StepBegan { step, .. } => self.begun.entry(*step).or_insert((0, 0, at)).0 += 1,
            Event::StepDone { step, .. } => self.ended(*step, at, true),
            Event::StepFailed { host, step, certainty, reason } => {
                let word = match certainty {
                    Certainty::Failed => "failed",
                    Certainty::Unknown => "unknown",
                };
                self.say(&format!("{step}: {host}: {word}: {reason}"));
                self.ended(*step, at, false);
            }
            Event::Decided { decision: Decision::Commit, .. } => {
                self.say("decided: every host proved the new value; it stays");
            }
            Event::Decided { decision: Decision::Rollback, cause } => {
                let why = cause.as_ref().map_or(String::new(), |cause| match &cause.host {
                    Some(host) => format!(", because of {host}: {}", cause.reason),
                    None => format!(": {}", cause.reason),
                });
                self.say(&format!("decided: the whole fleet goes back{why}"));
            }
            Event::Interrupted => {
                self.say("interrupted: going to the nearest safe end; once more leaves the run as it is")
            }
            Event::Resumed { operator } => self.say(&format!("resumed by {operator}")),
            Event::RunEnded { verdict } => self.say(&format!("ended: {verdict}")),
        }
    }
}
