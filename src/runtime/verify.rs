//! Trying the probes on one host until they are right, or their time is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::host::{CallError, Request, UnitFacts};
use crate::model::{Check, Event, Expect, Millis, PlannedProbe, Probe, Reason, ReasonKind, Secret};
use crate::probe::{Judged, Stability, Streak, Url, judge};
use crate::ssh::ForwardError;

use super::actor::{Actor, STEP_MAX};
use super::attempt::{attempt, has_program, no_way};
use super::vault::Vault;

pub use crate::probe::Direction;

/// How long the answer to one value may take: a service that needs longer is not healthy. It is cut where the probe's own deadline
/// comes first, so that a probe ends at its deadline whenever its last try began.
const TRY_MAX: Duration = Duration::from_secs(10);

/// Tries probes, and says what each try showed.
#[derive(Clone)]
pub struct Verifier {
    /// Where notes go.
    pub notes: mpsc::UnboundedSender<Event>,
    /// Cancelled once the run goes back whatever its hosts still show.
    pub futile: CancellationToken,
}

impl Verifier {
    /// Tries every probe of a host.
    ///
    /// # Errors
    /// The first probe that did not become right in its time.
    pub async fn verify(
        &self,
        actor: &mut Actor,
        probes: &[PlannedProbe],
        vault: &Vault,
        direction: Direction,
    ) -> Result<(), CallError> {
        for planned in probes {
            self.until_right(actor, vault, planned, direction).await?;
        }
        Ok(())
    }

    async fn until_right(
        &self,
        actor: &mut Actor,
        vault: &Vault,
        planned: &PlannedProbe,
        direction: Direction,
    ) -> Result<(), CallError> {
        let probe = &planned.probe;
        let began = Instant::now();
        let mut until = began + probe.deadline.duration();
        let mut streak = Streak::new(probe.successes);
        let mut stability = Stability::default();
        let mut before: Option<Reason> = None;
        loop {
            // While a host starts again it can show nothing: that is none of the probe's time.
            until += actor.connect_patiently().await.map_err(CallError::Lost)?;
            // The host waits while it is looked at; one that has gone back by itself need not be.
            keep_waiting(actor, direction, probe.interval.duration() + TRY_MAX * 2).await?;
            let now = Millis::from(began.elapsed());
            let tried = match &probe.check {
                Check::Systemd { active, stable_for } => {
                    look_at_unit(actor, active, *stable_for, now, &mut stability).await?
                }
                Check::Command { .. } => try_values(actor, vault, planned, direction, until).await?,
                // Nothing is lost with an answer that nobody waits for: at most, where curl asks, the program on the host begins anew.
                Check::Http { .. } => tokio::select! {
                    tried = try_values(actor, vault, planned, direction, until) => tried?,
                    () = self.futile(direction) => return Err(CallError::Refused(not_waited_for())),
                },
            };
            let right = tried == Judged::Right;
            let enough = streak.count(right);
            let mut reason = match tried {
                Judged::Right => None,
                Judged::Wrong(reason) => Some(reason),
            };
            // A try that the end cut short says less than the one before it.
            let late = |r: &Reason| matches!(r.kind, ReasonKind::ProbeUnanswered | ReasonKind::TimedOut);
            let cut = Instant::now() >= until && reason.as_ref().is_some_and(late);
            if cut && before.is_some() {
                reason.clone_from(&before);
            }
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
            if Instant::now() + probe.interval.duration() > until {
                return Err(CallError::Refused(gave_up(probe, reason)));
            }
            before = reason;
            tokio::select! {
                () = tokio::time::sleep(probe.interval.duration()) => {}
                () = self.futile(direction) => return Err(CallError::Refused(not_waited_for())),
            }
        }
    }

    /// Ends when nobody needs the answer any more. On the way back every answer is needed.
    async fn futile(&self, direction: Direction) {
        match direction {
            Direction::Forward => self.futile.cancelled().await,
            Direction::Back => std::future::pending().await,
        }
    }
}

/// Makes a host wait until something has ended that takes so long.
///
/// # Errors
/// As [`Actor::renew_for`]. On the way back a host that has gone back by itself was only faster.
pub async fn keep_waiting(actor: &mut Actor, direction: Direction, longer: Duration) -> Result<(), CallError> {
    match (direction, actor.renew_for(longer).await) {
        (Direction::Back, Err(CallError::Refused(_))) => Ok(()),
        (_, renewed) => renewed,
    }
}

