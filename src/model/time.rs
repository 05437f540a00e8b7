//! Durations and points in time as plain numbers, so that the pure rooms need no clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of milliseconds: a duration, or a point in time since an origin that the context names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }

    /// The time between two points, zero if `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// The standard library's form.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Reads `5s`, `2m`, `1h30m`, `500ms`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut total: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let number: u64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let unit = match &rest[..letters] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return None,
            };
            rest = &rest[letters..];
            total = total.checked_add(number.checked_mul(unit)?)?;
        }
        (!text.is_empty()).then_some(Self(total))
    }

    /// Whole seconds, rounded up: for tools that take no fractions.
    #[must_use]
    pub const fn secs_ceil(self) -> u64 {
        self.0.div_ceil(1_000)
    }
}

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl std::ops::Add for Millis {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// As a person reads it: `7 ms`, `1.4 s`, `2 min 5 s`, `3 h 0 min`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms @ 0..1_000 => write!(f, "{ms} ms"),
            ms @ 1_000..60_000 => write!(f, "{}.{} s", ms / 1_000, ms % 1_000 / 100),
            ms @ 60_000..3_600_000 => write!(f, "{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
            ms => write!(f, "{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_as_a_person_says_it() {
        let read = |ms| Millis(ms).to_string();
        assert_eq!(read(7), "7 ms");
        assert_eq!(read(1_450), "1.4 s");
        assert_eq!(read(125_000), "2 min 5 s");
        assert_eq!(read(10_800_000), "3 h 0 min");
        assert_eq!(Millis(1_001).secs_ceil(), 2);
    }

    #[test]
    fn durations_are_numbers_with_units() {
        assert_eq!(Millis::parse("1h30m"), Some(Millis(5_400_000)));
        assert_eq!(Millis::parse("500ms"), Some(Millis(500)));
        for bad in ["", "5", "s", "5 s", "-1s", "1d", "99999999999999999999s"] {
            assert_eq!(Millis::parse(bad), None, "{bad}");
        }
    }
}
