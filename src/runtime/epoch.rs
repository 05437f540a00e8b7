//! The number of a coordinator: a host obeys the greatest that it has heard of, and nobody else.
//!
//! **Invariant:** of two coordinators of a run the later one has the greater number; and two that took up two copies of one ledger have
//! different ones, because the last bits are random (one pair in 16,384 has the same). So the greater one stays, and neither takes the
//! hosts from the other again and again.

use super::random;

/// How many numbers one coordinator has to draw from.
const EACH: u64 = 1 << 14;

/// How many numbers one ledger has: a ledger that is begun anew from what hosts say leaves room for all that the lost one may still count.
const LEDGER: u64 = 1 << 24;

/// No host has heard of a greater number: some shells count with 32 bits and a sign, and another ledger must have room after it.
pub const MAX: u64 = (1 << 31) - 2 * LEDGER;

/// The number of the coordinator that begins a run.
#[must_use]
pub fn first() -> u64 {
    EACH + draw()
}

/// The number of the one that takes a run up which was taken up so often before. `anew` is the one that began this ledger, if that was
/// not the run's first.
#[must_use]
pub fn next(anew: Option<u64>, taken_up: usize) -> u64 {
    anew.unwrap_or(EACH) + (taken_up as u64 + 1) * EACH + draw()
}

/// The number of the one that begins a ledger anew, where hosts have heard of this one.
#[must_use]
pub fn anew(heard: u64) -> u64 {
    (heard / LEDGER + 1) * LEDGER + draw()
}

fn draw() -> u64 {
    u64::from(u16::from_be_bytes(random::bytes())) % EACH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_later_has_the_greater_number_and_copies_differ() {
        for _ in 0..100 {
            let (began, resumed, again) = (first(), next(None, 0), next(None, 1));
            assert!(1 < began && began < resumed && resumed < again, "{began} {resumed} {again}");
            let lost = next(None, 900);
            let rebuilt = anew(lost);
            assert!(again < rebuilt && rebuilt < next(Some(rebuilt), 0) && next(Some(rebuilt), 0) < anew(rebuilt));
        }
        let copies: std::collections::BTreeSet<u64> = (0..100).map(|_| next(None, 3)).collect();
        assert!(copies.len() > 90, "{copies:?}");
    }

    #[test]
    fn a_shell_that_counts_with_31_bits_can_compare_all_of_them() {
        let last = next(Some(anew(MAX - 1)), 500);
        assert!(last < 1 << 31, "{last}");
        // What an earlier lockturn counted: 1, 2, 3 and so on, or from a million on.
        assert!(first() > 1 && next(Some(1_000_000), 0) > 1_000_001 && anew(1_000_007) > 2_000_000);
    }
}
