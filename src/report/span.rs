//! How long it took from the first cut on, as far as that can be known.

use crate::model::{Entry, Event, Millis, Step};

/// A time that begins with the first cut of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// It has not begun, or not ended.
    Open,
    /// Measured by the clock of one process.
    Measured(Millis),
    /// It began in one process and ended in another, so only the wall clocks of the two can be compared.
    ByWallClock(Millis),
    /// It cannot be told: the ledger does not have its beginning, or a wall clock went backwards.
    Unknown,
}

impl Span {
    /// From the first cut that was begun until the last time that this step was done.
    pub(super) fn until(wanted: Step, entries: &[Entry]) -> Self {
        let began = |entry: &Entry| matches!(entry.event, Event::StepBegan { step: Step::Cut, .. });
        let done = |entry: &Entry| matches!(entry.event, Event::StepDone { step, .. } if step == wanted);
        let rebuilt = entries.iter().any(|entry| matches!(entry.event, Event::Rebuilt { .. }));
        let Some(last) = entries.iter().rposition(done) else {
            return if rebuilt { Self::Unknown } else { Self::Open };
        };
        let Some(first) = entries[..last].iter().position(began).filter(|_| !rebuilt) else { return Self::Unknown };
        let (from, to) = (&entries[first], &entries[last]);
        let another = |entry: &Entry| matches!(entry.event, Event::Resumed { .. });
        if !entries[first..last].iter().any(another) {
            return Self::Measured(to.elapsed.since(from.elapsed));
        }
        if to.at_unix < from.at_unix { Self::Unknown } else { Self::ByWallClock(to.at_unix.since(from.at_unix)) }
    }

    /// A line of the summary: what it is called, and what it is the time of.
    pub(super) fn line(self, name: &str, what: &str) -> Option<String> {
        let said = match self {
            Self::Open => return None,
            Self::Measured(time) => format!("{time} {what}"),
            Self::ByWallClock(time) => {
                format!("{time} {what}; by the wall clock, because the run was taken up again meanwhile")
            }
            Self::Unknown => "not known: the ledger was lost meanwhile, or a clock was set back".to_owned(),
        };
        Some(format!("  {name:14}{said}"))
    }
}
