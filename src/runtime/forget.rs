//! What those who keep the secrets of isolated hosts are asked: to end what leads to the hosts, and to forget what they know.
//!
//! It is a rotation of one machine with one side: the rows get values that nobody has, and the isolated hosts get nothing. Staged, rehearsed,
//! armed, cut and confirmed as always; but there is no way back afterwards. What is confirmed and not proved stays, and is said.
//!
//! **Invariant:** a new value is in the memory of this process and on the machine that it is for, and nowhere else; of an isolated host
//! nothing is read or used. What was replaced is kept there until it is proved that it is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::host::{CallError, CommandOutput, Request, Which};
use crate::model::{
    Forgetting, Generator, HostName, Keeps, Millis, Reason, ReasonKind, RunId, Secret, SqliteRow, Step, ValueId,
};
use crate::ssh::Connector;

use super::actor::{Actor, STEP_MAX, Who};
use super::drive::Outcome;
use super::inspect::{Problem, read_rows};
use super::mint::mint;
use super::random;
use super::step::{KEPT, activate, plain, stage_rows};
use super::vault::{Pair, Vault};
use super::veil::veil;
use super::verify::{Direction, Verifier};

/// How long a unit may take to end, in seconds: systemd kills what has not ended by then.
const STOP_SECONDS: u64 = 100;

/// Beyond that.
const MARGIN: std::time::Duration = std::time::Duration::from_secs(10);

/// All machines that are to forget.
#[derive(Default)]
pub struct Forgetter {
    keepers: BTreeMap<HostName, (Arc<Mutex<Actor>>, Arc<Keeps>)>,
    values: Arc<BTreeMap<ValueId, Generator>>,
    lease: Millis,
}

impl Forgetter {
    /// Machines that are not connected yet: `whos` are those of `forgetting`.
    #[must_use]
    pub fn new(
        whos: Vec<Who>,
        forgetting: &Forgetting,
        lease: Millis,
        (run, epoch): (&RunId, u64),
        connector: &Arc<Connector>,
        cancel: &CancellationToken,
    ) -> Self {
        let keeper = |who: Who| {
            let (name, keeps) = (who.host.clone(), forgetting.keepers.get(&who.host)?.clone());
            let actor = Actor::new(who, run.clone(), epoch, Arc::clone(connector), cancel.clone());
            Some((name, (Arc::new(Mutex::new(actor)), Arc::new(keeps))))
        };
        let keepers = whos.into_iter().filter_map(keeper).collect();
        Self { keepers, values: Arc::new(forgetting.values.clone()), lease }
    }

    /// Begins a step. The future owns all that it needs; it is bounded in time by itself.
    pub fn begin(&self, host: &HostName, step: Step) -> BoxFuture<'static, Outcome> {
        let Some((actor, keeps)) = self.keepers.get(host).cloned() else {
            let reason = Reason::new(ReasonKind::Missing, format!("`{host}` is in the run and not in the inventory"));
            return Box::pin(async { Outcome::Unknown(reason) });
        };
        let (values, lease) = (Arc::clone(&self.values), self.lease);
        Box::pin(async move {
            let actor = &mut *actor.lock().await;
            let done = match step {
                Step::Stop => stop(actor, &keeps).await,
                _ => Forget { keeps: &keeps, values: &values, lease, vault: Vault::default() }.perform(actor).await,
            };
            match done {
                Ok(()) => Outcome::Done,
                Err(CallError::Refused(reason)) => Outcome::Failed(reason),
                Err(CallError::Lost(reason)) => Outcome::Unknown(reason),
            }
        })
    }

    /// Ends all programs and connections.
    pub async fn leave(self) {
        let actors = self.keepers.into_values().filter_map(|(actor, _)| Arc::into_inner(actor));
        futures::future::join_all(actors.map(|actor| actor.into_inner().leave())).await;
    }
}

