//! Who a selector names.

use std::collections::BTreeSet;

use crate::model::{Effect, HostName, Names, Selector};
use crate::yaml::closest;

use super::hosts::Inventory;

impl Inventory {
    /// The hosts that a selector names, maybe none.
    ///
    /// # Errors
    /// If a term names neither a host nor a group nor a label that exists: that is a typing mistake, not an empty set.
    pub fn select(&self, selector: &Selector) -> Result<BTreeSet<HostName>, String> {
        let mut chosen = BTreeSet::new();
        for term in selector.terms() {
            let named = self.named(&term.names)?;
            match term.effect {
                Effect::Add => chosen.extend(named),
                Effect::Remove => chosen.retain(|host| !named.contains(host)),
                Effect::Keep => chosen.retain(|host| named.contains(host)),
            }
        }
        Ok(chosen)
    }

    fn named(&self, names: &Names) -> Result<BTreeSet<HostName>, String> {
        match names {
            Names::All => Ok(self.hosts.keys().cloned().collect()),
            Names::Label(label, value) => {
                let mut hosts = self.hosts.iter().filter(|(_, host)| host.labels.contains_key(label)).peekable();
                if hosts.peek().is_none() {
                    let known = self.hosts.values().flat_map(|host| host.labels.keys()).map(String::as_str);
                    return Err(unknown(&format!("no host has the label `{label}`"), label, known));
                }
                Ok(hosts.filter(|(_, host)| glob(value, &host.labels[label])).map(|(name, _)| name.clone()).collect())
            }
            Names::Patterns(patterns) => {
                let mut all = BTreeSet::new();
                for pattern in patterns {
                    all.extend(self.like(pattern)?);
                }
                Ok(all)
            }
        }
    }

    /// The hosts of a pattern, and of the groups of that pattern.
    fn like(&self, pattern: &str) -> Result<BTreeSet<HostName>, String> {
        let mut named = BTreeSet::new();
        let mut known = false;
        for (group, members) in &self.groups {
            if glob(pattern, group.as_str()) {
                known = true;
                named.extend(members.iter().cloned());
            }
        }
        for host in self.hosts.keys().filter(|host| glob(pattern, host.as_str())) {
            known = true;
            named.insert(host.clone());
        }
        if known {
            return Ok(named);
        }
        let words = self.groups.keys().map(|g| g.as_str()).chain(self.hosts.keys().map(|h| h.as_str()));
        Err(unknown(&format!("`{pattern}` is neither a host nor a group"), pattern, words))
    }
}

fn unknown<'a>(message: &str, word: &str, known: impl Iterator<Item = &'a str>) -> String {
    closest(word, known).map_or_else(|| message.to_owned(), |known| format!("{message}; did you mean `{known}`?"))
}

/// `*` and `?` in names, which are short.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    for byte in pattern {
        let mut before = fits[0];
        fits[0] &= *byte == b'*';
        for at in 1..=text.len() {
            let this = fits[at];
            fits[at] = match byte {
                b'*' => fits[at - 1] || this,
                b'?' => before,
                byte => before && *byte == text[at - 1],
            };
            before = this;
        }
    }
    fits[text.len()]
}
