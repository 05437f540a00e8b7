//! The whole file: head, secrets and rollout.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use crate::model::{Generator, Millis, Playbook, Rollout, SecretName, SecretSpec, Strategy, Target, Unreachable};
use crate::yaml::{self, Budget, Diagnostic, Diagnostics, Item, Place, Problems, Severity};
use crate::yaml::{assigns_a_secret, holds_a_secret};

use super::forget::{forgets, judge_proof};
use super::targets::targets;
use super::words::{caption, duration, selector};

/// The shortest value that is generated: 128 bits.
const ENTROPY_BYTES_MIN: u64 = 16;

/// The longest value that is generated.
const VALUE_BYTES_MAX: u64 = 1_024;

/// How long an armed host waits when the playbook does not say.
const LEASE: Millis = Millis::from_secs(120);

/// A shorter lease could not outlast one restart.
const LEASE_MIN: Millis = Millis::from_secs(10);

/// What stands where `generate` should: two that will never be known, and the sources of later versions.
const INSTEAD: [&str; 7] = ["value", "literal", "prompt", "stdin", "file", "command", "age"];

/// What is said of keys that stand in the format and are not built.
pub(super) const LATER: &str = "not in this version: the format knows this, but lockturn does not do it yet";

/// Reads a file.
///
/// # Errors
/// All that is wrong with it; otherwise the warnings come with the playbook.
pub fn read(path: &Path) -> Result<(Playbook, Vec<Diagnostic>), Diagnostics> {
    let file = path.display().to_string();
    let read = std::fs::File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        // One byte more than is taken, so that the reader can say that it is too much.
        file.take(Budget::SMALL.bytes as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let why = match read.map(String::from_utf8) {
        Ok(Ok(text)) => return parse(&file, &text),
        Ok(Err(_)) => "it is no UTF-8 text".to_owned(),
        Err(error) => error.to_string(),
    };
    let problems = Problems::new(&file, "");
    let place = Place { line: 1, column: 1 };
    problems.add(Severity::Error, place, "", &format!("the playbook cannot be read: {why}"), None);
    Err(Diagnostics(problems.into_list()))
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
    if root.is_null() {
        root.error_with_hint("there is nothing in it", "lockturn init writes a playbook to begin with".to_owned());
        return None;
    }
    let fields = root.fields()?;
    if let Some(version) = fields.need("version")
        && version.scalar().is_some_and(|number| number != "1")
    {
        version.error("this version of lockturn reads playbooks of version 1");
    }
    let name = fields.need("name").and_then(|name| caption(&name)).unwrap_or_default();
    let summary = fields.get("summary").and_then(|text| caption(&text)).unwrap_or_default();
    let secrets_item = fields.need("secrets");
    let secrets = secrets_item.as_ref().map(secrets).unwrap_or_default();
    // One whose shape is wrong is known all the same: its users are not wrong too.
    let entries = secrets_item.as_ref().and_then(Item::entries).unwrap_or_default();
    let known: BTreeSet<SecretName> = entries.iter().filter_map(|(key, _)| key.text.parse().ok()).collect();
    let forget = fields.get("forget");
    let targets = match &forget {
        Some(item) => forgets(item, &fields, &secrets, &entries, &known),
        None => fields.need("targets").map(|item| targets(&item, &known)).unwrap_or_default(),
    };
    let rollout = rollout(if forget.is_some() { None } else { fields.get("rollout") }.as_ref());
    for later in ["escrow", "sinks", "notify", "gates"] {
        fields.refuse(later, LATER);
    }
    fields.finish();
    let used = named_in_puts(root);
    for (key, item) in &entries {
        match key.text.parse() {
            Ok(secret) if forget.is_some() => judge_proof(&secret, &item.at(key.place), &targets, &used),
            Ok(secret) => judge_use(&secret, &item.at(key.place), &targets, &used),
            Err(_) => {}
        }
    }
    root.each_text(&mut |item, text| {
        if (holds_a_secret(text) || assigns_a_secret(text)) && !item.is_wrong() {
            item.error_with_hint(
                "this looks like a secret, and a playbook is read by everybody",
                "write `{{ secret }}`, or let a program read it from its own standard input; and rotate what stood here"
                    .to_owned(),
            );
        }
    });
    Some(Playbook { name, summary, secrets, targets, rollout, forgets: forget.is_some() })
}

/// The secrets that puts name, those that are wrong otherwise too.
fn named_in_puts(root: &Item<'_>) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    root.each_text(&mut |item, text| {
        let target = item.path.starts_with("targets/") || item.path.starts_with("forget/");
        if target && item.path.contains("/put") && item.path.ends_with("/secret") {
            named.insert(text.to_owned());
        }
    });
    named
}

