//! An expression that names hosts: `workers:!worker-3`, `worker-[01:10]`, `zone=eu`.
//!
//! Terms are joined by `:` or `,`; `!term` takes away, `&term` keeps only what is in both (Ansible's patterns, plus labels).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::range::expand_ranges;

/// An expression that names hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    text: String,
    terms: Vec<Term>,
}

/// One term of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// What it does with what the terms before it named.
    pub effect: Effect,
    /// Whom it names.
    pub names: Names,
}

/// What a term does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Adds hosts.
    Add,
    /// Takes hosts away.
    Remove,
    /// Keeps hosts that it names too.
    Keep,
}

/// Whom a term names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Every host.
    All,
    /// Hosts and groups by any of these names, in which `*` and `?` stand for characters.
    Patterns(Vec<String>),
    /// Hosts whose label has this value.
    Label(String, String),
}

impl Selector {
    /// Its terms; additions first, as Ansible evaluates them.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split(text) {
            let part = part.trim();
            let (effect, word) = match part.chars().next() {
                Some('!') => (Effect::Remove, part[1..].trim()),
                Some('&') => (Effect::Keep, part[1..].trim()),
                Some(_) => (Effect::Add, part),
                None => return Err(empty_term(text)),
            };
            terms.push(Term { effect, names: names(word)? });
        }
        if !terms.iter().any(|term| term.effect == Effect::Add) {
            terms.insert(0, Term { effect: Effect::Add, names: Names::All });
        }
        terms.sort_by_key(|term| term.effect != Effect::Add);
        Ok(Self { text: text.to_owned(), terms })
    }
}

fn empty_term(text: &str) -> String {
    if text.trim().is_empty() {
        "the selector is empty; `all` names every host".to_owned()
    } else {
        format!("the selector `{}` has an empty term", text.escape_debug())
    }
}

fn names(word: &str) -> Result<Names, String> {
    // A label's value may be whatever a person writes in one line.
    if let Some((label, value)) = word.split_once('=') {
        let plain = |text: &str| !text.is_empty() && !text.contains(char::is_control);
        if !plain(label) || !plain(value) {
            return Err(format!("`{}` in a selector should be `label=value`", word.escape_debug()));
        }
        return Ok(Names::Label(label.to_owned(), value.to_owned()));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-*?[]:".contains(c);
    if word.contains(char::is_whitespace) && word.split_whitespace().all(|word| word.chars().all(fits)) {
        return Err(format!("`{}` in a selector has blanks; terms are joined by `,` or `:`", word.escape_debug()));
    }
    if word.is_empty() || !word.chars().all(fits) {
        return Err(format!("`{}` in a selector names nobody", word.escape_debug()));
    }
    Ok(if word == "all" || word == "*" { Names::All } else { Names::Patterns(ranges(word)?) })
}

fn ranges(word: &str) -> Result<Vec<String>, String> {
    expand_ranges(word).map_err(|error| format!("`{word}` in a selector: {error}"))
}

/// Parts between `:` and `,` outside brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ':' | ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Selector {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.text
    }
}
