//! The mutants that `make mutants` makes (tests/mutants) still fit this tree, and the tests that are to catch them are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn patches() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("tests/mutants")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "patch")).collect();
    found.sort();
    found
}

/// A unified diff, applied to the files that it names without any tool: each of its pieces stands there once, and exactly.
fn misfits(patch: &str) -> Vec<String> {
    let (mut path, mut before, mut misfits) = (String::new(), String::new(), Vec::new());
    let mut look = |path: &str, before: &mut String| {
        let text = fs::read_to_string(root().join(path)).unwrap_or_default();
        if !before.is_empty() && text.matches(before.as_str()).count() != 1 {
            misfits.push(format!("{path}:\n{before}"));
        }
        before.clear();
    };
    for line in patch.lines().skip_while(|line| !line.starts_with("--- ")) {
        match line.split_at_checked(1) {
            _ if line.starts_with("--- a/") => {
                look(&path, &mut before);
                path = line["--- a/".len()..].to_owned();
            }
            _ if line.starts_with("+++ ") => {}
            Some(("@", _)) => look(&path, &mut before),
            Some((" " | "-", rest)) => before += &format!("{rest}\n"),
            _ => {}
        }
    }
    look(&path, &mut before);
    misfits
}

#[test]
fn every_mutant_fits_the_tree_and_names_a_test_that_there_is() {
    let mut wrong = Vec::new();
    for path in patches() {
        let patch = fs::read_to_string(&path).unwrap();
        let mut words = patch.lines().nth(1).unwrap().strip_prefix("Caught by: ").unwrap().split(' ');
        let (target, test) = (words.next().unwrap(), words.next().unwrap().rsplit("::").next().unwrap());
        let dir = if target == "lib" { "src".to_owned() } else { format!("tests/{target}") };
        wrong.extend(misfits(&patch).into_iter().map(|misfit| format!("{}: {misfit}", path.display())));
        if !is_there(&root().join(dir), &format!("fn {test}()")) {
            wrong.push(format!("{}: there is no test `{test}`", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_there(dir: &Path, text: &str) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            is_there(&path, text)
        } else {
            fs::read_to_string(path).is_ok_and(|file| file.contains(text))
        }
    })
}

#[test]
fn no_mutant_of_the_list_is_forgotten() {
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap()[..3].to_owned();
    let there: BTreeSet<String> = patches().iter().map(name).collect();
    let wanted: BTreeSet<String> = (1..=22).map(|n| format!("M{n:02}")).collect();
    assert_eq!(there, wanted);
}
