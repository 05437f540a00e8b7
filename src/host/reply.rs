//! What a host answers, strictly parsed.

use std::num::NonZeroU16;

use crate::model::{Reason, ReasonKind, Secret, Switch};

/// What a host is and can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HelloFacts {
    /// The user that the program runs as.
    pub uid: u32,
    /// Where the host keeps a run's state.
    pub state: String,
    /// The login directory.
    pub login: String,
    /// Whether systemd runs it.
    pub systemd: bool,
    /// `/etc/machine-id`, which tells two names of one machine.
    pub machine_id: Option<String>,
    /// The kernel's boot id, which tells a reboot.
    pub boot_id: Option<String>,
    /// What watches the time of an armed host there.
    pub switch: Switch,
    /// The tools that it has, of those that a run may need.
    pub tools: Vec<String>,
}

impl HelloFacts {
    /// Reads the answer to `hello`.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(payload: &Secret) -> Result<Self, Reason> {
        let mut facts = Self::default();
        for line in text(payload)?.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "uid" => facts.uid = value.parse().map_err(|_| broken("its user is not a number"))?,
                "state" => value.clone_into(&mut facts.state),
                "login" => value.clone_into(&mut facts.login),
                "systemd" => facts.systemd = value == "yes",
                "switch" if value == Switch::Systemd.label() => facts.switch = Switch::Systemd,
                "machine-id" => facts.machine_id = Some(value.to_owned()),
                "boot-id" => facts.boot_id = Some(value.to_owned()),
                "tool" => facts.tools.push(value.to_owned()),
                // A later program may say more.
                _ => {}
            }
        }
        if facts.state.is_empty() || facts.login.is_empty() {
            return Err(broken("it does not say where it keeps its state"));
        }
        Ok(facts)
    }

    /// Whether the host has this tool.
    #[must_use]
    pub fn has(&self, tool: &str) -> bool {
        self.tools.iter().any(|have| have == tool)
    }
}

/// A file and its metadata.
pub struct FileFacts {
    /// Where it really is.
    pub real_path: String,
    /// As `ls -l` prints it, with the mark of an ACL.
    pub mode: String,
    /// What it holds.
    pub content: Secret,
}

impl FileFacts {
    /// Reads the answer to `read-file`.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(payload: &Secret) -> Result<Self, Reason> {
        let bytes = payload.expose();
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").ok_or_else(|| broken("the file has no header"))?;
        let header = std::str::from_utf8(&bytes[..end]).map_err(|_| broken("the file's header is not text"))?;
        let field = |name: &str| {
            let found = header.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            found.map(str::to_owned).ok_or_else(|| broken(&format!("the file's header has no `{name}`")))
        };
        let content = Secret::new(bytes[end + 2..].to_vec());
        if field("size")? != content.len().to_string() {
            return Err(broken("the file has another size than its header says"));
        }
        Ok(Self { real_path: field("real")?, mode: field("mode")?, content })
    }
}

/// What systemd says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitFacts {
    /// `active`, `failed`, …
    pub active_state: String,
    /// `running`, `auto-restart`, …
    pub sub_state: String,
    /// How often systemd restarted it by itself.
    pub restarts: u64,
    /// Its main process.
    pub main_pid: u64,
    /// Changes with each start.
    pub invocation: String,
}

impl UnitFacts {
    /// Reads the answer to `unit`.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(payload: &Secret) -> Result<Self, Reason> {
        let mut facts = Self::default();
        for (key, value) in text(payload)?.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "ActiveState" => value.clone_into(&mut facts.active_state),
                "SubState" => value.clone_into(&mut facts.sub_state),
                "NRestarts" => facts.restarts = value.parse().unwrap_or(0),
                "MainPID" => facts.main_pid = value.parse().unwrap_or(0),
                "InvocationID" => value.clone_into(&mut facts.invocation),
                _ => {}
            }
        }
        if facts.active_state.is_empty() { Err(broken("systemd says nothing of the unit's state")) } else { Ok(facts) }
    }
}

