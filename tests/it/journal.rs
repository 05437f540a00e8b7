//! The ledger remembers, and notices what was done to it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use lockturn::journal::{Journal, JournalError, StateDir};
use lockturn::model::{Decision, Entry, Event, Millis, PLAN_VERSION, Plan, RunId, Strategy, Unreachable, Verdict};

pub(crate) fn run() -> RunId {
    "01JRUN".parse().unwrap()
}

pub(crate) fn plan() -> Plan {
    Plan {
        version: PLAN_VERSION,
        playbook: "p".to_owned(),
        summary: String::new(),
        values: BTreeMap::new(),
        hosts: BTreeMap::new(),
        activate_batches: Vec::new(),
        strategy: Strategy::Lockstep,
        lease: Millis(1),
        unreachable: Unreachable::Abort,
    }
}

fn entry(event: Event) -> Entry {
    Entry { at_unix: Millis(1_700_000_000_000), elapsed: Millis(7), event }
}

pub(crate) fn three() -> Vec<Entry> {
    let decided = Event::Decided { decision: Decision::Rollback, cause: None };
    let began = Event::RunBegan {
        run: run(),
        plan: plan().hash(),
        playbook: "p".to_owned(),
        hosts: 0,
        operator: "op@here".to_owned(),
        version: "0".to_owned(),
    };
    [began, decided, Event::RunEnded { verdict: Verdict::Refused }].map(entry).into()
}

pub(crate) fn written(dir: &StateDir) -> Journal {
    let mut journal = Journal::open(dir).unwrap();
    journal.begin_run(&run(), &plan(), "op@here", &three()[..1]).unwrap();
    journal.append(&run(), &three()[1..]).unwrap();
    journal
}

pub(crate) fn state() -> (tempfile::TempDir, StateDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    (temp, dir)
}

/// Changes the ledger behind its back, as a person with `sqlite3` could.
#[test]
fn whoever_looks_at_the_lock_is_told_who_has_it_and_is_in_nobodys_way() {
    let (_temp, dir) = state();
    assert_eq!(dir.at_work(), None);
    let lock = dir.lock("op@here, process 1").unwrap();
    assert_eq!(
        dir.at_work().map(|at_work| (at_work.holder, at_work.run)),
        Some(("op@here, process 1".to_owned(), None))
    );
    let run: RunId = "01J".parse().unwrap();
    lock.works_on(&run);
    let at_work = dir.at_work().unwrap();
    assert_eq!((at_work.holder.as_str(), at_work.run), ("op@here, process 1", Some(run)));
    let locked = dir.lock("op@there").unwrap_err();
    assert_eq!(locked.to_string(), "another run holds the state directory: op@here, process 1, run 01J");
    drop(lock);
    assert_eq!(dir.at_work(), None, "what stands in its file is an earlier one's");
    // Many look without a pause; whoever takes it gets it.
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let _looked = dir.at_work();
                }
            });
        }
        let taken: Vec<bool> = (0..200).map(|_| dir.lock("op@here").is_ok()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(taken.into_iter().all(|taken| taken));
    });
}

fn tamper(dir: &StateDir, sql: &str) {
    let db = rusqlite::Connection::open(dir.join("ledger.db")).unwrap();
    db.execute_batch(&format!("DROP TRIGGER entries_stay; DROP TRIGGER entries_remain; {sql}")).unwrap();
}

#[test]
fn what_is_appended_is_there_after_the_process() {
    let (_temp, dir) = state();
    drop(written(&dir));
    let journal = Journal::open(&dir).unwrap();
    assert_eq!(journal.entries(&run()).unwrap(), three());
    assert_eq!(journal.plan(&run()).unwrap(), plan());
    assert_eq!(journal.verify().unwrap(), 3);
    let runs = journal.runs().unwrap();
    assert_eq!((runs.len(), runs[0].verdict, runs[0].is_unfinished()), (1, Some(Verdict::Refused), false));
}

