//! `selftest`: the crash battery, for whoever wants to see before he believes. Every row has an embedded fleet of its own, does real things
//! with real processes of this program, and is judged by what the hosts hold then.
//!
//! **Invariant:** nothing of the operator is touched: every fleet, ledger and home lies in a new directory, which is removed if all held.
//! Tested in `tests/it/selftest.rs`.

mod alone;
mod bench;
mod child;
mod deaths;
mod oracle;
mod refused;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use bench::Bench;
use child::Failed;
use rows::{Done, Row, Scale};

use crate::model::Millis;
use crate::report::plural;

use super::args::Output;
use super::session::{interrupts, unless_stopped};
use super::{Args, CliError, Exit, demo, say};

/// So many rows that need the processor go on at once: each waits for its hosts now and then.
const AT_ONCE: usize = 4;

/// A row that was done.
struct Ended {
    row: Row,
    result: Result<Done, Failed>,
    took: Duration,
}

/// What `--help` says besides.
pub(super) fn help() -> String {
    let rows: String = Row::ALL.iter().map(|row| format!("\n  {:20}{}", row.name(), row.expected())).collect();
    format!(
        "It kills, suspends and resumes real processes of this program, breaks hosts, and then looks at what the hosts hold, past \
         everything that was said. It needs no host and touches nothing of yours. Exit 0: all held; 70: not, and the fleets and outputs \
         of the rows that failed are kept.\n\nExamples:\n  lockturn selftest\n  lockturn selftest killed resume-killed --full\n  \
         lockturn selftest --output json\n\nRows:{rows}"
    )
}

/// `selftest`. Exit 0: all held; 70: one did not, and where to look.
pub(super) async fn run(args: &Args, names: &[String], full: bool) -> Result<Exit, CliError> {
    let rows = chosen(names)?;
    let mut interrupts = interrupts()?;
    let dir = demo::scratch("selftest")?;
    say::err(&format!("{}, each on an embedded fleet of its own in {}\n", plural(rows.len(), "row"), dir.display()));
    let began = Instant::now();
    let mut tasks = begin(&rows, Scale { full }, &dir);
    let mut ended = match unless_stopped(&mut interrupts, async { Ok(all(&mut tasks).await) }).await {
        Ok(ended) => ended,
        Err(stopped) => {
            tasks.shutdown().await;
            remove(&dir).await;
            return Err(stopped);
        }
    };
    ended.sort_by_key(|ended| rows.iter().position(|row| *row == ended.row));
    let failed: Vec<&Ended> = ended.iter().filter(|ended| ended.result.is_err()).collect();
    if failed.is_empty() {
        remove(&dir).await;
    }
    for held in ended.iter().filter(|ended| ended.result.is_ok()) {
        remove(&dir.join(held.row.name())).await;
    }
    let evidence = (!failed.is_empty()).then_some(&*dir);
    let verdict = verdict(&ended, failed.len(), began.elapsed(), evidence);
    if args.output == Some(Output::Json) {
        say::out(&ended.iter().map(|ended| ended.json(evidence)).collect::<String>());
        say::err(&verdict);
    } else {
        say::out(&format!("{}\n{verdict}", table(&ended)));
    }
    Ok(if failed.is_empty() { Exit::Done } else { Exit::Bug })
}

/// The rows that were named, or all.
fn chosen(names: &[String]) -> Result<Vec<Row>, CliError> {
    let known = || Row::ALL.map(Row::name).join(", ");
    let row = |name: &String| {
        let found = Row::ALL.into_iter().find(|row| row.name() == name);
        found.ok_or_else(|| {
            CliError::new(Exit::Usage, format!("no row is called `{name}`")).hint(format!("the rows: {}", known()))
        })
    };
    let named: Vec<Row> = names.iter().map(row).collect::<Result<_, _>>()?;
    Ok(Row::ALL.into_iter().filter(|row| named.is_empty() || named.contains(row)).collect())
}

