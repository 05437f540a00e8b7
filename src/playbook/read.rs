//! The whole file: head, secrets and rollout.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::model::{Generator, Millis, Playbook, Rollout, SecretName, SecretSpec, Strategy, Unreachable};
use crate::yaml::{self, Budget, Diagnostic, Diagnostics, Item, Place, Problems, Severity};

use super::targets::targets;
use super::words::{duration, selector};

/// The shortest value that is generated: 128 bits.
const ENTROPY_BYTES_MIN: u64 = 16;

/// The longest value that is generated.
const VALUE_BYTES_MAX: u64 = 1_024;

/// How long an armed host waits when the playbook does not say.
const LEASE: Millis = Millis::from_secs(120);

/// Reads a file.
///
/// # Errors
/// All that is wrong with it; otherwise the warnings come with the playbook.
pub fn read(path: &Path) -> Result<(Playbook, Vec<Diagnostic>), Diagnostics> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&file, &text),
        Err(error) => {
            let problems = Problems::new(&file, "");
            let place = Place { line: 1, column: 1 };
            problems.add(Severity::Error, place, "", &format!("the playbook cannot be read: {error}"), None);
            Err(Diagnostics(problems.into_list()))
        }
    }
}

/// Reads a text.
///
/// # Errors
/// As [`read`].
pub fn parse(file: &str, text: &str) -> Result<(Playbook, Vec<Diagnostic>), Diagnostics> {
    let problems = Problems::new(file, text);
    let playbook = match yaml::parse(text, Budget::SMALL) {
        Ok(root) => whole(&Item::root(&root, &problems)),
        Err((place, message)) => {
            problems.add(Severity::Error, place, "", &message, None);
            None
        }
    };
    let found = Diagnostics(problems.into_list());
    match playbook {
        Some(playbook) if !found.has_errors() => Ok((playbook, found.0)),
        Some(_) | None => Err(found),
    }
}

/// Points at places of a playbook that was read and does not fit: each by its keys, with what is wrong.
#[must_use]
pub fn point_at<'a>(path: &Path, errors: impl Iterator<Item = (&'a str, &'a str)>) -> Diagnostics {
    // It was read a moment ago; if it is gone since, its name is still worth telling.
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let problems = Problems::new(&path.display().to_string(), &text);
    let root = yaml::parse(&text, Budget::SMALL).ok();
    for (keys, message) in errors {
        let place = root.as_ref().map_or(Place { line: 1, column: 1 }, |root| root.place_of(keys));
        problems.add(Severity::Error, place, keys, message, None);
    }
    Diagnostics(problems.into_list())
}

fn whole(root: &Item<'_>) -> Option<Playbook> {
    let fields = root.fields()?;
    if let Some(version) = fields.need("version") {
        let known = version.number(1, u64::MAX);
        if known.is_some_and(|number| number != 1) {
            version.error("this version of lockturn reads playbooks of version 1");
        }
    }
    let name = fields.need("name").and_then(|name| Some(name.text()?.to_owned())).unwrap_or_default();
    let summary = fields.get("summary").and_then(|text| Some(text.text()?.to_owned())).unwrap_or_default();
    let secrets = fields.need("secrets").map(|item| secrets(&item)).unwrap_or_default();
    let known: BTreeSet<SecretName> = secrets.keys().cloned().collect();
    let targets = fields.need("targets").map(|item| targets(&item, &known)).unwrap_or_default();
    let rollout = rollout(fields.get("rollout").as_ref());
    for secret in &known {
        if !targets.iter().flat_map(|target| &target.put).any(|put| put.secret == *secret) {
            root.error(&format!("the secret `{secret}` is put nowhere"));
        }
    }
    let proved = targets.iter().flat_map(|target| &target.verify).any(|probe| probe.check.is_proof());
    if !proved && !targets.is_empty() {
        root.warning(
            "no probe tries the old value and the new one, so nothing proves that the services took it",
            Some("give a probe `expect: {new: …, old: …}`".to_owned()),
        );
    }
    fields.finish();
    Some(Playbook { name, summary, secrets, targets, rollout })
}

