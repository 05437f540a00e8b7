//! The rules of the house that a machine can check: who may import whom, what the pure rooms never do, how large a file may grow.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the lowest to the highest: a room imports only what stands before it.
const ROOMS: [&str; 17] = [
    "model",
    "yaml",
    "template",
    "inventory",
    "playbook",
    "plan",
    "coordinator",
    "edit",
    "quarantine",
    "host",
    "ssh",
    "probe",
    "journal",
    "report",
    "runtime",
    "lab",
    "cli",
];

/// What a room may import. `runtime` and above may import every room before them.
const IMPORTS: [(&str, &[&str]); 14] = [
    ("model", &[]),
    ("yaml", &[]),
    ("template", &["model", "yaml"]),
    ("inventory", &["model", "yaml"]),
    ("playbook", &["model", "yaml", "template"]),
    ("plan", &["model", "inventory", "playbook"]),
    ("coordinator", &["model"]),
    ("edit", &["model"]),
    ("quarantine", &["model", "inventory"]),
    ("host", &["model"]),
    ("ssh", &["model", "host"]),
    ("probe", &["model", "template", "ssh"]),
    ("journal", &["model"]),
    ("report", &["model", "coordinator", "quarantine"]),
];

/// No file is longer, tests included: beyond that nobody finds anything. (The program on the host must be one file: it is one text.)
const FILE_LINES_MAX: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The files of one room, with their text.
fn room(name: &str) -> Vec<(PathBuf, String)> {
    let src = root().join("src");
    let mut paths = files(&src.join(name), "rs");
    paths.push(src.join(format!("{name}.rs")));
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The lines of code before the unit tests, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn a_room_imports_only_what_it_may() {
    let mut wrong = Vec::new();
    for (name, allowed) in IMPORTS {
        for (path, text) in room(name) {
            for (number, line) in code(&text) {
                let imported = line.split("crate::").skip(1).filter_map(|rest| {
                    let word = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
                    ROOMS.contains(&word).then_some(word)
                });
                for other in imported.filter(|other| *other != name && !allowed.contains(other)) {
                    wrong.push(format!("{}:{}: `{name}` imports `{other}`", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pure_rooms_do_no_io_and_read_no_clock_and_no_randomness() {
    let banned = ["async ", "tokio", "std::fs", "std::net", "std::env", "::now()", "rand::", "std::thread"];
    let mut wrong = Vec::new();
    for name in ["model", "plan", "coordinator", "edit", "quarantine"] {
        for (path, text) in room(name) {
            for (number, line) in code(&text) {
                if let Some(word) = banned.iter().find(|word| line.contains(**word)) {
                    wrong.push(format!("{}:{}: `{word}` in a pure room", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn those_who_decide_remember_and_speak_never_hold_a_secret() {
    for name in ["coordinator", "journal", "report"] {
        for (path, text) in room(name) {
            let found = code(&text).find(|(_, line)| {
                line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == "Secret")
            });
            assert!(found.is_none(), "{}: {found:?}", path.display());
        }
    }
}

#[test]
fn a_secret_cannot_be_printed_compared_or_written_down() {
    let text = fs::read_to_string(root().join("src/model/secret.rs")).unwrap();
    let before = text.split("pub struct Secret(").next().unwrap();
    let attributes: Vec<&str> =
        before.lines().rev().take_while(|line| line.starts_with("//") || line.starts_with('#')).collect();
    assert!(!attributes.iter().any(|line| line.contains("derive")), "{attributes:?}");
    for word in ["Debug", "Display", "Serialize", "PartialEq", "Clone", "Deref", "AsRef<"] {
        for kind in ["Secret", "FingerprintKey"] {
            let implementation = format!("{word} for {kind}");
            assert!(!text.contains(&implementation), "`{implementation}` would let a value out");
        }
    }
}

#[test]
fn no_file_is_too_long_to_find_ones_way_in() {
    let mut paths = files(&root().join("src"), "rs");
    paths.extend(files(&root().join("tests"), "rs"));
    for path in paths {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines; {FILE_LINES_MAX} are enough", path.display());
    }
}

#[test]
fn no_test_is_skipped_and_nothing_is_left_unfinished() {
    let mut paths = files(&root().join("src"), "rs");
    paths.extend(files(&root().join("tests"), "rs"));
    for path in paths.iter().filter(|path| !path.ends_with("walls.rs")) {
        let text = fs::read_to_string(path).unwrap();
        for mark in ["#[ignore", "todo!(", "unimplemented!(", "FIXME", "dbg!("] {
            assert!(!text.contains(mark), "{}: `{mark}`", path.display());
        }
    }
}

/// Between backticks a command is only spoken of, and has none of the flags that the operator's own command had: copied from there it
/// looks for other hosts and another ledger.
#[test]
fn a_command_that_an_operator_may_copy_is_not_between_backticks() {
    let verbs = ["resume", "rollback", "status", "show", "runs", "ledger", "hosts", "release"];
    let mut wrong = Vec::new();
    for path in files(&root().join("src"), "rs") {
        let text = fs::read_to_string(&path).unwrap();
        let spoken = |line: &str| verbs.iter().any(|verb| line.contains(&format!("`lockturn {verb}")));
        for (number, line) in code(&text).filter(|(_, line)| spoken(line)) {
            wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn main_is_nothing_but_a_door() {
    let lines = fs::read_to_string(root().join("src/main.rs")).unwrap().lines().count();
    assert!(lines <= 30, "main.rs has {lines} lines");
}
