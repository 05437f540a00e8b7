//! What happened: past facts, the same ones for ledger, screen and JSON.
//!
//! An event holds names, fingerprints and reasons, never a value.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Drill, EvidenceTaken, Fingerprint, Found, HostName, Isolates, Millis, Reached, Reason, RunId, Step, ValueId,
    Verdict,
};

/// The version of the events' format, in the ledger and in `--output json`. A reader refuses a later one.
pub const EVENT_VERSION: u32 = 1;

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    // Notes: for the screen only, not in the ledger.
    /// Connections to so many hosts begin.
    ConnectBegan {
        /// How many.
        hosts: u64,
    },
    /// This host is connected and its program answers.
    HostConnected {
        /// Which.
        host: HostName,
    },
    /// This host could not be connected.
    HostUnconnected {
        /// Which.
        host: HostName,
        /// Why.
        reason: Reason,
    },
    /// What this host holds has been read.
    HostInspected {
        /// Which.
        host: HostName,
    },
    /// A probe was tried once.
    ProbeTried {
        /// Where.
        host: HostName,
        /// Its name in the playbook.
        probe: String,
        /// How often it has succeeded in a row.
        successes: u32,
        /// Why it did not, this time.
        reason: Option<Reason>,
    },

    // Facts of a run: durable before the effect that they announce.
    /// A run exists from here on.
    RunBegan {
        /// Its identity.
        run: RunId,
        /// The hash of its plan.
        plan: String,
        /// The playbook's name.
        playbook: String,
        /// How many hosts take part.
        hosts: u64,
        /// Who runs it, as `user@machine`.
        operator: String,
        /// The version of lockturn.
        version: String,
    },
    /// The run is a drill: it goes back whatever its hosts prove. Told with `RunBegan`, all or nothing. (An event and not a field: a
    /// lockturn that does not know it must not take the run up.)
    RunIsDrill(Drill),
    /// The run isolates hosts, or releases them; it rotates nothing. Told with `RunBegan`, all or nothing.
    RunIsolates(Isolates),
    /// What a peer reached of the hosts that are about to be isolated, before it had any rules about them.
    ReachedBefore {
        /// The peer.
        host: HostName,
        /// What answered.
        answered: Vec<Reached>,
    },
    /// A host is asked for evidence, before anybody is told to isolate it.
    EvidenceBegan {
        /// Which.
        host: HostName,
    },
    /// So much of it is here; no more is asked for.
    EvidenceTaken(EvidenceTaken),
    /// The new values exist; this is how they will be recognised.
    ValuesMinted {
        /// The fingerprint of each new value.
        values: BTreeMap<ValueId, Fingerprint>,
    },
    /// A step is about to be done on a host: it may have happened from here on.
    StepBegan {
        /// Where.
        host: HostName,
        /// Which.
        step: Step,
    },
    /// The host said that the step is done.
    StepDone {
        /// Where.
        host: HostName,
        /// Which.
        step: Step,
    },
    /// The step is not done, or nobody knows.
    StepFailed {
        /// Where.
        host: HostName,
        /// Which.
        step: Step,
        /// Whether that is known.
        certainty: Certainty,
        /// Why.
        reason: Reason,
    },
    /// The one decision of a run. Never changed, never repeated.
    Decided {
        /// Which way.
        decision: Decision,
        /// What made it go back.
        cause: Option<Cause>,
    },
    /// Before every host had proved the new value it was too late to confirm them: hosts go back by themselves.
    LeaseLapsed,
    /// The operator asked to stop.
    Interrupted,
    /// Another process took the run up again.
    Resumed {
        /// Who, as `user@machine`.
        operator: String,
    },
    /// The journal was lost, and this one begins with what the hosts said, after every one of them had been told that there is a newer
    /// coordinator.
    Rebuilt {
        /// By whom, as `user@machine`.
        operator: String,
        /// The number of this coordinator: greater than any that a host had heard of.
        epoch: u64,
        /// What each host of the plan said.
        hosts: BTreeMap<HostName, Found>,
    },
    /// The operator has seen for himself that the services take the old value: a host that holds it again is back, though its services
    /// could not be made to show that.
    ProofWaived {
        /// Who, as `user@machine`.
        operator: String,
    },
    /// These hosts were isolated after the run had begun: from here on, until another process takes it up, nothing is sent to them. (A
    /// lockturn that does not know it must not take the run up.)
    HostsLeftOut {
        /// Which.
        hosts: BTreeSet<HostName>,
    },
    /// A drill was silent to this host until its lease had ended, and then looked whether it had gone back by itself.
    SwitchWatched {
        /// Where.
        host: HostName,
        /// How long after the last word that it had heard.
        after: Millis,
        /// Whether it had.
        back: bool,
    },
    /// The run is over, or stopped where a person must look.
    RunEnded {
        /// With which verdict.
        verdict: Verdict,
    },
}

impl Event {
    /// Its one word, in JSON and in the ledger.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::ConnectBegan { .. } => "connect-began",
            Self::HostConnected { .. } => "host-connected",
            Self::HostUnconnected { .. } => "host-unconnected",
            Self::HostInspected { .. } => "host-inspected",
            Self::ProbeTried { .. } => "probe-tried",
            Self::RunBegan { .. } => "run-began",
            Self::RunIsDrill(_) => "run-is-drill",
            Self::RunIsolates(_) => "run-isolates",
            Self::ReachedBefore { .. } => "reached-before",
            Self::EvidenceBegan { .. } => "evidence-began",
            Self::EvidenceTaken(_) => "evidence-taken",
            Self::ValuesMinted { .. } => "values-minted",
            Self::StepBegan { .. } => "step-began",
            Self::StepDone { .. } => "step-done",
            Self::StepFailed { .. } => "step-failed",
            Self::Decided { .. } => "decided",
            Self::LeaseLapsed => "lease-lapsed",
            Self::Interrupted => "interrupted",
            Self::Resumed { .. } => "resumed",
            Self::Rebuilt { .. } => "rebuilt",
            Self::ProofWaived { .. } => "proof-waived",
            Self::HostsLeftOut { .. } => "hosts-left-out",
            Self::SwitchWatched { .. } => "switch-watched",
            Self::RunEnded { .. } => "run-ended",
        }
    }

    /// Whether it is only for the screen.
    #[must_use]
    pub const fn is_note(&self) -> bool {
        matches!(
            self,
            Self::ConnectBegan { .. }
                | Self::HostConnected { .. }
                | Self::HostUnconnected { .. }
                | Self::HostInspected { .. }
                | Self::ProbeTried { .. }
        )
    }
}

/// Whether a failure is known to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// The host said no: the step is not done.
    Failed,
    /// No answer: the step may be done.
    Unknown,
}

/// Which way a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Every host proved the new values: they stay.
    Commit,
    /// Every host goes back to the old values.
    Rollback,
}

/// What made a run go back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// Which host, or none where it was the operator.
    pub host: Option<HostName>,
    /// In which step.
    pub step: Option<Step>,
    /// Why.
    pub reason: Reason,
}

/// An event and when it was noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Wall clock, milliseconds since 1970-01-01T00:00:00Z. For people; nothing is ordered by it.
    pub at_unix: Millis,
    /// Steady clock since this process took up the run. Spread and gap are measured with it.
    pub elapsed: Millis,
    /// What happened.
    pub event: Event,
}
