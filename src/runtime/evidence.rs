//! Takes evidence from hosts that are about to be isolated: streamed to this machine, bounded in time and size by clocks and counts of ours.
//!
//! **Invariant:** nothing waits for a host longer than the run gives it, whatever the host does. Of what it sends nothing is shown, and
//! nothing names anything here.

mod store;

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::host::{EVIDENCE, EvidenceEnd, EvidenceError, EvidenceItem, EvidenceSession, Nonce};
use crate::model::{Become, EvidencePlan, EvidenceTaken, Missing, Reason, ReasonKind, RunId};
use crate::ssh::{Connection, Connector, ExecReader, ExecWriter};

use super::actor::{Who, why_no_shell};
use super::{clock, random};

use store::{ItemEntry, ItemFile, Manifest, Store};
pub use store::{directory, recipient};

/// How much longer than a host says that it takes an item may take: it ends its tools by itself, and says so.
const GRACE: Duration = Duration::from_secs(4);

/// How often a host is connected: the first time, and after items that hung. One that hangs again and again is left.
const CONNECTIONS_MAX: u32 = 4;

/// Of the items whose tools are not there the program says so.
const NOTHING: u32 = 44;

/// Statuses of a tool that did not end: `timeout` has 124, and 137 where it had to kill it.
const LATE: [u32; 2] = [124, 137];

/// A connection that nothing else uses, and the program that shows evidence on it.
struct Live {
    /// Dropped, it closes.
    _connection: Connection,
    session: EvidenceSession<ExecReader, ExecWriter>,
}

/// What is being taken from one host.
struct Taking<'a> {
    who: &'a Who,
    connector: &'a Connector,
    cancel: &'a CancellationToken,
    until: Instant,
    /// Bytes that may still come.
    left: u64,
    connections: u32,
    live: Option<Live>,
    entries: Vec<ItemEntry>,
    missing: Vec<Missing>,
}

/// Takes what one host shows. Ends when the time of the plan is over or the token is cancelled, with what there is by then.
pub async fn take(
    who: Who,
    plan: &EvidencePlan,
    run: &RunId,
    connector: Arc<Connector>,
    over: CancellationToken,
) -> EvidenceTaken {
    let until = Instant::now() + plan.time.duration();
    let (began, into) = (clock::iso_now(), Path::new(&plan.directory));
    let mut taken =
        EvidenceTaken { host: who.host.clone(), place: String::new(), items: 0, bytes: 0, sums: None, missing: vec![] };
    let mut store = match block_in_place(|| Store::begin(into, run, &who.host, &plan.recipients)) {
        Ok(store) => store,
        Err(error) => {
            taken.missing.push(Missing { items: names(&EVIDENCE), reason: here(&error) });
            return taken;
        }
    };
    taken.place = store.place(into, run);
    let mut taking = Taking {
        who: &who,
        connector: &connector,
        cancel: &over,
        until,
        left: plan.bytes,
        connections: 0,
        live: None,
        entries: Vec::new(),
        missing: Vec::new(),
    };
    for (at, item) in EVIDENCE.iter().enumerate() {
        if let Err(reason) = taking.item(&mut store, at + 1, item).await {
            taking.leave_out(&EVIDENCE[taking.entries.len()..], &reason);
            break;
        }
    }
    let Taking { live, entries, missing, .. } = taking;
    // Without a goodbye: a host that hangs would be waited for.
    drop(live);
    taken.items = entries.iter().filter(|entry| entry.file.is_some()).count() as u64;
    taken.bytes = entries.iter().map(|entry| entry.bytes).sum();
    taken.missing = missing;
    let manifest = Manifest::new((run, &who.host), (began, clock::iso_now()), &plan.recipients, &entries);
    match block_in_place(|| store.finish(&manifest)) {
        Ok(sums) => taken.sums = Some(sums),
        Err(error) => taken.missing.push(Missing { items: vec!["SHA256SUMS".to_owned()], reason: here(&error) }),
    }
    taken
}

