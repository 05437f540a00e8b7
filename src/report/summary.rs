//! The end of a run, for a tired person: what is true now, what it cost, what to do next.

use std::collections::BTreeMap;

use crate::coordinator::Run;
use crate::model::{Decision, Entry, Event, HostName, HostState, Millis, Plan, Reason, RunId, Step, Verdict};

use super::{hint, plural};

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The run.
    pub run: RunId,
    /// What became of it, if it ended.
    pub verdict: Option<Verdict>,
    /// Where each host stands.
    pub states: BTreeMap<HostName, HostState>,
    /// From the first cut begun to the last cut done: no host was ahead of another for longer.
    pub spread: Option<Millis>,
    /// From the first cut begun to the last service activated: two sides shared no accepted value for at most so long.
    pub gap: Option<Millis>,
    /// How many probes of the plan tell an accepted value from a refused one.
    pub proofs: usize,
    /// Hosts in trouble, with what to say of them.
    pub troubles: Vec<(HostName, HostState, Step, String)>,
    /// Every step that did not end well, also those that the way back has mended since.
    pub failed: Vec<(HostName, Step, String)>,
    /// What made the run go back.
    pub cause: Option<String>,
    /// Hosts on which the run left something.
    pub left_over: Vec<HostName>,
}

/// Sums up what these entries tell.
#[must_use]
pub fn summarise(id: &RunId, plan: &Plan, run: &Run, entries: &[Entry]) -> Summary {
    // Only one process's clock can be measured with: that of the one that ended the run.
    let last = entries.iter().rposition(|entry| matches!(entry.event, Event::Resumed { .. })).map_or(0, |at| at + 1);
    let (earlier, entries) = entries.split_at(last.min(entries.len()));
    let cut_began = |entry: &Entry| matches!(entry.event, Event::StepBegan { step: Step::Cut, .. });
    let cut_before = earlier.iter().any(cut_began);
    let began = entries.iter().find_map(|entry| match entry.event {
        Event::StepBegan { step: Step::Cut, .. } => Some(entry.elapsed),
        _ => None,
    });
    let ended = |wanted: Step| {
        entries.iter().rev().find_map(|entry| match entry.event {
            Event::StepDone { step, .. } if step == wanted => Some(entry.elapsed),
            _ => None,
        })
    };
    // A cut that began under another process's clock was not measured, and is not said to be short.
    let between = |wanted| if cut_before { None } else { Some(ended(wanted)?.since(began?)) };
    let failed = earlier.iter().chain(entries).filter_map(|entry| match &entry.event {
        Event::StepFailed { host, step, reason, .. } => Some((host.clone(), *step, with_hint(reason))),
        _ => None,
    });
    let decision = run.decision();
    let states: BTreeMap<_, _> = run.hosts().iter().map(|(name, host)| (name.clone(), host.state(decision))).collect();
    let troubles = run
        .hosts()
        .iter()
        .filter_map(|(name, host)| {
            let trouble = host.trouble()?;
            Some((name.clone(), host.state(decision), trouble.step, with_hint(&trouble.reason)))
        })
        .collect();
    let cause = run.cause().map(|cause| match (&cause.host, cause.step) {
        (Some(host), Some(step)) => format!("{host}, {step}: {}", cause.reason),
        _ => cause.reason.to_string(),
    });
    Summary {
        run: id.clone(),
        verdict: run.verdict(),
        spread: between(Step::Cut),
        gap: between(Step::Activate),
        proofs: plan.hosts.values().flat_map(|host| &host.verify).filter(|p| p.probe.check.is_proof()).count(),
        left_over: run.hosts().iter().filter(|(_, host)| host.left_over()).map(|(name, _)| name.clone()).collect(),
        failed: failed.collect(),
        states,
        troubles,
        cause,
    }
}

fn with_hint(reason: &Reason) -> String {
    hint(reason.kind).map_or_else(|| reason.to_string(), |hint| format!("{reason}\n      hint: {hint}"))
}

impl Summary {
    /// As it is printed.
    #[must_use]
    pub fn render(&self, decision: Option<Decision>) -> String {
        let hosts = plural(self.states.len(), "host");
        let run = &self.run;
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        match self.verdict {
            Some(Verdict::Rotated) => {
                line(format!("ROTATED  all {hosts} are on the new secret, proved; nothing is left behind"))
            }
            Some(Verdict::RotatedWithDebt) => line(format!(
                "ROTATED, WITH DEBT  all {hosts} are on the new secret, proved; something is still to be cleaned"
            )),
            Some(Verdict::RolledBack) => {
                line(format!("ROLLED BACK  all {hosts} are on the old secret, proved; nothing is lost"))
            }
            Some(Verdict::Refused) => line(format!("REFUSED  nothing was changed on {hosts}")),
            Some(Verdict::Inconsistent) => {
                let count = self.troubles.len();
                line(format!("A PERSON MUST LOOK  {count} of {hosts} did not reach the end"));
            }
            None => line(format!("LEFT  the run was left on {hosts}; what they hold is as below")),
        }
        if let Some(cause) = &self.cause {
            line(format!("  because of  {cause}"));
        }
        if decision == Some(Decision::Commit) {
            if let Some(spread) = self.spread {
                line(format!("  spread      {spread} from the first host's cut to the last one's, at most"));
            }
            if let Some(gap) = self.gap {
                line(format!("  gap         {gap} in which two sides may have shared no value, at most"));
            }
            line(format!("  proofs      {}: new value taken, old value refused", plural(self.proofs, "probe")));
        }
        let mut counts: BTreeMap<HostState, usize> = BTreeMap::new();
        self.states.values().for_each(|state| *counts.entry(*state).or_default() += 1);
        let counts: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
        line(format!("  hosts       {}", counts.join(", ")));
        for (host, step, reason) in &self.failed {
            if !self.troubles.iter().any(|(named, _, at, _)| named == host && at == step) {
                line(format!("  {host}  failed in `{step}`: {reason}"));
            }
        }
        for (host, state, step, reason) in &self.troubles {
            line(format!("  {host}  {state} in `{step}`: {reason}"));
            if matches!(step, Step::Revert | Step::Reactivate | Step::Reverify) {
                line(format!(
                    "      by hand: the old content is kept there beside each file as `.lockturn-{run}-N.old`;"
                ));
                line("      move it over the file, restart the service, then resume".to_owned());
            }
        }
        if !self.left_over.is_empty() {
            let names: Vec<&str> = self.left_over.iter().map(HostName::as_str).collect();
            line(format!("  left-overs  {}", names.join(", ")));
        }
        match self.verdict {
            None | Some(Verdict::Inconsistent | Verdict::RotatedWithDebt) => {
                line(format!("next: lockturn resume {run}"));
                if decision.is_none() {
                    line(format!("      lockturn rollback {run}   takes it back instead"));
                }
            }
            Some(Verdict::Refused | Verdict::RolledBack) => line(format!("next: lockturn show {run}")),
            Some(Verdict::Rotated) => {}
        }
        text
    }
}