#[test]
fn a_change_a_gap_and_a_swap_are_noticed_and_named() {
    for (sql, first_bad) in [
        ("UPDATE entries SET at_unix_ms = at_unix_ms + 1 WHERE seq = 2", 2),
        ("UPDATE entries SET event = replace(event, 'refused', 'rotated') WHERE seq = 3", 3),
        ("DELETE FROM entries WHERE seq = 1", 1),
        ("DELETE FROM entries WHERE seq = 2", 2),
        (
            "UPDATE entries SET seq = 9 WHERE seq = 1; UPDATE entries SET seq = 1 WHERE seq = 2; UPDATE entries SET seq = 2 WHERE seq = 9",
            1,
        ),
    ] {
        let (_temp, dir) = state();
        drop(written(&dir));
        tamper(&dir, sql);
        match Journal::open(&dir).unwrap().verify() {
            Err(JournalError::Broken(broken)) => assert_eq!(broken.seq, first_bad, "{sql}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn a_plan_that_was_changed_is_noticed() {
    let (_temp, dir) = state();
    drop(written(&dir));
    let db = rusqlite::Connection::open(dir.join("ledger.db")).unwrap();
    db.execute_batch("DROP TRIGGER runs_stay; UPDATE runs SET plan = replace(plan, '\"lease\":1', '\"lease\":9')")
        .unwrap();
    match Journal::open(&dir).unwrap().verify() {
        Err(JournalError::Broken(broken)) => assert!(broken.why.contains("the plan of"), "{}", broken.why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_database_itself_refuses_to_forget() {
    let (_temp, dir) = state();
    drop(written(&dir));
    let db = rusqlite::Connection::open(dir.join("ledger.db")).unwrap();
    for sql in
        ["UPDATE entries SET event = '{}'", "DELETE FROM entries", "DELETE FROM runs", "UPDATE runs SET plan = ''"]
    {
        assert!(db.execute_batch(sql).unwrap_err().to_string().contains("append-only"), "{sql}");
    }
}

#[test]
fn after_one_failed_write_nothing_more_is_written() {
    let (_temp, dir) = state();
    let mut journal = written(&dir);
    // The same run twice stands for a full disk: SQLite says no.
    assert!(matches!(journal.begin_run(&run(), &plan(), "op", &three()), Err(JournalError::Database(_))));
    assert!(matches!(journal.append(&run(), &three()), Err(JournalError::Poisoned)));
    assert_eq!(Journal::open(&dir).unwrap().verify().unwrap(), 3);
}

#[test]
fn the_second_process_is_told_who_came_first() {
    let (_temp, dir) = state();
    let first = dir.lock("op@here, process 1").unwrap();
    match dir.lock("op@there, process 2") {
        Err(JournalError::Locked { holder }) => assert_eq!(holder, "op@here, process 1"),
        other => panic!("{other:?}"),
    }
    drop(first);
    drop(dir.lock("op@there, process 2").unwrap());
}

#[test]
fn others_cannot_look_into_it() {
    let (temp, dir) = state();
    drop(written(&dir));
    drop(dir.fingerprint_key(|| [1; 32]).unwrap());
    for name in ["ledger.db", "fingerprint.key"] {
        assert_eq!(std::fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let open = temp.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(StateDir::open(&open), Err(JournalError::Exposed { mode: 0o755, .. })));
}

#[test]
fn the_key_of_fingerprints_is_made_once() {
    let (_temp, dir) = state();
    let value = lockturn::model::Secret::new(b"v".to_vec());
    let first = dir.fingerprint_key(|| [1; 32]).unwrap().fingerprint(&value);
    let second = dir.fingerprint_key(|| panic!("made twice")).unwrap().fingerprint(&value);
    assert_eq!(first, second);
}

#[test]
fn a_later_format_is_refused() {
    let (_temp, dir) = state();
    drop(written(&dir));
    rusqlite::Connection::open(dir.join("ledger.db")).unwrap().pragma_update(None, "user_version", 9).unwrap();
    assert!(matches!(Journal::open(&dir), Err(JournalError::Later { version: 9 })));
    assert!(matches!(Journal::open_to_read(&dir), Err(JournalError::Later { version: 9 })));
}

#[test]
fn an_earlier_format_is_read_and_kept_from_whoever_knows_only_that() {
    let (_temp, dir) = state();
    drop(written(&dir));
    let format = || rusqlite::Connection::open(dir.join("ledger.db")).unwrap();
    format().pragma_update(None, "user_version", 1).unwrap();
    assert!(Journal::open_to_read(&dir).unwrap().is_some());
    assert_eq!(Journal::open(&dir).unwrap().runs().unwrap().len(), 1);
    let now: u32 = format().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(now, 2);
}

#[test]
fn a_ledger_that_was_removed_or_replaced_takes_no_more_entries() {
    for replaced in [false, true] {
        let (_temp, dir) = state();
        let mut journal = written(&dir);
        std::fs::remove_file(dir.join("ledger.db")).unwrap();
        if replaced {
            std::fs::write(dir.join("ledger.db"), "").unwrap();
        }
        assert!(matches!(journal.append(&run(), &three()[1..]), Err(JournalError::Gone { .. })));
        assert!(matches!(journal.append(&run(), &three()[1..]), Err(JournalError::Poisoned)));
    }
}

#[test]
fn a_list_of_runs_reads_their_turns_only() {
    let (_temp, dir) = state();
    drop(written(&dir));
    let db = rusqlite::Connection::open(dir.join("ledger.db")).unwrap();
    // Nothing but turns can be read: every other entry would make the list fail.
    db.execute_batch(
        "DROP TRIGGER entries_stay; INSERT INTO entries SELECT seq + 3, run, 0, 0, '{\"step-', hash FROM entries",
    )
    .unwrap();
    drop(db);
    let journal = Journal::open(&dir).unwrap();
    let runs = journal.runs().unwrap();
    assert_eq!((runs[0].playbook.as_str(), runs[0].operator.as_str()), ("p", "op@here"));
    assert_eq!((runs[0].decision, runs[0].verdict), (Some(Decision::Rollback), Some(Verdict::Refused)));
    drop(journal);
    let db = rusqlite::Connection::open(dir.join("ledger.db")).unwrap();
    let sql = "EXPLAIN QUERY PLAN SELECT event FROM entries
        WHERE event LIKE '{\"run-%' OR event LIKE '{\"decided\"%' OR event LIKE '{\"resumed\"%' ORDER BY run, seq";
    let plan: String = db.query_row(sql, [], |row| row.get(3)).unwrap();
    assert!(plan.contains("turns"), "{plan}");
}

#[test]
fn a_run_is_found_by_the_beginning_of_its_name() {
    let (_temp, dir) = state();
    let mut journal = written(&dir);
    let other: RunId = "01JOTHER".parse().unwrap();
    journal.begin_run(&other, &plan(), "op@here", &[]).unwrap();
    let found = |beginning: &str| journal.runs_like(beginning).unwrap();
    assert_eq!(found("01jr"), [run()]);
    assert_eq!(found("01J"), [other, run()]);
    assert_eq!(found("%"), []);
}

/// A sync that failed may have lost what it was for, and the kernel takes it for written: an entry behind that would be lost with it.
#[test]
fn what_an_earlier_process_may_not_have_brought_to_the_disk_is_written_anew() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dirs = [&here, &there].map(|dir| StateDir::open(&dir.path().join("state")).unwrap());
    // As it lies there when whoever wrote it was killed.
    let journal = written(&dirs[0]);
    for name in ["ledger.db", "ledger.db-wal"] {
        std::fs::copy(dirs[0].join(name), dirs[1].join(name)).unwrap();
    }
    let size = |name: &str| std::fs::metadata(dirs[1].join(name)).unwrap().len();
    assert!(size("ledger.db-wal") > 0);
    let next = Journal::open(&dirs[1]).unwrap();
    assert_eq!(size("ledger.db-wal"), 0, "what comes next stands behind what may not be there");
    assert_eq!(next.entries(&run()).unwrap(), journal.entries(&run()).unwrap());
}
