//! `quarantine --evidence`: what was typed about it, and the part of the run in which hosts show what they have before they are isolated.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::model::{Entry, Event, EvidencePlan, HostName, IsolationPlan, Millis, Missing, ReasonKind, RunId, Step};
use crate::quarantine::Isolation;
use crate::runtime::actor::Who;
use crate::runtime::contain::commit;
use crate::runtime::drive::{DriveError, Voices};
use crate::runtime::evidence;
use crate::ssh::Connector;

use super::{CliError, Exit};

/// What can be typed about evidence.
#[derive(Debug, Clone, clap::Args)]
pub struct EvidenceArgs {
    /// Have each host show what it has before anybody is told: processes, sockets, logins, rules, logs and more, into this directory
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    /// How long that may take, for all hosts together; then they are isolated, whatever there is by then
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, requires = "evidence")]
    evidence_time: Millis,
    /// How much is taken from each host
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size, requires = "evidence")]
    evidence_size: u64,
    /// Encrypt it to this age recipient while it comes in: no plain byte is written here. Repeatable
    #[arg(long, value_name = "age1…", requires = "evidence")]
    recipient: Vec<String>,
    /// The same to all recipients in this file, one a line
    #[arg(long, value_name = "FILE", requires = "evidence")]
    recipients_file: Option<PathBuf>,
}

/// The longest time for evidence: a host that is thought to be hostile is open as long.
const TIME_MAX: Millis = Millis::from_secs(3_600);

/// `60s`, `2m`, `24h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Millis, String> {
    let wrong = || format!("`{text}` is no duration, such as `90s`, `5m`, `24h` or `7d`");
    let (days, rest) = text.split_once('d').map_or((None, text), |(days, rest)| (Some(days), rest));
    let days: u64 = days.map_or(Some(0), |days| days.parse().ok()).ok_or_else(wrong)?;
    let rest = match rest {
        "" if days > 0 => Millis(0),
        rest => Millis::parse(rest).ok_or_else(wrong)?,
    };
    let days = days.checked_mul(24 * 3_600_000).ok_or_else(wrong)?;
    Some(Millis(days) + rest).filter(|time| *time > Millis(0)).ok_or_else(wrong)
}

/// `256MiB`, `1GiB`, `500000`.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size, such as `500KiB`, `256MiB` or `1GiB`");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit: u64 = match &text[digits..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|size| *size > 0).ok_or_else(wrong)
}

/// What is wanted, if anything. Makes the directory.
///
/// # Errors
/// If it cannot be as it was typed; nothing was changed on any host.
pub(super) fn plan(typed: &EvidenceArgs) -> Result<Option<EvidencePlan>, CliError> {
    let Some(directory) = &typed.evidence else { return Ok(None) };
    let refused = |what: String| CliError::new(Exit::Refused, format!("{what}; nothing was changed"));
    if typed.evidence_time > TIME_MAX {
        let most = format!("--evidence-time is more than {TIME_MAX}, in which the host goes on; nothing was changed");
        return Err(CliError::new(Exit::Usage, most));
    }
    let mut recipients = typed_recipients(&typed.recipient)?;
    if let Some(file) = &typed.recipients_file {
        let read = read_recipients(file).map_err(refused)?;
        if read.is_empty() {
            return Err(refused(format!("{}: no recipient is in it", file.display())));
        }
        recipients.extend(read);
    }
    recipients.sort();
    recipients.dedup();
    let shown = directory.display();
    evidence::directory(directory).map_err(|error| refused(format!("{shown}: no place for evidence: {error}")))?;
    // It is found again by whoever resumes, wherever that is typed.
    let whole = directory.canonicalize().map_err(|error| refused(format!("{shown}: {error}")))?;
    let directory = whole.to_str().ok_or_else(|| refused(format!("{shown}: its name is not UTF-8")))?.to_owned();
    Ok(Some(EvidencePlan { directory, time: typed.evidence_time, bytes: typed.evidence_size, recipients }))
}

/// Read here and not with the command line, whose complaints repeat what was typed: that may be the secret part.
fn typed_recipients(typed: &[String]) -> Result<Vec<String>, CliError> {
    let read = typed.iter().zip(1..).map(|(text, number)| {
        evidence::recipient(text).map_err(|why| {
            CliError::new(Exit::Usage, format!("--recipient, the {number}. one: {why}; nothing was changed")).hint(
                "a recipient is the public part, age1…; what was typed instead is in your shell's history now, and not repeated here",
            )
        })
    });
    read.collect()
}

fn read_recipients(file: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| evidence::recipient(line).map_err(|why| format!("{}:{number}: {why}", file.display())))
        .collect()
}

/// Which hosts are to be asked now: those that were not, as long as nobody has been told to isolate anybody.
fn due(plan: &IsolationPlan, entries: &[Entry]) -> Vec<HostName> {
    let told = |entry: &Entry| matches!(entry.event, Event::StepBegan { step: Step::Cut, .. });
    if entries.iter().any(told) {
        return Vec::new();
    }
    let was_stopped = |missing: &Missing| missing.reason.kind == ReasonKind::Interrupted;
    let has = |host: &HostName| {
        entries.iter().rev().any(|entry| match &entry.event {
            Event::EvidenceTaken(taken) => taken.host == *host && !taken.missing.iter().any(was_stopped),
            _ => false,
        })
    };
    plan.hosts.keys().filter(|host| !has(host)).cloned().collect()
}

/// Has the hosts show what they have. Bounded in time; whatever comes of it, the run goes on.
///
/// # Errors
/// If the ledger cannot be written, or the operator insists on leaving.
pub(super) async fn take(
    (run, plan, entries): (&RunId, &IsolationPlan, &[Entry]),
    whos: &[Who],
    connector: &Arc<Connector>,
    state: &mut Isolation,
    voices: &mut Voices<'_>,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<(), DriveError> {
    let Some(wanted) = &plan.evidence else { return Ok(()) };
    let due = due(plan, entries);
    if due.is_empty() {
        return Ok(());
    }
    let began = due.iter().map(|host| Event::EvidenceBegan { host: host.clone() }).collect();
    commit(run, state, voices, began)?;
    let over = tokio_util::sync::CancellationToken::new();
    let mut taking = JoinSet::new();
    for who in whos.iter().filter(|who| due.contains(&who.host)) {
        let (who, wanted, run) = (who.clone(), wanted.clone(), run.clone());
        let (connector, over) = (Arc::clone(connector), over.clone());
        taking.spawn(async move { evidence::take(who, &wanted, &run, connector, over).await });
    }
    loop {
        let event = tokio::select! {
            biased;
            Some(()) = interrupts.recv() => {
                if over.is_cancelled() {
                    return Err(DriveError::Abandoned);
                }
                over.cancel();
                Event::Interrupted
            }
            ended = taking.join_next() => match ended {
                // One that a bug ended stays begun in the ledger, and is said to be incomplete.
                Some(Err(_)) => continue,
                Some(Ok(taken)) => Event::EvidenceTaken(taken),
                None => return Ok(()),
            },
        };
        commit(run, state, voices, vec![event])?;
    }
}
