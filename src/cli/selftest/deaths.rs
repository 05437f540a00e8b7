//! The coordinator is killed at every fact that it tells, and somebody takes the run up.

use crate::lab::Fault;

use super::bench::Bench;
use super::child::Failed;
use super::rows::{Done, Tell};

/// Which deaths, and what becomes of the run then.
#[derive(Clone, Copy)]
pub(super) struct Sweep {
    /// Of the second worker, once the run has begun.
    pub(super) fault: Fault,
    /// After so many facts for the first time,
    pub(super) from: usize,
    /// and then always so many later, until the run ends before.
    pub(super) stride: usize,
    /// Takes it up.
    pub(super) verb: &'static str,
    /// So often `resume` is killed before.
    pub(super) deaths: usize,
}

/// Kills one run after the other, each a little later.
pub(super) async fn sweep(bench: &Bench, sweep: Sweep, tell: Tell<'_>) -> Result<Done, Failed> {
    let mut cases = 0;
    for facts in (sweep.from..).step_by(sweep.stride) {
        if !one(bench, sweep, facts).await.map_err(|failed| format!("killed after {facts} facts: {failed}"))? {
            break;
        }
        cases += 1;
        tell(cases);
    }
    if cases == 0 {
        return Err("no run could be killed: they ended before".to_owned());
    }
    Ok(Done::of(cases))
}

/// One run that is killed after so many facts; false if it ended before.
async fn one(bench: &Bench, sweep: Sweep, facts: usize) -> Result<bool, Failed> {
    let before = bench.held()?;
    // Once it has begun: a fleet that is not well before that is not rotated at all.
    let was_killed = killed(bench, "rotate", facts, sweep.fault).await?;
    bench.fault("worker-2", Fault::None)?;
    for death in 1..=sweep.deaths {
        killed(bench, "resume", 2 * death + facts % 3, Fault::None).await?;
    }
    // The last fact of a run may be its very end.
    if unfinished(bench).await? {
        let mut code = taken_up(bench, sweep.verb).await?;
        if unfinished(bench).await? {
            if (sweep.verb, code) != ("rollback", 4) {
                return Err(format!("{} ended with exit {code}, and the run is not finished", sweep.verb));
            }
            // Only a run that has decided to stay is not taken back.
            code = taken_up(bench, "resume").await?;
            if code != 0 {
                return Err(format!("it had decided to stay, and resume ended with exit {code}"));
            }
        }
        let new = bench.whole(&before).await?;
        if new != (code == 0) {
            return Err(format!("exit {code}, and the hosts are on the {} value", if new { "new" } else { "old" }));
        }
    } else {
        bench.whole(&before).await?;
    }
    bench.say(&[sweep.verb]).await?.with("once more, when nothing is left to do,", &[4])?;
    Ok(was_killed)
}

/// Starts a command and kills it after so many facts, the first of which brings this fault; false if it ended before.
async fn killed(bench: &Bench, verb: &str, facts: usize, fault: Fault) -> Result<bool, Failed> {
    let mut running = bench.start(&[verb])?;
    let mut lives = running.facts(1).await?;
    if lives && fault != Fault::None {
        bench.fault("worker-2", fault)?;
    }
    lives = lives && running.facts(facts.saturating_sub(1)).await?;
    if lives {
        running.killed().await?
    } else {
        running.ended().await?
    };
    Ok(lives)
}

/// Whether the newest run is unfinished, by the ledger.
pub(super) async fn unfinished(bench: &Bench) -> Result<bool, Failed> {
    let runs = bench.say(&["runs"]).await?.with("`runs`", &[0])?;
    let newest = runs.out.lines().next().unwrap_or("{}");
    let run: serde_json::Value = serde_json::from_str(newest).map_err(|error| format!("`runs`: {error}"))?;
    Ok(run["unfinished"] == true)
}

/// Takes the run up to its end, and says with which code. Whatever is held then lay on a host before: nothing was made anew.
pub(super) async fn taken_up(bench: &Bench, verb: &str) -> Result<i32, Failed> {
    let mut known = bench.kept();
    known.extend(bench.held()?.into_values().flat_map(|(own, row)| [own, row]));
    let ended = bench.say(&[verb]).await?.with(&format!("`{verb}`"), &[0, 1, 4])?;
    let strange = bench.held()?.into_iter().find(|(_, (own, row))| !known.contains(own) || !known.contains(row));
    match (strange, ended.code) {
        (None, Some(code)) => Ok(code),
        (None, None) => Err(format!("`{verb}` was ended by a signal")),
        (Some((worker, _)), _) => Err(format!("{worker} holds a value that the killed run did not make")),
    }
}
