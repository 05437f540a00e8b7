//! How long an armed host waits for us.
//!
//! **Invariant:** it is counted from the moment at which we asked, which is before the one at which the host began to count.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::Millis;

/// How long a decision may be on its way to a host.
const HEAR_MAX: Millis = Millis::from_secs(5);

/// What a host promised.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// How long it waits.
    pub length: Millis,
    /// Since when.
    pub asked: Millis,
}

impl Lease {
    /// A quarter of it is over: time to ask for more.
    #[must_use]
    pub fn is_due(self, now: Millis) -> bool {
        now > self.asked + Millis(self.length.0 / 4)
    }

    /// Whether the host surely still waits after that much more time, and until it hears of a decision that is made then. The margin
    /// is that way, and a clock that goes a thousandth faster.
    #[must_use]
    pub fn holds(self, now: Millis, longer: Duration) -> bool {
        let margin = Millis(self.length.0 / 1_000) + HEAR_MAX;
        now + Millis::from(longer) + margin < self.asked + self.length
    }
}

/// The lease of one host, while it has one. Whoever decides looks at it also while the host is being asked for more time.
#[derive(Debug, Clone, Default)]
pub struct HeldLease(Arc<Mutex<Option<Lease>>>);

impl HeldLease {
    /// What the host promised.
    #[must_use]
    pub fn get(&self) -> Option<Lease> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host promised something else, or waits no longer.
    pub fn set(&self, lease: Option<Lease>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lease;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_holds_until_a_decision_could_come_too_late() {
        let lease = Lease { length: Millis::from_secs(40), asked: Millis::from_secs(100) };
        let holds = |now, longer| lease.holds(Millis::from_secs(now), Duration::from_secs(longer));
        assert!(holds(100, 0) && holds(134, 0) && !holds(135, 0) && !holds(1_000, 0));
        assert!(holds(100, 34) && !holds(100, 35), "what begins now must end in it");
        assert!(!lease.is_due(Millis::from_secs(110)) && lease.is_due(Millis::from_secs(111)));
    }

    #[test]
    fn a_lease_that_is_being_renewed_is_still_the_old_one() {
        let lease = HeldLease::default();
        let seen = lease.clone();
        assert!(seen.get().is_none());
        lease.set(Some(Lease { length: Millis::from_secs(40), asked: Millis::from_secs(100) }));
        assert!(!seen.get().unwrap().holds(Millis::from_secs(900), Duration::ZERO));
    }
}
