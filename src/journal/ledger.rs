//! The ledger in SQLite: WAL and `synchronous=FULL`, so that what is appended is on the disk when `append` returns.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, Row, TransactionBehavior, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{Decision, DrillFault, Entry, Event, Isolates, IsolationPlan, Millis, Plan, RunId, Verdict};

use super::chain;
use super::{Broken, JournalError, StateDir};

/// The format of what is remembered. A later one is refused; an earlier one is taken as it is. Format 2 has the same tables, and events
/// that format 1 does not know (drills, ledgers begun anew, quarantine).
const FORMAT: u32 = 2;

const SCHEMA: &str = "
CREATE TABLE runs (
    run TEXT PRIMARY KEY,
    plan TEXT NOT NULL,
    began_unix_ms INTEGER NOT NULL,
    operator TEXT NOT NULL
) STRICT;
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    run TEXT NOT NULL REFERENCES runs(run),
    at_unix_ms INTEGER NOT NULL,
    elapsed_ms INTEGER NOT NULL,
    event TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX entries_of_run ON entries(run, seq);
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entries_remain BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER runs_stay BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER runs_remain BEFORE DELETE ON runs BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
";

/// The turns of a run, which are few, have an index of their own: a list of runs does not read the steps of ten thousand hosts.
const TURNS: &str = "CREATE INDEX IF NOT EXISTS turns ON entries(run, seq)
WHERE event LIKE '{\"run-%' OR event LIKE '{\"decided\"%' OR event LIKE '{\"resumed\"%'";

/// The ledger.
pub struct Journal {
    db: Connection,
    path: PathBuf,
    /// Device and inode of the file that is open.
    file: (u64, u64),
    poisoned: bool,
}

fn busy() -> rusqlite::Error {
    let words = "another process reads it and does not end".to_owned();
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), Some(words))
}

/// One run, in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// Its identity.
    pub run: RunId,
    /// The playbook's name.
    pub playbook: String,
    /// When it began.
    pub began_unix: Millis,
    /// Who began it.
    pub operator: String,
    /// What goes wrong on purpose, if it is a drill.
    pub drill: Option<DrillFault>,
    /// Whom it isolates or releases, if it rotates nothing.
    pub isolates: Option<Isolates>,
    /// The decision, once it was made.
    pub decision: Option<Decision>,
    /// What became of it, once it ended.
    pub verdict: Option<Verdict>,
}

impl RunSummary {
    /// Whether something is left to be done: it never ended, or ended where `resume` goes on.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        match self.verdict {
            None | Some(Verdict::RotatedWithDebt | Verdict::Inconsistent | Verdict::Partial) => true,
            Some(
                Verdict::Rotated
                | Verdict::RolledBack
                | Verdict::Drilled
                | Verdict::Refused
                | Verdict::Quarantined
                | Verdict::Released,
            ) => false,
        }
    }
}

