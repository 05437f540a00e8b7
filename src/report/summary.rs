//! The end of a run, for a tired person: what is true now, what it cost, what to do next.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordinator::{Host, Run};
use crate::model::{
    Decision, Drill, Entry, Event, HostName, HostState, Millis, Plan, Reason, ReasonKind, RunId, Step, Verdict,
    fold_few,
};

use super::span::Span;
use super::{by_hand, hint, plural, where_by_hand};

/// How many names or ranges of names are shown of a set of hosts.
const NAMES_MAX: usize = 8;

const SPREAD: &str = "from the first host's cut to the last one's, at most";

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The run.
    pub run: RunId,
    /// What became of it, if it ended.
    pub verdict: Option<Verdict>,
    /// Who works on it just now, if it has not ended.
    pub holder: Option<String>,
    /// Whether the ledger went away under it, so that only its hosts know it.
    pub ledger_gone: bool,
    /// How many names or ranges of names of hosts in one state are shown.
    pub names_max: usize,
    /// Which way it went, once that was decided.
    pub decision: Option<Decision>,
    /// Whether `resume` takes it back, though that was not decided.
    pub would_go_back: bool,
    /// Where each host stands.
    pub states: BTreeMap<HostName, HostState>,
    /// From the first cut begun to the last cut done: no host was ahead of another for longer.
    pub spread: Span,
    /// From the first cut begun to the last service activated: two sides shared no accepted value for at most so long.
    pub gap: Span,
    /// What was rehearsed, if it was a drill.
    pub drill: Option<Drill>,
    /// From a drill's fault to the last host that proved the old value.
    pub back_after: Option<Millis>,
    /// The hosts whose switch was waited for: how long after our last word they were asked, and whether they had gone back.
    pub switches: Vec<(HostName, Millis, bool)>,
    /// How many probes of the plan tell an accepted value from a refused one.
    pub proofs: usize,
    /// Hosts in trouble, with what to say of them.
    pub troubles: Vec<(HostName, HostState, Step, String)>,
    /// Every step that did not end well since the run was last taken up, also those that the way back has mended since; once, however
    /// often it was tried, and not the one that made the run go back.
    pub failed: Vec<(HostName, Step, String)>,
    /// What made the run go back.
    pub cause: Option<String>,
    /// Whether somebody must mend that before the run is tried again.
    pub to_mend: bool,
    /// Hosts on which no probe tells the new value from the old one.
    pub unproved: Vec<HostName>,
    /// Hosts that are back on the operator's word: their services could not be restarted or probed as planned.
    pub back_unproved: Vec<HostName>,
    /// Hosts that were cleaned before the journal was lost: what they hold now nobody has seen.
    pub not_seen: Vec<HostName>,
    /// Hosts that were isolated after the run had begun: they got nothing more of it, and nobody asked what they hold.
    pub left_out: Vec<HostName>,
    /// Hosts on which the run left something.
    pub left_over: Vec<HostName>,
    /// Commands that mend a host without lockturn, with the place to paste them.
    pub by_hand: BTreeMap<HostName, Vec<String>>,
}

