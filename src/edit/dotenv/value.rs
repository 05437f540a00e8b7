//! Which bytes mean themselves to every reader.

use super::super::EditError;

/// How a value is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edit) enum Quote {
    None,
    Single,
    Double,
}

/// Whether all readers read these bytes, so quoted, as these bytes. It holds for the old value and for the new one.
pub(in crate::edit) fn check_value(value: &[u8], quote: Quote, key: &str, line: usize) -> Result<(), EditError> {
    let unclear = |what| Err(EditError::Unclear { key: key.to_owned(), line, what });
    let Ok(text) = std::str::from_utf8(value) else {
        return unclear("a value that is not UTF-8 is read differently by different readers");
    };
    let has = |set: &[char]| text.contains(set);
    if text.chars().any(|c| c.is_control() || odd_blank(c) || is_noncharacter(c)) {
        return unclear("readers differ on control characters, several lines and odd blanks in a value");
    }
    if has(&['\\']) {
        return unclear("readers differ on what a backslash means");
    }
    if has(&['"', '\'', '`']) {
        return unclear("readers differ on quotes inside a value");
    }
    if has(&['$']) && (quote != Quote::Single || text.contains("${")) {
        // python-dotenv does so with `${…}` in single quotes too.
        return unclear("some readers expand `$` here");
    }
    if quote != Quote::None {
        return Ok(());
    }
    if has(&['#']) {
        return unclear("some readers take `#` for a comment here");
    }
    if has(&[' ', ';', '&', '|', '<', '>', '(', ')', '~']) {
        return unclear("a shell that reads the file takes blanks and `; & | < > ( ) ~` for its own; it needs quotes");
    }
    Ok(())
}

/// Blanks that some readers trim, and others keep.
fn odd_blank(c: char) -> bool {
    c != ' ' && (c.is_whitespace() || c == '\u{feff}')
}

/// Code points that are no characters: systemd takes a file that has one for no text.
fn is_noncharacter(c: char) -> bool {
    let point = u32::from(c);
    point & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&point)
}
