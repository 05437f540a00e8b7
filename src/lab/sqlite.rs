//! Plays the `sqlite3` command for the hosts of the lab: SQL from stdin, rows in list mode.
//!
//! **Invariant:** it never creates a database, and it stops at the first error (`-bail`), rolling back what was open.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, OpenFlags};

/// Why the stand-in of `sqlite3` failed; the caller prints it to stderr and exits with 1.
#[derive(Debug)]
pub enum SqliteError {
    /// The arguments are not ones that the stand-in knows.
    Usage(String),
    /// The database said no.
    Database(rusqlite::Error),
    /// The rows could not be printed.
    Output(std::io::Error),
}

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => write!(f, "Error: {what}"),
            // Not rusqlite's own text: that one repeats the statement, and with it the value of a secret.
            Self::Database(rusqlite::Error::SqlInputError { msg, .. }) => write!(f, "Error: {msg}"),
            Self::Database(error) => write!(f, "Error: {error}"),
            Self::Output(error) => write!(f, "Error: cannot print rows: {error}"),
        }
    }
}

impl std::error::Error for SqliteError {}

impl From<rusqlite::Error> for SqliteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// What the command line asks for.
struct Call {
    path: String,
    sql: Option<String>,
    flags: OpenFlags,
}

impl Call {
    fn parse(args: &[String]) -> Result<Self, SqliteError> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let mut words = Vec::new();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.trim_start_matches('-') {
                // It has no start-up file anyway.
                "init" if arg.starts_with('-') => drop(args.next()),
                "readonly" if arg.starts_with('-') => flags = OpenFlags::SQLITE_OPEN_READ_ONLY,
                "" | "batch" | "bail" | "list" | "noheader" if arg.starts_with('-') => {}
                other if arg.starts_with('-') => return Err(SqliteError::Usage(format!("unknown option: -{other}"))),
                _ => words.push(arg.clone()),
            }
        }
        let mut words = words.into_iter();
        let path = words.next().ok_or_else(|| SqliteError::Usage("a database is missing".to_owned()))?;
        let sql = words.next();
        match words.next() {
            Some(_) => Err(SqliteError::Usage("too many arguments".to_owned())),
            None => Ok(Self { path, sql, flags: flags | OpenFlags::SQLITE_OPEN_NO_MUTEX }),
        }
    }
}

/// Runs `sqlite3 ARGS…` with this text on stdin and prints rows to `out`.
///
/// # Errors
/// Says what `sqlite3` would have said on stderr; its exit status is 1 then.
pub fn sqlite3(args: &[String], input: &str, out: &mut dyn Write) -> Result<(), SqliteError> {
    let call = Call::parse(args)?;
    let connection = Connection::open_with_flags(&call.path, call.flags)?;
    match call.sql {
        Some(sql) => run(&connection, &sql, out)?,
        None => script(&connection, input, out)?,
    }
    out.flush().map_err(SqliteError::Output)
}

/// Runs a script, whose lines between statements may be dot commands.
fn script(connection: &Connection, input: &str, out: &mut dyn Write) -> Result<(), SqliteError> {
    let mut sql = String::new();
    for line in input.split_inclusive('\n') {
        let between = sql.trim().is_empty() || sql.trim_end().ends_with(';');
        if between && line.starts_with('.') {
            run(connection, &std::mem::take(&mut sql), out)?;
            dot_command(connection, line.trim_end())?;
        } else {
            sql.push_str(line);
        }
    }
    run(connection, &sql, out)
}

fn dot_command(connection: &Connection, line: &str) -> Result<(), SqliteError> {
    let mut words = line.split_whitespace();
    match (words.next().unwrap_or_default(), words.next()) {
        (".timeout", Some(time)) => {
            let time = time.parse().map_err(|_| SqliteError::Usage(".timeout takes milliseconds".to_owned()))?;
            Ok(connection.busy_timeout(Duration::from_millis(time))?)
        }
        (".bail", Some("on")) | (".headers", Some("off")) | (".mode", Some("list")) => Ok(()),
        // The rest of the line may be a value: only the command is named.
        (command, _) => Err(SqliteError::Usage(format!("unknown command: {command}"))),
    }
}

fn run(connection: &Connection, sql: &str, out: &mut dyn Write) -> Result<(), SqliteError> {
    let mut batch = Batch::new(connection, sql);
    while let Some(mut statement) = batch.next()? {
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                let separator: &[u8] = if column == 0 { b"" } else { b"|" };
                out.write_all(separator).map_err(SqliteError::Output)?;
                print(row.get_ref(column)?, out).map_err(SqliteError::Output)?;
            }
            out.write_all(b"\n").map_err(SqliteError::Output)?;
        }
    }
    Ok(())
}

fn print(value: ValueRef<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    match value {
        ValueRef::Null => Ok(()),
        ValueRef::Integer(number) => write!(out, "{number}"),
        ValueRef::Real(number) => write!(out, "{number:?}"),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => out.write_all(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(args: &[&str], input: &str) -> (Result<(), String>, String) {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut out = Vec::new();
        let result = sqlite3(&args, input, &mut out).map_err(|error| error.to_string());
        (result, String::from_utf8(out).unwrap())
    }

    #[test]
    fn rows_come_in_list_mode_and_an_error_rolls_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let db = path.to_str().unwrap();
        assert!(call(&["-batch", "-bail", db], "SELECT 1;").0.is_err(), "a database is never created");
        assert!(!path.exists());
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(a, b)").unwrap();

        let script = ".timeout 1000\nINSERT INTO t VALUES (1, 'x;y'), (NULL, 2.5);\nSELECT * FROM t;\n";
        assert_eq!(call(&["-batch", "-bail", "--", db], script), (Ok(()), "1|x;y\n|2.5\n".to_owned()));

        let (result, out) =
            call(&["-bail", db], "BEGIN; DELETE FROM t; SELECT count(*) FROM t; SELECT no_such; COMMIT;");
        assert_eq!(out, "0\n");
        assert!(result.unwrap_err().contains("no such column"));
        assert_eq!(call(&["-readonly", db, "SELECT count(*) FROM t"], "").1, "2\n");
        assert!(call(&["-readonly", "--", db], "DELETE FROM t;").0.is_err());
    }
}
