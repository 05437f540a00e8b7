//! Words that stand in several places of a playbook.

use crate::model::{Millis, Selector};
use crate::yaml::{Item, Value};

/// No wait of a run is longer than a day.
const DURATION_MS_MAX: u64 = 24 * 3_600_000;

/// `5s`, `2m`, `1h30m`, `500ms`.
pub(super) fn duration(item: &Item<'_>) -> Option<Millis> {
    let wrong = || item.error("should be a duration, such as `500ms`, `5s`, `2m` or `1h30m`");
    let Value::Text(text) = &item.node.value else {
        wrong();
        return None;
    };
    let found = parse_duration(text).filter(|millis| millis.0 <= DURATION_MS_MAX);
    if found.is_none() {
        wrong();
    }
    found
}

fn parse_duration(text: &str) -> Option<Millis> {
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
    (!text.is_empty()).then_some(Millis(total))
}

/// An expression that names hosts.
pub(super) fn selector(item: &Item<'_>) -> Option<Selector> {
    item.parsed()
}

/// A path on a host: no line breaks, no NUL, not empty.
pub(super) fn remote_path(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if text.is_empty() || text.starts_with('-') || text.contains(|c: char| c.is_control()) {
        item.error("should be a path");
        return None;
    }
    Some(text.to_owned())
}

/// A systemd unit.
pub(super) fn unit(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if text.is_empty() || text.len() > 255 || text.starts_with('-') || !text.chars().all(fits) {
        item.error("should be the name of a systemd unit");
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        assert_eq!(parse_duration("1h30m"), Some(Millis(5_400_000)));
        assert_eq!(parse_duration("500ms"), Some(Millis(500)));
        for bad in ["", "5", "s", "5 s", "-1s", "1d", "99999999999999999999s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