/// How a program ended and what it printed.
pub struct CommandOutput {
    /// Its exit status.
    pub status: u16,
    /// Its standard output.
    pub output: Secret,
}

impl CommandOutput {
    /// Reads the answer to `command`.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(payload: &Secret) -> Result<Self, Reason> {
        let bytes = payload.expose();
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| broken("it says no exit status"))?;
        let status = std::str::from_utf8(&bytes[..end]).ok().and_then(|text| text.parse().ok());
        let status = status.ok_or_else(|| broken("its exit status is not a number"))?;
        Ok(Self { status, output: Secret::new(bytes[end + 1..].to_vec()) })
    }
}

/// What one change's place holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// What it held when the run began.
    Old,
    /// What the run put there.
    New,
    /// Neither.
    Other,
    /// Nothing.
    Missing,
}

/// What a host holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Which {
    /// Change by change.
    pub held: Vec<Held>,
    /// How far the host has written down that it came: `none armed confirmed reverted`, `fired …`, `cleaning`, `cleaning confirmed`.
    pub record: String,
}

impl Which {
    /// Whether it was told that the new content stays.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        matches!(self.record.as_str(), "confirmed" | "cleaning confirmed")
    }

    /// Whether its clean has begun.
    #[must_use]
    pub fn is_cleaned(&self) -> bool {
        matches!(self.record.as_str(), "cleaning" | "cleaning confirmed")
    }

    /// Reads the answer to `which`.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(payload: &Secret) -> Result<Self, Reason> {
        let mut which = Self { held: Vec::new(), record: String::new() };
        for line in text(payload)?.lines() {
            match line.split_once(' ') {
                Some(("record", record)) => record.clone_into(&mut which.record),
                Some((_, "old")) => which.held.push(Held::Old),
                Some((_, "new")) => which.held.push(Held::New),
                Some((_, "other")) => which.held.push(Held::Other),
                Some((_, "missing")) => which.held.push(Held::Missing),
                Some(_) | None => return Err(broken("it says what it holds in words that nobody knows")),
            }
        }
        Ok(which)
    }
}

/// How a table that a host holds on to is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptState {
    /// As it was loaded.
    InPlace,
    /// Somebody changed it.
    Changed,
    /// Somebody took it away.
    Gone,
}

/// The tables of rules that a host holds on to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept(pub Vec<(String, KeptState)>);

impl Kept {
    /// Reads the answer to `kept`.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(payload: &Secret) -> Result<Self, Reason> {
        let of = |line: &str| {
            let (table, state) = line.split_once(' ')?;
            let state = match state {
                "in-place" => KeptState::InPlace,
                "changed" => KeptState::Changed,
                "gone" => KeptState::Gone,
                _ => return None,
            };
            Some((table.to_owned(), state))
        };
        let tables: Option<Vec<_>> = text(payload)?.lines().map(of).collect();
        tables.map(Self).ok_or_else(|| broken("it says of its rules what nobody understands"))
    }
}

/// How sshd of a host sees our connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenFrom {
    /// The address that it comes from.
    pub address: String,
    /// The port that it goes to.
    pub port: NonZeroU16,
}

impl SeenFrom {
    /// Reads the answer to `seen-from`.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(payload: &Secret) -> Result<Self, Reason> {
        let words: Vec<&str> = text(payload)?.split_ascii_whitespace().collect();
        let [address, _, _, port] = words[..] else { return Err(broken("it does not say where we come from")) };
        let port = port.parse().map_err(|_| broken("the port that we come to is not a number"))?;
        Ok(Self { address: address.to_owned(), port })
    }
}

fn text(payload: &Secret) -> Result<&str, Reason> {
    std::str::from_utf8(payload.expose()).map_err(|_| broken("it is not text"))
}

fn broken(what: &str) -> Reason {
    Reason::new(ReasonKind::AnswerBroken, format!("the host's answer is not one: {what}"))
}
