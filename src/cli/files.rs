//! `check` and `hosts`: what the files say, without any connection. And what every verb reads before it connects.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::inventory::{Host, Inventory, Jump};
use crate::model::{Become, GroupName, HostName, Playbook, Selector};
use crate::plan::{Draft, LimitError, draft};
use crate::report::plural;
use crate::yaml::{Diagnostic, Diagnostics, Severity};

use super::args::Output;
use super::{Args, CliError, Exit, Verb, say};

/// Where playbooks are looked for if none is named.
const PLAYBOOKS: &str = "playbooks";

/// What `check` says of a playbook that has nothing to do with the limit's hosts.
const NOBODY: &str = "no host of the limit takes part";

/// Reads the inventory; warnings go to standard error.
pub(super) fn inventory(args: &Args) -> Result<Inventory, CliError> {
    let (inventory, warnings) = Inventory::read(&args.inventory).map_err(|found| no_inventory(args, &found))?;
    warn(warnings);
    Ok(inventory)
}

fn no_inventory(args: &Args, found: &Diagnostics) -> CliError {
    let error = invalid(found);
    let there = args.inventory.exists();
    if there { error } else { error.hint("lockturn init writes one to begin with; -i names another one") }
}

/// Reads a playbook that rotates; warnings go to standard error.
pub(super) fn playbook(path: &Path) -> Result<Playbook, CliError> {
    let (playbook, warnings) = crate::playbook::read(path).map_err(|found| invalid(&found))?;
    warn(warnings);
    if playbook.forgets {
        let file = path.display();
        return Err(CliError::new(
            Exit::Usage,
            format!("{file} rotates nothing: it forgets hosts; nothing was changed"),
        )
        .hint(format!("lockturn quarantine HOST --playbook {file}")));
    }
    Ok(playbook)
}

/// Reads a playbook that forgets hosts, as it fits the inventory.
pub(super) fn forgetting(inventory: &Inventory, path: &Path) -> Result<(Playbook, Draft), CliError> {
    let (playbook, warnings) = crate::playbook::read(path).map_err(|found| invalid(&found))?;
    warn(warnings);
    if !playbook.forgets {
        let file = path.display();
        return Err(CliError::new(Exit::Usage, format!("{file} forgets nobody: it rotates; nothing was changed"))
            .hint(
                "--playbook takes one with `forget:`, as playbooks/quarantine.yml; lockturn check says what it has",
            ));
    }
    let draft = resolve(inventory, &playbook, path)?;
    Ok((playbook, draft))
}

/// Resolves a playbook against the inventory.
pub(super) fn resolve(inventory: &Inventory, playbook: &Playbook, file: &Path) -> Result<Draft, CliError> {
    fit(inventory, playbook, file).map_err(|found| invalid(&found))
}

fn fit(inventory: &Inventory, playbook: &Playbook, file: &Path) -> Result<Draft, Diagnostics> {
    draft(playbook, &|selector| inventory.select(selector)).map_err(|errors| {
        let errors = errors.iter().map(|error| (error.path.as_str(), error.message.as_str()));
        crate::playbook::point_at(file, errors)
    })
}

/// The hosts of `--limit`.
pub(super) fn limit(args: &Args, inventory: &Inventory) -> Result<Option<BTreeSet<HostName>>, CliError> {
    let Some(selector) = &args.limit else { return Ok(None) };
    let only = inventory
        .select(selector)
        .map_err(|error| CliError::new(Exit::Usage, format!("the limit `{selector}`: {error}")))?;
    if only.is_empty() {
        return Err(CliError::new(Exit::Usage, format!("the limit `{selector}` names no host")));
    }
    Ok(Some(only))
}

/// What is left of a draft under `--limit`.
pub(super) fn limited(args: &Args, inventory: &Inventory, draft: Draft) -> Result<Draft, CliError> {
    let (Some(only), Some(selector)) = (limit(args, inventory)?, &args.limit) else { return Ok(draft) };
    draft.limited(&only).map_err(|error| {
        let exit = if error == LimitError::Nobody { Exit::Usage } else { Exit::Refused };
        let told = CliError::new(exit, format!("the limit `{selector}` cannot be kept: {error}"));
        let add = match error {
            LimitError::Nobody => return told.hint("lockturn hosts lists who there is"),
            LimitError::OfOthers(add) | LimitError::Split { missing: add, .. } => add,
        };
        let add: Vec<&str> = add.iter().map(HostName::as_str).collect();
        told.hint(format!("nothing was connected; add them: --limit '{selector},{}'", add.join(",")))
    })
}

