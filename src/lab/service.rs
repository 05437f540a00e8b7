//! What the two services of nanoclaw know and check: the control plane and the worker.
//!
//! **Invariant:** `.env` is read at a start and never between; headers, timestamp, nonce and signature are checked in this
//! order, and the body is looked at only after all of them. Tested in `tests/it/lab.rs`.

use std::collections::HashMap;
use std::path::PathBuf;

use jiff::Timestamp;

use super::create::Role;
use super::fault::Fault;
use crate::model::{Secret, hmac_sha256};

/// How far a request's clock may be off.
const TTL_SECONDS: i64 = 60;
/// The shortest `OS_HTTP_SECRET` that the control plane starts with.
const OS_SECRET_BYTES_MIN: usize = 16;

/// Secrets by name: `""` is the service's own, the others are the workers' rows.
type Values = HashMap<String, Secret>;

/// One service of one host.
pub(super) struct Service {
    home: PathBuf,
    role: Role,
    /// What it holds while it runs.
    running: Option<Running>,
    /// What it held at its last start without a fault; some faults cling to it.
    trusted: Option<Values>,
    /// The nonces that were used, with the second in which they came.
    nonces: HashMap<String, i64>,
    /// How often it was started.
    starts: u32,
}

struct Running {
    own: Secret,
    since: Timestamp,
}

/// What `systemctl show` says of it.
pub(super) struct Shown {
    pub(super) active: bool,
    pub(super) pid: u32,
    pub(super) invocation: String,
}

/// The headers of a signed request; absent ones are `None`.
pub(super) struct Signed<'a> {
    pub(super) worker: Option<&'a str>,
    pub(super) timestamp: Option<&'a str>,
    pub(super) request_id: Option<&'a str>,
    pub(super) hmac: Option<&'a str>,
}

impl Service {
    pub(super) fn new(home: PathBuf, role: Role) -> Self {
        Self { home, role, running: None, trusted: None, nonces: HashMap::new(), starts: 0 }
    }

    pub(super) fn fault(&self) -> Fault {
        Fault::of_host(&self.home)
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Stops it.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// Starts it afresh; `Err` says why it exited.
    pub(super) fn start(&mut self, now: Timestamp) -> Result<(), &'static str> {
        self.running = None;
        self.starts += 1;
        let (key, bytes_min) = match self.role {
            Role::ControlPlane => ("OS_HTTP_SECRET", OS_SECRET_BYTES_MIN),
            Role::Worker => ("WORKER_SHARED_SECRET", 1),
        };
        let text = std::fs::read_to_string(self.home.join("opt/nanoclaw/.env")).map_err(|_| "cannot read .env")?;
        let own =
            env_value(&text, key).filter(|own| own.len() >= bytes_min).ok_or("a secret is missing or too short")?;
        let fault = self.fault();
        if self.trusted.is_none() || self.fault() == Fault::None {
            let mut trusted = self.rows();
            trusted.insert(String::new(), own.duplicate());
            self.trusted = Some(trusted);
        } else if fault == Fault::FailsToStart && self.is_changed(&own) {
            return Err("the secret changed");
        }
        self.running = Some(Running { own, since: now });
        Ok(())
    }

    pub(super) fn show(&self) -> Shown {
        /// Process numbers look real, and differ at each start.
        const FIRST_PID: u32 = 1_000;
        let identity = format!("{}\n{}", self.home.display(), self.starts);
        let digest = hmac_sha256(&Secret::new(b"invocation".to_vec()), identity.as_bytes());
        let active = self.running.is_some();
        Shown { active, pid: if active { FIRST_PID + self.starts } else { 0 }, invocation: hex(&digest[..16]) }
    }

    /// Seconds since its start, if it runs.
    pub(super) fn uptime(&self, now: Timestamp) -> Option<i64> {
        self.running.as_ref().map(|running| now.as_second() - running.since.as_second())
    }

    /// Whether the control plane takes this `X-OS-SECRET`.
    pub(super) fn takes_os_secret(&self, shown: &str) -> bool {
        let Some(running) = &self.running else { return false };
        let shown = Secret::new(shown.as_bytes().to_vec());
        self.effective("", running.own.duplicate()).is_some_and(|secret| secret.same_as(&shown))
    }

