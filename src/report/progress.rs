//! A terminal: one bar for the step that the fleet is in, lines for what is worth keeping.

use std::collections::BTreeSet;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::model::{Entry, Event, HostName, Step};

use super::{Plain, Reporter};

/// How often the screen is drawn: more is flicker, and costs on a slow line.
const DRAWS_PER_SECOND: u8 = 8;

/// How many names of waiting hosts fit beside the bar.
const WAITING_MAX: usize = 4;

/// Speaks to a person at a terminal. What stays on the screen is what [`Plain`] says.
pub struct Progress {
    bar: ProgressBar,
    lines: Plain<Above>,
    step: Option<Step>,
    waiting: BTreeSet<HostName>,
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
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
        let style = ProgressStyle::with_template("{spinner} {prefix:10} {wide_bar} {pos}/{len} {elapsed} {msg}")
            .expect("the template is a constant that a test draws");
        bar.set_style(style);
        bar.enable_steady_tick(std::time::Duration::from_millis(250));
        let lines = Plain::new(Above { bar: bar.clone(), line: Vec::new() });
        Self { bar, lines, step: None, waiting: BTreeSet::new() }
    }

    fn begin(&mut self, word: &'static str, hosts: u64) {
        self.bar.reset();
        self.bar.set_length(hosts);
        self.bar.set_prefix(word);
    }

    fn waits_for(&mut self) {
        let names: Vec<&str> = self.waiting.iter().take(WAITING_MAX).map(HostName::as_str).collect();
        let few = self.waiting.len() <= WAITING_MAX;
        self.bar.set_message(if few { names.join(" ") } else { String::new() });
    }
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
                if self.step != Some(*step) {
                    self.step = Some(*step);
                    self.waiting.clear();
                    self.begin(step.label(), 0);
                }
                self.waiting.insert(host.clone());
                self.bar.inc_length(1);
            }
            Event::StepDone { host, .. } | Event::StepFailed { host, .. } => {
                self.waiting.remove(host);
                self.bar.inc(1);
                self.waits_for();
            }
            _ => {}
        }
        self.lines.entry(entry);
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}
