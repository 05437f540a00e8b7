//! The table of what can go wrong is whole, and the tests that it names are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// All faults of the catalogue.
fn numbers() -> BTreeSet<u32> {
    (1..=205).collect()
}

struct Row {
    number: u32,
    line: String,
    shown_by: String,
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

fn document() -> String {
    text("src/docs/failure_modes.md").unwrap()
}

fn rows() -> Vec<Row> {
    let document = document();
    let rows = document.lines().filter(|line| line.starts_with("| F"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "a row has five cells: {line}");
        let number = cells[0].strip_prefix('F').and_then(|digits| digits.parse().ok());
        let number = number.unwrap_or_else(|| panic!("no number of a fault: {line}"));
        assert!(!cells[1].is_empty(), "{line}");
        Row { number, line: line.to_owned(), shown_by: cells[4].to_owned() }
    })
    .collect()
}

/// The tests that a row names.
fn tests(row: &Row) -> Vec<&str> {
    row.shown_by.split('`').skip(1).step_by(2).filter(|word| word.contains("::")).collect()
}

/// Whether there is such a test, or scenario, where its path says.
fn is_there(test: &str) -> bool {
    let (place, name) = test.rsplit_once("::").unwrap();
    let (suite, room) = place.split_once("::").unwrap_or((place, ""));
    let room = room.replace("::", "/");
    let (file, words) = match (suite, room.as_str()) {
        ("it", "canary") => ("tests/support/canary.rs".to_owned(), format!("fn {name}(")),
        ("it" | "real" | "simulation", _) => (format!("tests/{suite}/{room}.rs"), format!("fn {name}(")),
        ("lib", _) => (format!("src/{room}.rs"), format!("fn {name}(")),
        ("shell", "") => ("tests/support/shell_host.rs".to_owned(), format!("    {name}(shell).await;")),
        ("hosts", "") => ("tests/hosts/scenarios.rs".to_owned(), format!("(\"{name}\", ")),
        _ => panic!("`{test}`: there is no suite `{suite}`"),
    };
    text(&file).is_some_and(|text| text.contains(&words))
}

#[test]
fn every_fault_has_one_row() {
    let mut seen = BTreeMap::<u32, usize>::new();
    rows().iter().for_each(|row| *seen.entry(row.number).or_default() += 1);
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "more than one row: {twice:?}");
    assert_eq!(seen.into_keys().collect::<BTreeSet<_>>(), numbers());
}

#[test]
fn every_test_that_a_row_names_is_there() {
    let rows = rows();
    let gone: Vec<&str> = rows.iter().flat_map(tests).filter(|test| !is_there(test)).collect();
    assert!(gone.is_empty(), "{}", gone.join("\n"));
    for row in &rows {
        assert!(!row.shown_by.contains("pending"), "a row that waits for a test: {}", row.line);
        assert!(!tests(row).is_empty() || row.shown_by.contains("not claimed: "), "nothing shows it: {}", row.line);
    }
}

/// What the head of the document says under this heading.
fn head(heading: &str) -> String {
    let document = document();
    let (_, below) = document.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no `{heading}`"));
    below.split("\n## ").next().unwrap().to_owned()
}

fn named(text: &str) -> BTreeSet<u32> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter_map(|word| word.strip_prefix('F')?.parse().ok()).collect()
}

#[test]
fn what_is_not_claimed_stands_at_the_top() {
    let of = |mark: &str| rows().iter().filter(|row| row.shown_by.contains(mark)).map(|row| row.number).collect();
    assert_eq!(named(&head("Not claimed")), of("not claimed: "));
}
