//! The rows of the battery: what each does to its fleet, and what must be true afterwards.

use crate::lab::Fault;

use super::bench::{Bench, LEASE_SECONDS};
use super::child::Failed;
use super::{alone, deaths, refused};

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Rotation,
    Drill,
    RefusesNewSecret,
    FailsToStart,
    HealthyButWrong,
    SlowRestart,
    Down,
    Killed,
    KilledGoingBack,
    KilledRolledBack,
    ResumeKilled,
    CutOff,
    Suspended,
    NobodyComesBack,
    TwoOperators,
    DamagedLedger,
    FullDisk,
}

/// How much of the battery is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) full: bool,
}

impl Scale {
    /// Every point, or one of so many.
    pub(super) const fn stride(self, usual: usize) -> usize {
        if self.full { 1 } else { usual }
    }

    /// All of these, or only those that are marked.
    pub(super) fn of<T: Copy>(self, all: &[(T, bool)]) -> Vec<T> {
        all.iter().filter(|(_, usual)| self.full || *usual).map(|(one, _)| *one).collect()
    }
}

/// What a row says as it goes: one more case held.
pub(super) type Tell<'a> = &'a (dyn Fn(usize) + Send + Sync);

/// A row that held.
pub(super) struct Done {
    pub(super) cases: usize,
    /// What was measured, if anything.
    pub(super) measured: String,
}

impl Done {
    pub(super) const fn of(cases: usize) -> Self {
        Self { cases, measured: String::new() }
    }
}

impl Row {
    /// Every row, in the order of the table.
    pub(super) const ALL: [Self; 17] = [
        Self::Rotation,
        Self::Drill,
        Self::RefusesNewSecret,
        Self::FailsToStart,
        Self::HealthyButWrong,
        Self::SlowRestart,
        Self::Down,
        Self::Killed,
        Self::KilledGoingBack,
        Self::KilledRolledBack,
        Self::ResumeKilled,
        Self::CutOff,
        Self::Suspended,
        Self::NobodyComesBack,
        Self::TwoOperators,
        Self::DamagedLedger,
        Self::FullDisk,
    ];