/// A limit that a verb does not know is never ignored.
pub(super) fn refuse_limit(args: &Args) -> Result<(), CliError> {
    let knows = match args.verb {
        Verb::Check { .. }
        | Verb::Hosts { .. }
        | Verb::Plan { .. }
        | Verb::Rotate { .. }
        | Verb::Drill { .. }
        | Verb::Resume { from_hosts: true, .. }
        | Verb::Status { .. } => true,
        Verb::Init { .. }
        | Verb::Resume { from_hosts: false, .. }
        | Verb::Rollback { .. }
        | Verb::Quarantine { .. }
        | Verb::Release { .. }
        | Verb::Runs
        | Verb::Show { .. }
        | Verb::Ledger { .. }
        | Verb::Demo { .. }
        | Verb::Selftest { .. }
        | Verb::Lab { .. }
        | Verb::Completions { .. }
        | Verb::Man
        | Verb::LabSqlite3 { .. } => false,
    };
    if knows || args.limit.is_none() {
        return Ok(());
    }
    Err(CliError::new(
        Exit::Usage,
        "--limit works with check, hosts, plan, rotate, drill, status and resume --from-hosts only",
    )
    .hint("a run that was begun is finished, or taken back, on all of its hosts"))
}

fn invalid(found: &Diagnostics) -> CliError {
    CliError::rendered(Exit::Invalid, found.render())
}

fn warn(warnings: Vec<Diagnostic>) {
    if !warnings.is_empty() {
        say::err(&format!("{}\n", Diagnostics(warnings).render()));
    }
}

/// `check`: everything that is wrong with all files, not only with the first.
pub(super) fn check(args: &Args, named: &[PathBuf]) -> Result<Exit, CliError> {
    let mut found = Vec::new();
    let mut done = Vec::new();
    let inventory = match Inventory::read(&args.inventory) {
        Ok((inventory, warnings)) => {
            done.push((args.inventory.clone(), plural(inventory.hosts.len(), "host")));
            found.extend(warnings);
            Some(inventory)
        }
        Err(Diagnostics(errors)) => {
            found.extend(errors);
            None
        }
    };
    for path in playbooks(named)? {
        match crate::playbook::read(&path) {
            Ok((playbook, warnings)) => {
                found.extend(warnings);
                let Some(inventory) = &inventory else { continue };
                match fit(inventory, &playbook, &path) {
                    Ok(draft) => {
                        let only = limit(args, inventory)?;
                        let concerned = only.is_none_or(|only| draft.hosts.keys().any(|host| only.contains(host)));
                        let what = match (concerned, playbook.forgets) {
                            (false, _) => NOBODY.to_owned(),
                            (true, true) => format!("forgets {}", size(&draft)),
                            (true, false) => size(&limited(args, inventory, draft)?),
                        };
                        done.push((path, what));
                    }
                    Err(Diagnostics(errors)) => found.extend(errors),
                }
            }
            Err(Diagnostics(errors)) => found.extend(errors),
        }
    }
    let found = Diagnostics(found);
    if args.output == Some(Output::Json) {
        say::out(&done.iter().map(|(path, what)| checked(path, what)).collect::<String>());
        say::out(&found.0.iter().map(diagnostic).collect::<String>());
        return Ok(if found.has_errors() { Exit::Invalid } else { Exit::Done });
    }
    say::out(&done.iter().map(|(path, what)| format!("{}: {what}\n", path.display())).collect::<String>());
    if found.has_errors() {
        return Err(if inventory.is_none() { no_inventory(args, &found) } else { invalid(&found) });
    }
    warn(found.0);
    Ok(Exit::Done)
}

fn size(draft: &Draft) -> String {
    format!("{} on {}", plural(draft.values.len(), "value"), plural(draft.hosts.len(), "host"))
}

/// The playbooks that are named, those in a directory that is named, or those in `playbooks/`.
fn playbooks(named: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let usual = Path::new(PLAYBOOKS).to_owned();
    let named = if named.is_empty() && usual.is_dir() { vec![usual] } else { named.to_vec() };
    let mut paths = Vec::new();
    for path in named {
        if !path.is_dir() {
            paths.push(path);
            continue;
        }
        let entries = std::fs::read_dir(&path)
            .map_err(|error| CliError::new(Exit::Invalid, format!("{}: {error}", path.display())))?;
        let yaml = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml");
        let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(yaml).collect();
        inside.sort();
        paths.extend(inside);
    }
    Ok(paths)
}

