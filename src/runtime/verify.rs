//! Trying the probes on one host until they are right, or their time is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::host::{CallError, CommandOutput, Request, UnitFacts};
use crate::model::{Check, Event, Expect, Millis, PlannedProbe, Probe, Reason, ReasonKind, Secret};
use crate::probe::{self, Context, HttpRequest, Judged, Stability, Streak, Url, judge};
use crate::ssh::ForwardError;

use super::actor::{Actor, STEP_MAX};
use super::step::Work;
use super::{clock, random};

pub use crate::probe::Direction;

/// How long one try of a probe may take: a service that needs longer to answer is not healthy.
const TRY_MAX: Duration = Duration::from_secs(10);

/// Tries probes, and says what each try showed.
#[derive(Clone)]
pub struct Verifier {
    /// Where notes go.
    pub notes: mpsc::UnboundedSender<Event>,
}

impl Verifier {
    /// Tries every probe of a host.
    ///
    /// # Errors
    /// The first probe that did not become right in its time.
    pub async fn verify(&self, actor: &mut Actor, work: &Work, direction: Direction) -> Result<(), CallError> {
        for planned in &work.plan.verify {
            self.until_right(actor, work, planned, direction).await?;
        }
        Ok(())
    }

    async fn until_right(
        &self,
        actor: &mut Actor,
        work: &Work,
        planned: &PlannedProbe,
        direction: Direction,
    ) -> Result<(), CallError> {
        let probe = &planned.probe;
        let began = Instant::now();
        let mut streak = Streak::new(probe.successes);
        let mut stability = Stability::default();
        loop {
            let now = Millis::from(began.elapsed());
            let tried = match &probe.check {
                Check::Systemd { active, stable_for } => {
                    look_at_unit(actor, active, *stable_for, now, &mut stability).await?
                }
                Check::Http { .. } | Check::Command { .. } => try_values(actor, work, planned, direction).await?,
            };
            let right = tried == Judged::Right;
            let enough = streak.count(right);
            let reason = match tried {
                Judged::Right => None,
                Judged::Wrong(reason) => Some(reason),
            };
            // Nobody may listen any more.
            let _unheard = self.notes.send(Event::ProbeTried {
                host: actor.who().host.clone(),
                probe: probe.name.clone(),
                successes: streak.seen(),
                reason: reason.clone(),
            });
            if enough {
                return Ok(());
            }
            if Millis::from(began.elapsed()) + probe.interval > probe.deadline {
                return Err(CallError::Refused(gave_up(probe, reason)));
            }
            tokio::time::sleep(probe.interval.duration()).await;
        }
    }
}

fn gave_up(probe: &Probe, reason: Option<Reason>) -> Reason {
    let reason = reason.unwrap_or_else(|| Reason::new(ReasonKind::ProbeUnanswered, "it was not right often enough"));
    Reason::new(reason.kind, format!("`{}` for {}: {}", probe.name, probe.deadline, reason.detail))
}

async fn look_at_unit(
    actor: &mut Actor,
    unit: &str,
    stable_for: Millis,
    now: Millis,
    stability: &mut Stability,
) -> Result<Judged, CallError> {
    let facts = UnitFacts::parse(&actor.call(&Request::Unit { unit }, STEP_MAX).await?).map_err(CallError::Refused)?;
    let active = facts.active_state == "active";
    let process = format!("{} {} {}", facts.invocation, facts.main_pid, facts.restarts);
    if stability.look(now, active, &process, stable_for) {
        return Ok(Judged::Right);
    }
    let detail = if active {
        format!("{unit} has not been up for {stable_for} yet")
    } else {
        format!("{unit} is {} ({})", facts.active_state, facts.sub_state)
    };
    Ok(Judged::Wrong(Reason::new(ReasonKind::ServiceFailed, detail)))
}

/// Tries the value that must be taken and, for a proof, the one that must be refused.
async fn try_values(
    actor: &mut Actor,
    work: &Work,
    planned: &PlannedProbe,
    direction: Direction,
) -> Result<Judged, CallError> {
    let (Check::Http { expect, .. } | Check::Command { expect, .. }) = &planned.probe.check else {
        unreachable!("a unit is looked at, not tried")
    };
    let pair = match &planned.value {
        None => None,
        Some(id) => Some(work.vault.get(id).ok_or_else(|| {
            CallError::Refused(Reason::new(ReasonKind::ValueLost, format!("the values of `{id}` are on no host")))
        })?),
    };
    let (wanted, unwanted) = match (pair, direction) {
        (None, _) => (None, None),
        (Some(pair), Direction::Forward) => (Some(&pair.new), Some(&pair.old)),
        (Some(pair), Direction::Back) => (Some(&pair.old), Some(&pair.new)),
    };
    let mut tries = vec![(wanted, true)];
    if matches!(expect, Expect::Proof { .. }) {
        tries.push((unwanted, false));
    }
    for (value, is_wanted) in tries {
        let judged = match try_once(actor, planned, value).await? {
            Ok(answer) => judge(expect, is_wanted, direction, answer),
            Err(reason) => Judged::Wrong(reason),
        };
        if judged != Judged::Right {
            return Ok(judged);
        }
    }
    Ok(Judged::Right)
}

type Answer = Result<u16, Reason>;

async fn try_once(actor: &mut Actor, planned: &PlannedProbe, value: Option<&Arc<Secret>>) -> Result<Answer, CallError> {
    match &planned.probe.check {
        Check::Systemd { .. } => unreachable!("a unit is looked at, not tried"),
        Check::Command { run, .. } => {
            let input = value.map_or_else(|| Secret::new(Vec::new()), |value| value.duplicate());
            let request = Request::Command { seconds: TRY_MAX.as_secs(), words: run, input: &input };
            match actor.call(&request, TRY_MAX + Duration::from_secs(5)).await {
                Ok(answer) => Ok(Ok(CommandOutput::parse(&answer).map_err(CallError::Refused)?.status)),
                Err(CallError::Refused(reason)) => Ok(Err(reason)),
                Err(lost @ CallError::Lost(_)) => Err(lost),
            }
        }
        Check::Http { method, url, headers, body, .. } => {
            let request = build(planned, method, url, headers, body, value).map_err(CallError::Refused)?;
            let connection = actor.connection().await.map_err(CallError::Lost)?;
            let opened = tokio::time::timeout(TRY_MAX, connection.forward(&request.url.host, request.url.port)).await;
            let stream = match opened {
                Err(_) => return Ok(Err(Reason::new(ReasonKind::ProbeUnanswered, "the stream did not open in time"))),
                Ok(Err(error @ ForwardError::Prohibited)) => {
                    let reason = Reason::new(ReasonKind::ProbeImpossible, error.to_string());
                    return Err(CallError::Refused(reason));
                }
                Ok(Err(error)) => {
                    let detail = format!("{}: {error}", request.url);
                    return Ok(Err(Reason::new(ReasonKind::ProbeUnanswered, detail)));
                }
                Ok(Ok(stream)) => stream,
            };
            Ok(probe::request(stream, &request, TRY_MAX).await)
        }
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
