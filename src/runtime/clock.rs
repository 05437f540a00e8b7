//! The one place where time is read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::model::{Entry, Event, Millis};

/// Wall clock, since 1970-01-01T00:00:00Z.
#[must_use]
pub fn unix_now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().into()
}

/// Time that goes on while this machine sleeps, since it was started: what the hosts count their leases with.
#[must_use]
pub fn boot_now() -> Millis {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    Millis(seconds * 1_000 + nanos / 1_000_000)
}

/// An event, noticed now.
#[must_use]
pub fn entry(since: Instant, event: Event) -> Entry {
    Entry { at_unix: unix_now(), elapsed: since.elapsed().into(), event }
}

/// The wall clock as ISO 8601 in UTC with milliseconds, for signatures that carry it.
#[must_use]
pub fn iso_now() -> String {
    iso(unix_now())
}

/// A point in time as ISO 8601 in UTC with milliseconds.
#[must_use]
pub fn iso(at_unix: Millis) -> String {
    let millis = i64::try_from(at_unix.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| "?".to_owned(), |at| format!("{at:.3}"))
}
