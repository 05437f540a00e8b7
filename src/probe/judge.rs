//! What the answers mean. Pure.

use crate::model::{Expect, Millis, Reason, ReasonKind};

/// Which value must be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The new one; the old one must be refused.
    Forward,
    /// The old one; the new one must be refused.
    Back,
}

/// What one answer to one value says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// As it must be.
    Right,
    /// Not as it must be, or no answer: it may still become right.
    Wrong(Reason),
}

/// Judges an answer. `wanted` says whether the value that was tried must be taken.
#[must_use]
pub fn judge(expect: &Expect, wanted: bool, direction: Direction, answer: u16) -> Judged {
    let (accepted, rejected) = match expect {
        Expect::Always(right) if right.contains(&answer) => return Judged::Right,
        Expect::Always(right) => {
            let detail = format!("it answers {answer}, not {}", list(right));
            return Judged::Wrong(Reason::new(ReasonKind::ProbeUnexpected, detail));
        }
        Expect::Proof { accepted, rejected } => (accepted, rejected),
    };
    let right = if wanted { accepted } else { rejected };
    if right.contains(&answer) {
        return Judged::Right;
    }
    let (must, must_not) = match direction {
        Direction::Forward => ("new", "old"),
        Direction::Back => ("old", "new"),
    };
    let reason = match (wanted, accepted.contains(&answer), rejected.contains(&answer)) {
        (true, _, true) => Reason::new(ReasonKind::NewRefused, format!("it refuses the {must} value ({answer})")),
        (false, true, _) => {
            Reason::new(ReasonKind::OldAccepted, format!("it still takes the {must_not} value ({answer})"))
        }
        (_, _, _) => {
            let value = if wanted { must } else { must_not };
            let detail = format!("it answers {answer} to the {value} value, not {}", list(right));
            Reason::new(ReasonKind::ProbeUnexpected, detail)
        }
    };
    Judged::Wrong(reason)
}

fn list(codes: &[u16]) -> String {
    codes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

/// Successes in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streak {
    needed: u32,
    seen: u32,
}

impl Streak {
    /// None yet.
    #[must_use]
    pub const fn new(needed: u32) -> Self {
        Self { needed, seen: 0 }
    }

    /// Counts one try; a failure starts again from nothing. Says whether it is enough.
    pub fn count(&mut self, right: bool) -> bool {
        self.seen = if right { self.seen + 1 } else { 0 };
        self.seen >= self.needed
    }

    /// How many there are.
    #[must_use]
    pub const fn seen(&self) -> u32 {
        self.seen
    }
}

/// Whether a unit has been the same living process for long enough.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stability {
    since: Option<(Millis, String)>,
}

impl Stability {
    /// Takes one look: whether the unit is active, and what tells this process from another one.
    pub fn look(&mut self, now: Millis, active: bool, process: &str, stable_for: Millis) -> bool {
        match (&self.since, active) {
            (_, false) => self.since = None,
            (Some((_, same)), true) if same == process => {}
            (_, true) => self.since = Some((now, process.to_owned())),
        }
        self.since.as_ref().is_some_and(|(since, _)| now.since(*since) >= stable_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(wanted: bool, answer: u16) -> Option<ReasonKind> {
        let expect = Expect::Proof { accepted: vec![400], rejected: vec![401] };
        match judge(&expect, wanted, Direction::Forward, answer) {
            Judged::Right => None,
            Judged::Wrong(reason) => Some(reason.kind),
        }
    }

    #[test]
    fn a_proof_needs_the_right_answer_to_both_values() {
        assert_eq!(kind(true, 400), None);
        assert_eq!(kind(false, 401), None);
        assert_eq!(kind(true, 401), Some(ReasonKind::NewRefused));
        assert_eq!(kind(false, 400), Some(ReasonKind::OldAccepted));
        assert_eq!(kind(true, 500), Some(ReasonKind::ProbeUnexpected));
        assert_eq!(kind(false, 200), Some(ReasonKind::ProbeUnexpected));
    }

    #[test]
    fn a_streak_begins_again_after_a_failure() {
        let mut streak = Streak::new(2);
        assert_eq!([true, false, true, true].map(|right| streak.count(right)), [false, false, false, true]);
    }

    #[test]
    fn a_restart_begins_the_window_again() {
        let (mut stability, window) = (Stability::default(), Millis(5));
        assert!(!stability.look(Millis(0), true, "a", window));
        assert!(!stability.look(Millis(4), true, "b", window));
        assert!(!stability.look(Millis(8), true, "b", window));
        assert!(stability.look(Millis(9), true, "b", window));
        assert!(!stability.look(Millis(10), false, "b", window));
        assert!(!stability.look(Millis(11), true, "b", window));
    }
}
