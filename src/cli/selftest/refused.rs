//! What must be refused, or left where somebody can go on: a second operator, a ledger that was tampered with, a disk that is full.

use std::time::Duration;

use crate::lab::Fault;

use super::bench::Bench;
use super::child::Failed;
use super::deaths::taken_up;
use super::rows::{Done, Scale, Tell};

/// The second one is refused by the lock, and with a state directory of his own by the hosts; the first one ends as if nobody had been there.
pub(super) async fn two_operators(bench: &Bench) -> Result<Done, Failed> {
    let before = bench.held()?;
    bench.fault("worker-1", Fault::SlowRestart(Duration::from_secs(4)))?;
    let mut first = bench.start(&["rotate"])?;
    if !first.begins("activate").await? {
        return Err("the first run ended before".to_owned());
    }
    let second = bench.say(&["rotate"]).await?.with("the second operator's run", &[5])?;
    if !second.err.contains("process") {
        return Err("the second operator is not told who the first one is".to_owned());
    }
    let elsewhere = bench.state().with_extension("second");
    let second = bench.start_with(&["rotate"], &elsewhere)?.ended().await?;
    let second = second.with("the run of an operator with a state directory of his own", &[4])?;
    if !second.err.contains("host-locked") {
        return Err("it was not the hosts that refused him".to_owned());
    }
    first.ended().await?.with("the first operator's run", &[0])?;
    bench.fault("worker-1", Fault::None)?;
    if !bench.whole(&before).await? {
        return Err("exit 0, and the hosts are on the old value".to_owned());
    }
    Ok(Done::of(2))
}

/// One number in an old entry is another: nothing is built upon that.
pub(super) async fn damaged_ledger(bench: &Bench) -> Result<Done, Failed> {
    bench.say(&["rotate"]).await?.with("`rotate`", &[0])?;
    let before = bench.held()?;
    let change = |by: &str| {
        let sql = format!(
            "DROP TRIGGER IF EXISTS entries_stay; UPDATE entries SET elapsed_ms = elapsed_ms {by} 1 WHERE seq = 5"
        );
        let done = rusqlite::Connection::open(bench.state().join("ledger.db")).and_then(|db| db.execute_batch(&sql));
        done.map_err(|error| format!("the ledger cannot be changed: {error}"))
    };
    change("+")?;
    bench.say(&["rotate"]).await?.with("`rotate` on a ledger that was tampered with", &[4])?;
    bench.say(&["ledger", "verify"]).await?.with("`ledger verify`", &[6])?;
    if bench.held()? != before {
        return Err("refused, and a host was changed".to_owned());
    }
    change("-")?;
    bench.say(&["rotate"]).await?.with("`rotate` on the ledger as it was", &[0])?;
    if !bench.whole(&before).await? {
        return Err("exit 0, and the hosts are on the old value".to_owned());
    }
    Ok(Done::of(2))
}

/// The files of the ledger may not grow beyond so many blocks: from one that has no room at all to one that has enough.
pub(super) async fn full_disk(bench: &Bench, scale: Scale, tell: Tell<'_>) -> Result<Done, Failed> {
    bench.say(&["rotate"]).await?.with("`rotate`", &[0])?;
    let sizes =
        scale.of(&[(0, true), (64, false), (160, true), (200, false), (240, true), (300, false), (100_000, true)]);
    for (at, blocks) in sizes.iter().enumerate() {
        one_size(bench, *blocks).await.map_err(|failed| format!("{blocks} blocks of 512 bytes: {failed}"))?;
        tell(at + 1);
    }
    Ok(Done::of(sizes.len()))
}

async fn one_size(bench: &Bench, blocks: u32) -> Result<(), Failed> {
    let before = bench.held()?;
    let ended = bench.say_on_full_disk(&["rotate"], blocks).await?.with("`rotate`", &[0, 4, 6])?;
    let code = if ended.code == Some(6) { taken_up(bench, "resume").await? } else { ended.code.unwrap_or(0) };
    let new = bench.whole(&before).await?;
    if new == (code == 0) {
        return Ok(());
    }
    Err(format!("exit {code}, and the hosts are on the {} value", if new { "new" } else { "old" }))
}
