//! Ansible's INI: `[group]`, `[group:children]`, `[group:vars]`, and lines of hosts with variables.

use crate::model::GroupName;
use crate::yaml::{self, Budget, Item, Node, Place, Problems, Value};

use super::gathered::Gathered;
use super::vars::{About, Vars};
use super::words;

/// What the lines of a section are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Hosts,
    Children,
    Vars,
    /// The section's own head is wrong; its lines are not looked at.
    Unread,
}

/// Reads a whole file.
pub(super) fn read(text: &str, problems: &Problems, about: &About<'_>, into: &mut Gathered) {
    // Hosts before any section are in no group but `all`.
    let mut section = ("ungrouped".parse().ok(), Lines::Hosts);
    for (number, whole) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = whole.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let indent = whole.chars().take_while(|c| c.is_whitespace()).count();
        let line = Line { text: line, number: number + 1, indent, problems };
        if line.text.starts_with('[')
            && let Some(head) = line.head()
        {
            section = line.section(&head, into);
            continue;
        }
        let (Some(group), lines) = &section else { continue };
        match lines {
            Lines::Hosts => line.hosts(group, about, into),
            Lines::Children => line.child(group, into),
            Lines::Vars => line.var(group, about, into),
            Lines::Unread => {}
        }
    }
}

struct Line<'a> {
    /// Without the blanks around it.
    text: &'a str,
    number: usize,
    indent: usize,
    problems: &'a Problems,
}

impl Line<'_> {
    /// A value that begins at this character of the line.
    fn node(&self, at: usize, text: &str) -> Node {
        Node::text(text, Place { line: self.number, column: self.indent + at + 1 })
    }

    fn error(&self, at: usize, message: &str, hint: Option<&str>) {
        let node = self.node(at, "");
        let item = Item::root(&node, self.problems);
        match hint {
            Some(hint) => item.error_with_hint(message, hint.to_owned()),
            None => item.error(message),
        }
    }

    /// What stands between the brackets, if the line is the head of a section; a comment may follow. A host may begin with a range.
    fn head(&self) -> Option<String> {
        let (inside, after) = self.text[1..].split_once(']')?;
        let after = after.trim_start();
        (after.is_empty() || after.starts_with('#')).then(|| inside.to_owned())
    }

    fn section(&self, head: &str, into: &mut Gathered) -> (Option<GroupName>, Lines) {
        let (name, kind) = head.split_once(':').unwrap_or((head, "hosts"));
        let lines = match kind {
            "hosts" => Lines::Hosts,
            "children" => Lines::Children,
            "vars" => Lines::Vars,
            _ => {
                let hint = "a section is `[group]`, `[group:children]` or `[group:vars]`";
                self.error(name.chars().count() + 2, "there is no such kind of section", Some(hint));
                Lines::Unread
            }
        };
        let node = self.node(1, name);
        let item = Item::root(&node, self.problems);
        let group = into.group(name, &item);
        if let Some(group) = &group {
            let known = into.groups.entry(group.clone()).or_default();
            known.written |= lines != Lines::Vars;
            if lines == Lines::Vars && known.vars_apart.is_none() {
                known.vars_apart = Some(item.spot());
            }
        }
        (group, lines)
    }

    /// `NAME [variable=value]…`
    fn hosts(&self, group: &GroupName, about: &About<'_>, into: &mut Gathered) {
        let Some(tokens) = words::split(self.text, true) else {
            self.error(0, "a quote in this line is never closed", None);
            return;
        };
        let mut tokens = tokens.into_iter();
        let Some((at, pattern)) = tokens.next() else { return };
        if pattern == "---" || pattern.ends_with(':') {
            let hint = "is this a YAML file? then its name should end in `.yml`";
            self.error(at, "this is no line of an INI inventory", Some(hint));
            return;
        }
        let mut vars = Vars::default();
        for (at, token) in tokens {
            match token.split_once('=') {
                Some((key, value)) if !key.is_empty() => self.take(at, key, value, &mut vars, about),
                _ => self.error(
                    at,
                    "should be `variable=value`, or a comment that begins with `#`",
                    Some("a name with blanks in it stands in quotes; each host has a line of its own"),
                ),
            }
        }
        let node = self.node(at, &pattern);
        into.add_hosts(&pattern, group, vars, &Item::root(&node, self.problems));
    }

    /// `GROUP`
    fn child(&self, group: &GroupName, into: &mut Gathered) {
        let name = self.text.split('#').next().unwrap_or_default().trim_end();
        let node = self.node(0, name);
        let item = Item::root(&node, self.problems);
        let Some(child) = into.group(name, &item) else { return };
        into.groups.entry(group.clone()).or_default().children.entry(child).or_insert_with(|| item.spot());
    }

    /// `variable = value`
    fn var(&self, group: &GroupName, about: &About<'_>, into: &mut Gathered) {
        let Some((key, value)) = self.text.split_once('=') else {
            self.error(0, "should be `variable=value`", Some("hosts stand under `[group]`, not under `[group:vars]`"));
            return;
        };
        let mut vars = Vars::default();
        self.take(0, key.trim(), value.trim(), &mut vars, about);
        into.add_vars(group, vars);
    }

    /// A value is a literal of Python if it looks like one, otherwise text.
    fn take(&self, at: usize, key: &str, value: &str, vars: &mut Vars, about: &About<'_>) {
        let mut node = self.node(at, value);
        let quoted = |quote: char| {
            let inside = value.strip_prefix(quote)?.strip_suffix(quote)?;
            (!inside.contains([quote, '\\'])).then_some(inside)
        };
        if let Some(inside) = quoted('\'').or_else(|| quoted('"')) {
            node.value = Value::Text(inside.to_owned());
        } else if value == "None" {
            node.value = Value::Null;
        } else if value.starts_with(['{', '['])
            && !value.starts_with("{{")
            && let Ok(literal) = yaml::parse(value, Budget::SMALL)
        {
            node = placed(literal, node.place);
        }
        vars.take(key, &Item::root(&node, self.problems), about);
    }
}

/// A literal's own places are those within the value; what it says is pointed at as a whole.
fn placed(node: Node, place: Place) -> Node {
    let value = match node.value {
        Value::List(list) => Value::List(list.into_iter().map(|node| placed(node, place)).collect()),
        Value::Map(map) => {
            Value::Map(map.into_iter().map(|(key, node)| (yaml::Key { place, ..key }, placed(node, place))).collect())
        }
        other => other,
    };
    Node { value, place, bytes: None }
}
