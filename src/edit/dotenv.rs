//! `.env` files, as far as all their readers agree.
//!
//! The readers: node's `dotenv`, python-dotenv, systemd's `EnvironmentFile` (systemd.exec(5)) and simple ones that trim each line, skip
//! blanks and `#`, split at the first `=` and strip one pair of matching quotes. They differ on escapes, on expansion, on `#` after a
//! value, on values of several lines and on which of two equal keys counts. Where they differ we refuse.

use std::ops::Range;

use super::EditError;

/// The UTF-8 byte order mark. Kept where it is; it is not part of the first key.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// How a value is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quote {
    None,
    Single,
    Double,
}

/// Where a value stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its bytes, without quotes.
    pub(super) value: Range<usize>,
    pub(super) quote: Quote,
    /// Its line, from 1.
    pub(super) line: usize,
}

/// Finds the one value of a key.
pub(super) fn find(content: &[u8], key: &str) -> Result<Place, EditError> {
    if content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff") {
        return Err(EditError::NotText { what: "the mark of UTF-16" });
    }
    if content.contains(&0) {
        return Err(EditError::NotText { what: "a NUL byte" });
    }
    let mut found: Option<Place> = None;
    let mut lines = Vec::new();
    let mut problem = None;
    let mut open: Option<(u8, usize)> = None;
    let mut start = if content.starts_with(BOM) { BOM.len() } else { 0 };
    for (index, line) in content[start..].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let range = start..start + line.len();
        start = range.end;
        // A value that was opened in an earlier line: some readers go on until the quote closes, others do not.
        if let Some((quote, opened)) = open {
            if line.contains(&quote) {
                open = None;
            }
            if name_of(content, range).is_some_and(|(name, _)| name == key.as_bytes()) {
                let what = "it stands where some readers are still inside a quoted value of several lines";
                problem.get_or_insert(EditError::Unclear { key: key.to_owned(), line: opened, what });
                lines.push(number);
            }
            continue;
        }
        let Some((name, after)) = name_of(content, range) else { continue };
        let value = trimmed(content, after);
        if let Some(quote @ (b'"' | b'\'' | b'`')) = content[value.clone()].first().copied()
            && !content[value.start + 1..value.end].contains(&quote)
        {
            open = Some((quote, number));
        }
        if name == key.as_bytes() {
            lines.push(number);
            match place(content, value, key, number) {
                Ok(place) => found = Some(place),
                Err(error) => _ = problem.get_or_insert(error),
            }
        }
    }
    if lines.len() > 1 {
        return Err(EditError::Ambiguous { key: key.to_owned(), lines });
    }
    problem.map_or_else(|| found.ok_or_else(|| EditError::Missing { key: key.to_owned() }), Err)
}

/// The key of a line and where what stands behind `=` is; `None` for blanks, comments and lines without `=`.
fn name_of(content: &[u8], line: Range<usize>) -> Option<(&[u8], Range<usize>)> {
    let line = trimmed(content, line);
    let bytes = &content[line.clone()];
    if bytes.is_empty() || bytes[0] == b'#' || bytes[0] == b';' {
        return None;
    }
    let equals = bytes.iter().position(|byte| *byte == b'=')?;
    let name = bytes[..equals].trim_ascii();
    let name = match name.strip_prefix(b"export") {
        Some(rest) if rest.first().is_some_and(u8::is_ascii_whitespace) => rest.trim_ascii(),
        _ => name,
    };
    // `'KEY'=value` is the same key to python-dotenv.
    let name = match name {
        [b'\'' | b'"', inner @ .., b'\'' | b'"'] => inner,
        name => name,
    };
    Some((name, line.start + equals + 1..line.end))
}

/// The range without blanks at both ends.
fn trimmed(content: &[u8], range: Range<usize>) -> Range<usize> {
    let bytes = &content[range.clone()];
    let front = bytes.len() - bytes.trim_ascii_start().len();
    let kept = bytes.trim_ascii().len();
    range.start + front..range.start + front + kept
}

/// The value in what stands behind `=`.
fn place(content: &[u8], value: Range<usize>, key: &str, line: usize) -> Result<Place, EditError> {
    let bytes = &content[value.clone()];
    let quote = match bytes.first() {
        Some(b'"') => Quote::Double,
        Some(b'\'') => Quote::Single,
        Some(_) | None => Quote::None,
    };
    let inner = match quote {
        Quote::None => value,
        Quote::Single | Quote::Double => {
            let closed = bytes.len() >= 2 && bytes.last() == bytes.first();
            if !closed {
                let what = "its quote does not close at the end of the line";
                return Err(EditError::Unclear { key: key.to_owned(), line, what });
            }
            value.start + 1..value.end - 1
        }
    };
    check_value(&content[inner.clone()], quote, key, line)?;
    Ok(Place { value: inner, quote, line })
}

/// Whether all readers read these bytes, so quoted, as these bytes.
pub(super) fn check_value(value: &[u8], quote: Quote, key: &str, line: usize) -> Result<(), EditError> {
    let unclear = |what| Err(EditError::Unclear { key: key.to_owned(), line, what });
    if value.iter().any(|byte| byte.is_ascii_control()) {
        return unclear("a value with control characters or of several lines is read differently by different readers");
    }
    if std::str::from_utf8(value).is_err() {
        return unclear("a value that is not UTF-8 is read differently by different readers");
    }
    if value.contains(&b'\\') {
        return unclear("readers differ on what a backslash means");
    }
    if value.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'`')) {
        return unclear("readers differ on quotes inside a value");
    }
    match quote {
        Quote::Single => Ok(()),
        Quote::Double if value.contains(&b'$') => unclear("some readers expand `$` here"),
        Quote::Double => Ok(()),
        Quote::None if value.contains(&b'$') => unclear("some readers expand `$` here"),
        Quote::None if value.contains(&b'#') => unclear("some readers take `#` for a comment here"),
        Quote::None if value != value.trim_ascii() => unclear("readers differ on blanks at the ends of a value"),
        Quote::None => Ok(()),
    }
}
