//! Whether some reader is still inside an earlier value where a line begins.
//!
//! Readers that go line by line never are. The others go on to the quote that closes, but node, python and systemd do not agree on
//! what opens a value, on what a backslash before a quote means, and on what may stand behind a closing quote. Followed are the
//! values of several lines that all of them see alike, such as a key in PEM; behind any other one nothing is certain.

use super::{EditError, Line};

/// Refuses a key whose line comes after these, if a reader may not begin a new line there.
pub(super) fn check(before: &[Line<'_>], key: &str) -> Result<(), EditError> {
    let unclear = |line, what| Err(EditError::Unclear { key: key.to_owned(), line, what });
    if let Some(line) = since(before) {
        return unclear(line, "from this line on some readers are inside a quoted value that others do not see");
    }
    match before.last() {
        // In a comment too: systemd did so before version 254.
        Some(line) if line.text.ends_with(b"\\") => {
            unclear(line.number, "the line before it ends with a backslash; some readers join the two")
        }
        Some(_) | None => Ok(()),
    }
}

/// Since which line some reader is inside a value at the end of these.
fn since(lines: &[Line<'_>]) -> Option<usize> {
    let mut open: Option<(u8, usize)> = None;
    for line in lines {
        let (end, began) = match open {
            Some((quote, began)) => (go_on(line.text, quote), began),
            None => (begin(line.text), line.number),
        };
        open = match end {
            End::Between => None,
            End::Inside(quote) => Some((quote, began)),
            End::Uncertain => return Some(began),
        };
    }
    open.map(|(_, began)| began)
}

/// Where readers are at the end of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// All of them are between two values.
    Between,
    /// All that know values of several lines are inside one that this quote closes.
    Inside(u8),
    Uncertain,
}

/// A line that begins outside of any value.
fn begin(text: &[u8]) -> End {
    let text = text.trim_ascii();
    if text.starts_with(b"#") {
        return End::Between;
    }
    // Only node's `dotenv` takes `:` for `=`, and the quote in this line for the value of an empty key before it.
    let behind_colon = text.iter().position(|byte| *byte == b':').map_or(&b""[..], |at| &text[at + 1..]);
    if value(text) != End::Between || value(behind_colon) != End::Between {
        return End::Uncertain;
    }
    let Some(equals) = text.iter().position(|byte| *byte == b'=') else { return End::Between };
    match value(&text[equals + 1..]) {
        End::Inside(quote) if quote == b'`' || !every_reader_knows(&text[..equals]) => End::Uncertain,
        end => end,
    }
}

/// Whether this is a key to every reader, perhaps behind `export`.
fn every_reader_knows(name: &[u8]) -> bool {
    let name = name.trim_ascii();
    let name = name.strip_prefix(b"export ").unwrap_or(name).trim_ascii();
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// What stands behind an `=`, or behind a closing quote, where systemd lets another one open.
fn value(text: &[u8]) -> End {
    match text.trim_ascii_start() {
        [quote @ (b'\'' | b'"' | b'`'), rest @ ..] => go_on(rest, *quote),
        _ => End::Between,
    }
}

/// The rest of a line that begins inside a value.
fn go_on(text: &[u8], quote: u8) -> End {
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == quote).map(|at| from + at) {
        match &text[..at] {
            // An escaped backslash before the quote to some, a backslash and an escaped quote to others.
            [.., b'\\', b'\\'] => return End::Uncertain,
            [.., b'\\'] if quote == b'"' => from = at + 1,
            [.., b'\\'] => return End::Uncertain,
            _ if value(&text[at + 1..]) == End::Between => return End::Between,
            _ => return End::Uncertain,
        }
    }
    // node's own reader closes at the first quote, escaped or not.
    if from == 0 { End::Inside(quote) } else { End::Uncertain }
}
