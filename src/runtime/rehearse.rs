//! Trying a plan's services and probes with what the fleet holds now, before anything is changed: a wrong port, a misspelt unit or a
//! code that the service never gives would otherwise be found after the cut, and again on the way back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::host::{CallError, Request};
use crate::model::{Activation, Check, PlannedProbe, Reason};
use crate::probe::{Direction, Judged, Stability};

use super::actor::{Actor, STEP_MAX};
use super::step::Work;
use super::verify::{lacks, look_at_unit, try_values};

/// How long it is tried: nothing restarts here, so a service that is well is well at once.
const TRIED_MAX: Duration = Duration::from_secs(5);

/// How long one answer may take. It is not cut at the end of the time above: what an answer that was cut short says is not the reason.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What is in the way on one host, each with where it stands in the playbook. The old value must be taken and one that nobody ever
/// held be refused: just what the way back will have to prove.
///
/// # Errors
/// If the host cannot be asked.
pub async fn rehearse(actor: &mut Actor, work: &Work) -> Result<Vec<(String, Reason)>, Reason> {
    let mut found = Vec::new();
    for activation in &work.plan.activate {
        let hindrance = match activation {
            Activation::Systemd { unit, .. } => refusal(actor.call(&Request::Unit { unit }, STEP_MAX).await.map(drop))?,
            Activation::Command { run, .. } => lacks(actor, run.first().map_or("", String::as_str)).await?,
        };
        found.extend(hindrance.map(|reason| ("activate".to_owned(), reason)));
    }
    let mut tried = BTreeSet::new();
    // A probe for each worker's value asks the same of the service: one value shows whether it is asked rightly.
    for planned in work.plan.verify.iter().filter(|planned| tried.insert(planned.probe.name.as_str())) {
        let hindrance = as_it_is_now(actor, work, planned).await;
        let place = format!("verify, `{}`, as it is now", planned.probe.name);
        found.extend(refusal(hindrance)?.map(|reason| (place, reason)));
    }
    Ok(found)
}

/// Tries a probe until it is right, for a short while.
async fn as_it_is_now(actor: &mut Actor, work: &Work, planned: &PlannedProbe) -> Result<(), CallError> {
    let probe = &planned.probe;
    let until = Instant::now() + TRIED_MAX.min(probe.deadline.duration());
    loop {
        let tried = match &probe.check {
            Check::Systemd { active, .. } => {
                let no_time = crate::model::Millis(0);
                look_at_unit(actor, active, no_time, no_time, &mut Stability::default()).await?
            }
            Check::Http { .. } | Check::Command { .. } => {
                try_values(actor, &work.vault, planned, Direction::Back, Instant::now() + ANSWER_MAX).await?
            }
        };
        match tried {
            Judged::Right => return Ok(()),
            Judged::Wrong(reason) if Instant::now() + probe.interval.duration() > until => {
                return Err(CallError::Refused(reason));
            }
            Judged::Wrong(_) => tokio::time::sleep(probe.interval.duration()).await,
        }
    }
}

/// What the host refused; that it did not answer at all is another matter.
fn refusal(answer: Result<(), CallError>) -> Result<Option<Reason>, Reason> {
    match answer {
        Ok(()) => Ok(None),
        Err(CallError::Refused(reason)) => Ok(Some(reason)),
        Err(CallError::Lost(reason)) => Err(reason),
    }
}
