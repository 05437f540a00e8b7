//! Probes, and what they must answer.

use std::collections::BTreeSet;

use crate::model::{Check, Expect, Millis, Probe, SecretName};
use crate::yaml::{Fields, Item, Value};

use super::targets::{argv, secret_name};
use super::words::{duration, selector, unit};

/// How long a probe is tried when the playbook does not say: a service that needs longer to answer says so.
const DEADLINE: Millis = Millis::from_secs(30);

/// The pause between two tries when the playbook does not say.
const INTERVAL: Millis = Millis(250);

/// Exit statuses are a byte, HTTP's codes three digits.
const CODE_MAX: u64 = 599;

pub(super) fn probe(item: &Item<'_>, secrets: &BTreeSet<SecretName>, several: bool) -> Option<Probe> {
    let fields = item.fields()?;
    let mut found = None;
    let mut kinds = 0;
    for (kind, read) in
        [("systemd", systemd as fn(&Fields<'_>) -> Option<(String, Check)>), ("http", http), ("command", command)]
    {
        let Some(inner) = fields.get(kind).and_then(|item| item.fields()) else { continue };
        kinds += 1;
        let check = read(&inner);
        let probe = check.map(|(name, check)| common(&inner, name, check, secrets));
        if let Some(probe) = &probe
            && probe.check.is_proof()
            && probe.secret.is_none()
            && several
        {
            item.error("should say `secret:`, because this target puts several");
        }
        inner.finish();
        found = probe;
    }
    if kinds != 1 && !["systemd", "http", "command"].iter().any(|kind| fields.has(kind)) {
        item.error("should be one of `systemd`, `http` and `command`");
    }
    fields.finish();
    found
}

fn common(fields: &Fields<'_>, name: String, check: Check, secrets: &BTreeSet<SecretName>) -> Probe {
    let time = |name, default| fields.get(name).and_then(|item: Item<'_>| duration(&item)).unwrap_or(default);
    // A window of stability is part of what is waited for, not of what the wait is cut to.
    let window = match &check {
        Check::Systemd { stable_for, .. } => *stable_for,
        Check::Http { .. } | Check::Command { .. } => Millis(0),
    };
    Probe {
        name: fields.get("name").and_then(|item| Some(item.text()?.to_owned())).unwrap_or(name),
        secret: fields.get("secret").and_then(|item| secret_name(&item, secrets)),
        for_each: fields.get("for_each").and_then(|item| selector(&item)),
        check,
        successes: fields
            .get("successes")
            .and_then(|item| item.number(1, 1_000))
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(1),
        interval: time("interval", INTERVAL),
        deadline: time("deadline", DEADLINE) + window,
    }
}

fn systemd(fields: &Fields<'_>) -> Option<(String, Check)> {
    let active = fields.need("active").and_then(|item| unit(&item));
    let stable_for = fields.get("stable_for").and_then(|item| duration(&item)).unwrap_or(Millis(0));
    let active = active?;
    Some((format!("{active} is active"), Check::Systemd { active, stable_for }))
}

fn http(fields: &Fields<'_>) -> Option<(String, Check)> {
    let method = fields.get("method").and_then(|item| Some(item.text()?.to_owned()));
    let method = method.unwrap_or_else(|| "GET".to_owned());
    let url = fields.need("url").and_then(|item| {
        let text = item.text()?;
        if text.starts_with("https://") {
            item.error("`https` is not spoken by http probes; use a `command` probe with curl");
        } else if !text.starts_with("http://") {
            item.error("should begin with `http://`");
        }
        Some(text.to_owned())
    });
    let mut headers = Vec::new();
    for (key, value) in fields.get("headers").and_then(|item| item.entries()).unwrap_or_default() {
        let Some(text) = value.scalar() else { continue };
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if key.text.is_empty() || !key.text.chars().all(token) {
            value.error(&format!("`{}` is no name for a header", key.text.escape_debug()));
        }
        if looks_like_a_secret(&key.text, &text) {
            value.error_with_hint(
                "this looks like a secret, and a playbook is read by everybody",
                "write `{{ secret }}`; and rotate the one that stood here".to_owned(),
            );
        }
        headers.push((key.text.clone(), text));
    }
    let body = fields.get("body").and_then(|item| Some(item.text()?.to_owned())).unwrap_or_default();
    let expect = fields.need("expect").and_then(|item| expect(&item));
    let url = url?;
    let check = Check::Http { method: method.clone(), url: url.clone(), headers, body, expect: expect? };
    Some((format!("{method} {url}"), check))
}

/// A literal where a credential goes.
fn looks_like_a_secret(name: &str, text: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let credential =
        ["authorization", "secret", "token", "api-key", "hmac", "cookie"].iter().any(|word| name.contains(word));
    credential && !text.contains("{{") && text.len() >= 8
}

fn command(fields: &Fields<'_>) -> Option<(String, Check)> {
    let run = fields.need("run").and_then(|item| argv(&item));
    let expect = match fields.get("expect") {
        Some(item) => expect(&item),
        None => Some(Expect::Always(vec![0])),
    };
    let run = run?;
    Some((run.join(" "), Check::Command { run, expect: expect? }))
}

/// `200`, `[200, 204]`, `{new: 400, old: 401}`.
fn expect(item: &Item<'_>) -> Option<Expect> {
    if !matches!(item.node.value, Value::Map(_)) {
        return codes(item).map(Expect::Always);
    }
    let fields = item.fields()?;
    let accepted = fields.need("new").and_then(|item| codes(&item));
    let rejected = fields.need("old").and_then(|item| codes(&item));
    fields.finish();
    let (accepted, rejected) = (accepted?, rejected?);
    if accepted.iter().any(|code| rejected.contains(code)) {
        item.error("`new` and `old` must differ, or the probe proves nothing");
    }
    Some(Expect::Proof { accepted, rejected })
}

fn codes(item: &Item<'_>) -> Option<Vec<u16>> {
    let code = |item: &Item<'_>| item.number(0, CODE_MAX).and_then(|code| u16::try_from(code).ok());
    match &item.node.value {
        Value::List(list) if list.is_empty() => {
            item.error("should have at least one code");
            None
        }
        Value::List(_) => Some(item.list()?.iter().filter_map(code).collect()),
        _ => code(item).map(|code| vec![code]),
    }
}
