//! What we put into a `.env` file is what its real readers read: node's `dotenv` (three generations), node itself, python-dotenv,
//! systemd (its own library), a simple reader as nanoclaw has, dash and bash.
//!
//! Files are generated, wild ones on purpose. For each that we accept, every reader is asked before and after:
//! - no reader reads another value than we do (a shell may where the file has CRLF or a BOM: it knows of neither);
//! - a reader that read the old value reads exactly the new one, and every other key as before;
//! - no other byte moved, and the way back is the same file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lockturn::edit::{EditError, read, replace};
use lockturn::model::{Generator, Secret};
use lockturn::runtime::mint::mint;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// How many files are generated. The same ones each time: a failure is there again tomorrow.
const FILES: usize = 1_500;

const SHELLS: [&str; 2] = ["dash", "bash"];

/// All but node's own, which only node 20.12 and later have.
const READERS: [&str; 9] =
    ["dotenv 18", "dotenv 18, fast", "dotenv 16", "dotenv 8", "simple", "systemd", "python-dotenv", "dash", "bash"];

/// Some of them open what others do not see, or are the key's to one reader only.
const ODD_LINES: [&str; 68] = [
    "",
    "   ",
    "# it's a comment",
    "# a comment that goes on \\",
    "#K=comment",
    " # K='comment",
    ";K=semicolon",
    "; it's one to systemd",
    "K",
    "export K",
    "K: colon",
    "K # c",
    "\u{a0}K=blank",
    "\u{b}K=tab",
    "'K'=quoted",
    "KK=longer",
    "XK=longer",
    "K.k=longer",
    "=nothing",
    "= 'nothing",
    "export",
    "a word",
    "it's a word",
    "\"word\"",
    "\"word",
    "A=",
    "A=''",
    "A=1",
    "A=a b",
    "A=a # c",
    "A=a#c",
    "A=it's",
    "A='it''s'",
    "A='it'\"'\"'s'",
    "A=\"say \\\"hi\\\"\"",
    "A='C:\\'",
    "A=\"C:\\\"",
    "A=\"C:\\\\\"",
    "A=C:\\dir",
    "A=goes on\\",
    "A='goes on\\",
    "A=\"goes on\\",
    "A=$K",
    "A='{\"a\": [1]}'",
    "A={\"a\": \"b\"}",
    "A=`tick`",
    "A=`tick",
    "A='x' # it's",
    "A=\"x\" \"y",
    "A=\"x\"y",
    "A='x",
    "A=\"x",
    "A: 'x",
    "A: x=\"y",
    "export A='x",
    "A/B='x",
    "B='-----BEGIN\nabc+/=\n-----END'",
    "B=\"-----BEGIN\nabc\\\n-----END\"",
    "B=\"one\nK=inside\ntwo\"",
    "B='one\ntwo' # done",
    "B='one\ntwo'three",
    "B=`one\ntwo`",
    "x'",
    "x\"",
    "x'\"`",
    "y\\\"z\"",
    "A=é",
    "# \u{2028}K=x",
];

/// A line that is not the key's.
fn other_line() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(&ODD_LINES[..]);
    prop_oneof![6 => odd.prop_map(str::to_owned), 1 => "[AB]=[ -~]{0,12}", 1 => "[AB]='[a-z#$ ]{0,8}'( #[a-z']{0,4})?", 1 => "[ -~]{0,12}"]
}