/// Sums up what these entries tell.
#[must_use]
pub fn summarise(id: &RunId, plan: &Plan, run: &Run, entries: &[Entry]) -> Summary {
    // Only one process's clock can be measured with: that of the one that ended the run.
    let last = entries.iter().rposition(|entry| matches!(entry.event, Event::Resumed { .. })).map_or(0, |at| at + 1);
    let whole = entries;
    let entries = &entries[last..];
    let ended = |wanted: Step| {
        entries.iter().rev().find_map(|entry| match entry.event {
            Event::StepDone { step, .. } if step == wanted => Some(entry.elapsed),
            _ => None,
        })
    };
    let failed = entries.iter().filter_map(|entry| match &entry.event {
        Event::StepFailed { host, step, reason, .. }
            if !matches!(reason.kind, ReasonKind::Fleet | ReasonKind::Drill) && !is_cause(run, host, *step, reason) =>
        {
            Some((host.clone(), *step, with_hint(reason)))
        }
        _ => None,
    });
    let mut heard = BTreeSet::new();
    let decision = run.decision();
    let states: BTreeMap<_, _> = run.hosts().iter().map(|(name, host)| (name.clone(), host.state(decision))).collect();
    let troubles: Vec<_> = run
        .hosts()
        .iter()
        .filter_map(|(name, host)| {
            let trouble = host.trouble()?;
            Some((name.clone(), host.state(decision), trouble.step, with_hint(&trouble.reason)))
        })
        .collect();
    // Where another coordinator has been, this one does not know what there is to be mended.
    let fenced = |name: &HostName| {
        let trouble = run.hosts().get(name).and_then(Host::trouble);
        trouble.is_some_and(|trouble| trouble.is_anothers())
    };
    let ours = troubles.iter().filter(|(name, ..)| !fenced(name));
    let by_hand = ours.map(|(name, _, step, _)| (name.clone(), to_paste(id, plan, name, &[*step])));
    let left_over = run.hosts().iter().filter(|(name, host)| host.left_over() && !fenced(name));
    Summary {
        run: id.clone(),
        verdict: run.verdict(),
        holder: None,
        ledger_gone: false,
        names_max: NAMES_MAX,
        decision,
        would_go_back: run.would_go_back(),
        unproved: plan.unproved().cloned().collect(),
        back_unproved: run.unproved().filter(|_| decision != Some(Decision::Commit)).cloned().collect(),
        not_seen: run.unproved().filter(|_| decision == Some(Decision::Commit)).cloned().collect(),
        spread: Span::until(Step::Cut, whole),
        gap: Span::until(Step::Activate, whole),
        drill: run.drill().cloned(),
        back_after: entries
            .iter()
            .find(|entry| is_drills_fault(&entry.event))
            .and_then(|fault| Some(ended(Step::Reverify)?.since(fault.elapsed))),
        switches: entries.iter().filter_map(|entry| watched(&entry.event)).collect(),
        proofs: plan.hosts.values().flat_map(|host| &host.verify).filter(|p| p.probe.check.is_proof()).count(),
        left_out: run.left_out().cloned().collect(),
        left_over: left_over.map(|(name, _)| name.clone()).collect(),
        failed: failed.filter(|said| heard.insert(said.clone())).collect(),
        by_hand: by_hand.filter(|(_, lines)| !lines.is_empty()).collect(),
        states,
        cause: cause(run, &troubles),
        troubles,
        to_mend: to_mend(run),
    }
}

/// Whether it is what made the run go back.
fn is_cause(run: &Run, host: &HostName, step: Step, reason: &Reason) -> bool {
    run.cause()
        .is_some_and(|cause| cause.host.as_ref() == Some(host) && cause.step == Some(step) && cause.reason == *reason)
}

/// What made the run go back, and what to do about it; where that host is in trouble still, the hint stands there.
fn cause(run: &Run, troubles: &[(HostName, HostState, Step, String)]) -> Option<String> {
    let cause = run.cause()?;
    Some(match (&cause.host, cause.step, run.drill()) {
        (_, _, Some(drill)) if cause.reason.kind == ReasonKind::Drill => drill.made_happen(),
        (Some(host), Some(step), _) => {
            let troubled = troubles.iter().any(|(named, _, at, _)| named == host && *at == step);
            let why = if troubled { cause.reason.to_string() } else { with_hint(&cause.reason) };
            format!("{host}, {step}: {why}")
        }
        _ => cause.reason.to_string(),
    })
}

/// Whether somebody must mend what made the run go back before it is tried again.
fn to_mend(run: &Run) -> bool {
    let nothing = [ReasonKind::Interrupted, ReasonKind::ValueLost, ReasonKind::Drill];
    run.cause().is_some_and(|cause| !nothing.contains(&cause.reason.kind))
}

/// What a drill did on purpose, and the run went back for.
fn is_drills_fault(event: &Event) -> bool {
    let reason = match event {
        Event::StepFailed { reason, .. } => reason,
        Event::Decided { cause: Some(cause), .. } => &cause.reason,
        _ => return false,
    };
    reason.kind == ReasonKind::Drill
}

fn watched(event: &Event) -> Option<(HostName, Millis, bool)> {
    match event {
        Event::SwitchWatched { host, after, back } => Some((host.clone(), *after, *back)),
        _ => None,
    }
}

