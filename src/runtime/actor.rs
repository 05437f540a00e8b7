//! One host for one run: its connection, the program on it, and the way back to both when they are lost.
//!
//! **Invariant:** what a host is asked is asked again only because every request is idempotent; what became of an unanswered one is
//! never assumed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::host::{CallError, HelloFacts, HostProgram, Nonce, Request};
use crate::model::{Activation, Become, HostName, Millis, Reason, ReasonKind, RunId, Secret};
use crate::ssh::{Connection, Connector, Endpoint, ExecReader, ExecWriter, HowEnded};

use super::lease::{HeldLease, Lease};
use super::take::Announced;
use super::{clock, random};

/// How long a step that only moves files and talks to a database may take: a disk that syncs slowly, a database that is busy.
pub const STEP_MAX: Duration = Duration::from_secs(60);

/// How long a host that is asked for more time beside everything else may take.
const ASIDE_MAX: Duration = Duration::from_secs(10);

/// How often a lost host is connected again within one step. More would only delay the decision that the others wait for.
const RECONNECTS_MAX: u32 = 2;

/// How long a host that is not there may take to start again, in one step in which nobody waits for it. A small machine does.
const STARTS_AGAIN_MAX: Duration = Duration::from_secs(20);

/// How long it is left alone in between.
const STARTS_AGAIN_PAUSE: Duration = Duration::from_secs(1);

/// Who is asked, and how.
#[derive(Debug, Clone)]
pub struct Who {
    /// The host.
    pub host: HostName,
    /// How it is reached.
    pub endpoint: Endpoint,
    /// How the program gets its rights.
    pub become_user: Become,
    /// Where the host keeps a run's state, empty for the usual place.
    pub state_dir: String,
    /// Directories searched first for tools, empty for none.
    pub path: String,
}

/// One host for one run.
pub struct Actor {
    who: Who,
    run: RunId,
    epoch: u64,
    connector: Arc<Connector>,
    cancel: CancellationToken,
    live: Option<Live>,
    /// Whether the host was taken for this run. A new session then takes it first: only the newest one may change anything, and what
    /// an earlier one left hanging is ended.
    taken: bool,
    /// Whether it is still to be taken for a run that is taken up.
    left_to_take: Option<Announced>,
    /// How long a host that starts again is still waited for.
    patience: Duration,
    /// Until when an armed host waits for us.
    lease: HeldLease,
}

struct Live {
    connection: Connection,
    program: HostProgram<ExecReader, ExecWriter>,
    facts: HelloFacts,
    /// Another coordinator has this host, or has finished with it: nothing is done here any more.
    fenced: Option<Reason>,
}

impl Actor {
    /// A host that is not connected yet.
    #[must_use]
    pub fn new(who: Who, run: RunId, epoch: u64, connector: Arc<Connector>, cancel: CancellationToken) -> Self {
        Self {
            who,
            run,
            epoch,
            connector,
            cancel,
            live: None,
            taken: false,
            left_to_take: None,
            patience: Duration::ZERO,
            lease: HeldLease::default(),
        }
    }

    /// The host.
    #[must_use]
    pub const fn who(&self) -> &Who {
        &self.who
    }

    /// The run.
    #[must_use]
    pub const fn run(&self) -> &RunId {
        &self.run
    }

    /// What was announced about a host that is still to be taken for a run that is taken up.
    #[must_use]
    pub const fn left_to_take(&self) -> Option<Announced> {
        self.left_to_take
    }

    /// From here on it is still to be taken, or is not any more.
    pub const fn leave_to_take(&mut self, announced: Option<Announced>) {
        self.left_to_take = announced;
    }

    /// The ledger says that it is ours: where it is not, nothing is done there.
    pub async fn is_ours(&mut self) {
        self.taken = true;
        self.hang_up().await;
    }

    /// It has nothing of the run: from here on it is asked as any other host is.
    pub async fn is_nobodys(&mut self) {
        self.taken = false;
        self.hang_up().await;
    }