    /// Its one word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rotation => "rotation",
            Self::Drill => "drill",
            Self::RefusesNewSecret => "refuses-new-secret",
            Self::FailsToStart => "fails-to-start",
            Self::HealthyButWrong => "healthy-but-wrong",
            Self::SlowRestart => "slow-restart",
            Self::Down => "down",
            Self::Killed => "killed",
            Self::KilledGoingBack => "killed-going-back",
            Self::KilledRolledBack => "killed-rolled-back",
            Self::ResumeKilled => "resume-killed",
            Self::CutOff => "cut-off",
            Self::Suspended => "suspended",
            Self::NobodyComesBack => "nobody-comes-back",
            Self::TwoOperators => "two-operators",
            Self::DamagedLedger => "damaged-ledger",
            Self::FullDisk => "full-disk",
        }
    }

    /// What must be true, in the table.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Rotation => "exit 0: everybody on the new value, proved",
            Self::Drill => "exit 0: everybody back on the old value, proved",
            Self::RefusesNewSecret | Self::FailsToStart | Self::HealthyButWrong => "exit 1: one takes everybody back",
            Self::SlowRestart => "exit 0: it is waited for",
            Self::Down => "exit 4: nothing was changed",
            Self::Killed => "SIGKILL at each fact, resume: all old or all new",
            Self::KilledGoingBack => "the same of a run that goes back",
            Self::KilledRolledBack => "SIGKILL at each fact, rollback: all old, or decided",
            Self::ResumeKilled => "resume is killed twice, and resumed",
            Self::CutOff => "a host is gone in a step: named, healed by resume",
            Self::Suspended => "SIGSTOP beyond the lease: never half confirmed",
            Self::NobodyComesBack => "SIGKILL and nobody: hosts go back by themselves",
            Self::TwoOperators => "exit 5, or 4 by the hosts: the second is refused",
            Self::DamagedLedger => "exit 4 and 6: nothing is built upon it",
            Self::FullDisk => "refused, or left where resume goes on",
        }
    }

    /// Whether it mostly waits for leases: it is begun first, beside those that need the processor.
    pub(super) const fn waits(self) -> bool {
        matches!(self, Self::Suspended | Self::NobodyComesBack)
    }

    /// Does it.
    pub(super) async fn run(self, bench: &Bench, scale: Scale, tell: Tell<'_>) -> Result<Done, Failed> {
        let there = deaths::Sweep { fault: Fault::None, from: 1, stride: scale.stride(6), verb: "resume", deaths: 0 };
        match self {
            Self::Rotation => once(bench, "rotate", Fault::None, 0).await,
            Self::Drill => once(bench, "drill", Fault::None, 0).await,
            Self::RefusesNewSecret => once(bench, "rotate", Fault::RefusesNewSecret, 1).await,
            Self::FailsToStart => once(bench, "rotate", Fault::FailsToStart, 1).await,
            Self::HealthyButWrong => once(bench, "rotate", Fault::HealthyButWrong, 1).await,
            Self::SlowRestart => {
                once(bench, "rotate", Fault::SlowRestart(std::time::Duration::from_millis(700)), 0).await
            }
            Self::Down => once(bench, "rotate", Fault::Down, 4).await,
            Self::Killed => deaths::sweep(bench, there, tell).await,
            Self::KilledGoingBack => {
                // Up to the proof it is the run that would succeed.
                let back = deaths::Sweep { fault: Fault::RefusesNewSecret, from: 23, ..there };
                deaths::sweep(bench, back, tell).await
            }
            Self::KilledRolledBack => {
                let back = deaths::Sweep { verb: "rollback", from: 2, stride: scale.stride(8), ..there };
                deaths::sweep(bench, back, tell).await
            }
            Self::ResumeKilled => {
                let again = deaths::Sweep { deaths: 2, from: 15, stride: scale.stride(8), ..there };
                deaths::sweep(bench, again, tell).await
            }
            Self::CutOff => alone::cut_off(bench, scale, tell).await,
            Self::Suspended => alone::suspended(bench, scale, tell).await,
            Self::NobodyComesBack => alone::nobody_comes_back(bench, scale, tell).await,
            Self::TwoOperators => refused::two_operators(bench).await,
            Self::DamagedLedger => refused::damaged_ledger(bench).await,
            Self::FullDisk => refused::full_disk(bench, scale, tell).await,
        }
    }
}

/// One command on a fleet whose second worker has this fault, and the same without the fault where that would rotate.
async fn once(bench: &Bench, verb: &str, fault: Fault, code: i32) -> Result<Done, Failed> {
    let before = bench.held()?;
    bench.fault("worker-2", fault)?;
    let ended = bench.say(&[verb]).await?.with(&format!("`{verb}`"), &[code])?;
    bench.fault("worker-2", Fault::None)?;
    let verdict = ended.told("run-ended").map(|told| told["verdict"].clone());
    let expected = match (verb, code) {
        ("drill", _) => Some("drilled"),
        (_, 0) => Some("rotated"),
        (_, 1) => Some("rolled-back"),
        _ => None,
    };
    if verdict.as_ref().and_then(|verdict| verdict.as_str()) != expected {
        return Err(format!("the verdict is {verdict:?}, not {expected:?}"));
    }
    let new = bench.whole(&before).await?;
    if new != (verb == "rotate" && code == 0) {
        return Err(format!("exit {code}, and the hosts are on the {} value", if new { "new" } else { "old" }));
    }
    Ok(Done::of(1))
}

/// The lease of every host here, for what is said.
pub(super) fn lease() -> String {
    format!("lease {LEASE_SECONDS} s")
}