/// Ends units so that they do not begin again by themselves. One that cannot be ended keeps none of the others.
async fn stop(actor: &mut Actor, keeps: &Keeps) -> Result<(), CallError> {
    let mut trouble = None;
    for unit in keeps.stop.values().flatten() {
        match stop_one(actor, unit).await {
            Ok(()) => {}
            Err(CallError::Refused(reason)) => trouble = trouble.or(Some(reason)),
            Err(lost) => return Err(lost),
        }
    }
    trouble.map_or(Ok(()), |reason| Err(CallError::Refused(reason)))
}

async fn stop_one(actor: &mut Actor, unit: &str) -> Result<(), CallError> {
    // A unit that is not there is a mistake of the playbook: what really leads to the host would live on.
    plain(actor, &Request::Unit { unit }).await?;
    // What these say is not believed; it is looked at afterwards.
    let _said = systemctl(actor, &["disable", "--", unit]).await?;
    let _said = systemctl(actor, &["stop", "--", unit]).await?;
    let shown = systemctl(actor, &["show", "-p", "ActiveState,UnitFileState", "--", unit]).await?;
    let shown = String::from_utf8_lossy(shown.output.expose()).into_owned();
    let says = |key: &str| shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    let (active, file) = (says("ActiveState"), says("UnitFileState"));
    if !matches!(active, "inactive" | "failed") {
        let detail = format!("{unit} was told to stop, and is {active}");
        return Err(CallError::Refused(Reason::new(ReasonKind::ServiceFailed, detail)));
    }
    if file.starts_with("enabled") {
        let detail = format!("{unit} has ended, and begins again at the next start: it is {file}");
        return Err(CallError::Refused(Reason::new(ReasonKind::ServiceFailed, detail)));
    }
    Ok(())
}

async fn systemctl(actor: &mut Actor, words: &[&str]) -> Result<CommandOutput, CallError> {
    let words: Vec<String> = ["systemctl"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    let (seconds, input) = (STOP_SECONDS, Secret::new(Vec::new()));
    let deadline = std::time::Duration::from_secs(STOP_SECONDS) + MARGIN;
    let said = actor.call(&Request::Command { seconds, words: &words, input: &input }, deadline).await?;
    CommandOutput::parse(&said).map_err(CallError::Refused)
}

fn rows_of(keeps: &Keeps) -> Vec<(&String, &SqliteRow)> {
    keeps.rows.iter().flat_map(|(file, rows)| rows.iter().map(move |row| (file, row))).collect()
}

/// One machine forgets. It may be begun again wherever it ended: the machine itself says how far it came.
struct Forget<'a> {
    keeps: &'a Keeps,
    values: &'a BTreeMap<ValueId, Generator>,
    lease: Millis,
    vault: Vault,
}

