//! `.env` files, as far as all their readers agree.
//!
//! The readers: node's `dotenv`, node's own `--env-file`, python-dotenv, systemd's `EnvironmentFile` (systemd.exec(5)), simple ones that
//! trim each line, skip blanks and `#`, split at the first `=` and strip one pair of matching quotes, and a shell that sources the
//! file. They differ on nearly everything, so three questions are asked, and where any reader could answer another way we refuse:
//! which line is the key's (here), whether a reader is still inside an earlier value there (`inside.rs`), and whether the bytes of
//! the value mean themselves (`value.rs`). A reader that cannot take the line at all (a shell does not take `K = v`, nor systemd
//! `export K=v`) is not one of that line. `tests/real/dotenv_readers.rs` asks the real ones.

mod inside;
mod value;

use std::ops::Range;

use super::EditError;
pub(super) use value::{Quote, check_value};

/// The UTF-8 byte order mark. Kept where it is; it is not part of the first key.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Where a value stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its bytes, without quotes.
    pub(super) value: Range<usize>,
    pub(super) quote: Quote,
    /// Its line, from 1.
    pub(super) line: usize,
}

/// One line, without what ends it.
struct Line<'a> {
    /// From 1.
    number: usize,
    /// Where it begins in the file.
    start: usize,
    text: &'a [u8],
}

/// Finds the one value of a key.
pub(super) fn find(content: &[u8], key: &str) -> Result<Place, EditError> {
    check_text(content)?;
    let lines = lines(content);
    let named: Vec<usize> = (0..lines.len()).filter(|at| names(lines[*at].text, key.as_bytes())).collect();
    let at = match named[..] {
        [] => return Err(EditError::Missing { key: key.to_owned() }),
        [at] => at,
        _ => {
            let lines = named.iter().map(|at| lines[*at].number).collect();
            return Err(EditError::Ambiguous { key: key.to_owned(), lines });
        }
    };
    inside::check(&lines[..at], key)?;
    let place = place(&lines[at], key)?;
    if place.value.is_empty() && place.quote == Quote::None {
        check_next(&lines[at + 1..], key, place.line)?;
    }
    Ok(place)
}

/// Bytes that make some readers see other lines than we do, or no text at all.
fn check_text(content: &[u8]) -> Result<(), EditError> {
    let holds = |bytes: &[u8]| content.windows(bytes.len()).any(|window| window == bytes);
    let lone_return =
        content.iter().enumerate().any(|(at, byte)| *byte == b'\r' && content.get(at + 1) != Some(&b'\n'));
    let what = if content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff") {
        "the mark of UTF-16"
    } else if content.contains(&0) {
        "a NUL byte"
    } else if lone_return {
        "a carriage return that ends no line (some readers end the line there)"
    } else if holds("\u{2028}".as_bytes()) || holds("\u{2029}".as_bytes()) {
        "a Unicode line separator (some readers end the line there)"
    } else {
        return Ok(());
    };
    Err(EditError::NotText { what })
}

fn lines(content: &[u8]) -> Vec<Line<'_>> {
    let mut start = if content.starts_with(BOM) { BOM.len() } else { 0 };
    let mut lines = Vec::new();
    for (index, whole) in content[start..].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let text = whole.strip_suffix(b"\n").unwrap_or(whole);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        lines.push(Line { number: index + 1, start, text });
        start += whole.len();
    }
    lines
}

/// Whether any reader could take this line for one of this key: `K=`, `export K`, `K: v`, `'K' =` and a lone `K` are.
fn names(text: &[u8], key: &[u8]) -> bool {
    let blank = |byte: &&u8| !byte.is_ascii_graphic();
    let skip_blanks = |text: &'_ [u8]| text.iter().take_while(blank).count();
    let mut text = &text[skip_blanks(text)..];
    if let Some(rest) = text.strip_prefix(b"export")
        && rest.first().as_ref().is_some_and(blank)
    {
        text = &rest[skip_blanks(rest)..];
    }
    if let [b'\'' | b'"', rest @ ..] = text {
        text = rest;
    }
    let Some(rest) = text.strip_prefix(key) else { return false };
    rest.first().is_none_or(|next| blank(&next) || matches!(next, b'=' | b':' | b'#' | b'\'' | b'"'))
}

/// The value in the line of the key, if the line has the one form that all readers of it know.
fn place(line: &Line<'_>, key: &str) -> Result<Place, EditError> {
    let number = line.number;
    let unclear = |what| EditError::Unclear { key: key.to_owned(), line: number, what };
    let text = trim(line.text);
    let text = match text.strip_prefix(b"export") {
        Some(rest) if rest.starts_with(b" ") => trim(rest),
        _ => text,
    };
    let behind_key = text.strip_prefix(key.as_bytes()).unwrap_or_default();
    let Some(behind_equals) = trim(behind_key).strip_prefix(b"=") else {
        return Err(unclear("only some readers take this line for the key's; write it as KEY=value"));
    };
    if behind_equals.starts_with(b" ") && !behind_key.starts_with(b" ") {
        return Err(unclear("a shell that reads the file takes the blank behind `=` for the end of an empty value"));
    }
    let value = trim(behind_equals);
    let (quote, inner) = match value {
        [b'"', inner @ .., b'"'] => (Quote::Double, inner),
        [b'\'', inner @ .., b'\''] => (Quote::Single, inner),
        [b'"' | b'\'', ..] => {
            return Err(unclear(
                "its quote does not close at the end of the line; some readers read on, others do not",
            ));
        }
        _ => (Quote::None, value),
    };
    if quote != Quote::None && line.text.ends_with(b" ") {
        return Err(unclear("there are blanks behind its closing quote; some readers keep the quotes then"));
    }
    check_value(inner, quote, key, number)?;
    // Nothing stands behind the value but its quote and blanks.
    let end = line.start + trim_end(line.text).len() - usize::from(quote != Quote::None);
    Ok(Place { value: end - inner.len()..end, quote, line: number })
}

/// node's `dotenv` looks for a quoted value in the lines that follow an empty one.
fn check_next(lines: &[Line<'_>], key: &str, line: usize) -> Result<(), EditError> {
    let next = lines.iter().map(|line| line.text.trim_ascii()).find(|text| !text.is_empty());
    match next {
        Some([b'\'' | b'"' | b'`', ..]) => {
            let what = "it is empty, and some readers take the quoted text in the next line for its value";
            Err(EditError::Unclear { key: key.to_owned(), line, what })
        }
        Some(_) | None => Ok(()),
    }
}

/// Without the blanks at both ends that every reader takes off: node's own one leaves tabs.
fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().take_while(|byte| **byte == b' ').count();
    trim_end(&text[start..])
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &text[..end]
}