fn checked(path: &Path, what: &str) -> String {
    format!("{}\n", serde_json::json!({"v": 1, "kind": "checked", "file": path.display().to_string(), "has": what}))
}

fn diagnostic(found: &Diagnostic) -> String {
    let Diagnostic { severity, file, place, path, message, hint, .. } = found;
    let severity = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let json = serde_json::json!({
        "v": 1, "kind": "diagnostic", "severity": severity, "file": file, "line": place.line, "column": place.column,
        "path": path, "message": message, "hint": hint,
    });
    format!("{json}\n")
}

/// `hosts`: who a selector names, how each is reached, and what selectors can ask for.
pub(super) fn hosts(args: &Args, selector: &str) -> Result<Exit, CliError> {
    let inventory = inventory(args)?;
    let selector: Selector = selector.parse().map_err(|error: String| CliError::new(Exit::Usage, error))?;
    let mut chosen = inventory.select(&selector).map_err(|error| CliError::new(Exit::Usage, error))?;
    if let Some(only) = limit(args, &inventory)? {
        chosen.retain(|host| only.contains(host));
    }
    if chosen.is_empty() {
        return Err(CliError::new(Exit::Usage, format!("`{selector}` names no host")).hint("lockturn hosts lists all"));
    }
    let rows: Vec<Row<'_>> = chosen.iter().map(|name| Row::of(&inventory, name)).collect();
    if args.output == Some(Output::Json) {
        say::out(&rows.iter().map(Row::json).collect::<String>());
    } else {
        let width = |of: fn(&Row<'_>) -> usize| rows.iter().map(of).max().unwrap_or(0);
        let widths =
            (width(|row| row.name.len()), width(|row| row.reached().len()), width(|row| row.groups.join(",").len()));
        say::out(&rows.iter().map(|row| row.line(widths)).collect::<String>());
        say::err(&format!("{}\n", plural(rows.len(), "host")));
    }
    Ok(Exit::Done)
}

/// One host, as it is shown.
struct Row<'a> {
    name: &'a str,
    host: &'a Host,
    groups: Vec<&'a str>,
}

impl<'a> Row<'a> {
    fn of(inventory: &'a Inventory, name: &'a HostName) -> Self {
        let groups = inventory.groups.iter().filter(|(group, hosts)| group.as_str() != "all" && hosts.contains(name));
        let groups = groups.map(|(group, _): (&GroupName, _)| group.as_str()).collect();
        Self { name: name.as_str(), host: &inventory.hosts[name], groups }
    }

    /// `user@address:port via control`
    fn reached(&self) -> String {
        let Host { address, port, user, jump, .. } = self.host;
        let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let address = if address.contains(':') { format!("[{address}]") } else { address.clone() };
        let way: String = jump.iter().map(|hop| format!(" via {}", hop_name(hop))).collect();
        format!("{user}{address}:{port}{way}")
    }

    fn line(&self, (name, reached, groups): (usize, usize, usize)) -> String {
        let labels: Vec<String> = self.host.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
        let line = format!(
            "{:name$}  {:reached$}  {:groups$}  {}",
            self.name,
            self.reached(),
            self.groups.join(","),
            labels.join(" ")
        );
        format!("{}\n", line.trim_end())
    }

    fn json(&self) -> String {
        let Host { address, port, user, jump, labels, become_user, .. } = self.host;
        let become_user = match become_user {
            Become::Sudo => "sudo",
            Become::None => "none",
        };
        let json = serde_json::json!({
            "v": 1, "host": self.name, "address": address, "port": port, "user": user, "become": become_user,
            "jump": jump.iter().map(hop_name).collect::<Vec<_>>(), "groups": self.groups, "labels": labels,
        });
        format!("{json}\n")
    }
}

fn hop_name(hop: &Jump) -> String {
    match hop {
        Jump::Host(name) => name.to_string(),
        Jump::Other { user, address, port } => {
            let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
            let port = if *port == 22 { String::new() } else { format!(":{port}") };
            format!("{user}{address}{port}")
        }
    }
}
