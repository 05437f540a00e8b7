//! SQL for values in a database: what is read, and the one transaction that puts a value there only if the old one still is.

use zeroize::Zeroizing;

use crate::model::{Reason, ReasonKind, Secret, SqlError, SqlPiece, sql_pieces};

/// How long SQLite waits for a database that somebody else writes, in milliseconds.
const BUSY_MS: u32 = 5_000;

/// One row: the playbook's statements, and what their parameters stand for.
pub struct SqlRow<'a> {
    /// A `SELECT` of one value; may name `:host`.
    pub read: &'a str,
    /// The writing statement; names `:secret`, may name `:host`.
    pub write: &'a str,
    /// `:host`.
    pub host: &'a str,
    /// The value now held, `:secret` of the way back.
    pub old: &'a Secret,
    /// The new value, `:secret` of the cut.
    pub new: &'a Secret,
}

/// SQL that prints, for each row, how many values there are and the value in hex.
///
/// # Errors
/// If a statement of the playbook cannot be used.
pub fn inspect_sql<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Secret, SqlError> {
    let mut sql = opening();
    for (read, host) in rows {
        let read = bind(read, host, None)?;
        push(&mut sql, &[b"SELECT (SELECT count(*) FROM (", &read, b")) || ' ' || coalesce((SELECT hex(CAST((", &read]);
        push(&mut sql, &[b") AS BLOB))), '');\n"]);
    }
    Ok(Secret::new(std::mem::take(&mut *sql)))
}

/// Reads what [`inspect_sql`] printed: the value of each row, or why there is none.
///
/// # Errors
/// If it is not what [`inspect_sql`] prints for so many rows.
pub fn parse_inspected(printed: &Secret, rows: usize) -> Result<Vec<Result<Secret, Reason>>, Reason> {
    let broken = || Reason::new(ReasonKind::AnswerBroken, "sqlite3 printed something else than was asked");
    let text = std::str::from_utf8(printed.expose()).map_err(|_| broken())?;
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() != rows {
        return Err(broken());
    }
    let parse = |line: &str| {
        let (count, hex) = line.split_once(' ')?;
        match count {
            "0" => Some(Err(Reason::new(ReasonKind::Missing, "there is no such row"))),
            "1" => Some(Ok(Secret::new(unhex(hex)?))),
            many => Some(Err(Reason::new(ReasonKind::Ambiguous, format!("there are {many} such rows")))),
        }
    };
    lines.into_iter().map(|line| parse(line).ok_or_else(broken)).collect()
}

/// The five scripts of a change: `cut`, `revert`, `which` and `rehearse`, and `restore` for a person who has looked: it puts the old
/// values back whatever is held now.
///
/// # Errors
/// If a statement of the playbook cannot be used.
pub fn stage_sql(rows: &[SqlRow<'_>]) -> Result<[(&'static str, Secret); 5], SqlError> {
    let (forth, back) = (moves(rows, |row| (row.old, row.new))?, moves(rows, |row| (row.new, row.old))?);
    let script = |middle: &[&[u8]], end: &[u8]| {
        let mut sql = opening();
        push(&mut sql, &[b"BEGIN IMMEDIATE;\nCREATE TEMP TABLE lockturn_guard(ok INTEGER CHECK (ok IS 1));\n"]);
        push(&mut sql, middle);
        push(&mut sql, &[end]);
        Secret::new(std::mem::take(&mut *sql))
    };
    let mut restore = opening();
    push(&mut restore, &[b"BEGIN IMMEDIATE;\n"]);
    for row in rows {
        push(&mut restore, &[&bind(row.write, row.host, Some(row.old))?, b";\n"]);
    }
    push(&mut restore, &[b"COMMIT;\n"]);
    Ok([
        ("cut", script(&[&forth], b"COMMIT;\n")),
        ("revert", script(&[&back], b"COMMIT;\n")),
        ("which", which(rows)?),
        ("rehearse", script(&[&forth, &back], b"ROLLBACK;\n")),
        ("restore", Secret::new(std::mem::take(&mut *restore))),
    ])
}

