//! Which files an inventory consists of, and what each of them is.

use std::cell::RefCell;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::yaml::{self, Budget, Diagnostic, Diagnostics, Item, Node, Place, Problems, Severity, Value};

use super::gathered::{Gathered, Said};
use super::hosts::Inventory;
use super::resolve::resolve;
use super::vars::{About, Vars};
use super::{ini, list, program, yaml as shape};

/// What is no inventory in a directory of them: Ansible's own list, and keys.
const NO_INVENTORY: [&str; 17] = [
    ".pyc",
    ".pyo",
    ".swp",
    ".bak",
    "~",
    ".rpm",
    ".md",
    ".txt",
    ".rst",
    ".orig",
    ".cfg",
    ".retry",
    ".pub",
    ".pem",
    ".key",
    "known_hosts",
    "_vars",
];

/// How deep directories may lie in directories.
const DEPTH_MAX: usize = 8;

/// A program that does not print the variables of its hosts is asked for each, one after the other; not for more than these.
const ASKED_MAX: usize = 1_000;

pub(super) fn read(path: &Path) -> Result<(Inventory, Vec<Diagnostic>), Diagnostics> {
    let dir = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let mut reading = Reading { base: dir, gathered: Gathered::default(), found: RefCell::default(), files: 0 };
    reading.source(path, 0);
    if reading.files == 0 && reading.found.borrow().is_empty() {
        reading.fail(path, "cannot be read: there is no inventory in it");
    }
    reading.vars_beside(dir);
    reading.finish(path)
}

pub(super) fn parse(file: &str, text: &str) -> Result<(Inventory, Vec<Diagnostic>), Diagnostics> {
    let path = Path::new(file);
    let mut reading =
        Reading { base: Path::new(""), gathered: Gathered::default(), found: RefCell::default(), files: 1 };
    reading.text(path, text);
    reading.finish(path)
}

struct Reading<'a> {
    /// Relative paths in variables are relative to this.
    base: &'a Path,
    gathered: Gathered,
    found: RefCell<Vec<Diagnostic>>,
    files: usize,
}