fn secrets(item: &Item<'_>) -> BTreeMap<SecretName, SecretSpec> {
    let mut secrets = BTreeMap::new();
    for (key, item) in item.entries().unwrap_or_default() {
        let name: Result<SecretName, _> = key.text.parse();
        if let Err(error) = &name {
            item.error(&error.to_string());
        }
        if let (Ok(name), Some(spec)) = (name, secret(&item)) {
            secrets.insert(name, spec);
        }
    }
    if secrets.is_empty() {
        item.error("should have at least one secret");
    }
    secrets
}

fn secret(item: &Item<'_>) -> Option<SecretSpec> {
    if let yaml::Value::Text(_) | yaml::Value::Int(_) = item.node.value {
        item.error_with_hint(
            "a value in a playbook would be known to everybody who reads it",
            "say how it is made: `generate: { hex: 32 }`; and rotate the one that stood here".to_owned(),
        );
        return None;
    }
    let fields = item.fields()?;
    for literal in ["value", "literal"] {
        fields.refuse(literal, "a value in a playbook would be known to everybody who reads it; use `generate`");
    }
    for later in ["prompt", "stdin", "file", "command", "age", "escrow", "sinks"] {
        fields
            .refuse(later, "the format knows this, but this version of lockturn does not yet; it only has `generate`");
    }
    let per = fields.get("per").and_then(|item| selector(&item));
    let generate = fields.need("generate").and_then(|item| generator(&item));
    fields.finish();
    Some(SecretSpec { generate: generate?, per })
}

fn generator(item: &Item<'_>) -> Option<Generator> {
    if let yaml::Value::Text(word) = &item.node.value
        && word == "uuid"
    {
        return Some(Generator::Uuid);
    }
    let fields = item.fields()?;
    let size = |name, least| {
        let number: Option<Item<'_>> = fields.get(name);
        number?.number(least, VALUE_BYTES_MAX).and_then(|number| u16::try_from(number).ok())
    };
    // 22 characters out of 62 have 130 bits.
    let found = [
        size("hex", ENTROPY_BYTES_MIN).map(Generator::Hex),
        size("base64", ENTROPY_BYTES_MIN).map(Generator::Base64),
        size("alphanumeric", 22).map(Generator::Alphanumeric),
        fields.get("uuid").map(|_| Generator::Uuid),
    ];
    let mut found = found.into_iter().flatten();
    let (first, second) = (found.next(), found.next());
    if second.is_some() {
        item.error("should have one shape, not several");
    }
    if first.is_none() && !["hex", "base64", "alphanumeric"].iter().any(|name| fields.has(name)) {
        item.error("should be one of `hex: BYTES`, `base64: BYTES`, `alphanumeric: CHARACTERS`, `uuid`");
    }
    fields.finish();
    first
}

fn rollout(item: Option<&Item<'_>>) -> Rollout {
    let mut rollout = Rollout {
        strategy: Strategy::Lockstep,
        activate_order: Vec::new(),
        lease: LEASE,
        unreachable: Unreachable::Abort,
    };
    let Some(fields) = item.and_then(Item::fields) else { return rollout };
    if let Some(item) = fields.get("strategy") {
        match item.text() {
            Some("lockstep") | None => {}
            Some("waves") => rollout.strategy = Strategy::Waves,
            Some("overlap") => rollout.strategy = Strategy::Overlap,
            Some(_) => item.error("should be `lockstep`, `waves` or `overlap`"),
        }
    }
    if let Some(item) = fields.get("unreachable") {
        match item.text() {
            Some("abort") | None => {}
            Some("defer") => item.error("`defer` is known to the format, but not to this version yet; `abort` is"),
            Some(_) => item.error("should be `abort` or `defer`"),
        }
    }
    if let Some(lease) = fields.get("lease").and_then(|item| duration(&item)) {
        rollout.lease = lease;
    }
    if let Some(order) = fields.get("activate_order").and_then(|item| item.list()) {
        rollout.activate_order = order.iter().filter_map(selector).collect();
    }
    fields.finish();
    rollout
}