    /// Whether another coordinator has it, or has finished with it.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.fenced.is_some())
    }

    /// From here on a host that is not there now is waited for a while, or not: worth it where it keeps nobody waiting, because the run
    /// is decided.
    pub const fn be_patient(&mut self, patient: bool) {
        self.patience = if patient { STARTS_AGAIN_MAX } else { Duration::ZERO };
    }

    /// As [`Actor::connect`], with the patience that is left. Says how long the host was waited for.
    ///
    /// # Errors
    /// As [`Actor::connect`].
    pub async fn connect_patiently(&mut self) -> Result<Duration, Reason> {
        // One that is silent has been waited for already. One that refuses, or has no network yet, may be about to start.
        let starting = |kind| matches!(kind, ReasonKind::ConnectionRefused | ReasonKind::Unreachable);
        let mut refused: Option<Instant> = None;
        let connected = loop {
            match self.connect().await {
                Err(reason) if starting(reason.kind) => {
                    if refused.get_or_insert_with(Instant::now).elapsed() >= self.patience {
                        break Err(reason);
                    }
                    tokio::time::sleep(STARTS_AGAIN_PAUSE).await;
                }
                connected => break connected.map(drop),
            }
        };
        let waited = refused.map_or(Duration::ZERO, |since| since.elapsed());
        self.patience = self.patience.saturating_sub(waited);
        connected.map(|()| waited)
    }

    /// Makes sure that the program on the host answers.
    ///
    /// # Errors
    /// Why it does not. Nothing was changed on the host.
    pub async fn connect(&mut self) -> Result<&HelloFacts, Reason> {
        let usable = self.live.as_ref().is_some_and(|live| !live.program.is_over() && !live.connection.is_closed());
        if !usable {
            self.hang_up().await;
            self.live = Some(self.open().await?);
        }
        Ok(&self.live.as_ref().expect("it was opened just now").facts)
    }

    async fn open(&self) -> Result<Live, Reason> {
        let connection =
            self.connector.connect(&self.who.endpoint, self.cancel.clone()).await.map_err(|error| error.reason)?;
        let command = match self.who.become_user {
            Become::None => "exec /bin/sh -s",
            Become::Sudo => "exec sudo -n -- /bin/sh -s",
        };
        let start = self.connector.settings().start;
        let exec = connection.exec(command).await?;
        let nonce = Nonce::new(random::bytes());
        let mut program = match HostProgram::start(exec.reader, exec.writer, nonce, start).await {
            Ok(program) => program,
            Err(error) => {
                // Closed first: a program that never ends would never say how.
                connection.close().await;
                return Err(why_no_shell(self.who.become_user, error.reason(), &exec.ended.await));
            }
        };
        let hello =
            Request::Hello { run: &self.run, epoch: self.epoch, state_dir: &self.who.state_dir, path: &self.who.path };
        let answer = program.call(&hello, start).await.map_err(|error| error.reason().clone())?;
        let facts = HelloFacts::parse(&answer)?;
        let mut fenced = None;
        if self.taken
            && let Err(error) = program.call(&Request::LockAgain, STEP_MAX).await
        {
            match error {
                CallError::Refused(reason) if reason.kind == ReasonKind::Fenced => fenced = Some(reason),
                CallError::Refused(reason) | CallError::Lost(reason) => return Err(reason),
            }
        }
        Ok(Live { connection, program, facts, fenced })
    }

    /// Asks the host, and asks again over a new connection if the answer was lost.
    ///
    /// # Errors
    /// What the host refused, or that nobody knows.
    pub async fn call(&mut self, request: &Request<'_>, deadline: Duration) -> Result<Secret, CallError> {
        let mut lost = None;
        for _ in 0..=RECONNECTS_MAX {
            if let Err(reason) = self.connect_patiently().await {
                // What an earlier request did is not taken back by this one being impossible: the host's state is unknown.
                return Err(CallError::Lost(lost.unwrap_or(reason)));
            }
            let live = self.live.as_mut().expect("it is connected");
            // The host itself knows whether there is something to clean: there is not, where only the answer to `clean` was lost.
            if let Some(reason) =
                live.fenced.clone().filter(|_| !matches!(request, Request::Clean | Request::CleanUntouched))
            {
                return Err(if lost.is_some() { CallError::Lost(reason) } else { CallError::Refused(reason) });
            }
            match live.program.call(request, deadline).await {
                Err(CallError::Lost(reason)) => lost = Some(reason),
                answered => {
                    match request {
                        Request::Lock | Request::LockAgain => self.taken |= answered.is_ok(),
                        Request::Clean | Request::CleanUntouched => self.taken &= answered.is_err(),
                        // Whatever a host answered, it does not wait for us any longer.
                        Request::Confirm => self.lease.set(None),
                        _ => {}
                    }
                    return answered;
                }
            }
        }
        let reason = lost.unwrap_or_else(|| Reason::new(ReasonKind::ConnectionLost, "the connection ended"));
        Err(CallError::Lost(reason))
    }

    /// Arms the host: from now on it goes back by itself unless it hears from us in time.
    ///
    /// # Errors
    /// As [`Actor::call`].
    pub async fn arm(&mut self, length: Millis, services: &[Activation]) -> Result<(), CallError> {
        let asked = clock::boot_now();
        self.call(&Request::Arm { lease_seconds: length.secs_ceil(), services }, STEP_MAX).await?;
        self.lease.set(Some(Lease { length, asked }));
        Ok(())
    }

    /// Asks an armed host to wait longer, once a part of its lease is over.
    ///
    /// # Errors
    /// As [`Actor::call`]; `fired` if it has gone back by itself.
    pub async fn renew(&mut self) -> Result<(), CallError> {
        self.renew_for(Duration::ZERO).await
    }

    /// Asks an armed host to wait longer, if it would not wait until something has ended that takes so long.
    ///
    /// # Errors
    /// As [`Actor::renew`].
    pub async fn renew_for(&mut self, longer: Duration) -> Result<(), CallError> {
        let now = clock::boot_now();
        match self.lease.get() {
            Some(lease) if lease.is_due(now) || !lease.holds(now, longer) => self.wait_longer(lease.length).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Asks a host that an earlier coordinator may have armed to wait for us.
    ///
    /// # Errors
    /// As [`Actor::renew`].
    pub async fn wait_longer(&mut self, length: Millis) -> Result<(), CallError> {
        let asked = clock::boot_now();
        let answer = self.call(&Request::Renew { lease_seconds: length.secs_ceil() }, STEP_MAX).await;
        self.waits_since(asked, length, answer)
    }

    /// As [`Actor::renew`], for a host that nobody else asks anything of just now: what does not answer at once is left to the next step,
    /// which says so.
    pub async fn renew_aside(&mut self) {
        let asked = clock::boot_now();
        let due = self.lease.get().filter(|lease| lease.is_due(asked));
        let (Some(lease), Some(live)) = (due, self.live.as_mut()) else { return };
        let answer = live.program.call(&Request::Renew { lease_seconds: lease.length.secs_ceil() }, ASIDE_MAX).await;
        let _said_later = self.waits_since(asked, lease.length, answer);
    }

    fn waits_since(
        &mut self,
        asked: Millis,
        length: Millis,
        answer: Result<Secret, CallError>,
    ) -> Result<(), CallError> {
        match &answer {
            Ok(_) => self.lease.set(Some(Lease { length, asked })),
            Err(CallError::Refused(_)) => self.lease.set(None),
            // What it promised it keeps, for as long as it promised.
            Err(CallError::Lost(_)) => {}
        }
        answer.map(drop)
    }

    /// Until when it waits for us.
    #[must_use]
    pub const fn lease(&self) -> &HeldLease {
        &self.lease
    }

    /// The connection, for probes that speak from the host itself.
    ///
    /// # Errors
    /// Why there is none, or that the host is another coordinator's.
    pub async fn connection(&mut self) -> Result<&Connection, CallError> {
        self.connect_patiently().await.map_err(CallError::Lost)?;
        let live = self.live.as_ref().expect("it is connected");
        live.fenced.clone().map_or(Ok(&live.connection), |reason| Err(CallError::Refused(reason)))
    }

    /// Does not talk to the host any more, until it is asked something again.
    pub async fn hang_up(&mut self) {
        if let Some(live) = self.live.take() {
            live.connection.close().await;
        }
    }

    /// Ends the program and the connection.
    pub async fn leave(mut self) {
        if let Some(mut live) = self.live.take() {
            // The program ends with its standard input; being polite is worth a moment, no more.
            let _ended = live.program.call(&Request::Bye, Duration::from_millis(200)).await;
            live.connection.close().await;
        }
    }
}

/// sudo's own words are shown, not parsed: that sudo stood between us and the shell, and ended, is enough to name the kind.
pub(super) fn why_no_shell(become_user: Become, reason: &Reason, ended: &HowEnded) -> Reason {
    let HowEnded { refused, lost, status, stderr } = ended;
    if *refused {
        return Reason::new(ReasonKind::NoShell, "the server runs no program for this login");
    }
    if *lost {
        return Reason::new(ReasonKind::ConnectionLost, "the connection ended before a shell answered");
    }
    let detail = if stderr.is_empty() { reason.detail.clone() } else { format!("{}: {stderr}", reason.detail) };
    match (become_user, status) {
        (Become::Sudo, Some(1..)) if !stderr.is_empty() => Reason::new(ReasonKind::SudoRefused, detail),
        (Become::Sudo | Become::None, _) => Reason::new(reason.kind, detail),
    }
}
