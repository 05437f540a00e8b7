//! An expression that names hosts: `workers:!worker-3`, `worker-[01:10]`, `zone=eu`.
//!
//! Terms are joined by `:` or `,`; `!term` takes away, `&term` keeps only what is in both (Ansible's patterns, plus labels).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A range names no more than this.
const RANGE_MAX: u64 = 100_000;

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
                Some('!') => (Effect::Remove, &part[1..]),
                Some('&') => (Effect::Keep, &part[1..]),
                Some(_) => (Effect::Add, part),
                None => return Err(format!("the selector `{}` has an empty term", text.escape_debug())),
            };
            let fits = |c: char| c.is_ascii_alphanumeric() || "._-*?[]:=".contains(c);
            if word.is_empty() || !word.chars().all(fits) {
                return Err(format!("`{}` in a selector names nobody", part.escape_debug()));
            }
            let names = match word.split_once('=') {
                Some((label, value)) => Names::Label(label.to_owned(), value.to_owned()),
                None if word == "all" || word == "*" => Names::All,
                None => Names::Patterns(range(word)?),
            };
            terms.push(Term { effect, names });
        }
        if !terms.iter().any(|term| term.effect == Effect::Add) {
            terms.insert(0, Term { effect: Effect::Add, names: Names::All });
        }
        terms.sort_by_key(|term| term.effect != Effect::Add);
        Ok(Self { text: text.to_owned(), terms })
    }
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

/// `worker-[01:10]` is ten names.
fn range(word: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = word.split_once('[') else { return Ok(vec![word.to_owned()]) };
    let bad = || format!("`{word}` has a range that is none; `[01:10]` is one");
    let (inside, after) = rest.split_once(']').ok_or_else(bad)?;
    let (first, last) = inside.split_once(':').ok_or_else(bad)?;
    let (from, to): (u64, u64) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
    if to < from || to - from >= RANGE_MAX || first.len() > 12 || after.contains('[') {
        return Err(bad());
    }
    Ok((from..=to).map(|number| format!("{before}{number:0width$}{after}", width = first.len())).collect())
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