fn not_waited_for() -> Reason {
    Reason::new(ReasonKind::Fleet, "not waited for: the run goes back whatever it shows")
}

/// What keeps probes from being tried on this host, by their names: found out before anything is changed.
///
/// # Errors
/// If the host cannot be asked.
pub async fn hindrances(actor: &mut Actor, probes: &[PlannedProbe]) -> Result<Vec<(String, Reason)>, Reason> {
    // A probe for each worker's value asks the same of the host.
    let mut asked = BTreeSet::new();
    let mut found = Vec::new();
    for Probe { name, check, .. } in probes.iter().map(|planned| &planned.probe) {
        let needed = match check {
            Check::Systemd { .. } => "systemctl",
            Check::Http { url, .. } => url,
            Check::Command { run, .. } => run.first().map_or("", String::as_str),
        };
        if !asked.insert(needed) {
            continue;
        }
        let hindrance = match check {
            Check::Http { url, .. } => unreachable_by_http(actor, url).await?,
            Check::Systemd { .. } | Check::Command { .. } => lacks(actor, needed).await?,
        };
        found.extend(hindrance.map(|reason| (name.clone(), reason)));
    }
    Ok(found)
}

pub(super) async fn lacks(actor: &mut Actor, program: &str) -> Result<Option<Reason>, Reason> {
    // What we talk to is a shell, and what it said at the beginning need not be asked again.
    let has = program == "sh" || actor.connect().await?.has(program) || has_program(actor, program).await?;
    Ok((!has).then(|| Reason::new(ReasonKind::ToolMissing, format!("`{program}` is not there or not executable"))))
}

/// A service that does not listen just now may do so later; a server that forwards nothing needs the host's curl.
async fn unreachable_by_http(actor: &mut Actor, url: &str) -> Result<Option<Reason>, Reason> {
    let Ok(url) = Url::parse(url) else { return Ok(None) };
    match actor.connection().await.map_err(|error| error.reason().clone())?.forward(&url.host, url.port).await {
        Err(ForwardError::Prohibited) if lacks(actor, "curl").await?.is_some() => Ok(Some(no_way())),
        Ok(_) | Err(_) => Ok(None),
    }
}

fn gave_up(probe: &Probe, reason: Option<Reason>) -> Reason {
    let reason = reason.unwrap_or_else(|| Reason::new(ReasonKind::ProbeUnanswered, "it was not right often enough"));
    Reason::new(reason.kind, format!("`{}` for {}: {}", probe.name, probe.deadline, reason.detail))
}

pub(super) async fn look_at_unit(
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
pub(super) async fn try_values(
    actor: &mut Actor,
    vault: &Vault,
    planned: &PlannedProbe,
    direction: Direction,
    until: Instant,
) -> Result<Judged, CallError> {
    let (Check::Http { expect, .. } | Check::Command { expect, .. }) = &planned.probe.check else {
        unreachable!("a unit is looked at, not tried")
    };
    for (value, is_wanted) in values(vault, planned, expect, direction)? {
        let limit = until.saturating_duration_since(Instant::now()).min(TRY_MAX);
        let judged = match attempt(actor, planned, value.as_ref(), limit).await? {
            Ok(answer) => judge(expect, is_wanted, direction, answer),
            // That will not get better.
            Err(reason) if reason.kind == ReasonKind::ProbeImpossible => return Err(CallError::Refused(reason)),
            Err(reason) => Judged::Wrong(reason),
        };
        if judged != Judged::Right {
            return Ok(judged);
        }
    }
    Ok(Judged::Right)
}

/// A value to try, and whether it must be taken.
type Trial = (Option<Arc<Secret>>, bool);

/// The values to try.
fn values(
    vault: &Vault,
    planned: &PlannedProbe,
    expect: &Expect,
    direction: Direction,
) -> Result<Vec<Trial>, CallError> {
    let pair = match &planned.value {
        None => None,
        Some(id) => Some(vault.get(id).cloned().ok_or_else(|| {
            CallError::Refused(Reason::new(ReasonKind::ValueLost, format!("the values of `{id}` are on no host")))
        })?),
    };
    let (wanted, unwanted) = match (pair, direction) {
        (None, _) => (None, None),
        (Some(pair), Direction::Forward) => (Some(pair.new), Some(pair.old)),
        (Some(pair), Direction::Back) => (Some(pair.old), Some(pair.new)),
    };
    let mut values = vec![(wanted, true)];
    if matches!(expect, Expect::Proof { .. }) {
        values.push((unwanted, false));
    }
    Ok(values)
}
