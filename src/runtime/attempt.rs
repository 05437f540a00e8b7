//! One answer to one value: a request or a program, tried on one host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::host::{CallError, CommandOutput, Request};
use crate::model::{Check, Millis, PlannedProbe, Reason, ReasonKind, Secret};
use crate::probe::{self, CURL, Context, HttpRequest, Url, curl_answer, curl_config};
use crate::ssh::ForwardError;

use super::actor::{Actor, STEP_MAX};
use super::{clock, random};

/// What the way there and back may take beyond what is waited for on the host.
const MARGIN: Duration = Duration::from_secs(5);

/// A status, or why there is none.
pub(super) type Answer = Result<u16, Reason>;

/// Tries one value within this time.
///
/// # Errors
/// If it cannot be tried at all, or the host was lost.
pub(super) async fn attempt(
    actor: &mut Actor,
    planned: &PlannedProbe,
    value: Option<&Arc<Secret>>,
    limit: Duration,
) -> Result<Answer, CallError> {
    match &planned.probe.check {
        Check::Systemd { .. } => unreachable!("a unit is looked at, not tried"),
        Check::Command { run, .. } => {
            let input = value.map_or_else(|| Secret::new(Vec::new()), |value| value.duplicate());
            Ok(program(actor, run, &input, whole_seconds(limit)).await?.map(|output| output.status))
        }
        Check::Http { method, url, headers, body, .. } => {
            let request = build(planned, method, url, headers, body, value).map_err(CallError::Refused)?;
            let connection = actor.connection().await?;
            let began = Instant::now();
            let opened = tokio::time::timeout(limit, connection.forward(&request.url.host, request.url.port)).await;
            match opened.unwrap_or(Err(ForwardError::Late(limit))) {
                Ok(stream) => {
                    let left = limit.saturating_sub(began.elapsed());
                    Ok(probe::request(stream, &request, left).await)
                }
                Err(ForwardError::Prohibited) => by_curl(actor, &request, limit).await,
                Err(error) => {
                    let detail = format!("{}: {error}", request.url);
                    Ok(Err(Reason::new(ReasonKind::ProbeUnanswered, detail)))
                }
            }
        }
    }
}

/// The host's sshd forwards nothing, but the host itself may ask.
async fn by_curl(actor: &mut Actor, request: &HttpRequest, limit: Duration) -> Result<Answer, CallError> {
    let config = curl_config(request, limit).map_err(CallError::Refused)?;
    // curl keeps the limit itself; the host ends a curl that does not.
    let seconds = whole_seconds(limit) + 1;
    match program(actor, &CURL.map(str::to_owned), &config, seconds).await? {
        Ok(CommandOutput { status, output }) => Ok(curl_answer(request, status, &output, limit)),
        Err(reason) if reason.kind == ReasonKind::ToolMissing => Err(CallError::Refused(no_way())),
        Err(reason) => Ok(Err(reason)),
    }
}

/// Neither way is open.
pub(super) fn no_way() -> Reason {
    let detail = "its sshd does not allow forwarding (`AllowTcpForwarding`, `PermitOpen`), and the host has no curl";
    Reason::new(ReasonKind::ProbeImpossible, detail)
}

/// Whether a program is there, as the programs of probes are looked for.
///
/// # Errors
/// If the host cannot be asked.
pub(super) async fn has_program(actor: &mut Actor, name: &str) -> Result<bool, Reason> {
    let words = ["sh", "-c", "command -v \"$1\"", "sh", name].map(str::to_owned);
    match program(actor, &words, &Secret::new(Vec::new()), whole_seconds(STEP_MAX)).await {
        Ok(Ok(output)) => Ok(output.status == 0),
        Ok(Err(reason)) => Err(reason),
        Err(error) => Err(error.reason().clone()),
    }
}

/// The host counts in whole seconds, and to it none would be no limit.
fn whole_seconds(limit: Duration) -> u64 {
    Millis::from(limit).secs_ceil().max(1)
}

/// Runs a program on the host.
async fn program(
    actor: &mut Actor,
    words: &[String],
    input: &Secret,
    seconds: u64,
) -> Result<Result<CommandOutput, Reason>, CallError> {
    let request = Request::Command { seconds, words, input };
    match actor.call(&request, Duration::from_secs(seconds) + MARGIN).await {
        Ok(answer) => CommandOutput::parse(&answer).map(Ok).map_err(CallError::Refused),
        Err(CallError::Refused(reason)) => Ok(Err(reason)),
        Err(lost @ CallError::Lost(_)) => Err(lost),
    }
}

/// Renders a request: the body first, because headers may sign it.
fn build(
    planned: &PlannedProbe,
    method: &str,
    url: &str,
    headers: &[(String, String)],
    body: &str,
    value: Option<&Arc<Secret>>,
) -> Result<HttpRequest, Reason> {
    let impossible = |what: String| Reason::new(ReasonKind::ProbeImpossible, what);
    let mark = format!("\u{1}{}\u{1}", uuid());
    let (now, id) = (clock::iso_now(), uuid());
    let context =
        |body| Context { now: &now, uuid: &id, host: planned.host.as_str(), body, secret: value.cloned(), mark: &mark };
    let rendered = probe::render(body, &context("")).map_err(impossible)?;
    // A body that shows the value itself cannot be signed by name; one that does not is plain text.
    let text = String::from_utf8_lossy(rendered.expose()).into_owned();
    let signed = if body.contains("secret") { "" } else { &text };
    let headers = headers
        .iter()
        .map(|(name, template)| Ok((name.clone(), probe::render(template, &context(signed))?)))
        .collect::<Result<_, String>>()
        .map_err(impossible)?;
    let url = Url::parse(url).map_err(impossible)?;
    Ok(HttpRequest { method: method.to_owned(), url, headers, body: rendered })
}

fn uuid() -> String {
    uuid::Builder::from_random_bytes(random::bytes()).into_uuid().to_string()
}
