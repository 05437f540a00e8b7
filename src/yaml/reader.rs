//! Reading a tree key by key, collecting every problem on the way.

use std::cell::RefCell;
use std::rc::Rc;

use crate::yaml::diagnostic::Shown;
use crate::yaml::{Diagnostic, Key, Node, Place, Severity, Value};

/// A hint "did you mean" is given for words at least this alike (Jaro–Winkler).
const ALIKE_MIN: f64 = 0.8;

/// Collects what is wrong with one file.
pub struct Problems {
    file: Rc<str>,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
    found: RefCell<Vec<Diagnostic>>,
}

/// Something in a file that can be pointed at later, when all files are read.
#[derive(Debug, Clone)]
pub struct Spot {
    file: Rc<str>,
    place: Place,
    path: String,
    shown: Shown,
}

impl Spot {
    /// Says that it is wrong.
    #[must_use]
    pub fn problem(&self, severity: Severity, message: String, hint: Option<String>) -> Diagnostic {
        let Self { file, place, path, shown } = self;
        Diagnostic {
            severity,
            file: file.to_string(),
            place: *place,
            path: path.clone(),
            message,
            hint,
            shown: shown.clone(),
        }
    }
}

impl Problems {
    /// None yet in this file.
    #[must_use]
    pub fn new(file: &str, text: &str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), text: text.to_owned(), lines, found: RefCell::default() }
    }

    /// Adds one.
    pub fn add(&self, severity: Severity, place: Place, path: &str, message: &str, hint: Option<String>) {
        let problem = self.spot(place, path).problem(severity, message.to_owned(), hint);
        self.found.borrow_mut().push(problem);
    }

    /// Whether something is wrong there already.
    #[must_use]
    pub fn has(&self, place: Place) -> bool {
        self.found.borrow().iter().any(|problem| problem.place == place && problem.severity == Severity::Error)
    }

    /// Whether one of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.found.borrow().iter().any(|problem| problem.severity == Severity::Error)
    }

    /// A place in this file.
    #[must_use]
    pub fn spot(&self, place: Place, path: &str) -> Spot {
        let from = self.lines.get(place.line - 1).copied().unwrap_or(self.text.len());
        let line = self.text[from..].lines().next().unwrap_or_default();
        Spot { file: Rc::clone(&self.file), place, path: path.to_owned(), shown: shown(line, place.column) }
    }

    /// All of them, in the order of the file.
    #[must_use]
    pub fn into_list(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|diagnostic| (diagnostic.place.line, diagnostic.place.column));
        found
    }
}

/// As much of a line as may be shown: up to the place, and the key there. A value is not, neither there nor before: it may be a secret,
/// whatever its key is called.
fn shown(line: &str, column: usize) -> Shown {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut before: String = line.chars().take(column - 1).map(plain).collect();
    let value_before = before.split([':', '=']).skip(1).any(|rest| !rest.trim_matches([' ', '{', '[', '-']).is_empty());
    if value_before || before.chars().count() > 80 {
        // The key that the value belongs to may be shown all the same.
        let last = before.rsplit(['{', ',', '[']).next().unwrap_or_default().trim();
        let key = last.strip_suffix(':').filter(|key| !key.is_empty() && key.chars().all(is_of_key));
        before = key.map_or_else(|| "… ".to_owned(), |key| format!("… {key}: "));
    }
    let rest: String = line.chars().skip(column - 1).collect();
    let end = rest.find(|c: char| !is_of_key(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    let is_key = after.starts_with('=') || (after.starts_with(':') && !after[1..].starts_with(|c: char| c != ' '));
    let key = if is_key { format!("{word}{}", &after[..1]) } else { String::new() };
    let more = match rest.len() > key.len() {
        true if key.is_empty() && (before.is_empty() || before.ends_with(' ')) => "…",
        true => " …",
        false => "",
    };
    Shown { text: format!("{before}{key}{more}"), column: before.chars().count() + 1 }
}

fn is_of_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-".contains(c)
}

/// The known word that was most likely meant.
#[must_use]
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let score = |known: &str| strsim::jaro_winkler(word, known);
    let best = known.into_iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(best) >= ALIKE_MIN).then_some(best)
}