impl Forget<'_> {
    async fn perform(mut self, actor: &mut Actor) -> Result<(), CallError> {
        let done = self.forget(actor).await;
        let values = || self.vault.iter().flat_map(|(_, pair)| [&*pair.old, &*pair.new]);
        match done {
            Ok(()) => Ok(()),
            Err(CallError::Refused(reason)) => Err(CallError::Refused(veil(reason, values()))),
            Err(CallError::Lost(reason)) => Err(CallError::Lost(veil(reason, values()))),
        }
    }

    async fn forget(&mut self, actor: &mut Actor) -> Result<(), CallError> {
        plain(actor, &Request::Lock).await?;
        let Which { record, .. } =
            Which::parse(&actor.call(&Request::Which, STEP_MAX).await?).map_err(CallError::Refused)?;
        let kept = match actor.call(&Request::Fetch { name: KEPT }, STEP_MAX).await {
            Ok(kept) => Some(kept),
            Err(CallError::Refused(reason)) if reason.kind == ReasonKind::Missing => None,
            Err(error) => return Err(error),
        };
        let confirmed = record == "confirmed";
        let mut missing = None;
        match kept {
            // Cleaning died in the middle, and nothing is cleaned before it is proved.
            None if confirmed => return plain(actor, &Request::Clean).await,
            Some(kept) => {
                let broken = |text| CallError::Refused(Reason::new(ReasonKind::ValueLost, text));
                self.vault.take_kept(&kept).map_err(broken)?;
            }
            None => missing = self.read_and_mint(actor).await?,
        }
        if !confirmed && let Err(error) = self.cut(actor, &record).await {
            if let CallError::Refused(_) = error {
                // Nothing was confirmed: the rows are as they were, and the machine is free again.
                let _stays_armed = plain(actor, &Request::Revert).await;
                let _said_by_the_next = plain(actor, &Request::Clean).await;
            }
            return Err(error);
        }
        activate(actor, &self.keeps.activate, Direction::Forward).await?;
        self.prove(actor).await?;
        plain(actor, &Request::Clean).await?;
        let gone = rows_of(self.keeps).into_iter().find(|(_, row)| self.vault.get(&row.value).is_none());
        let gone =
            gone.map(|(_, row)| Reason::new(ReasonKind::Missing, format!("for `{}`: there was no row", row.host)));
        missing.or(gone).map_or(Ok(()), |reason| Err(CallError::Refused(reason)))
    }

    /// Reads what the machine itself has of the isolated hosts, and makes what takes its place. Says what is not there: what is, is
    /// forgotten all the same.
    async fn read_and_mint(&mut self, actor: &mut Actor) -> Result<Option<Reason>, CallError> {
        let mut missing = None;
        for (file, row) in rows_of(self.keeps) {
            let Some(generator) = self.values.get(&row.value) else { continue };
            let mut read = match read_rows(actor, file, &[(row.read.as_str(), row.host.as_str())]).await {
                Ok(read) => read,
                Err(Problem::Place(reason)) => {
                    missing = missing.or(Some(reason));
                    continue;
                }
                Err(Problem::Host(reason)) => return Err(CallError::Lost(reason)),
            };
            let Some(old) = read.pop().map(Arc::new) else { continue };
            if self.vault.get(&row.value).is_some_and(|known| !known.old.same_as(&old)) {
                let detail = format!("{file} has another value for `{}` than a place before it", row.host);
                return Err(CallError::Refused(Reason::new(ReasonKind::Disagrees, detail)));
            }
            if self.vault.get(&row.value).is_none() {
                let new = Arc::new(mint(*generator, &mut random::fill));
                self.vault.insert(row.value.clone(), Pair { old, new });
            }
        }
        match missing {
            Some(reason) if self.vault.iter().next().is_none() => {
                let _free_again = plain(actor, &Request::Clean).await;
                Err(CallError::Refused(reason))
            }
            missing => Ok(missing),
        }
    }

    /// From wherever the machine is to the new values in place, for good.
    async fn cut(&self, actor: &mut Actor, record: &str) -> Result<(), CallError> {
        if matches!(record, "none" | "staged") {
            let mut number = 0;
            for (file, rows) in &self.keeps.rows {
                let rows: Vec<&SqliteRow> = rows.iter().filter(|row| self.vault.get(&row.value).is_some()).collect();
                if !rows.is_empty() {
                    number += 1;
                    stage_rows(actor, &self.vault, number, file, &rows).await?;
                }
            }
            let kept = self.vault.to_keep(self.values.keys());
            plain(actor, &Request::Keep { name: KEPT, bytes: &kept }).await?;
            plain(actor, &Request::Rehearse).await?;
        }
        actor.arm(self.lease, &[]).await?;
        plain(actor, &Request::Cut).await?;
        plain(actor, &Request::Confirm).await
    }

    /// The old value is refused there, the new one taken.
    async fn prove(&self, actor: &mut Actor) -> Result<(), CallError> {
        let is_known = |id: &Option<ValueId>| id.as_ref().is_none_or(|id| self.vault.get(id).is_some());
        let known: Vec<_> = self.keeps.verify.iter().filter(|planned| is_known(&planned.value)).cloned().collect();
        let (notes, _nobody) = mpsc::unbounded_channel();
        let verifier = Verifier { notes, futile: CancellationToken::new() };
        verifier.verify(actor, &known, &self.vault, Direction::Forward).await
    }
}