/// For each row: it holds what it should, it is written, one row was, and it holds what was written. Any other case stops the
/// script, and with it the transaction.
fn moves<'a>(
    rows: &'a [SqlRow<'a>],
    way: impl Fn(&'a SqlRow<'a>) -> (&'a Secret, &'a Secret),
) -> Result<Zeroizing<Vec<u8>>, SqlError> {
    let mut sql = Zeroizing::new(Vec::new());
    for row in rows {
        let (from, to) = way(row);
        let read = bind(row.read, row.host, None)?;
        let write = bind(row.write, row.host, Some(to))?;
        guard(&mut sql, &read, from);
        push(&mut sql, &[&write, b";\nINSERT INTO lockturn_guard SELECT changes();\n"]);
        guard(&mut sql, &read, to);
    }
    Ok(sql)
}

fn guard(sql: &mut Zeroizing<Vec<u8>>, read: &[u8], value: &Secret) {
    push(sql, &[b"INSERT INTO lockturn_guard SELECT CAST((", read, b") AS BLOB) IS X'", &hex(value), b"';\n"]);
}

fn which(rows: &[SqlRow<'_>]) -> Result<Secret, SqlError> {
    let mut sql = opening();
    push(&mut sql, &[b"SELECT CASE"]);
    for (word, new) in [("new", true), ("old", false)] {
        push(&mut sql, &[b" WHEN 1"]);
        for row in rows {
            let read = bind(row.read, row.host, None)?;
            let value = hex(if new { row.new } else { row.old });
            push(&mut sql, &[b" AND CAST((", &read, b") AS BLOB) IS X'", &value, b"'"]);
        }
        push(&mut sql, &[b" THEN '", word.as_bytes(), b"'"]);
    }
    push(&mut sql, &[b" ELSE 'other' END;\n"]);
    Ok(Secret::new(std::mem::take(&mut *sql)))
}

/// A dot-command, because `PRAGMA busy_timeout` would print its answer among ours.
fn opening() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(format!(".timeout {BUSY_MS}\n").into_bytes())
}

fn push(sql: &mut Zeroizing<Vec<u8>>, parts: &[&[u8]]) {
    for part in parts {
        sql.extend_from_slice(part);
    }
}

fn hex(value: &Secret) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = Zeroizing::new(Vec::with_capacity(value.len() * 2));
    for byte in value.expose() {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// A statement with `:host` and `:secret` replaced by literals that cannot end: hex.
fn bind(statement: &str, host: &str, secret: Option<&Secret>) -> Result<Zeroizing<Vec<u8>>, SqlError> {
    let mut bound = Zeroizing::new(Vec::with_capacity(statement.len() + 256));
    for piece in sql_pieces(statement)? {
        match piece {
            SqlPiece::Text(text) => bound.extend_from_slice(text.as_bytes()),
            // A comment to the end of the line would swallow what follows the statement.
            SqlPiece::Comment(_) => bound.push(b' '),
            SqlPiece::Parameter(name) => {
                let value = match (name, secret) {
                    (":host", _) => hex(&Secret::new(host.as_bytes().to_vec())),
                    (":secret", Some(secret)) => hex(secret),
                    _ => return Err(SqlError::Parameter(name.to_owned())),
                };
                push(&mut bound, &[b"CAST(X'", &value, b"' AS TEXT)"]);
            }
        }
    }
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(statement: &str) -> Result<String, SqlError> {
        let bytes = bind(statement, "w", Some(&Secret::new(b"s".to_vec())))?;
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn parameters_become_hex_literals_and_quoted_text_stays() {
        assert_eq!(
            bound("UPDATE t SET a = :secret WHERE b = :host AND c = ':host' -- :x\n;").unwrap(),
            "UPDATE t SET a = CAST(X'73' AS TEXT) WHERE b = CAST(X'77' AS TEXT) AND c = ':host'  "
        );
        assert_eq!(
            bound("SELECT \":a;\", [b;c], `d:e` /* :f; */"),
            Ok("SELECT \":a;\", [b;c], `d:e` /* :f; */".into())
        );
    }

    #[test]
    fn what_is_not_one_statement_with_our_parameters_is_refused() {
        assert_eq!(bound("SELECT 1; DROP TABLE t"), Err(SqlError::Several));
        assert_eq!(bound("SELECT 'a"), Err(SqlError::Unclosed));
        assert_eq!(bound("SELECT :other"), Err(SqlError::Parameter(":other".into())));
        assert_eq!(bound(".system id"), Err(SqlError::DotCommand));
        assert_eq!(bound("SELECT ?1"), Err(SqlError::Parameter("?1".into())));
    }
}