fn with_hint(reason: &Reason) -> String {
    hint(reason.kind).map_or_else(|| reason.to_string(), |hint| format!("{reason}\n      hint: {hint}"))
}

/// The commands of these steps on a host, below a line that says where they belong.
fn to_paste(run: &RunId, plan: &Plan, name: &HostName, steps: &[Step]) -> Vec<String> {
    let Some(host) = plan.hosts.get(name) else { return Vec::new() };
    let commands = by_hand(run, host, steps);
    let heading = format!("      by hand, on {}:", where_by_hand(host));
    let lines = commands.iter().map(|command| format!("        {command}"));
    if commands.is_empty() { commands } else { std::iter::once(heading).chain(lines).collect() }
}

impl Summary {
    /// Without its ledger a run cannot be resumed: every host is told what puts it back and what is to be removed there.
    pub fn take_back_by_hand(&mut self, plan: &Plan, run: &Run) {
        self.ledger_gone = true;
        let commit = run.decision() == Some(Decision::Commit);
        for (name, host) in run.hosts().iter().filter(|(_, host)| host.left_over()) {
            let steps: &[Step] = if host.moved() && !commit { &[Step::Revert, Step::Clean] } else { &[Step::Clean] };
            self.by_hand.insert(name.clone(), to_paste(&self.run, plan, name, steps));
        }
    }

    /// For whoever looks for one host among many.
    pub const fn name_every_host(&mut self) {
        self.names_max = usize::MAX;
    }

    /// Somebody works on it just now: what is open is his to end, and nobody else's hands are to be in it.
    pub fn goes_on(&mut self, holder: String) {
        if self.verdict.is_none() {
            self.holder = Some(holder);
            self.by_hand.clear();
            self.left_over.clear();
        }
    }

