//! A playbook as read from its file: what to rotate, where it lives, how to activate and prove it. Nothing is resolved yet.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Millis, SecretName, Selector};

/// One playbook, `version: 1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playbook {
    /// Its name, shown in plans, runs and reports.
    pub name: String,
    /// One sentence for the operator.
    pub summary: String,
    /// What to rotate.
    pub secrets: BTreeMap<SecretName, SecretSpec>,
    /// Where it lives and how it is proved, in the order of the file.
    pub targets: Vec<Target>,
    /// How the fleet moves.
    pub rollout: Rollout,
    /// It rotates nothing: its targets forget hosts, and its values are worthless ones.
    pub forgets: bool,
}

/// How a secret's new value comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSpec {
    /// The shape of the new value.
    pub generate: Generator,
    /// One value for each of these hosts; without it one value for the fleet.
    pub per: Option<Selector>,
}

/// The shape of a generated value. Sizes are those of the random part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// So many random bytes in lower-case hex, as `openssl rand -hex N` prints them.
    Hex(u16),
    /// So many random bytes in standard base64 with padding, as `openssl rand -base64 N` prints them.
    Base64(u16),
    /// So many characters out of `A-Z a-z 0-9`, each equally likely.
    Alphanumeric(u16),
    /// A random UUID (RFC 9562, version 4).
    Uuid,
}

/// A set of hosts and what happens on each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which hosts.
    pub hosts: Selector,
    /// How to become another user there; overrides the inventory.
    pub become_user: Option<Become>,
    /// Units that end when a host is forgotten, `:host` for its name.
    pub stop: Vec<String>,
    /// Where the values live.
    pub put: Vec<Put>,
    /// How the services take them.
    pub activate: Vec<Activation>,
    /// How it is proved that they did.
    pub verify: Vec<Probe>,
}

/// How the program on the host gets the rights that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Become {
    /// The login user's own rights are enough.
    None,
    /// `sudo -n`: never asks, never gets a password.
    Sudo,
}

/// One value, one placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Which secret.
    pub secret: SecretName,
    /// Once for each of these hosts' values (`:host` names it); without it the host's own value, or the fleet's.
    pub for_each: Option<Selector>,
    /// Where on the host.
    pub placement: Placement,
}

/// Where one value lives on one host. Relative paths are relative to the login directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// The value of one key of a `.env` file; every other byte stays.
    Dotenv {
        /// Path of the file.
        file: String,
        /// The key before `=`.
        key: String,
        /// Whether a symbolic link is followed (its final target is rewritten) or refused.
        follow: bool,
    },
    /// A whole file: the value is its content, with nothing added.
    File {
        /// Path of the file.
        file: String,
        /// As for `Dotenv`.
        follow: bool,
    },
    /// One value in a SQLite database.
    Sqlite {
        /// Path of the database.
        file: String,
        /// A `SELECT` that yields the value: one row, one column; may name `:host`.
        read: String,
        /// The statement that writes it; names `:secret`, may name `:host`.
        write: String,
    },
    /// A program on the host.
    Command {
        /// Prints the value now held, and nothing else. Words, not a shell line.
        read: Vec<String>,
        /// Takes the value on standard input and stores it.
        write: Vec<String>,
    },
}

/// What makes a service take the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `systemctl`, after `reset-failed`.
    Systemd {
        /// What it does.
        action: UnitAction,
        /// The unit, `.service` may be left out.
        unit: String,
        /// How long it may take.
        deadline: Millis,
    },
    /// A program on the host; exit status 0 is success.
    Command {
        /// Words, not a shell line.
        run: Vec<String>,
        /// How long it may take.
        deadline: Millis,
    },
}

/// What `systemctl` is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitAction {
    /// Stop and start.
    Restart,
    /// Ask the running service to read its configuration again.
    Reload,
}

impl fmt::Display for UnitAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restart => "restart",
            Self::Reload => "reload",
        })
    }
}

/// One check of the running service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What it shows, for the operator.
    pub name: String,
    /// Which secret its templates call `secret`; may be left out where the target puts only one.
    pub secret: Option<SecretName>,
    /// Once for each of these hosts' values (`host` names it in templates).
    pub for_each: Option<Selector>,
    /// What is tried.
    pub check: Check,
    /// How many successes in a row are needed.
    pub successes: u32,
    /// The pause between two tries.
    pub interval: Millis,
    /// When to give up.
    pub deadline: Millis,
}

/// What a probe tries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The unit is active, the same process all the time, for so long.
    Systemd {
        /// The unit.
        active: String,
        /// How long without a restart.
        stable_for: Millis,
    },
    /// An HTTP/1.1 request from the host itself, through the SSH connection.
    Http {
        /// `GET`, `POST`, …
        method: String,
        /// `http://ADDRESS[:PORT]/PATH`, as the host sees it.
        url: String,
        /// Names and templates of values.
        headers: Vec<(String, String)>,
        /// Template of the body.
        body: String,
        /// Which status codes are right.
        expect: Expect,
    },
    /// A program on the host, with the secret on its standard input.
    Command {
        /// Words, not a shell line.
        run: Vec<String>,
        /// Which exit statuses are right.
        expect: Expect,
    },
}

/// What a probe must answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// One of these, whatever the secret: says that the service lives, proves nothing about the secret.
    Always(Vec<u16>),
    /// A proof: tried with the new value and with the old one.
    Proof {
        /// Answers to the value that must be taken.
        accepted: Vec<u16>,
        /// Answers to the value that must be refused.
        rejected: Vec<u16>,
    },
}

impl Check {
    /// Whether it tells an accepted value from a refused one.
    #[must_use]
    pub fn is_proof(&self) -> bool {
        match self {
            Self::Systemd { .. } => false,
            Self::Http { expect, .. } | Self::Command { expect, .. } => matches!(expect, Expect::Proof { .. }),
        }
    }
}

/// How the fleet moves to the new values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Who moves with whom.
    pub strategy: Strategy,
    /// Which hosts activate first; those that no entry names come last.
    pub activate_order: Vec<Selector>,
    /// How long an armed host waits for confirmation.
    pub lease: Millis,
    /// What an unreachable host does to the run.
    pub unreachable: Unreachable,
}

/// Who moves with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// All together.
    Lockstep,
    /// Some first, then more.
    Waves,
    /// Old and new are both accepted for a while.
    Overlap,
}

/// What an unreachable host does to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unreachable {
    /// Nobody moves.
    Abort,
    /// It owes the rotation; the others move.
    Defer,
}