impl Journal {
    /// Opens the ledger for writing, making it if need be. The caller holds the state directory's lock.
    ///
    /// # Errors
    /// If it cannot be opened, or was written by a later version.
    pub fn open(dir: &StateDir) -> Result<Self, JournalError> {
        let path = dir.join("ledger.db");
        // Made with its mode before SQLite sees it: the side files get the same.
        let io = |source| JournalError::Io { path: path.clone(), source };
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io)?;
        let file = identity(&path).map_err(io)?;
        let mut db = Connection::open(&path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        // An earlier process may have ended because a sync failed. What that one left in the WAL the kernel takes for written, and
        // whether it is on the disk nobody knows: it is written anew, so that nothing stands behind it.
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| match row.get(0)? {
            false => Ok(()),
            true => Err(busy()),
        })?;
        db.pragma_update(None, "foreign_keys", true)?;
        // Without it `INSERT OR REPLACE` removes rows past the triggers.
        db.pragma_update(None, "recursive_triggers", true)?;
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = version(&transaction)?;
        match found {
            0 => transaction.execute_batch(SCHEMA)?,
            1..=FORMAT => {}
            version => return Err(JournalError::Later { version }),
        }
        if found != FORMAT {
            // Whoever knows only an earlier one is told so from here on, and not that an entry is broken.
            transaction.pragma_update(None, "user_version", FORMAT)?;
        }
        transaction.execute_batch(TURNS)?;
        transaction.commit()?;
        Ok(Self { db, path, file, poisoned: false })
    }

    /// Opens the ledger for reading, while another process may write. `None` if there is none yet.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_to_read(dir: &StateDir) -> Result<Option<Self>, JournalError> {
        let path = dir.join("ledger.db");
        if !path.exists() {
            return Ok(None);
        }
        let db = readable(&path)?;
        match version(&db)? {
            // Made, and not yet filled, by a process that is at it just now.
            0 => Ok(None),
            1..=FORMAT => {
                let file = identity(&path).map_err(|source| JournalError::Io { path: path.clone(), source })?;
                Ok(Some(Self { db, path, file, poisoned: false }))
            }
            version => Err(JournalError::Later { version }),
        }
    }

    /// Remembers a run, its plan and its first entries, all or nothing: a run without entries could neither be resumed nor left.
    ///
    /// # Errors
    /// If it is not durable. The ledger is then poisoned.
    pub fn begin_run(&mut self, run: &RunId, plan: &Plan, operator: &str, first: &[Entry]) -> Result<(), JournalError> {
        self.begin_any(run, plan, operator, first)
    }

    /// As [`Journal::begin_run`], for a run that isolates hosts or releases them.
    ///
    /// # Errors
    /// As [`Journal::begin_run`].
    pub fn begin_isolation(
        &mut self,
        run: &RunId,
        plan: &IsolationPlan,
        operator: &str,
        first: &[Entry],
    ) -> Result<(), JournalError> {
        self.begin_any(run, plan, operator, first)
    }

    fn begin_any(
        &mut self,
        run: &RunId,
        plan: &impl Serialize,
        operator: &str,
        first: &[Entry],
    ) -> Result<(), JournalError> {
        let json = serde_json::to_string(plan).expect("a plan has only string keys and finite numbers");
        let began = first.first().map_or(Millis(0), |entry| entry.at_unix);
        self.write(|transaction| {
            let values = params![run.as_str(), json, number(began), operator];
            transaction
                .execute("INSERT INTO runs(run, plan, began_unix_ms, operator) VALUES (?1, ?2, ?3, ?4)", values)?;
            append(transaction, run, first)
        })
    }

    /// Makes these entries durable, all or none.
    ///
    /// # Errors
    /// If they are not durable. The ledger is then poisoned: a failed sync must not be tried again, because the second one may
    /// succeed without the first one's data.
    pub fn append(&mut self, run: &RunId, entries: &[Entry]) -> Result<(), JournalError> {
        self.write(|transaction| append(transaction, run, entries))
    }

    fn write(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned);
        }
        // SQLite goes on writing into a file that has no name any more; what nobody can read again is not remembered.
        if identity(&self.path).ok() != Some(self.file) {
            self.poisoned = true;
            return Err(JournalError::Gone { path: self.path.clone() });
        }
        let in_one = |db: &mut Connection| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            work(&transaction)?;
            transaction.commit()
        };
        in_one(&mut self.db).map_err(|error| {
            self.poisoned = true;
            JournalError::Database(error)
        })
    }

    /// The plan of a run.
    ///
    /// # Errors
    /// If there is no such run, or its plan cannot be read.
    pub fn plan(&self, run: &RunId) -> Result<Plan, JournalError> {
        self.any_plan(run)
    }

    /// The plan of a run that isolates hosts or releases them; none if the run is a rotation.
    ///
    /// # Errors
    /// As [`Journal::plan`].
    pub fn isolation(&self, run: &RunId) -> Result<Option<IsolationPlan>, JournalError> {
        let entries = self.entries(run)?;
        let isolates = entries.iter().any(|entry| matches!(entry.event, Event::RunIsolates(_)));
        if isolates { self.any_plan(run).map(Some) } else { Ok(None) }
    }

    fn any_plan<P: DeserializeOwned>(&self, run: &RunId) -> Result<P, JournalError> {
        let found = self.db.query_row("SELECT plan FROM runs WHERE run = ?1", [run.as_str()], |row| row.get(0));
        let json: String = found.map_err(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => JournalError::NoSuchRun(run.to_string()),
            error => JournalError::Database(error),
        })?;
        serde_json::from_str(&json).map_err(|error| broken(0, format!("the plan of {run}: {error}")))
    }

    /// The entries of a run, in order.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn entries(&self, run: &RunId) -> Result<Vec<Entry>, JournalError> {
        let query = "SELECT seq, run, at_unix_ms, elapsed_ms, event, hash FROM entries WHERE run = ?1 ORDER BY seq";
        let mut statement = self.db.prepare(query)?;
        let stored = statement.query_map([run.as_str()], Stored::read)?.collect::<Result<Vec<_>, _>>()?;
        stored.iter().map(Stored::entry).collect()
    }

    /// All runs, the latest last: in the order in which they were begun, whatever the operator's clock said then.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn runs(&self) -> Result<Vec<RunSummary>, JournalError> {
        // The same words as in `TURNS`, so that SQLite takes that index.
        let mut statement = self.db.prepare(
            "SELECT seq, run, at_unix_ms, elapsed_ms, event, hash FROM entries
             WHERE event LIKE '{\"run-%' OR event LIKE '{\"decided\"%' OR event LIKE '{\"resumed\"%' ORDER BY run, seq",
        )?;
        let mut runs: Vec<(u64, RunSummary)> = Vec::new();
        for stored in statement.query_map([], Stored::read)? {
            let stored = stored?;
            let (seq, entry) = (stored.seq, stored.entry()?);
            match (entry.event, runs.last_mut().map(|(_, run)| run)) {
                (Event::RunBegan { run, playbook, operator, .. }, _) => {
                    let began_unix = entry.at_unix;
                    let (drill, isolates, decision, verdict) = (None, None, None, None);
                    let run = RunSummary { run, playbook, began_unix, operator, drill, isolates, decision, verdict };
                    runs.push((seq, run));
                }
                (Event::RunIsDrill(drill), Some(run)) => run.drill = Some(drill.fault),
                (Event::RunIsolates(isolates), Some(run)) => run.isolates = Some(isolates),
                (Event::Decided { decision, .. }, Some(run)) => run.decision = Some(decision),
                (Event::RunEnded { verdict }, Some(run)) => run.verdict = Some(verdict),
                (Event::Resumed { .. }, Some(run)) => run.verdict = None,
                _ => {}
            }
        }
        runs.sort_by_key(|(seq, _)| *seq);
        Ok(runs.into_iter().map(|(_, run)| run).collect())
    }

    /// The runs whose name begins so.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn runs_like(&self, beginning: &str) -> Result<Vec<RunId>, JournalError> {
        let mut statement =
            self.db.prepare("SELECT run FROM runs WHERE substr(run, 1, length(?1)) = upper(?1) ORDER BY run")?;
        let names = statement.query_map([beginning], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        names
            .into_iter()
            .map(|name| name.parse().map_err(|error| broken(0, format!("a run's name: {error}"))))
            .collect()
    }

    fn hash_of_plan(&self, run: &RunId) -> Result<String, JournalError> {
        Ok(match self.isolation(run)? {
            Some(plan) => plan.hash(),
            None => self.plan(run)?.hash(),
        })
    }

    /// Proves that no entry was changed, removed or reordered, and counts them. (Entries cut off at the end leave no trace in the
    /// chain: compare the count or the last hash with a copy kept elsewhere.)
    ///
    /// # Errors
    /// [`JournalError::Broken`] with the first entry that is not as it was written.
    pub fn verify(&self) -> Result<u64, JournalError> {
        let mut statement =
            self.db.prepare("SELECT seq, run, at_unix_ms, elapsed_ms, event, hash FROM entries ORDER BY seq")?;
        let mut before = chain::FIRST.to_owned();
        let mut count = 0;
        for stored in statement.query_map([], Stored::read)? {
            let stored = stored?;
            count += 1;
            if stored.seq != count {
                return Err(broken(count, "it is missing".to_owned()));
            }
            let hash = chain::hash(&before, stored.seq, &stored.run, stored.at_unix, stored.elapsed, &stored.event);
            if hash != stored.hash {
                return Err(broken(count, "it is not as it was written".to_owned()));
            }
            // The chain covers the plan through its hash, which the first entry of a run holds.
            if stored.event.starts_with("{\"run-began\"")
                && let Event::RunBegan { run, plan, .. } = stored.entry()?.event
                && self.hash_of_plan(&run)? != plan
            {
                return Err(broken(count, format!("the plan of {run} is not the one that it began with")));
            }
            before = hash;
        }
        // The chain is read along the table; the entries of one run are found through an index, which may be damaged alone.
        let said: String = self.db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if said == "ok" { Ok(count) } else { Err(broken(count, format!("what finds it is damaged: {said}"))) }
    }
}

