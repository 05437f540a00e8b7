//! What an operator is told to type next works as it stands: with the flags that were typed now.

use std::path::Path;

use crate::model::quote;

use super::Args;
use super::args::USUAL_INVENTORY;

/// The flags of this command that another one needs to find the same hosts and the same ledger.
pub(super) struct Again {
    inventory: String,
    state: String,
    known_hosts: String,
}

impl Again {
    pub(super) fn of(args: &Args) -> Self {
        let flag = |name: &str, value: Option<&Path>| {
            value.map_or(String::new(), |value| format!(" {name} {}", quote(&value.display().to_string())))
        };
        let inventory = Some(&*args.inventory).filter(|path| *path != Path::new(USUAL_INVENTORY));
        Self {
            inventory: flag("-i", inventory),
            state: flag("--state", args.state.as_deref()),
            known_hosts: flag("--known-hosts", args.known_hosts.as_deref()),
        }
    }

    /// The text with these flags in every command that is to be typed; one in backticks is only spoken of.
    pub(super) fn in_text(&self, text: &str) -> String {
        let mut said = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("lockturn ") {
            said.push_str(before);
            said.push_str("lockturn");
            if !before.ends_with('`') {
                let verb = after.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
                // One that names another ledger has no use for this one.
                let other_state = after.lines().next().is_some_and(|line| line.contains(" --state "));
                let flags = self.flags(verb).into_iter().filter(|flag| !(other_state && *flag == self.state));
                flags.for_each(|flag| said.push_str(flag));
            }
            said.push(' ');
            rest = after;
        }
        said + rest
    }

    fn flags(&self, verb: &str) -> Vec<&str> {
        let Self { inventory, state, known_hosts } = self;
        match verb {
            "resume" | "rollback" | "release" | "status" => vec![inventory, state, known_hosts],
            "runs" | "show" | "ledger" => vec![state],
            "hosts" => vec![inventory],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn said(words: &[&str], text: &str) -> String {
        Again::of(&Args::try_parse_from(["lockturn", "--state", "my state"].iter().chain(words)).unwrap()).in_text(text)
    }

    #[test]
    fn what_is_to_be_typed_has_the_flags_that_were_typed() {
        let typed = ["-i", "lab/inventory.yml", "runs"];
        assert_eq!(
            said(&typed, "next: lockturn resume 01A\n      lockturn show 01A"),
            "next: lockturn -i lab/inventory.yml --state 'my state' resume 01A\n      lockturn --state 'my state' show 01A"
        );
        assert_eq!(said(&["runs"], "hint: lockturn resume 01A"), "hint: lockturn --state 'my state' resume 01A");
        assert_eq!(
            said(&typed, "hint: lockturn resume --from-hosts --state NEW-DIR"),
            "hint: lockturn -i lab/inventory.yml resume --from-hosts --state NEW-DIR"
        );
        let spoken_of = "`lockturn resume` is spoken of; lockturn init writes one; lockturn";
        assert_eq!(said(&typed, spoken_of), spoken_of);
    }
}
