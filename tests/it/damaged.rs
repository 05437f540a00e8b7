//! A ledger with bytes that are others, or not there any more: it is noticed, or it tells what was written, whole or up to a point.

use std::fs;
use std::path::Path;

use lockturn::journal::{Journal, StateDir};
use lockturn::model::{Entry, Plan};

use super::journal::{run, state, three, written};
use super::support::Lab;

/// What a ledger tells, if it tells anything.
fn told(dir: &Path) -> Option<(Vec<Entry>, Option<Plan>, String)> {
    let journal = Journal::open(&StateDir::open(dir).ok()?).ok()?;
    journal.verify().ok()?;
    let (entries, runs) = (journal.entries(&run()).ok()?, journal.runs().ok()?);
    Some((entries, journal.plan(&run()).ok(), format!("{runs:?}")))
}

/// A state directory with these files.
fn with(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let (temp, dir) = state();
    files.iter().for_each(|(name, bytes)| fs::write(dir.join(name), bytes).unwrap());
    temp
}

fn told_of(files: &[(&str, &[u8])]) -> Option<(Vec<Entry>, Option<Plan>, String)> {
    let temp = with(files);
    told(&temp.path().join("state"))
}

#[test]
fn one_bit_of_any_byte_that_holds_something_is_noticed_or_says_nothing() {
    let (_temp, dir) = state();
    drop(written(&dir));
    let good = fs::read(dir.join("ledger.db")).unwrap();
    let whole = told_of(&[("ledger.db", &good)]);
    assert_eq!(whole.as_ref().unwrap().0, three());
    let (mut noticed, mut harmless) = (0, 0);
    // What is zero is mostly room that nothing uses: some of it is enough.
    for at in (0..good.len()).filter(|at| good[*at] != 0 || at % 64 == 0) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        match told_of(&[("ledger.db", &bad)]) {
            None => noticed += 1,
            told => {
                harmless += 1;
                assert_eq!(told, whole, "byte {at} is another, and nobody noticed");
            }
        }
    }
    assert!(noticed > 1_000, "{noticed} were noticed, {harmless} said nothing");
}

#[test]
fn a_ledger_that_was_cut_off_is_noticed_or_lacks_its_last_entries_only() {
    let (_temp, dir) = state();
    let journal = written(&dir);
    let (main, log) = (fs::read(dir.join("ledger.db")).unwrap(), fs::read(dir.join("ledger.db-wal")).unwrap());
    drop(journal);
    let whole = fs::read(dir.join("ledger.db")).unwrap();
    let mut lengths = Vec::new();
    for cut in (0..=log.len()).step_by(61).chain([log.len()]) {
        let Some((entries, ..)) = told_of(&[("ledger.db", &main), ("ledger.db-wal", &log[..cut])]) else { continue };
        assert_eq!(entries, three()[..entries.len()], "its log has {cut} bytes");
        lengths.push(entries.len());
    }
    assert!(lengths.is_sorted() && lengths.contains(&0) && lengths.last() == Some(&3), "{lengths:?}");
    // A file of one byte is an empty one to SQLite, and an empty one is a new ledger: then the hosts know better.
    for cut in (2..whole.len()).step_by(61) {
        let told = told_of(&[("ledger.db", &whole[..cut])]);
        assert!(told.is_none(), "{cut} bytes of {} tell {told:?}", whole.len());
    }
}

#[test]
fn an_entry_that_stands_twice_is_noticed() {
    let (_temp, dir) = state();
    drop(written(&dir));
    let db = rusqlite::Connection::open(dir.join("ledger.db")).unwrap();
    db.execute_batch("INSERT INTO entries SELECT seq + 3, run, at_unix_ms, elapsed_ms, event, hash FROM entries")
        .unwrap();
    drop(db);
    assert_eq!(told(dir.join("").as_path()), None);
}

#[test]
fn a_wall_clock_that_jumps_changes_no_order() {
    let (_temp, dir) = state();
    let mut journal = Journal::open(&dir).unwrap();
    let hour = 3_600_000;
    let mut entries = three();
    for (entry, at) in entries.iter_mut().zip([5 * hour, hour, 9 * hour]) {
        entry.at_unix.0 = at;
    }
    journal.begin_run(&run(), &super::journal::plan(), "op@here", &entries[..1]).unwrap();
    journal.append(&run(), &entries[1..]).unwrap();
    assert_eq!(journal.entries(&run()).unwrap(), entries);
    assert_eq!(journal.verify().unwrap(), 3);
}

#[test]
fn whoever_reads_the_ledger_and_does_not_end_is_no_reason_to_give_it_up() {
    let lab = Lab::up();
    let before = lab.held();
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains(r#""step":"activate""#)));
    running.killed();
    // A copy that is being made, say.
    let reader = rusqlite::Connection::open(lab.state_dir().join("ledger.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM runs").unwrap();
    let said = lab.say(&["resume"]).with(4);
    assert!(said.contains("another process reads it") && said.contains("let it end"), "{said}");
    assert!(!said.contains("NEW-DIR"), "{said}");
    drop(reader);
    lab.say(&["resume"]).with(0);
    assert!(lab.whole(&before, "a reader that did not end"));
}