/// Adds entries at the end of the chain.
fn append(db: &Connection, run: &RunId, entries: &[Entry]) -> rusqlite::Result<()> {
    assert!(entries.iter().all(|entry| !entry.event.is_note()), "a note is not a fact");
    let last = "SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1";
    let (mut seq, mut before): (u64, String) = match db.query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?))) {
        Ok(last) => last,
        Err(rusqlite::Error::QueryReturnedNoRows) => (0, chain::FIRST.to_owned()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        seq += 1;
        let event = serde_json::to_string(&entry.event).expect("an event has only string keys");
        let hash = chain::hash(&before, seq, run.as_str(), entry.at_unix.0, entry.elapsed.0, &event);
        db.execute(
            "INSERT INTO entries(seq, run, at_unix_ms, elapsed_ms, event, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![seq, run.as_str(), number(entry.at_unix), number(entry.elapsed), event, hash],
        )?;
        before = hash;
    }
    Ok(())
}

struct Stored {
    seq: u64,
    run: String,
    at_unix: u64,
    elapsed: u64,
    event: String,
    hash: String,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            run: row.get(1)?,
            at_unix: row.get(2)?,
            elapsed: row.get(3)?,
            event: row.get(4)?,
            hash: row.get(5)?,
        })
    }

    fn entry(&self) -> Result<Entry, JournalError> {
        let event = serde_json::from_str(&self.event).map_err(|error| broken(self.seq, error.to_string()))?;
        Ok(Entry { at_unix: Millis(self.at_unix), elapsed: Millis(self.elapsed), event })
    }
}

/// Open for reading, also where nothing can be written: SQLite keeps an index of its log beside the ledger even for those who only read.
/// Without a log there is nothing to be found in it.
fn readable(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let log = fs::metadata(path.with_extension("db-wal")).is_ok_and(|log| log.len() > 0);
    match version(&db) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) && !log => {
            let special = |c: char| matches!(c, '%' | '?' | '#');
            let plain = path.to_str().filter(|path| !path.contains(special)).ok_or(error)?;
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(format!("file:{plain}?immutable=1"), flags)
        }
        _ => Ok(db),
    }
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn version(db: &Connection) -> rusqlite::Result<u32> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn number(millis: Millis) -> i64 {
    i64::try_from(millis.0).unwrap_or(i64::MAX)
}

fn broken(seq: u64, why: String) -> JournalError {
    JournalError::Broken(Broken { seq, why })
}
