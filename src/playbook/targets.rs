//! Targets: hosts, placements and activations.

use std::collections::BTreeSet;

use crate::model::{Activation, Become, Millis, Placement, Put, SecretName, SqlPiece, Target, UnitAction, sql_pieces};
use crate::yaml::{Fields, Item, Value, assigns_a_secret, closest};

use super::probes::probe;
use super::read::LATER;
use super::words::{duration, remote_path, selector, unit};

/// How long a service may take to restart when the playbook does not say: systemd's own limit for a start (`DefaultTimeoutStartSec`).
const ACTIVATE: Millis = Millis::from_secs(90);

pub(super) fn targets(item: &Item<'_>, secrets: &BTreeSet<SecretName>) -> Vec<Target> {
    let targets: Vec<Target> =
        item.list().unwrap_or_default().iter().filter_map(|target| one(target, secrets, None)).collect();
    if matches!(&item.node.value, Value::List(list) if list.is_empty()) {
        item.error("should have at least one target");
    }
    targets
}

/// What a target that forgets hosts has and one that rotates has not.
pub(super) type Stops<'a> = &'a dyn Fn(&Fields<'_>) -> Vec<String>;

pub(super) fn one(item: &Item<'_>, secrets: &BTreeSet<SecretName>, stops: Option<Stops<'_>>) -> Option<Target> {
    let fields = item.fields()?;
    let hosts = fields.need("hosts").and_then(|item| selector(&item));
    let become_user = fields.get("become").and_then(|item| match item.scalar()?.as_str() {
        "sudo" => Some(Become::Sudo),
        "none" => Some(Become::None),
        _ => {
            item.error("should be `sudo` or `none`");
            None
        }
    });
    if !["put", "activate", "verify"].iter().any(|name| fields.has(name)) {
        item.error("should have at least one of `put`, `activate` and `verify`");
    }
    let stop = stops.map(|read| read(&fields)).unwrap_or_default();
    let list = |name| fields.get(name).and_then(|item: Item<'_>| item.list()).unwrap_or_default();
    let put: Vec<Put> = list("put").iter().filter_map(|item| one_put(item, secrets)).collect();
    let activate = list("activate").iter().filter_map(activation).collect();
    let several = put.iter().map(|put| &put.secret).collect::<BTreeSet<_>>().len() > 1;
    let verify = list("verify").iter().filter_map(|item| probe(item, secrets, several)).collect();
    fields.finish();
    Some(Target { hosts: hosts?, become_user, stop, put, activate, verify })
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
            fields.refuse("previous", "not in this version: `previous` belongs to the strategy `overlap`");
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
            fields.refuse(later, LATER);
            found.push(None);
        }
    }
    for later in ["previous", "escrow", "sinks"] {
        fields.refuse(later, LATER);
    }
    match found.len() {
        0 => item.error("should say where: one of `dotenv`, `file`, `sqlite`, `command`"),
        1 => {}
        _ => item.error("should say one place; use one put for each"),
    }
    fields.finish();
    let placement = found.into_iter().next()??;
    if let (Some(_), Placement::Sqlite { read, write, .. }) = (&for_each, &placement) {
        for (name, statement) in [("read", read), ("write", write)] {
            if !parameters(statement).contains(&":host") {
                item.error(&format!(
                    "`{name}` should say `:host`, because `for_each` puts a value for each of several hosts"
                ));
            }
        }
    }
    Some(Put { secret: secret?, for_each, placement })
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
    let read = fields.need("read").and_then(|item| statement(&item, &["SELECT"], &[":host"]));
    let write = fields.need("write").and_then(|item| {
        let text = statement(&item, &["UPDATE", "INSERT", "REPLACE"], &[":host", ":secret"])?;
        if !parameters(&text).contains(&":secret") {
            item.error("should write `:secret`");
        }
        let words: Vec<String> = words_of(&text).map(|word| word.to_ascii_uppercase()).collect();
        if words.first().is_some_and(|first| first == "UPDATE") && !words.iter().any(|word| word == "WHERE") {
            item.warning(
                "an UPDATE without WHERE writes every row; the run is refused unless the table has exactly one",
                Some("say which row: `WHERE id = :host`".to_owned()),
            );
        }
        Some(text)
    });
    Some(Placement::Sqlite { file: file?, read: read?, write: write? })
}

/// One statement that begins with one of these words and has no parameters but these.
fn statement(item: &Item<'_>, first: &[&str], known: &[&str]) -> Option<String> {
    let text = item.text()?;
    let pieces = match sql_pieces(text) {
        Ok(pieces) => pieces,
        Err(error) => {
            item.error(&error.to_string());
            return None;
        }
    };
    let word = words_of(text).next().unwrap_or_default().to_ascii_uppercase();
    if !first.contains(&word.as_str()) {
        item.error(&format!("should begin with {}", first.join(" or ")));
        return None;
    }
    for piece in pieces {
        if let SqlPiece::Parameter(name) = piece
            && !known.contains(&name)
        {
            let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            item.error(&format!("`{name}` is no parameter here; {} can be", known.join(" and ")));
            return None;
        }
    }
    Some(text.to_owned())
}

/// The words of a statement outside quotes and comments. One that cannot be taken apart has none.
fn words_of(statement: &str) -> impl Iterator<Item = String> {
    let pieces = sql_pieces(statement).unwrap_or_default();
    let plain = pieces.into_iter().map(|piece| match piece {
        SqlPiece::Text(text) if text.chars().count() == 1 => text,
        SqlPiece::Text(_) | SqlPiece::Comment(_) | SqlPiece::Parameter(_) => " ",
    });
    let plain: String = plain.collect();
    let words: Vec<String> = plain.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect();
    words.into_iter().filter(|word| !word.is_empty())
}

fn parameters(statement: &str) -> Vec<&str> {
    let pieces = sql_pieces(statement).unwrap_or_default().into_iter();
    pieces.filter_map(|piece| if let SqlPiece::Parameter(name) = piece { Some(name) } else { None }).collect()
}

fn command(fields: &Fields<'_>) -> Option<Placement> {
    let words = |name| fields.need(name).and_then(|item: Item<'_>| argv(&item));
    let (read, write) = (words("read"), words("write"));
    Some(Placement::Command { read: read?, write: write? })
}

/// Words of a program: no shell, no line breaks.
pub(super) fn argv(item: &Item<'_>) -> Option<Vec<String>> {
    let words = item.words()?;
    if words.iter().any(|word| word.contains("{{")) {
        item.error_with_hint(
            "the words of a command are not templates",
            "the program has the value on its standard input".to_owned(),
        );
        return None;
    }
    // A single word is looked at with all other texts; `--password VALUE` is two.
    if assigns_a_secret(&words.join(" ")) && !words.iter().any(|word| assigns_a_secret(word)) {
        item.error_with_hint(
            "this looks like a secret, and a playbook is read by everybody",
            "let the program read it from a file or its standard input; and rotate what stood here".to_owned(),
        );
        return None;
    }
    if words[0].is_empty() || words[0].starts_with('-') {
        item.error("should begin with a program");
        return None;
    }
    if words.iter().any(|word| word.contains(['\n', '\r', '\0'])) {
        item.error("a word of a command has no line breaks");
        return None;
    }
    Some(words)
}

fn activation(item: &Item<'_>) -> Option<Activation> {
    let fields = item.fields()?;
    let deadline_of =
        |fields: &Fields<'_>| fields.get("deadline").and_then(|item| duration(&item, Millis(1))).unwrap_or(ACTIVATE);
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