    /// Checks a signed request; `Err` is the service's word for what is wrong with it.
    pub(super) fn check(&mut self, signed: &Signed<'_>, body: &[u8], now: Timestamp) -> Result<(), &'static str> {
        let (Some(timestamp), Some(request_id), Some(hmac)) = (signed.timestamp, signed.request_id, signed.hmac) else {
            return Err("MISSING_HEADERS");
        };
        let worker = match (self.role, signed.worker) {
            (Role::Worker, _) => "",
            (Role::ControlPlane, Some(worker)) => worker,
            (Role::ControlPlane, None) => return Err("MISSING_HEADERS"),
        };
        let sent: Timestamp = timestamp.parse().map_err(|_| "INVALID_TIMESTAMP")?;
        if (now.as_second() - sent.as_second()).abs() > TTL_SECONDS {
            return Err("TTL_EXPIRED");
        }
        // A nonce older than twice the window cannot pass the clock any more.
        self.nonces.retain(|_, second| now.as_second() - *second <= 2 * TTL_SECONDS);
        if self.nonces.insert(request_id.to_owned(), now.as_second()).is_some() {
            return Err("REPLAY_DETECTED");
        }
        let secret = self.secret_of(worker).ok_or("HMAC_INVALID")?;
        let mut message = format!("{timestamp}\n{request_id}\n").into_bytes();
        message.extend_from_slice(body);
        let right = Secret::new(hex(&hmac_sha256(&secret, &message)).into_bytes());
        if right.same_as(&Secret::new(hmac.to_ascii_lowercase().into_bytes())) { Ok(()) } else { Err("HMAC_INVALID") }
    }

    /// The secret that it checks this worker's requests with, its fault considered.
    fn secret_of(&self, worker: &str) -> Option<Secret> {
        let running = self.running.as_ref()?;
        let current = match self.role {
            Role::Worker => running.own.duplicate(),
            Role::ControlPlane => self.row(worker)?,
        };
        self.effective(worker, current)
    }

    fn effective(&self, name: &str, current: Secret) -> Option<Secret> {
        let first = self.trusted.as_ref()?.get(name).map(Secret::duplicate);
        match self.fault() {
            Fault::RefusesNewSecret => first,
            Fault::HealthyButWrong => first.filter(|first| first.same_as(&current)),
            Fault::None | Fault::FailsToStart | Fault::SlowRestart(_) | Fault::Down => Some(current),
        }
    }

    /// Whether any secret differs from what it held at its last start without a fault.
    fn is_changed(&self, own: &Secret) -> bool {
        let Some(first) = &self.trusted else { return false };
        let same = |name: &str, value: &Secret| first.get(name).is_some_and(|first| first.same_as(value));
        !same("", own) || self.rows().iter().any(|(name, value)| !same(name, value))
    }

    fn database(&self) -> Option<rusqlite::Connection> {
        let path = self.home.join("opt/nanoclaw/store/messages.db");
        // As the real one: whoever reads first after a writer that was killed takes its transaction back.
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        match self.role {
            Role::ControlPlane => rusqlite::Connection::open_with_flags(path, flags).ok(),
            Role::Worker => None,
        }
    }

    fn row(&self, worker: &str) -> Option<Secret> {
        let sql = "SELECT shared_secret FROM workers WHERE id = ?1";
        let value: String = self.database()?.query_row(sql, [worker], |row| row.get(0)).ok()?;
        Some(Secret::new(value.into_bytes()))
    }

    fn rows(&self) -> Values {
        let read = || -> Option<Values> {
            let database = self.database()?;
            let mut statement = database.prepare("SELECT id, shared_secret FROM workers").ok()?;
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, Secret::new(row.get::<_, String>(1)?.into_bytes()))));
            rows.ok()?.collect::<Result<_, _>>().ok()
        };
        read().unwrap_or_default()
    }
}

/// Reads `.env` as nanoclaw does: trimmed lines, split at the first `=`, one pair of quotes; the last of equal keys counts.
fn env_value(text: &str, key: &str) -> Option<Secret> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (_, value) = lines.filter_map(|line| line.split_once('=')).rfind(|(name, _)| name.trim() == key)?;
    let value = value.trim();
    let quoted = |quote| value.strip_prefix(quote).and_then(|value: &str| value.strip_suffix(quote));
    Some(Secret::new(quoted('"').or_else(|| quoted('\'')).unwrap_or(value).as_bytes().to_vec()))
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_is_read_as_nanoclaw_reads_it() {
        let text = "# A=no\n A = x=y \nB='quoted'\nC=\"\"\nexport D=1\nB=last\n";
        let value = |key| env_value(text, key).map(|value| String::from_utf8(value.expose().to_vec()).unwrap());
        assert_eq!(value("A").as_deref(), Some("x=y"));
        assert_eq!(value("B").as_deref(), Some("last"));
        assert_eq!(value("C").as_deref(), Some(""));
        assert_eq!(value("D"), None);
    }
}