    /// As it is printed.
    #[must_use]
    pub fn render(&self) -> String {
        let mut lines = vec![self.headline()];
        lines.extend(self.holder.iter().map(|holder| format!("  {:14}{holder}", "by")));
        if let Some(cause) = &self.cause {
            lines.push(format!("  {:14}{cause}", "because of"));
        }
        if self.decision == Some(Decision::Commit) {
            lines.extend(self.measured());
        }
        lines.extend(self.drilled());
        lines.extend(self.whereabouts());
        if !self.back_unproved.is_empty() {
            let names = fold_few(&self.back_unproved, NAMES_MAX);
            lines.push(format!(
                "  {:14}{names}: the services could not be restarted or probed as planned",
                "not proved"
            ));
        }
        lines.extend(self.in_trouble());
        if !self.left_over.is_empty() {
            lines.push(format!("  {:14}{}", "left-overs", fold_few(&self.left_over, NAMES_MAX)));
        }
        lines.extend(self.what_next());
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// What is true now, in one line.
    fn headline(&self) -> String {
        let hosts = plural(self.states.len(), "host");
        let (all, are) = if self.states.len() == 1 { (hosts.clone(), "is") } else { (format!("all {hosts}"), "are") };
        let decided = match self.decision {
            Some(Decision::Commit) => "; it is decided that the new value stays",
            Some(Decision::Rollback) | None => "",
        };
        if let (Some(verdict), false) = (self.verdict, self.left_out.is_empty()) {
            return self.headline_without(verdict);
        }
        match self.verdict {
            Some(Verdict::Rotated) if !self.not_seen.is_empty() => {
                format!(
                    "ROTATED, NOT PROVED  the new secret stays on {all}; what some of them hold now nobody has seen"
                )
            }
            Some(Verdict::Rotated) if !self.unproved.is_empty() => {
                format!(
                    "ROTATED, NOT PROVED  the new secret is in place on {all}; nothing showed that every service took it"
                )
            }
            Some(Verdict::Rotated) => {
                format!("ROTATED  {all} {are} on the new secret, proved; nothing is left behind")
            }
            Some(Verdict::RotatedWithDebt) => {
                format!("ROTATED, WITH DEBT  {all} {are} on the new secret, proved; something is still to be cleaned")
            }
            Some(Verdict::Drilled) => {
                let proved = if self.unproved.is_empty() {
                    "DRILLED  every host went back and proves"
                } else {
                    "DRILLED, NOT PROVED  every host went back and holds"
                };
                let after = self.back_after.map_or(String::new(), |after| format!(", {after} after the fault"));
                format!("{proved} the old secret{after}")
            }
            Some(Verdict::RolledBack) if self.switches.iter().any(|(_, _, back)| !back) => {
                let late = self.switches.iter().filter(|(_, _, back)| !back).map(|(host, ..)| host);
                format!(
                    "THE DRILL FAILED  not gone back by itself: {}; {all} {are} on the old secret now, taken back by us",
                    fold_few(late, NAMES_MAX)
                )
            }
            Some(Verdict::RolledBack) if !self.back_unproved.is_empty() => {
                format!(
                    "ROLLED BACK, NOT PROVED  the old secret is in place on {all}; that every service takes it is the operator's word"
                )
            }
            Some(Verdict::RolledBack) => {
                format!("ROLLED BACK  {all} {are} on the old secret, proved; nothing is lost")
            }
            Some(Verdict::Refused) => format!("REFUSED  nothing was changed on {hosts}"),
            // `summarise_isolation` tells of these.
            Some(verdict @ (Verdict::Quarantined | Verdict::Released | Verdict::Partial)) => verdict.to_string(),
            Some(Verdict::Inconsistent) => {
                format!("A PERSON MUST LOOK  {} of {hosts} did not reach the end{decided}", self.troubles.len())
            }
            None if self.holder.is_some() => {
                format!("RUNNING  the run goes on now on {hosts}; what it has written down so far is as below{decided}")
            }
            None => format!("LEFT  the run was left on {hosts}; what they hold is as below{decided}"),
        }
    }

    /// The same where some were isolated meanwhile.
    fn headline_without(&self, verdict: Verdict) -> String {
        let (others, isolated) =
            (plural(self.states.len() - self.left_out.len(), "other host"), fold_few(&self.left_out, NAMES_MAX));
        let what = match verdict {
            Verdict::Rotated => format!("ROTATED, WITH DEBT  the new secret is on {others}, proved"),
            Verdict::RolledBack => format!("ROLLED BACK, WITH DEBT  the old secret is on {others}, proved"),
            Verdict::Refused => format!("REFUSED  nothing was changed on {others}"),
            verdict => format!("A PERSON MUST LOOK  it ended {verdict} on {others}"),
        };
        format!("{what}; {isolated} was isolated meanwhile, got nothing more, and was not asked what it holds")
    }

    /// What a drill measured.
    fn drilled(&self) -> Vec<String> {
        let Some(drill) = &self.drill else { return Vec::new() };
        let mut lines = vec![format!("  {:14}{drill}", "drill")];
        lines.extend(self.spread.line("spread", SPREAD));
        // For ten thousand hosts as for three: who was the slowest.
        if let Some((slowest, after, _)) =
            self.switches.iter().filter(|(_, _, back)| *back).max_by_key(|(_, after, _)| *after)
        {
            let of = plural(self.switches.len(), "host");
            lines.push(format!(
                "  {:14}{of} waited for; the slowest host, {slowest}, was back {after} after it last heard from us",
                "by itself"
            ));
        }
        if matches!(self.verdict, Some(Verdict::RolledBack | Verdict::Refused))
            && self.switches.iter().all(|(_, _, back)| *back)
        {
            lines.push(format!("  {:14}it ended before its fault was shown, so it has shown nothing", "not drilled"));
        }
        lines
    }

    fn measured(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.spread.line("spread", SPREAD));
        lines.extend(self.gap.line("gap", "in which two sides may have shared no value, at most"));
        if self.proofs > 0 {
            lines.push(format!("  {:14}{}: new value taken, old value refused", "proof", plural(self.proofs, "probe")));
        }
        if !self.not_seen.is_empty() {
            let names = fold_few(&self.not_seen, NAMES_MAX);
            lines.push(format!("  {:14}{names}: confirmed and cleaned before the ledger was lost", "not seen"));
        }
        if !self.unproved.is_empty() {
            let names = fold_few(&self.unproved, NAMES_MAX);
            lines.push(format!("  {:14}{names}: no probe of the playbook tells new from old there", "not proved"));
        }
        lines
    }

