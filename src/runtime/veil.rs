//! A second net under what a host says: whatever a tool there prints of its trouble, no value leaves with it.
//!
//! The first net is that tools get values on their standard input only, and that only the first line of a complaint is passed on.

use crate::model::{Reason, Secret};

/// So many bytes of a value, or of its hex digits, give it away.
const PART: usize = 12;

/// Shorter values are words that a complaint may hold by chance.
const BYTES_MIN: usize = 6;

/// The reason as it is, or without its words if they hold a part of a value.
#[must_use]
pub fn veil<'a>(reason: Reason, mut values: impl Iterator<Item = &'a Secret>) -> Reason {
    if values.any(|value| shows(reason.detail.as_bytes(), value.expose())) {
        return Reason::new(reason.kind, "the host's words for it hold a value, so they are not shown");
    }
    reason
}

fn shows(text: &[u8], value: &[u8]) -> bool {
    let hex = |form: fn(&u8) -> String| zeroize::Zeroizing::new(value.iter().map(form).collect::<String>());
    let (lower, upper) = (hex(|byte| format!("{byte:02x}")), hex(|byte| format!("{byte:02X}")));
    let holds = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
    value.len() >= BYTES_MIN
        && [value, lower.as_bytes(), upper.as_bytes()]
            .into_iter()
            .any(|form| form.windows(form.len().min(PART)).any(holds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ReasonKind;

    fn veiled(words: &str, value: &str) -> bool {
        let value = Secret::new(value.as_bytes().to_vec());
        veil(Reason::new(ReasonKind::CommandFailed, words), [&value].into_iter()).detail != words
    }

    #[test]
    fn words_that_hold_a_part_of_a_value_are_not_passed_on() {
        let value = "c0ffee11c0ffee22c0ffee33";
        for words in [
            "bad token c0ffee11c0ffee22c0ffee33",
            "…ee11c0ffee22…",
            "…fee22c0ffee33' is bad",
            "X'633066666565313163306666'",
        ] {
            assert!(veiled(words, value), "{words}");
        }
        assert!(veiled("password hunter2 is too short", "hunter2"));
        assert!(!veiled("No space left on device", value));
        assert!(!veiled("a file", "a"));
    }
}