/// One value, where it stands, and who listens to its problems.
#[derive(Clone)]
pub struct Item<'a> {
    /// The value.
    pub node: &'a Node,
    /// The keys that lead to it.
    pub path: String,
    place: Place,
    problems: &'a Problems,
}

impl<'a> Item<'a> {
    /// The root of a file.
    #[must_use]
    pub const fn root(node: &'a Node, problems: &'a Problems) -> Self {
        Self { node, path: String::new(), place: node.place, problems }
    }

    /// The same value, pointed at elsewhere: at its key.
    #[must_use]
    pub fn at(&self, place: Place) -> Self {
        Self { place, ..self.clone() }
    }

    /// Another value in the same place.
    #[must_use]
    pub fn holding<'b>(&self, node: &'b Node) -> Item<'b>
    where
        'a: 'b,
    {
        Item { node, path: self.path.clone(), place: self.place, problems: self.problems }
    }

    /// Where it stands, to be pointed at later.
    #[must_use]
    pub fn spot(&self) -> Spot {
        self.problems.spot(self.place, &self.path)
    }

    /// Says that it is wrong.
    pub fn error(&self, message: &str) {
        self.problems.add(Severity::Error, self.place, &self.path, message, None);
    }

    /// Says that it is wrong, and what to do.
    pub fn error_with_hint(&self, message: &str, hint: String) {
        self.problems.add(Severity::Error, self.place, &self.path, message, Some(hint));
    }

    /// Says that it may not be what was meant.
    pub fn warning(&self, message: &str, hint: Option<String>) {
        self.problems.add(Severity::Warning, self.place, &self.path, message, hint);
    }

    fn wrong<T>(&self, wanted: &str) -> Option<T> {
        let is = match &self.node.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        };
        let message = format!("should be {wanted}, not {is}");
        match self.node.value {
            Value::Bool(_) | Value::Int(_) | Value::Float(_) if wanted == "text" => {
                self.error_with_hint(&message, "if it is meant as text, write it in quotes".to_owned());
            }
            _ => self.error(&message),
        }
        None
    }

    /// Looks at each text in it, however deep.
    pub fn each_text(&self, look: &mut dyn FnMut(&Self, &str)) {
        match &self.node.value {
            Value::Text(text) => look(self, text),
            Value::List(_) => self.list().into_iter().flatten().for_each(|item| item.each_text(look)),
            Value::Map(map) => map.iter().for_each(|(key, node)| self.child(key, node).each_text(look)),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
        }
    }

    /// Whether something is wrong with it already.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.problems.has(self.place)
    }

    /// Whether anything in its file is wrong.
    #[must_use]
    pub fn is_in_wrong_file(&self) -> bool {
        self.problems.has_errors()
    }

    /// Whether nothing stands there.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    /// Text.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => self.wrong("text"),
        }
    }

    /// Text, or a number or truth value as it was written: `1.10` is not `1.1`.
    #[must_use]
    pub fn scalar(&self) -> Option<String> {
        let written = self.node.bytes.and_then(|(from, to)| self.problems.text.get(from..to)).map(str::trim);
        let written = written.filter(|text| !text.is_empty()).map(str::to_owned);
        match &self.node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Int(number) => written.or_else(|| Some(number.to_string())),
            Value::Float(number) => written.or_else(|| Some(number.to_string())),
            Value::Bool(truth) => written.or_else(|| Some(truth.to_string())),
            Value::Null | Value::List(_) | Value::Map(_) => self.wrong("text"),
        }
    }

    /// `true` or `false`.
    #[must_use]
    pub fn truth(&self) -> Option<bool> {
        match self.node.value {
            Value::Bool(truth) => Some(truth),
            _ => self.wrong("true or false"),
        }
    }

    /// A whole number in this range.
    #[must_use]
    pub fn number(&self, least: u64, most: u64) -> Option<u64> {
        let number = match &self.node.value {
            Value::Int(number) => u64::try_from(*number).ok(),
            // Ansible's templates quote ports.
            Value::Text(text) => text.parse().ok(),
            _ => return self.wrong("a whole number"),
        };
        let fits = number.filter(|number| (least..=most).contains(number));
        if fits.is_none() {
            self.error(&format!("should be a whole number from {least} to {most}"));
        }
        fits
    }

    /// Text that something else parses.
    #[must_use]
    pub fn parsed<T: std::str::FromStr>(&self) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        self.text()?.parse().map_err(|error: T::Err| self.error(&error.to_string())).ok()
    }

    /// A list.
    #[must_use]
    pub fn list(&self) -> Option<Vec<Self>> {
        let Value::List(list) = &self.node.value else { return self.wrong("a list") };
        let item = |(index, node): (usize, &'a Node)| Self {
            node,
            path: join(&self.path, &format!("{index}")),
            place: node.place,
            problems: self.problems,
        };
        Some(list.iter().enumerate().map(item).collect())
    }

    /// A list of texts.
    #[must_use]
    pub fn words(&self) -> Option<Vec<String>> {
        if let Value::Text(_) = self.node.value {
            let hint = "words stand in a list, `[systemctl, reload, app]`; no shell reads them";
            self.error_with_hint("should be a list of words, not text", hint.to_owned());
            return None;
        }
        let words: Vec<String> = self.list()?.iter().filter_map(|word| Some(word.text()?.to_owned())).collect();
        if words.is_empty() {
            self.error("should have at least one word");
            return None;
        }
        Some(words)
    }

    /// A map whose keys are the operator's own.
    #[must_use]
    pub fn entries(&self) -> Option<Vec<(&'a Key, Self)>> {
        let Value::Map(map) = &self.node.value else { return self.wrong("a map") };
        Some(map.iter().map(|(key, node)| (key, self.child(key, node))).collect())
    }

    fn child(&self, key: &Key, node: &'a Node) -> Self {
        // Where nothing stands there is nothing to point at but the key.
        let place = if node.value == Value::Null { key.place } else { node.place };
        Self { node, path: join(&self.path, &key.text), place, problems: self.problems }
    }

    /// A map whose keys are ours.
    #[must_use]
    pub fn fields(&self) -> Option<Fields<'a>> {
        let Value::Map(map) = &self.node.value else { return self.wrong("a map") };
        Some(Fields { owner: self.clone(), map, known: RefCell::default() })
    }
}

