//! Probes, and what they must answer.

use std::collections::BTreeSet;

use crate::model::{Check, Expect, Millis, Probe, SecretName, Selector, Url};
use crate::template::{TemplateError, check_template};
use crate::yaml::{Fields, Item, Value, names_a_secret};

use super::targets::{argv, secret_name};
use super::words::{caption, duration, selector, unit};

/// How long a probe is tried when the playbook does not say: a service that needs longer to answer says so.
const DEADLINE: Millis = Millis::from_secs(30);

/// The pause between two tries when the playbook does not say.
const INTERVAL: Millis = Millis(250);

/// What HTTP's answers are numbered with, and what programs end with.
const STATUS: (u64, u64) = (100, 599);
const EXIT: (u64, u64) = (0, 255);

pub(super) fn probe(item: &Item<'_>, secrets: &BTreeSet<SecretName>, several: bool) -> Option<Probe> {
    let fields = item.fields()?;
    let mut found = None;
    for (kind, read) in
        [("systemd", systemd as fn(&Fields<'_>) -> Option<(String, Check)>), ("http", http), ("command", command)]
    {
        let Some(inner) = fields.get(kind).and_then(|item| item.fields()) else { continue };
        let check = read(&inner);
        let common = Common::read(&inner, secrets);
        let probe = check.map(|(name, check)| common.with(name, check));
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
    match ["systemd", "http", "command"].iter().filter(|kind| fields.has(kind)).count() {
        1 => {}
        0 => item.error("should be one of `systemd`, `http` and `command`"),
        _ => item.error("should be one probe; write each as an entry of its own"),
    }
    fields.finish();
    found
}

/// What every kind of probe has. It is read even where the check itself is wrong, or its keys would be taken for unknown ones.
struct Common {
    name: Option<String>,
    secret: Option<SecretName>,
    for_each: Option<Selector>,
    successes: u32,
    interval: Millis,
    deadline: Millis,
}

impl Common {
    fn read(fields: &Fields<'_>, secrets: &BTreeSet<SecretName>) -> Self {
        let time =
            |name, default| fields.get(name).and_then(|item: Item<'_>| duration(&item, Millis(1))).unwrap_or(default);
        let successes = fields.get("successes").and_then(|item| item.number(1, 1_000));
        Self {
            name: fields.get("name").and_then(|item| caption(&item)),
            secret: fields.get("secret").and_then(|item| secret_name(&item, secrets)),
            for_each: fields.get("for_each").and_then(|item| selector(&item)),
            successes: successes.and_then(|number| u32::try_from(number).ok()).unwrap_or(1),
            interval: time("interval", INTERVAL),
            deadline: time("deadline", DEADLINE),
        }
    }

    fn with(self, name: String, check: Check) -> Probe {
        // A window of stability is part of what is waited for, not of what the wait is cut to.
        let window = match &check {
            Check::Systemd { stable_for, .. } => *stable_for,
            Check::Http { .. } | Check::Command { .. } => Millis(0),
        };
        let Self { name: own, secret, for_each, successes, interval, deadline } = self;
        Probe { name: own.unwrap_or(name), secret, for_each, check, successes, interval, deadline: deadline + window }
    }
}

fn systemd(fields: &Fields<'_>) -> Option<(String, Check)> {
    let active = fields.need("active").and_then(|item| unit(&item));
    let stable_for = fields.get("stable_for").and_then(|item| duration(&item, Millis(0))).unwrap_or(Millis(0));
    let active = active?;
    Some((format!("{active} is active"), Check::Systemd { active, stable_for }))
}

fn http(fields: &Fields<'_>) -> Option<(String, Check)> {
    let method = fields.get("method").and_then(|item| {
        let text = item.text()?;
        if text.is_empty() || !text.chars().all(|c| c.is_ascii_uppercase()) {
            item.error("should be a method in capitals: `GET`, `POST`, …");
        }
        Some(text.to_owned())
    });
    let method = method.unwrap_or_else(|| "GET".to_owned());
    let url = fields.need("url").and_then(|item| url(&item));
    let mut headers = Vec::new();
    for (key, value) in fields.get("headers").and_then(|item| item.entries()).unwrap_or_default() {
        let Some(text) = value.scalar() else { continue };
        header(&key.text, &text, &value.at(key.place), &value);
        headers.push((key.text.clone(), text));
    }
    let body = fields.get("body").and_then(|item| {
        let text = item.text()?;
        template(text, &item);
        if text.contains("body") && !item.is_wrong() && says_body(text) {
            item.error("the body cannot say `body`: it is not there yet");
        }
        Some(text.to_owned())
    });
    let expect = fields.need("expect").and_then(|item| expect(&item, STATUS));
    let url = url?;
    let check = Check::Http {
        method: method.clone(),
        url: url.clone(),
        headers,
        body: body.unwrap_or_default(),
        expect: expect?,
    };
    Some((format!("{method} {url}"), check))
}

fn url(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if text.contains("{{") {
        item.error("a URL is no template; headers and body are");
        return None;
    }
    match Url::parse(text) {
        Err(error) => item.error(&error),
        Ok(url) => {
            let own = url.host == "localhost" || url.host == "::1" || url.host.starts_with("127.");
            if !own {
                item.warning(
                    "the host asks another machine here, in clear text: a secret in the request can be read on the way",
                    Some("ask the service on its own loopback, `http://127.0.0.1:PORT/…`".to_owned()),
                );
            }
        }
    }
    Some(text.to_owned())
}

fn header(name: &str, text: &str, key: &Item<'_>, value: &Item<'_>) {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        key.error(&format!("`{}` is no name for a header", name.escape_debug()));
    }
    if ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str()) {
        key.error("lockturn says itself how long the body is");
    }
    if names_a_secret(name) && !text.contains("{{") && text.len() >= 8 {
        value.error_with_hint(
            "this looks like a secret, and a playbook is read by everybody",
            "write `{{ secret }}`; and rotate the one that stood here".to_owned(),
        );
        return;
    }
    // What stands between the braces may have line breaks in its quotes.
    let outside = text.split("{{").map(|part| part.rsplit("}}").next().unwrap_or_default());
    if outside.into_iter().any(|part| part.contains(|c: char| c.is_control() && c != '\t')) {
        value.error("a header has no line breaks");
    }
    template(text, value);
}

fn template(text: &str, item: &Item<'_>) {
    if let Err(TemplateError { message, hint }) = check_template(text) {
        match hint {
            Some(hint) => item.error_with_hint(&message, hint),
            None => item.error(&message),
        }
    }
}

/// Whether the words between the braces of a template have `body` among them.
fn says_body(text: &str) -> bool {
    let inside = text.split("{{").skip(1).filter_map(|part| part.split("}}").next());
    let mut words = inside.flat_map(|part| part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words.any(|word| word == "body")
}

fn command(fields: &Fields<'_>) -> Option<(String, Check)> {
    let run = fields.need("run").and_then(|item| argv(&item));
    let expect = match fields.get("expect") {
        Some(item) => expect(&item, EXIT),
        None => Some(Expect::Always(vec![0])),
    };
    let run = run?;
    Some((run.join(" "), Check::Command { run, expect: expect? }))
}

/// `200`, `[200, 204]`, `{new: 400, old: 401}`.
fn expect(item: &Item<'_>, range: (u64, u64)) -> Option<Expect> {
    if !matches!(item.node.value, Value::Map(_)) {
        return codes(item, range).map(Expect::Always);
    }
    let fields = item.fields()?;
    let accepted = fields.need("new").and_then(|item| codes(&item, range));
    let rejected = fields.need("old").and_then(|item| codes(&item, range));
    fields.finish();
    let (accepted, rejected) = (accepted?, rejected?);
    if accepted.iter().any(|code| rejected.contains(code)) {
        item.error("`new` and `old` must differ, or the probe proves nothing");
    }
    Some(Expect::Proof { accepted, rejected })
}

fn codes(item: &Item<'_>, (least, most): (u64, u64)) -> Option<Vec<u16>> {
    let code = |item: &Item<'_>| item.number(least, most).and_then(|code| u16::try_from(code).ok());
    match &item.node.value {
        Value::List(list) if list.is_empty() => {
            item.error("should have at least one code");
            None
        }
        Value::List(_) => item.list()?.iter().map(code).collect(),
        _ => code(item).map(|code| vec![code]),
    }
}