impl Reading<'_> {
    fn fail(&self, path: &Path, message: &str) {
        self.problem(path, Severity::Error, message, None);
    }

    fn problem(&self, path: &Path, severity: Severity, message: &str, hint: Option<&str>) {
        let problems = Problems::new(&path.display().to_string(), "");
        problems.add(severity, Place { line: 1, column: 1 }, "", message, hint.map(str::to_owned));
        self.found.borrow_mut().extend(problems.into_list());
    }

    fn finish(self, path: &Path) -> Result<(Inventory, Vec<Diagnostic>), Diagnostics> {
        let nobody = self.gathered.hosts.is_empty() && !has_errors(&self.found.borrow());
        if nobody {
            self.fail(path, "the inventory has no host");
        }
        let mut found = self.found.into_inner();
        let (inventory, more) = resolve(self.gathered);
        found.extend(more);
        let found = Diagnostics(found);
        if found.has_errors() { Err(found) } else { Ok((inventory, found.0)) }
    }

    /// A file, or all files of a directory, in the order of their names: what is said later goes first.
    fn source(&mut self, path: &Path, depth: usize) {
        if !path.is_dir() {
            self.file(path);
            return;
        }
        if depth > DEPTH_MAX {
            self.fail(path, "directories lie in directories too deep");
            return;
        }
        match entries(path) {
            Err(error) => self.fail(path, &format!("cannot be read: {error}")),
            Ok(paths) => {
                paths.iter().filter(|path| may_be_inventory(path)).for_each(|path| self.source(path, depth + 1))
            }
        }
    }

    fn file(&mut self, path: &Path) {
        self.files += 1;
        let bytes = match read_bounded(path) {
            Ok(bytes) => bytes,
            Err(error) => return self.fail(path, &format!("cannot be read: {error}")),
        };
        let executable = fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
        let is_program = bytes.starts_with(b"#!") || bytes.starts_with(b"\x7fELF");
        // Files on some file systems are all executable; what is no program is read as what it is.
        match (executable, is_program) {
            (true, true) => return self.program(path),
            (false, true) if !is_yaml(path) => {
                let hint = format!("chmod +x {}", path.display());
                return self.problem(path, Severity::Error, "this is a program that may not be run", Some(&hint));
            }
            _ => {}
        }
        match String::from_utf8(bytes) {
            Ok(text) => self.text(path, &text),
            Err(_) => self.fail(path, "cannot be read: it is no UTF-8 text"),
        }
    }

    fn text(&mut self, path: &Path, text: &str) {
        let problems = Problems::new(&path.display().to_string(), text);
        let about = About::new(self.base);
        match Format::of(path, text) {
            Format::Ini => ini::read(text, &problems, &about, &mut self.gathered),
            Format::Toml => problems.add(
                Severity::Error,
                Place { line: 1, column: 1 },
                "",
                "an inventory in TOML is not read; YAML, INI and JSON are",
                Some(format!("ansible-inventory -i {} --list --yaml > hosts.yml", path.display())),
            ),
            Format::Yaml => match yaml::parse(text, Budget::LARGE) {
                Ok(root) => self.tree(&root, &problems, &about),
                Err((place, message)) => problems.add(Severity::Error, place, "", &message, None),
            },
        }
        self.found.borrow_mut().extend(problems.into_list());
        self.found.borrow_mut().extend(about.warning());
    }

    fn tree(&mut self, root: &Node, problems: &Problems, about: &About<'_>) {
        let root = Item::root(root, problems);
        if let Value::Map(map) = &root.node.value
            && map.iter().any(|(key, node)| key.text == "plugin" && matches!(node.value, Value::Text(_)))
        {
            root.error_with_hint(
                "this configures a plugin of Ansible, which lockturn does not have",
                "ansible-inventory -i THIS --list > hosts.json, and give that file to lockturn".to_owned(),
            );
            return;
        }
        if list::is_list(&root) {
            list::read(&root, about, &mut self.gathered);
            return;
        }
        shape::read(&root, about, &mut self.gathered);
    }

    /// A program that prints its hosts: `--list`, and `--host NAME` for each if their variables are not in it.
    fn program(&mut self, path: &Path) {
        let mut to_ask = Vec::new();
        let mut asked = self.ask(path, &["--list"], &mut |root, about, gathered| {
            let (names, with_vars) = list::read(root, about, gathered);
            if !with_vars && names.len() > ASKED_MAX {
                root.error_with_hint(
                    &format!("{} hosts would have to be asked for one by one", names.len()),
                    "let the program print their variables under `_meta: {hostvars: …}`".to_owned(),
                );
            }
            to_ask = if with_vars { Vec::new() } else { names.into_iter().collect() };
        });
        for name in to_ask {
            // One reason is enough; the next host would give the same.
            asked = asked
                && self.ask(path, &["--host", name.as_str()], &mut |vars, about, gathered| {
                    list::take_vars(&name, vars, about, gathered);
                });
        }
    }

    /// Runs a program and takes what it prints. Says whether it is worth while to ask it more.
    fn ask(&mut self, path: &Path, arguments: &[&str], take: Take<'_>) -> bool {
        let typed = arguments.join(" ");
        let printed = match program::run(path, arguments) {
            Ok(printed) => printed,
            Err(why) => {
                self.fail(path, &format!("`{typed}` {why}"));
                return false;
            }
        };
        if !printed.words.is_empty() {
            self.problem(path, Severity::Warning, &format!("`{typed}` has something to say{}", printed.words), None);
        }
        let problems = Problems::new(&format!("{} {typed}", path.display()), &printed.text);
        let about = About::new(self.base);
        match yaml::parse(&printed.text, Budget::LARGE) {
            // A host of which there is nothing to say.
            Ok(root) if root.value == Value::Null && arguments.len() > 1 => {}
            Ok(root) if matches!(root.value, Value::Map(_)) => {
                take(&Item::root(&root, &problems), &about, &mut self.gathered);
            }
            Ok(root) => Item::root(&root, &problems).error("it printed no JSON object"),
            Err((place, message)) => {
                problems.add(Severity::Error, place, "", &format!("it printed no JSON: {message}"), None);
            }
        }
        let found = problems.into_list();
        let go_on = !has_errors(&found);
        self.found.borrow_mut().extend(found.into_iter().chain(about.warning()));
        go_on
    }

    /// `group_vars/NAME.yml`, `host_vars/NAME.yml`, and directories of that name.
    fn vars_beside(&mut self, dir: &Path) {
        for (kind, of_hosts) in [("group_vars", false), ("host_vars", true)] {
            let beside = dir.join(kind);
            if !beside.is_dir() {
                continue;
            }
            match entries(&beside) {
                Err(error) => self.fail(&beside, &format!("cannot be read: {error}")),
                Ok(paths) => paths.iter().filter(|path| !is_hidden(path)).for_each(|path| {
                    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                    let name = if path.is_dir() { Some(name) } else { without_ending(name) };
                    if let Some(name) = name {
                        self.vars_of(name, path, of_hosts, 0);
                    }
                }),
            }
        }
    }

    fn vars_of(&mut self, name: &str, path: &Path, of_hosts: bool, depth: usize) {
        if path.is_dir() {
            for path in entries(path).unwrap_or_default().iter().filter(|path| !is_hidden(path)) {
                let file = path.file_name().and_then(|name| name.to_str()).and_then(without_ending);
                if depth < DEPTH_MAX && (path.is_dir() || file.is_some()) {
                    self.vars_of(name, path, of_hosts, depth + 1);
                }
            }
            return;
        }
        let text = match read_bounded(path).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => return self.fail(path, "cannot be read: it is no UTF-8 text"),
            Err(error) => return self.fail(path, &format!("cannot be read: {error}")),
        };
        if text.starts_with("$ANSIBLE_VAULT;") {
            let message = "not read: it is encrypted by ansible-vault, and lockturn has no key to it";
            let hint = "put addresses, users and ports into a file that is not encrypted";
            return self.problem(path, Severity::Warning, message, Some(hint));
        }
        let problems = Problems::new(&path.display().to_string(), &text);
        let about = About::of_applications(self.base);
        match yaml::parse(&text, Budget::SMALL) {
            Ok(root) => {
                let root = Item::root(&root, &problems);
                let mut vars = Vars::read(&root, &about);
                let said = if of_hosts { &mut self.gathered.of_hosts } else { &mut self.gathered.of_groups };
                if let Some(earlier) = said.get(name) {
                    vars.inherit(&earlier.vars);
                }
                said.insert(name.to_owned(), Said { vars, spot: root.spot() });
            }
            Err((place, message)) => problems.add(Severity::Error, place, "", &message, None),
        }
        self.found.borrow_mut().extend(problems.into_list());
        // What an application is configured with stands here too, so names that nobody reads are no sign of a mistake.
    }
}