/// The line of the key.
fn its_line() -> impl Strategy<Value = String> {
    let plain = "[A-Za-z0-9+/=_.:@%,^!{}?*é-]{0,16}";
    let value = prop_oneof![
        4 => plain.prop_map(String::from),
        2 => plain.prop_map(|text| format!("\"{text}\"")),
        2 => plain.prop_map(|text| format!("'{text}'")),
        1 => "['\"]?[ -~]{0,10}['\"]?( #[a-z]{0,3})?",
        1 => "'[a-z #$;&()é{~-]{0,8}'",
        1 => "\"[a-z #;&()é{~-]{0,8}\"",
        1 => prop::sample::select(vec!["\u{feff}", "a\u{a0}", "'a\u{85}'", "a\u{fffe}", "~", "a:~", "a\tb", "a\u{c}"]).prop_map(String::from),
    ];
    let front = prop::sample::select(vec!["K=", "K=", "K=", "export K=", "  K=", "K = ", "K= ", "export\tK =", "\tK="]);
    let behind = prop::sample::select(vec!["", "", "", " ", "\t "]);
    (front, value, behind).prop_map(|(front, value, behind)| format!("{front}{value}{behind}"))
}

fn file() -> impl Strategy<Value = Vec<u8>> {
    let lines = |count| prop::collection::vec(other_line(), count);
    let ends = (prop::sample::select(vec!["\n", "\n", "\r\n"]), any::<bool>(), prop::bool::weighted(0.1));
    (lines(0..3), its_line(), lines(0..3), ends).prop_map(|(before, its, after, (end, closed, bom))| {
        let lines: Vec<String> = before.into_iter().chain([its]).chain(after).collect();
        let text = lines.join("\n") + if closed { "\n" } else { "" };
        (if bom { "\u{feff}" } else { "" }.to_owned() + &text.replace('\n', end)).into_bytes()
    })
}

/// A file that we accept, and what became of it.
struct Case {
    before: Vec<u8>,
    after: Vec<u8>,
    old: String,
    new: String,
}

impl Case {
    fn new(before: Vec<u8>, new: &Secret) -> Result<Self, EditError> {
        let content = Secret::new(before.clone());
        let old = read(&content, Some("K"))?;
        let after = replace(&content, Some("K"), new)?;
        let back = replace(&after, Some("K"), &old)?;
        assert!(back.same_as(&content), "the way back is another file: {}", before.escape_ascii());
        let text = |secret: &Secret| String::from_utf8(secret.expose().to_vec()).unwrap();
        let case = Self { after: after.expose().to_vec(), old: text(&old), new: text(new), before };
        case.no_other_byte_moved();
        Ok(case)
    }

    /// Whether another value expands this one, and so changes with it.
    fn is_named_elsewhere(&self) -> bool {
        let holds = |name: &[u8]| self.before.windows(name.len()).any(|window| window == name);
        holds(b"$K") || holds(b"${K")
    }

