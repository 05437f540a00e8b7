//! The pieces of a SQL statement of a playbook: enough to see its parameters and where it ends.

use std::fmt;

/// Why a statement of a playbook cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlError {
    /// More than one statement.
    Several,
    /// A quote, a bracket or a comment that never ends.
    Unclosed,
    /// A command of the `sqlite3` program, not SQL.
    DotCommand,
    /// A parameter that is neither `:host` nor `:secret`.
    Parameter(String),
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Several => f.write_str("one statement is enough; this has several"),
            Self::DotCommand => f.write_str("it begins with `.`: a command of the sqlite3 program, not SQL"),
            Self::Unclosed => f.write_str("a quote or a comment in the statement is never closed"),
            Self::Parameter(name) => write!(f, "`{name}` is not a parameter; `:host` and `:secret` are"),
        }
    }
}

impl std::error::Error for SqlError {}

/// One piece of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlPiece<'a> {
    /// As it is: words, quoted text, names in quotes or brackets, comments between `/*` and `*/`.
    Text(&'a str),
    /// From `--` to the end of the line.
    Comment(&'a str),
    /// `:host`, `:secret`, or one that is not known.
    Parameter(&'a str),
}

/// Takes a statement apart. Quotes, brackets and comments are left alone.
///
/// # Errors
/// If it is not one statement.
pub fn sql_pieces(statement: &str) -> Result<Vec<SqlPiece<'_>>, SqlError> {
    let mut rest = statement.trim().trim_end_matches(';').trim_end();
    if rest.starts_with('.') {
        return Err(SqlError::DotCommand);
    }
    let mut pieces = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (piece, after) = match first {
            '\'' | '"' | '`' => closed(rest, 1, &first.to_string())?,
            '[' => closed(rest, 1, "]")?,
            '-' if rest.starts_with("--") => rest.split_at(rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => closed(rest, 2, "*/")?,
            ';' => return Err(SqlError::Several),
            ':' | '@' | '$' | '?' => {
                let end = rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                rest.split_at(end.map_or(rest.len(), |at| at + 1))
            }
            other => rest.split_at(other.len_utf8()),
        };
        pieces.push(match first {
            ':' | '@' | '$' | '?' => SqlPiece::Parameter(piece),
            '-' if piece.len() > 1 => SqlPiece::Comment(piece),
            _ => SqlPiece::Text(piece),
        });
        rest = after;
    }
    Ok(pieces)
}

fn closed<'a>(text: &'a str, skip: usize, end: &str) -> Result<(&'a str, &'a str), SqlError> {
    let at = text[skip..].find(end).ok_or(SqlError::Unclosed)?;
    Ok(text.split_at(skip + at + end.len()))
}