/// A secret that is put nowhere is a mistake; one that is proved nowhere is worth a word.
fn judge_use(secret: &SecretName, item: &Item<'_>, targets: &[Target], used: &BTreeSet<String>) {
    if !used.contains(secret.as_str()) {
        item.error(&format!("the secret `{secret}` is put nowhere"));
        return;
    }
    // A probe that is wrong may have been meant as the proof.
    if !targets.is_empty() && !targets.iter().any(|target| proves(target, secret)) && !item.is_in_wrong_file() {
        item.warning(
            &format!("not proved: no probe tries the old value of `{secret}` and the new one, so nothing proves that the services took it"),
            Some("give a probe `expect: {new: …, old: …}`".to_owned()),
        );
    }
}

/// Whether a probe of this target tells the old value of the secret from the new one.
pub(super) fn proves(target: &Target, secret: &SecretName) -> bool {
    let alone = target.put.iter().all(|put| put.secret == *secret) && !target.put.is_empty();
    let about = |of: Option<&SecretName>| of.map_or(alone, |of| of == secret);
    target.verify.iter().any(|probe| probe.check.is_proof() && about(probe.secret.as_ref()))
}

fn secrets(item: &Item<'_>) -> BTreeMap<SecretName, SecretSpec> {
    let mut secrets = BTreeMap::new();
    for (key, item) in item.entries().unwrap_or_default() {
        let name: Result<SecretName, _> = key.text.parse();
        if let Err(error) = &name {
            item.at(key.place).error(&error.to_string());
        }
        if let (Ok(name), Some(spec)) = (name, secret(&item)) {
            secrets.insert(name, spec);
        }
    }
    if matches!(&item.node.value, yaml::Value::Map(map) if map.is_empty()) {
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
    let [value, literal, later @ ..] = INSTEAD;
    for name in [value, literal] {
        fields.refuse(name, "a value in a playbook would be known to everybody who reads it; use `generate`");
    }
    for name in later {
        fields.refuse(name, "not in this version: the format knows this, but only `generate` is built");
    }
    for name in ["escrow", "sinks"] {
        fields.refuse(name, LATER);
    }
    let per = fields.get("per").and_then(|item| selector(&item));
    let refused = INSTEAD.iter().any(|other| fields.has(other));
    let generate = if refused { fields.get("generate") } else { fields.need("generate") };
    let generate = generate.and_then(|item| generator(&item));
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
            Some("waves" | "overlap") => {
                item.error("not in this version: `waves` and `overlap` are known to the format; `lockstep` is built");
            }
            Some(_) => item.error("should be `lockstep`, `waves` or `overlap`"),
        }
    }
    for later in ["waves", "overlap", "soak", "max_failures", "gate", "retire_after"] {
        fields.refuse(later, LATER);
    }
    if let Some(item) = fields.get("unreachable") {
        match item.text() {
            Some("abort") | None => {}
            Some("defer") => item.error("not in this version: `defer` is known to the format; `abort` is built"),
            Some(_) => item.error("should be `abort` or `defer`"),
        }
    }
    if let Some(lease) = fields.get("lease").and_then(|item| duration(&item, LEASE_MIN)) {
        rollout.lease = lease;
    }
    if let Some(order) = fields.get("activate_order").and_then(|item| item.list()) {
        rollout.activate_order = order.iter().filter_map(selector).collect();
    }
    fields.finish();
    rollout
}