    /// Each state and who is in it.
    fn whereabouts(&self) -> Vec<String> {
        let mut hosts: BTreeMap<HostState, Vec<&HostName>> = BTreeMap::new();
        for (name, state) in &self.states {
            hosts.entry(*state).or_default().push(name);
        }
        let line = |(state, names): (HostState, Vec<&HostName>)| {
            format!("  {state:14}{}  {}", names.len(), fold_few(names, self.names_max))
        };
        hosts.into_iter().map(line).collect()
    }

    fn in_trouble(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (host, step, reason) in &self.failed {
            if !self.troubles.iter().any(|(named, _, at, _)| named == host && at == step) {
                lines.push(format!("  {host}  failed in `{step}`: {reason}"));
            }
        }
        for (host, state, step, reason) in &self.troubles {
            lines.push(format!("  {host}  {state} in `{step}`: {reason}"));
            lines.extend(self.by_hand.get(host).into_iter().flatten().cloned());
        }
        for (host, commands) in &self.by_hand {
            if !self.troubles.iter().any(|(named, ..)| named == host) {
                lines.push(format!("  {host}"));
                lines.extend(commands.iter().cloned());
            }
        }
        lines
    }

    /// Whether a host holds the old content again, and its services are in the way.
    fn services_in_the_way(&self) -> bool {
        self.troubles.iter().any(|(_, _, step, _)| matches!(step, Step::Reactivate | Step::Reverify))
    }

    fn what_next(&self) -> Vec<String> {
        let run = &self.run;
        if matches!(self.verdict, Some(Verdict::Rotated | Verdict::RolledBack | Verdict::Refused))
            && !self.left_out.is_empty()
        {
            let mut lines = vec!["next: rotate the others; it stays left out".to_owned()];
            if self.left_out.iter().any(|host| self.left_over.contains(host)) {
                lines.push(format!("      lockturn resume {run}   once it is released: cleans up there"));
            }
            return lines;
        }
        match self.verdict {
            // The error that follows says it.
            _ if self.ledger_gone => Vec::new(),
            None if self.holder.is_some() => vec![format!("next: let it end, then: lockturn show {run}")],
            None | Some(Verdict::Inconsistent | Verdict::RotatedWithDebt) => {
                if self.would_go_back {
                    return vec![format!("next: lockturn resume {run}   takes it back")];
                }
                let mut lines = vec![format!("next: lockturn resume {run}")];
                if self.services_in_the_way() {
                    lines[0].push_str("   does what was planned then, not what the playbook says now");
                    lines.push(format!(
                        "      lockturn rollback {run} --unproved   once you have seen for yourself that the services take the old secret"
                    ));
                }
                if self.decision.is_none() {
                    lines.push(format!("      lockturn rollback {run}   takes it back instead"));
                }
                lines
            }
            Some(Verdict::RolledBack) if !self.back_unproved.is_empty() => {
                vec![
                    "next: mend what failed above, in the playbook or on the hosts, before you rotate again".to_owned(),
                ]
            }
            Some(Verdict::RolledBack) if self.switches.iter().any(|(_, _, back)| !back) => {
                vec![
                    "next: see why nothing watched their time there (systemctl, loginctl), then drill again".to_owned(),
                ]
            }
            Some(Verdict::Refused | Verdict::RolledBack) => {
                let again = if self.drill.is_some() { "drill" } else { "rotate" };
                let next =
                    if self.to_mend { format!("mend what is named above, then {again}") } else { again.to_owned() };
                vec![format!("next: {next} again")]
            }
            Some(Verdict::Drilled) => Vec::new(),
            Some(Verdict::Rotated) if !self.not_seen.is_empty() => {
                vec!["next: lockturn status PLAYBOOK   shows what every host holds".to_owned()]
            }
            Some(Verdict::Rotated) if !self.unproved.is_empty() => {
                vec!["next: see for yourself that the services take the new value and refuse the old one".to_owned()]
            }
            Some(Verdict::Rotated | Verdict::Quarantined | Verdict::Released | Verdict::Partial) => Vec::new(),
        }
    }
}