/// Begins all rows, side by side.
fn begin(rows: &[Row], scale: Scale, dir: &Path) -> JoinSet<Ended> {
    let busy = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for &row in rows {
        let (busy, dir) = (Arc::clone(&busy), dir.join(row.name()));
        tasks.spawn(async move {
            // Those that wait for leases leave the processor to the others.
            let _turn = if row.waits() { None } else { busy.acquire().await.ok() };
            let began = Instant::now();
            let result = one(row, scale, &dir).await;
            let ended = Ended { row, result, took: began.elapsed() };
            say::err(&format!("{}\n", ended.line()));
            ended
        });
    }
    tasks
}

async fn all(tasks: &mut JoinSet<Ended>) -> Vec<Ended> {
    let mut all = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        all.push(ended.expect("a row ends by itself"));
    }
    all
}

async fn one(row: Row, scale: Scale, dir: &Path) -> Result<Done, Failed> {
    let bench = Bench::up(dir).await?;
    let tell = move |cases| say::err(&format!("{}: {} held\n", row.name(), plural(cases, "case")));
    let result = row.run(&bench, scale, &tell).await;
    bench.down().await;
    result
}

impl Ended {
    /// How it ended, in a line of progress.
    fn line(&self) -> String {
        match &self.result {
            Ok(_) => format!("{}: held", self.row.name()),
            Err(failed) => format!("{}: FAILED: {failed}", self.row.name()),
        }
    }

    fn json(&self, evidence: Option<&Path>) -> String {
        let (cases, measured) = self.result.as_ref().map_or((None, ""), |done| (Some(done.cases), &*done.measured));
        let evidence = self.result.as_ref().err().and(evidence).map(|dir| self.evidence(dir));
        let line = serde_json::json!({
            "v": 1, "row": self.row.name(), "cases": cases, "expected": self.row.expected(), "held": self.result.is_ok(),
            "failed": self.result.as_ref().err(), "measured": measured, "took_ms": Millis::from(self.took).0,
            "evidence": evidence,
        });
        format!("{line}\n")
    }

    fn evidence(&self, dir: &Path) -> PathBuf {
        dir.join(self.row.name())
    }
}

fn table(ended: &[Ended]) -> String {
    let width = |of: fn(Row) -> &'static str| ended.iter().map(|ended| of(ended.row).len()).max().unwrap_or(0);
    let (names, expected) = (width(Row::name), width(Row::expected));
    let line = |Ended { row, result, took }: &Ended| {
        let (name, must, took) = (row.name(), row.expected(), took.as_secs_f64());
        match result {
            Ok(Done { cases, measured }) => {
                let line = format!("{name:names$}  {cases:5}  {must:expected$}  held    {took:5.1} s  {measured}");
                format!("{}\n", line.trim_end())
            }
            Err(failed) => {
                format!("{name:names$}      -  {must:expected$}  FAILED  {took:5.1} s\n  {failed}\n")
            }
        }
    };
    let head = format!("{:names$}  cases  {:expected$}  result     time\n", "row", "expected");
    head + &ended.iter().map(line).collect::<String>()
}

/// What is true, in one line.
fn verdict(ended: &[Ended], failed: usize, took: Duration, evidence: Option<&Path>) -> String {
    let cases: usize = ended.iter().filter_map(|ended| ended.result.as_ref().ok()).map(|done| done.cases).sum();
    let (rows, took) = (plural(ended.len(), "row"), Millis::from(took));
    match evidence {
        None => format!("HELD  {rows}, {}, in {took}; nothing is left\n", plural(cases, "case")),
        Some(dir) => format!(
            "FAILED  {failed} of {rows}: a bug in lockturn, or of this machine; what the hosts hold and what was said lies in {}\n",
            dir.display()
        ),
    }
}

/// The secrets in it are made up; nothing is left lying about all the same. What a host of the fleet still does ends when it finds nothing
/// any more, and until then it may get in the way.
async fn remove(dir: &Path) {
    let until = Instant::now() + Duration::from_secs(5);
    while std::fs::remove_dir_all(dir).is_err() && dir.exists() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
