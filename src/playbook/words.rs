//! Words that stand in several places of a playbook.

use crate::model::{Millis, Selector};
use crate::yaml::{Item, Value};

/// What is shown in tables.
const CAPTION_CHARS_MAX: usize = 200;

/// No wait of a run is longer than a day.
const DURATION_MS_MAX: u64 = 24 * 3_600_000;

/// `5s`, `2m`, `1h30m`, `500ms`.
pub(super) fn duration(item: &Item<'_>, least: Millis) -> Option<Millis> {
    let wrong = "should be a duration, such as `500ms`, `5s`, `2m` or `1h30m`";
    let text = match &item.node.value {
        Value::Text(text) => text,
        Value::Int(number) => {
            item.error_with_hint(wrong, format!("`{number}s`, if seconds are meant"));
            return None;
        }
        Value::Null | Value::Bool(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
            item.error(wrong);
            return None;
        }
    };
    match Millis::parse(text) {
        None => item.error(wrong),
        Some(millis) if millis.0 > DURATION_MS_MAX => item.error("is more than a day (24h)"),
        Some(millis) if millis < least => item.error(&format!("should be at least {}", shortest(least))),
        found => return found,
    }
    None
}

fn shortest(millis: Millis) -> String {
    if millis.0.is_multiple_of(1_000) { format!("{}s", millis.0 / 1_000) } else { format!("{}ms", millis.0) }
}

/// An expression that names hosts.
pub(super) fn selector(item: &Item<'_>) -> Option<Selector> {
    item.parsed()
}

/// A path on a host: no line breaks, no NUL, not empty, no directory.
pub(super) fn remote_path(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if text.starts_with('~') {
        item.error_with_hint(
            "nothing on the host turns `~` into a directory",
            "a relative path begins at the login directory: leave `~/` away".to_owned(),
        );
        return None;
    }
    if text.is_empty() || text.starts_with('-') || text.ends_with('/') || text.contains(|c: char| c.is_control()) {
        item.error("should be the path of a file");
        return None;
    }
    Some(text.to_owned())
}

/// What a person reads: one line.
pub(super) fn caption(item: &Item<'_>) -> Option<String> {
    let text = item.text()?.trim();
    if text.is_empty() || text.contains(char::is_control) || text.chars().count() > CAPTION_CHARS_MAX {
        item.error(&format!("should be one line of at most {CAPTION_CHARS_MAX} characters"));
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