    fn no_other_byte_moved(&self) {
        let at = self.after.windows(self.new.len()).position(|window| window == self.new.as_bytes()).unwrap();
        let rest = &self.after[at + self.new.len()..];
        assert_eq!([&self.after[..at], self.old.as_bytes(), rest].concat(), self.before, "{self}");
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`, of which we read `{}`", self.before.escape_ascii(), self.old)
    }
}

fn minted(generator: Generator, runner: &mut TestRunner) -> Secret {
    mint(generator, &mut |bytes| runner.rng().fill_bytes(bytes))
}

const GENERATORS: [Generator; 4] =
    [Generator::Hex(32), Generator::Base64(31), Generator::Alphanumeric(40), Generator::Uuid];

/// Every generator's values in every way of quoting, and the files that are generated and accepted.
fn cases() -> Vec<Case> {
    let mut runner = TestRunner::deterministic();
    let mut cases = Vec::new();
    for generator in GENERATORS {
        for quote in ["", "'", "\""] {
            for _ in 0..5 {
                let (old, new) = (minted(generator, &mut runner), minted(generator, &mut runner));
                let before = [b"A=1\nK=", quote.as_bytes(), old.expose(), quote.as_bytes(), b"\nB=2\n"].concat();
                cases.push(Case::new(before, &new).expect("generated values are accepted everywhere"));
            }
        }
    }
    let wanted = cases.len() + FILES / 4;
    for number in 0..FILES {
        let before = file().new_tree(&mut runner).unwrap().current();
        let new = minted(GENERATORS[number % GENERATORS.len()], &mut runner);
        cases.extend(Case::new(before, &new).ok());
    }
    assert!(cases.len() > wanted, "only {} files were accepted: a test of nothing", cases.len());
    cases
}

type Values = BTreeMap<String, Option<String>>;

/// What each reader reads in each file.
type Answers = BTreeMap<(String, String), Values>;

#[derive(serde::Deserialize)]
struct Answer {
    file: String,
    reader: String,
    values: Values,
}

fn readers() -> PathBuf {
    let into = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readers");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/readers");
    let done = Command::new("sh").arg(script).arg(&into).status().unwrap();
    assert!(
        done.success(),
        "the readers cannot be installed (tests/setup/readers); `make install` installs what that needs"
    );
    into
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn ask(files: &Path, work: &Path) -> Answers {
    let packages = readers();
    let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/dotenv_readers").join(name);
    let node = output(Command::new("node").arg(script("node.cjs")).arg(&packages).arg(files));
    let python = output(Command::new(packages.join("python/bin/python")).arg(script("python.py")).arg(files));
    let mut answers = Answers::new();
    for line in [node, python].concat().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let answer: Answer = serde_json::from_slice(line).unwrap();
        answers.insert((answer.file, answer.reader), answer.values);
    }
    for shell in SHELLS {
        let mut command = Command::new(format!("/bin/{shell}"));
        command.arg(script("shell.sh")).arg(files).current_dir(work).env_clear().env("PATH", "/nonexistent");
        // A shell may read bytes that are no text out of a wild file.
        let said = String::from_utf8_lossy(&output(&mut command)).into_owned();
        let mut words = said.split('\0');
        while let Some(file) = words.next().filter(|file| !file.is_empty()) {
            let left = words.by_ref().take_while(|word| !word.is_empty());
            let values = left
                .filter_map(|word| word.split_once('='))
                .map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
            // What the shell itself keeps is not the file's.
            let values = values.filter(|(key, _)| !["PWD", "OLDPWD", "SHLVL", "_"].contains(&key.as_str()));
            answers.insert((file.to_owned(), shell.to_owned()), values.collect());
        }
    }
    answers
}

#[test]
fn every_reader_that_read_the_old_value_reads_the_new_one() {
    let cases = cases();
    let dir = tempfile::tempdir().unwrap();
    let (files, work) = (dir.path().join("files"), dir.path().join("work"));
    fs::create_dir(&files).unwrap();
    fs::create_dir(&work).unwrap();
    for (number, case) in cases.iter().enumerate() {
        fs::write(files.join(format!("{number}-before")), &case.before).unwrap();
        fs::write(files.join(format!("{number}-after")), &case.after).unwrap();
    }
    let answers = ask(&files, &work);
    let mut right: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for ((file, reader), before) in answers.iter().filter(|((file, _), _)| file.ends_with("-before")) {
        let number = file.strip_suffix("-before").unwrap();
        let case = &cases[number.parse::<usize>().unwrap()];
        let after = &answers[&(format!("{number}-after"), reader.clone())];
        let not_for_shells = case.before.contains(&b'\r') || case.before.starts_with("\u{feff}".as_bytes());
        match before.get("K") {
            None => continue,
            Some(Some(value)) if *value == case.old => *right.entry(reader).or_default() += 1,
            Some(_) if not_for_shells && SHELLS.contains(&reader.as_str()) => continue,
            Some(other) => {
                wrong.push(format!("{reader} reads {other:?} in {case}"));
                continue;
            }
        }
        let mut expected = before.clone();
        expected.insert("K".to_owned(), Some(case.new.clone()));
        if case.is_named_elsewhere() {
            expected.clone_from(after);
            expected.insert("K".to_owned(), Some(case.new.clone()));
        }
        if *after != expected {
            wrong.push(format!("{reader} reads {after:?} after {before:?} in {case}"));
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    for reader in READERS {
        let count = right.get(reader).copied().unwrap_or(0);
        assert!(count > cases.len() / 4, "{reader} read only {count} of {} files", cases.len());
    }
}
