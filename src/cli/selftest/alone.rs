//! Hosts that hear nothing: of a coordinator that sleeps, of one that is dead, over a network that is gone.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::lab::Fault;

use super::bench::{Bench, LEASE_SECONDS};
use super::child::Failed;
use super::deaths::{taken_up, unfinished};
use super::oracle::Held;
use super::rows::{Done, Scale, Tell, lease};

/// How long after the end of its lease a host may be found on its way: it looks once a second, and this machine may be busy.
const LATE_MAX: u64 = 25;

/// How often the hosts are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A host goes away in a step, and comes back when the run has ended without it.
pub(super) async fn cut_off(bench: &Bench, scale: Scale, tell: Tell<'_>) -> Result<Done, Failed> {
    let steps = scale.of(&[
        ("lock", false),
        ("stage", true),
        ("arm", false),
        ("cut", true),
        ("activate", false),
        ("verify", true),
        ("confirm", true),
        ("clean", false),
    ]);
    for (at, step) in steps.iter().enumerate() {
        cut_off_in(bench, step).await.map_err(|failed| format!("worker-2 is gone in {step}: {failed}"))?;
        tell(at + 1);
    }
    Ok(Done::of(steps.len()))
}

async fn cut_off_in(bench: &Bench, step: &str) -> Result<(), Failed> {
    let before = bench.held()?;
    let mut running = bench.start(&["rotate"])?;
    if !running.begins(step).await? {
        return Err("the run ended before".to_owned());
    }
    bench.fault("worker-2", Fault::Down)?;
    // It may have had nothing more to do there, or nothing may be known of it.
    let ended = running.ended().await?.with("the run", &[0, 1, 4, 6, 7])?;
    if matches!(ended.code, Some(6 | 7)) && !ended.err.contains("worker-2") {
        return Err("the host is not named".to_owned());
    }
    bench.fault("worker-2", Fault::None)?;
    let code = if unfinished(bench).await? { taken_up(bench, "resume").await? } else { ended.code.unwrap_or(0) };
    as_said(bench, &before, code).await
}

/// The coordinator is suspended until the hosts have gone back, and wakes up.
pub(super) async fn suspended(bench: &Bench, scale: Scale, tell: Tell<'_>) -> Result<Done, Failed> {
    // From the first of these on every host is armed.
    let steps = scale.of(&[("cut", false), ("activate", false), ("verify", true), ("confirm", false)]);
    for (at, step) in steps.iter().enumerate() {
        suspended_in(bench, step).await.map_err(|failed| format!("suspended in {step}: {failed}"))?;
        tell(at + 1);
    }
    Ok(Done { cases: steps.len(), measured: lease() })
}

async fn suspended_in(bench: &Bench, step: &str) -> Result<(), Failed> {
    let before = bench.held()?;
    let mut running = bench.start(&["rotate"])?;
    if !running.begins(step).await? {
        return Err("the run ended before".to_owned());
    }
    running.signal(Signal::STOP);
    let since = Instant::now();
    let back = until(since, || bench.no_host_waits()).await;
    running.signal(Signal::CONT);
    let ended = running.ended().await?;
    let Some(back) = back else { return Err(late(since)) };
    // Hosts may have been confirmed before it slept: those wait for nobody.
    if step != "confirm" && back < Duration::from_secs(LEASE_SECONDS / 2) {
        return Err(format!("hosts gave up after {} s, long before their lease had ended", back.as_secs()));
    }
    let ended = ended.with("when it woke up the run", &[0, 1, 4])?;
    let code = ended.code.unwrap_or(0);
    // Only what was decided before it slept may stay.
    if code == 0 && step != "confirm" {
        return Err("it stayed, though hosts had gone back by themselves".to_owned());
    }
    as_said(bench, &before, code).await
}

/// The coordinator dies, and nobody comes back until every host has helped itself.
pub(super) async fn nobody_comes_back(bench: &Bench, scale: Scale, tell: Tell<'_>) -> Result<Done, Failed> {
    let steps = scale.of(&[("cut", false), ("activate", false), ("verify", true)]);
    let mut slowest = Duration::ZERO;
    for (at, step) in steps.iter().enumerate() {
        let took = dead_in(bench, step).await.map_err(|failed| format!("dead in {step}: {failed}"))?;
        slowest = slowest.max(took);
        tell(at + 1);
    }
    let measured = format!("all back {:.1} s after the death, {}", slowest.as_secs_f64(), lease());
    Ok(Done { cases: steps.len(), measured })
}

async fn dead_in(bench: &Bench, step: &str) -> Result<Duration, Failed> {
    let before = bench.held()?;
    let mut running = bench.start(&["rotate"])?;
    if !running.begins(step).await? {
        return Err("the run ended before".to_owned());
    }
    // Where services prove the new value, they hold it: what is seen below is the way back.
    if step == "verify" && bench.held()? == before {
        return Err("nobody had moved".to_owned());
    }
    running.killed().await?;
    let since = Instant::now();
    let all_back =
        || bench.no_host_waits() && bench.held().is_ok_and(|held| held == before) && bench.services_take(&before);
    let Some(took) = until(since, all_back).await else { return Err(late(since)) };
    let code = taken_up(bench, "resume").await?;
    if code == 0 {
        return Err("resume says that everybody is on the new value".to_owned());
    }
    as_said(bench, &before, code).await?;
    Ok(took)
}

/// Waits until this is true: how long that took, or None if it is not in time.
async fn until(since: Instant, is: impl Fn() -> bool) -> Option<Duration> {
    while !is() {
        if since.elapsed() > Duration::from_secs(LEASE_SECONDS + LATE_MAX) {
            return None;
        }
        tokio::time::sleep(LOOK).await;
    }
    Some(since.elapsed())
}

fn late(since: Instant) -> Failed {
    format!("after {} s ({}) some host has not gone back by itself", since.elapsed().as_secs(), lease())
}

/// What the exit code says is what the hosts hold.
async fn as_said(bench: &Bench, before: &Held, code: i32) -> Result<(), Failed> {
    let new = bench.whole(before).await?;
    if new == (code == 0) {
        return Ok(());
    }
    Err(format!("exit {code}, and the hosts are on the {} value", if new { "new" } else { "old" }))
}