impl Taking<'_> {
    /// Takes one item, or notes why not. Fails where the ones behind it need not be tried.
    async fn item(&mut self, store: &mut Store, number: usize, item: &EvidenceItem) -> Result<(), Reason> {
        if self.left == 0 {
            return Err(Reason::new(ReasonKind::TooLarge, "the size for one host was used up"));
        }
        self.connect().await?;
        let Some(live) = &mut self.live else { return Ok(()) };
        let (asked, began) = (clock::iso_now(), Instant::now());
        let time = item.time.min(self.until.saturating_duration_since(began));
        let limit = (began + time + GRACE).min(self.until);
        let bytes = item.bytes.min(self.left);
        let (mut file, mut came): (Option<ItemFile>, u64) = (None, 0);
        let keep = |chunk: &[u8]| {
            block_in_place(|| {
                let file = match &mut file {
                    Some(file) => file,
                    None => file.insert(store.item(number, item)?),
                };
                file.write_all(chunk)?;
                came += chunk.len() as u64;
                Ok(())
            })
        };
        let showing = timeout_at(limit, live.session.show(item, (time, bytes), keep));
        let showed = self.cancel.run_until_cancelled(showing).await;
        let ended: Result<EvidenceEnd, EvidenceError> = match showed {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(EvidenceError::Host(Reason::new(ReasonKind::TimedOut, "it did not end in time"))),
            None => Err(EvidenceError::Host(stopped())),
        };
        let file = match file.map(|file| block_in_place(|| store.end(file))).transpose() {
            Ok(file) => file,
            Err(error) => return Err(here(&error)),
        };
        self.left -= came;
        let (state, reason) = judge(&ended, came);
        let entry = ItemEntry {
            item: item.name,
            class: item.class,
            file,
            bytes: came,
            asked: Some(asked),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            state,
            why: reason.as_ref().map(ToString::to_string),
        };
        self.entries.push(entry);
        if let Some(reason) = reason {
            note(&mut self.missing, item.name, reason);
        }
        match ended {
            Ok(_) => Ok(()),
            // What it still sends is for nobody: the next item comes over a connection of its own.
            Err(EvidenceError::Host(_)) => {
                self.live = None;
                Ok(())
            }
            Err(EvidenceError::Here(error)) => Err(here(&error)),
        }
    }

    /// Makes sure that somebody answers there.
    async fn connect(&mut self) -> Result<(), Reason> {
        if self.cancel.is_cancelled() {
            return Err(stopped());
        }
        if Instant::now() >= self.until {
            return Err(over());
        }
        if self.live.is_some() {
            return Ok(());
        }
        if self.connections == CONNECTIONS_MAX {
            return Err(Reason::new(ReasonKind::TimedOut, "it was left: too many items did not end"));
        }
        self.connections += 1;
        let connecting = timeout_at(self.until, self.open());
        self.live = Some(match self.cancel.run_until_cancelled(connecting).await {
            Some(Ok(live)) => live?,
            Some(Err(_)) => return Err(over()),
            None => return Err(stopped()),
        });
        Ok(())
    }

    async fn open(&self) -> Result<Live, Reason> {
        // Not the run's token: what it cuts would be called lost, and was stopped.
        let connecting = self.connector.connect(&self.who.endpoint, CancellationToken::new());
        let connection = connecting.await.map_err(|error| error.reason)?;
        let command = match self.who.become_user {
            Become::None => "exec /bin/sh -s",
            Become::Sudo => "exec sudo -n -- /bin/sh -s",
        };
        let exec = connection.exec_alone(command).await?;
        let nonce = Nonce::new(random::bytes());
        match EvidenceSession::start(exec.reader, exec.writer, nonce, self.connector.settings().start).await {
            Ok(session) => Ok(Live { _connection: connection, session }),
            Err(reason) => {
                // Closed first: a program that never ends would never say how.
                connection.close().await;
                Err(why_no_shell(self.who.become_user, &reason, &exec.ended.await))
            }
        }
    }

    /// Notes that these are not taken.
    fn leave_out(&mut self, items: &[EvidenceItem], reason: &Reason) {
        for item in items {
            self.entries.push(ItemEntry {
                item: item.name,
                class: item.class,
                file: None,
                bytes: 0,
                asked: None,
                took_ms: 0,
                state: "not-taken",
                why: Some(reason.to_string()),
            });
            note(&mut self.missing, item.name, reason.clone());
        }
    }
}

/// The word for how an item ended, and what is missing of it.
fn judge(ended: &Result<EvidenceEnd, EvidenceError>, came: u64) -> (&'static str, Option<Reason>) {
    let lack = |kind, words: String| Some(Reason::new(kind, words));
    match ended {
        Ok(EvidenceEnd { cut: true, .. }) => ("cut", lack(ReasonKind::TooLarge, format!("cut after {came} bytes"))),
        Ok(EvidenceEnd { status: 0, .. }) => ("whole", None),
        Ok(EvidenceEnd { status: NOTHING, .. }) => ("nothing", None),
        Ok(EvidenceEnd { status, .. }) if LATE.contains(status) => {
            ("late", lack(ReasonKind::TimedOut, "a tool there did not end in time".to_owned()))
        }
        Ok(EvidenceEnd { status, .. }) => {
            ("failed", lack(ReasonKind::CommandFailed, format!("it ended with status {status}")))
        }
        Err(EvidenceError::Host(reason)) if reason.kind == ReasonKind::TimedOut => ("late", Some(reason.clone())),
        Err(EvidenceError::Host(reason)) => ("lost", Some(reason.clone())),
        Err(EvidenceError::Here(error)) => ("failed", Some(here(error))),
    }
}

/// Notes that something of an item is missing.
fn note(missing: &mut Vec<Missing>, item: &str, reason: Reason) {
    match missing.last_mut() {
        Some(last) if last.reason == reason => last.items.push(item.to_owned()),
        _ => missing.push(Missing { items: vec![item.to_owned()], reason }),
    }
}

fn names(items: &[EvidenceItem]) -> Vec<String> {
    items.iter().map(|item| item.name.to_owned()).collect()
}

fn over() -> Reason {
    Reason::new(ReasonKind::TimedOut, "the time for evidence was over")
}

fn stopped() -> Reason {
    Reason::new(ReasonKind::Interrupted, "the operator said stop")
}

fn here(error: &io::Error) -> Reason {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ReasonKind::NoSpace,
        io::ErrorKind::PermissionDenied => ReasonKind::Denied,
        io::ErrorKind::ReadOnlyFilesystem => ReasonKind::ReadOnly,
        _ => ReasonKind::CommandFailed,
    };
    Reason::new(kind, format!("on this machine: {error}"))
}
