//! A terminal: one bar for the step that the fleet is in, below it the hosts that it waits for, above it lines worth keeping.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::model::{Entry, Event, HostName, Step, fold_few, harmless};

use super::{Plain, Reporter};

/// How often the screen is drawn: more is flicker, and costs on a slow line.
const DRAWS_PER_SECOND: u8 = 8;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(250);

/// How many hosts that the fleet waits for have a line of their own.
const LINES_MAX: usize = 3;

/// When the fleet waits for more than these nobody is slow yet, and their names would say nothing.
const WAITING_MAX: usize = 32;

/// How many names or ranges of names stand on one line.
const NAMES_MAX: usize = 4;

/// The longest line below the bar: a line that wraps would leave its tail on the screen.
const LINE_CHARS_MAX: usize = 76;

/// Speaks to a person at a terminal. What stays on the screen is what [`Plain`] says.
pub struct Progress {
    bar: ProgressBar,
    lines: Plain<Above>,
    step: Option<Step>,
    /// Who is not done yet.
    waiting: BTreeSet<HostName>,
    /// What a probe last found wrong there.
    wrong: BTreeMap<HostName, String>,
}

/// Writes whole lines above the bar.
struct Above {
    bar: ProgressBar,
    line: Vec<u8>,
}

impl std::io::Write for Above {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            self.bar.println(String::from_utf8_lossy(&line[..end]));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Progress {
    /// Speaks on standard error.
    #[must_use]
    pub fn new() -> Self {
        Self::on(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND))
    }

    /// Speaks there.
    #[must_use]
    pub fn on(target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), target);
        bar.set_style(style(false));
        // Lines come before any step does: there is nothing to draw below them yet.
        bar.finish_and_clear();
        let lines = Plain::new(Above { bar: bar.clone(), line: Vec::new() });
        Self { bar, lines, step: None, waiting: BTreeSet::new(), wrong: BTreeMap::new() }
    }

    fn begin(&mut self, word: &'static str, hosts: u64) {
        self.waiting.clear();
        self.wrong.clear();
        // Each of these may draw: what the bar is of comes first.
        self.bar.set_length(hosts);
        self.bar.set_prefix(word);
        self.bar.reset();
        // Not before: whoever is asked something first must see the question.
        self.bar.enable_steady_tick(TICK);
        self.show_waiting();
    }

    /// Says whom the fleet waits for once they are few, and at any time what a probe found wrong.
    fn show_waiting(&self) {
        let wrong = |(host, said): (&HostName, &String)| format!("{host}: {said}");
        let mut lines: Vec<String> = self.wrong.iter().map(wrong).take(LINES_MAX).collect();
        let few = (1..=WAITING_MAX).contains(&self.waiting.len()) && self.bar.position() > 0;
        if lines.is_empty() && few {
            lines.push(format!("waiting for {}", fold_few(&self.waiting, NAMES_MAX)));
        }
        let cut = |line: String| format!("  {}", line.chars().take(LINE_CHARS_MAX).collect::<String>());
        self.bar.set_style(style(!lines.is_empty()));
        self.bar.set_message(lines.into_iter().map(cut).collect::<Vec<_>>().join("\n"));
    }
}

/// A bar, with or without lines below it: an empty line would jump about.
fn style(with_lines: bool) -> ProgressStyle {
    let bar = "{spinner} {prefix:10} {wide_bar} {pos}/{len} {elapsed}";
    let template = if with_lines { format!("{bar}\n{{msg}}") } else { bar.to_owned() };
    ProgressStyle::with_template(&template).expect("the template is a constant that a test draws")
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Reporter for Progress {
    fn entry(&mut self, entry: &Entry) {
        match &entry.event {
            Event::ConnectBegan { hosts } => self.begin("connect", *hosts),
            Event::HostInspected { .. } | Event::HostUnconnected { .. } => self.bar.inc(1),
            Event::StepBegan { host, step } => {
                if self.step != Some(*step) || self.waiting.is_empty() {
                    self.step = Some(*step);
                    self.begin(step.label(), 1);
                } else {
                    self.bar.inc_length(1);
                }
                self.waiting.insert(host.clone());
            }
            Event::EvidenceBegan { host } => {
                if self.waiting.is_empty() {
                    self.step = None;
                    self.begin("evidence", 1);
                } else {
                    self.bar.inc_length(1);
                }
                self.waiting.insert(host.clone());
            }
            Event::EvidenceTaken(taken) => {
                self.waiting.remove(&taken.host);
                self.bar.inc(1);
                self.show_waiting();
            }
            Event::ProbeTried { host, probe, reason, .. } => {
                match reason {
                    Some(reason) => self.wrong.insert(host.clone(), harmless(&format!("{probe}: {reason}"))),
                    None => self.wrong.remove(host),
                };
                self.show_waiting();
            }
            Event::StepDone { host, .. } | Event::StepFailed { host, .. } => {
                self.waiting.remove(host);
                self.wrong.remove(host);
                self.bar.inc(1);
                self.show_waiting();
            }
            _ => {}
        }
        self.lines.entry(entry);
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}
