//! The tree: every key and every value knows where it stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;

/// How much of a file is read before it is taken for a mistake or an attack.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Its size.
    pub bytes: usize,
    /// Its values and lists and maps, aliases followed.
    pub nodes: usize,
}

impl Budget {
    /// What a person writes.
    pub const SMALL: Self = Self { bytes: 1024 * 1024, nodes: 100_000 };

    /// What a program writes about ten thousand hosts.
    pub const LARGE: Self = Self { bytes: 8 * 1024 * 1024, nodes: 500_000 };
}

/// Where something stands, from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it stands.
    pub place: Place,
    /// Which bytes of the file it is, where that is known: a number is kept as it was written.
    pub bytes: Option<(usize, usize)>,
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// Reads one document.
///
/// # Errors
/// What is wrong, and where.
pub fn parse(text: &str, budget: Budget) -> Result<Node, (Place, String)> {
    let Budget { bytes, nodes } = budget;
    if text.len() > bytes {
        return Err((Place { line: 1, column: 1 }, format!("the file is larger than {} MiB", bytes / 1024 / 1024)));
    }
    // Many hosts are fine; an alias bomb is not.
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! { max_depth: 32, max_nodes: nodes, max_aliases: 100, max_events: 3 * nodes, max_documents: 1 },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    let root: Option<Node> = serde_yaml::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map_or(Place { line: 1, column: 1 }, place);
        (place, phrase(&error.to_string(), nodes))
    })?;
    Ok(root.unwrap_or(Node { value: Value::Null, place: Place { line: 1, column: 1 }, bytes: None }))
}

impl Node {
    /// Where the value that these keys lead to stands, `targets/0/hosts`; if the way ends early, where it ends.
    #[must_use]
    pub fn place_of(&self, path: &str) -> Place {
        let (mut node, mut place) = (self, self.place);
        for part in path.split('/') {
            let found = match &node.value {
                Value::Map(map) => map.iter().find(|(key, _)| key.text == part).map(|(key, node)| (key.place, node)),
                Value::List(list) => {
                    part.parse().ok().and_then(|at: usize| list.get(at)).map(|node| (node.place, node))
                }
                Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => None,
            };
            let Some((key, inner)) = found else { break };
            (node, place) = (inner, key);
        }
        place
    }

    /// Text that stood in a file of another format.
    #[must_use]
    pub fn text(text: &str, place: Place) -> Self {
        Self { value: Value::Text(text.to_owned()), place, bytes: None }
    }
}

/// The parser's own words without the places, which stand in ours already; where they speak to programmers, others.
fn phrase(said: &str, nodes: usize) -> String {
    let said = said.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let said = said.split(" at line ").next().unwrap_or_default();
    if let Some(key) = said.strip_prefix("duplicate mapping key: ") {
        let key = key.split(", set DuplicateKeyPolicy").next().unwrap_or_default();
        return format!("the key `{}` stands here for the second time", key.escape_debug());
    }
    let Some(breach) = said.strip_prefix("budget breached: ") else {
        return match said {
            _ if said.contains("tabs disallowed") => "a tab stands here; YAML is indented with blanks".to_owned(),
            _ if said.contains("recursion limit") => "it is nested too deep".to_owned(),
            _ => said.to_owned(),
        };
    };
    if breach.starts_with("Documents") {
        "a second document begins here; one file is one document".to_owned()
    } else if breach.starts_with("Depth") || breach.starts_with("FlowNesting") {
        "it is nested too deep".to_owned()
    } else {
        format!("there is more in it than can be meant: {nodes} values, aliases followed, are the most")
    }
}

fn place(location: serde_yaml::Location) -> Place {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Place { line: number(location.line()).max(1), column: number(location.column()).max(1) }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        // An alias stands in one place and was written in another.
        let written = spanned.defined.span();
        let bytes = written.byte_offset().zip(written.byte_len());
        let bytes = bytes.and_then(|(from, len)| {
            let from = usize::try_from(from).ok()?;
            Some((from, from.checked_add(usize::try_from(len).ok()?)?))
        });
        Ok(Self { place: place(spanned.referenced), value: spanned.value, bytes })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = items.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let key = Key { text: key.value, place: place(key.referenced) };
            map.push((key, entries.next_value()?));
        }
        Ok(Value::Map(map))
    }
}