/// What is done with what a program printed.
type Take<'a> = &'a mut dyn FnMut(&Item<'_>, &About<'_>, &mut Gathered);

fn has_errors(found: &[Diagnostic]) -> bool {
    found.iter().any(|problem| problem.severity == Severity::Error)
}

/// What a file is written in.
enum Format {
    Yaml,
    Ini,
    Toml,
}

impl Format {
    /// By the ending of its name; if that says nothing, by what it begins with.
    fn of(path: &Path, text: &str) -> Self {
        if is_yaml(path) {
            return Self::Yaml;
        }
        match path.extension() {
            Some(ending) if ending == "toml" => Self::Toml,
            Some(ending) if ending == "ini" => Self::Ini,
            Some(_) | None => {
                let mut lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim_end());
                let first = lines.find(|line| !line.is_empty() && !line.trim_start().starts_with(['#', ';']));
                let yaml =
                    first.is_some_and(|line| line == "---" || line.starts_with(['{', '%']) || line.ends_with(':'));
                let map = || yaml::parse(text, Budget::LARGE).is_ok_and(|root| matches!(root.value, Value::Map(_)));
                if yaml || map() { Self::Yaml } else { Self::Ini }
            }
        }
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ["yml", "yaml", "json"].iter().any(|known| ending == *known))
}

/// `NAME.yml` and the like.
fn without_ending(name: &str) -> Option<&str> {
    let endings = [".yml", ".yaml", ".json"];
    let stem = endings.iter().find_map(|ending| name.strip_suffix(ending));
    stem.or_else(|| (!name.contains('.')).then_some(name)).filter(|name| !name.ends_with('~'))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_none_or(|name| name.starts_with('.'))
}

fn may_be_inventory(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    !is_hidden(path) && !NO_INVENTORY.iter().any(|ending| name.ends_with(ending)) && name != "vars_plugins"
}

/// The files and directories in a directory, in the order of their names.
fn entries(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    // A named pipe would never end.
    paths.retain(|path| path.is_file() || path.is_dir());
    paths.sort();
    Ok(paths)
}

/// One byte more than is taken, so that the reader can say that it is too much.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(Budget::LARGE.bytes as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
