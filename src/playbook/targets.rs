//! Targets: hosts, placements and activations.

use std::collections::BTreeSet;

use crate::model::{Activation, Become, Millis, Placement, Put, SecretName, Target, UnitAction};
use crate::yaml::{Fields, Item, Value, closest};

use super::probes::probe;
use super::words::{duration, remote_path, selector, unit};

/// How long a service may take to restart when the playbook does not say: systemd's own limit for a start (`DefaultTimeoutStartSec`).
const ACTIVATE: Millis = Millis::from_secs(90);

pub(super) fn targets(item: &Item<'_>, secrets: &BTreeSet<SecretName>) -> Vec<Target> {
    let targets: Vec<Target> =
        item.list().unwrap_or_default().iter().filter_map(|target| one(target, secrets)).collect();
    if matches!(&item.node.value, Value::List(list) if list.is_empty()) {
        item.error("should have at least one target");
    }
    targets
}

fn one(item: &Item<'_>, secrets: &BTreeSet<SecretName>) -> Option<Target> {
    let fields = item.fields()?;
    let hosts = fields.need("hosts").and_then(|item| selector(&item));
    let become_user = fields.get("become").and_then(|item| match item.text()? {
        "sudo" => Some(Become::Sudo),
        "none" => Some(Become::None),
        _ => {
            item.error("should be `sudo` or `none`");
            None
        }
    });
    let list = |name| fields.get(name).and_then(|item: Item<'_>| item.list()).unwrap_or_default();
    let put: Vec<Put> = list("put").iter().filter_map(|item| one_put(item, secrets)).collect();
    let activate = list("activate").iter().filter_map(activation).collect();
    let several = put.iter().map(|put| &put.secret).collect::<BTreeSet<_>>().len() > 1;
    let verify = list("verify").iter().filter_map(|item| probe(item, secrets, several)).collect();
    fields.finish();
    Some(Target { hosts: hosts?, become_user, put, activate, verify })
}

/// A secret that exists.
pub(super) fn secret_name(item: &Item<'_>, secrets: &BTreeSet<SecretName>) -> Option<SecretName> {
    let name: SecretName = item.parsed()?;
    if secrets.contains(&name) {
        return Some(name);
    }
    let message = format!("there is no secret `{name}`");
    match closest(name.as_str(), secrets.iter().map(SecretName::as_str)) {
        Some(known) => item.error_with_hint(&message, format!("did you mean `{known}`?")),
        None => item.error(&message),
    }
    None
}

fn one_put(item: &Item<'_>, secrets: &BTreeSet<SecretName>) -> Option<Put> {
    let fields = item.fields()?;
    let secret = fields.need("secret").and_then(|item| secret_name(&item, secrets));
    let for_each = fields.get("for_each").and_then(|item| selector(&item));
    let mut found: Vec<Option<Placement>> = Vec::new();
    let mut take = |name, read: fn(&Fields<'_>) -> Option<Placement>| {
        let Some(item) = fields.get(name) else { return };
        found.push(item.fields().and_then(|fields| {
            fields
                .refuse("previous", "`previous` belongs to the overlap strategy, which this version does not have yet");
            let placement = read(&fields);
            fields.finish();
            placement
        }));
    };
    take("dotenv", dotenv);
    take("file", file);
    take("sqlite", sqlite);
    take("command", command);
    for later in ["json", "yaml", "toml", "ini"] {
        if fields.has(later) {
            fields.refuse(later, "the format knows this, but this version of lockturn does not yet");
            found.push(None);
        }
    }
    match found.len() {
        0 => item.error("should say where: one of `dotenv`, `file`, `sqlite`, `command`"),
        1 => {}
        _ => item.error("should say one place; use one put for each"),
    }
    fields.finish();
    Some(Put { secret: secret?, for_each, placement: found.into_iter().next()?? })
}

fn path_of(fields: &Fields<'_>) -> Option<String> {
    fields.need("file").and_then(|item| remote_path(&item))
}

fn follow(fields: &Fields<'_>) -> bool {
    fields.get("follow").and_then(|item| item.truth()).unwrap_or(false)
}

fn dotenv(fields: &Fields<'_>) -> Option<Placement> {
    let (file, follow) = (path_of(fields), follow(fields));
    let key = fields.need("key").and_then(|item| {
        let key = item.text()?;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if key.is_empty() || !key.chars().all(fits) || key.starts_with(|c: char| c.is_ascii_digit()) {
            item.error("should be a key of a .env file: letters, digits, `_` and `.`");
            return None;
        }
        Some(key.to_owned())
    });
    Some(Placement::Dotenv { file: file?, key: key?, follow })
}

fn file(fields: &Fields<'_>) -> Option<Placement> {
    let (file, follow) = (path_of(fields), follow(fields));
    Some(Placement::File { file: file?, follow })
}

fn sqlite(fields: &Fields<'_>) -> Option<Placement> {
    let file = path_of(fields);
    let statement = |name, first: &[&str]| {
        let item: Item<'_> = fields.need(name)?;
        let text = item.text()?;
        let word = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if !first.contains(&word.as_str()) {
            item.error(&format!("should begin with {}", first.join(" or ")));
            return None;
        }
        Some(text.to_owned())
    };
    let read = statement("read", &["SELECT"]);
    let write = statement("write", &["UPDATE", "INSERT", "REPLACE"]);
    if let (Some(write), Some(item)) = (&write, fields.get("write"))
        && !write.contains(":secret")
    {
        item.error("should write `:secret`");
    }
    Some(Placement::Sqlite { file: file?, read: read?, write: write? })
}

fn command(fields: &Fields<'_>) -> Option<Placement> {
    let words = |name| fields.need(name).and_then(|item: Item<'_>| argv(&item));
    let (read, write) = (words("read"), words("write"));
    Some(Placement::Command { read: read?, write: write? })
}

/// Words of a program: no shell, no line breaks.
pub(super) fn argv(item: &Item<'_>) -> Option<Vec<String>> {
    let words = item.words()?;
    if words.iter().any(|word| word.contains(['\n', '\r', '\0'])) {
        item.error("a word of a command has no line breaks");
        return None;
    }
    Some(words)
}

fn activation(item: &Item<'_>) -> Option<Activation> {
    let fields = item.fields()?;
    let deadline_of = |fields: &Fields<'_>| fields.get("deadline").and_then(|item| duration(&item)).unwrap_or(ACTIVATE);
    let mut found = None;
    if let Some(inner) = fields.get("systemd").and_then(|item| item.fields()) {
        let deadline = deadline_of(&inner);
        let (restart, reload) = (inner.get("restart"), inner.get("reload"));
        if restart.is_some() == reload.is_some() {
            item.error("should be one of `restart: UNIT` and `reload: UNIT`");
        }
        let action = if restart.is_some() { UnitAction::Restart } else { UnitAction::Reload };
        found = restart.or(reload).and_then(|item| Some(Activation::Systemd { action, unit: unit(&item)?, deadline }));
        inner.finish();
    } else if let Some(inner) = fields.get("command").and_then(|item| item.fields()) {
        let deadline = deadline_of(&inner);
        found = inner.need("run").and_then(|item| Some(Activation::Command { run: argv(&item)?, deadline }));
        inner.finish();
    } else if !fields.has("systemd") && !fields.has("command") {
        item.error("should be one of `systemd` and `command`");
    }
    fields.finish();
    found
}