/// A map whose keys are ours. Every key that nobody asked for is a problem: see [`Fields::finish`].
pub struct Fields<'a> {
    owner: Item<'a>,
    map: &'a [(Key, Node)],
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// The value of a key, if it is there and not null.
    #[must_use]
    pub fn get(&self, name: &'static str) -> Option<Item<'a>> {
        self.known.borrow_mut().push(name);
        let (key, node) = self.map.iter().find(|(key, node)| key.text == name && node.value != Value::Null)?;
        Some(self.owner.child(key, node))
    }

    /// The value of a key that must be there.
    #[must_use]
    pub fn need(&self, name: &'static str) -> Option<Item<'a>> {
        let found = self.get(name);
        if found.is_none() {
            self.owner.error(&format!("`{name}` is missing"));
        }
        found
    }

    /// Whether a key is there at all.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.map.iter().any(|(key, _)| key.text == name)
    }

    /// A key that the format knows and this version does not.
    pub fn refuse(&self, name: &'static str, why: &str) {
        if let Some(item) = self.get(name) {
            item.error(why);
        }
    }

    /// Names every key that nobody asked for.
    pub fn finish(self) {
        let known = self.known.into_inner();
        for (key, _) in self.map.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let hint = match closest(&key.text, known.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            let message = format!("there is no key `{}` here", key.text);
            self.owner.problems.add(Severity::Error, key.place, &self.owner.path, &message, Some(hint));
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}/{key}") }
}
