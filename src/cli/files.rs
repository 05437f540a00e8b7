//! `check` and `hosts`: what the files say, without any connection.

use std::path::{Path, PathBuf};

use crate::inventory::Inventory;
use crate::model::{HostName, Playbook, Selector};
use crate::plan::{Draft, draft};
use crate::report::plural;
use crate::yaml::{Diagnostic, Diagnostics};

use super::{Args, CliError, Exit, say};

/// Reads the inventory; warnings go to standard error.
pub(super) fn inventory(args: &Args) -> Result<Inventory, CliError> {
    let hint = "lockturn init writes one to begin with; -i names another one";
    let read = Inventory::read(&args.inventory).map_err(|found| invalid(&found).hint(hint))?;
    warn(read.1);
    Ok(read.0)
}

/// Reads a playbook; warnings go to standard error.
pub(super) fn playbook(path: &Path) -> Result<Playbook, CliError> {
    let (playbook, warnings) = crate::playbook::read(path).map_err(|found| invalid(&found))?;
    warn(warnings);
    Ok(playbook)
}

/// Resolves a playbook against the inventory.
pub(super) fn resolve(inventory: &Inventory, playbook: &Playbook, file: &Path) -> Result<Draft, CliError> {
    draft(playbook, &|selector| inventory.select(selector)).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(|error| format!("error: {}: {error}", file.display())).collect();
        CliError::rendered(Exit::Invalid, lines.join("\n"))
    })
}

fn invalid(found: &Diagnostics) -> CliError {
    CliError::rendered(Exit::Invalid, found.render())
}

fn warn(warnings: Vec<Diagnostic>) {
    if !warnings.is_empty() {
        say::err(&format!("{}\n", Diagnostics(warnings).render()));
    }
}

/// `check`.
pub(super) fn check(args: &Args, playbooks: &[PathBuf]) -> Result<Exit, CliError> {
    let inventory = inventory(args)?;
    say::out(&format!("{}: {}\n", args.inventory.display(), plural(inventory.hosts.len(), "host")));
    let mut failed = Vec::new();
    for path in playbooks {
        match playbook(path).and_then(|playbook| resolve(&inventory, &playbook, path)) {
            Ok(draft) => {
                let (hosts, values) = (plural(draft.hosts.len(), "host"), plural(draft.values.len(), "value"));
                say::out(&format!("{}: {values} on {hosts}\n", path.display()));
            }
            Err(error) => failed.push(error.message),
        }
    }
    if failed.is_empty() { Ok(Exit::Done) } else { Err(CliError::rendered(Exit::Invalid, failed.join("\n"))) }
}

/// `hosts`.
pub(super) fn hosts(args: &Args, selector: &str) -> Result<Exit, CliError> {
    let inventory = inventory(args)?;
    let selector: Selector = selector.parse().map_err(|error: String| CliError::new(Exit::Usage, error))?;
    let chosen = inventory.select(&selector).map_err(|error| CliError::new(Exit::Usage, error))?;
    if chosen.is_empty() {
        return Err(CliError::new(Exit::Usage, format!("`{selector}` names no host")));
    }
    let width = chosen.iter().map(|name| name.as_str().len()).max().unwrap_or(0);
    let line = |name: &HostName| {
        let host = &inventory.hosts[name];
        format!("{name:width$}  {}:{}\n", host.address, host.port)
    };
    say::out(&chosen.iter().map(line).collect::<String>());
    Ok(Exit::Done)
}
