//! Writes the directory tree of a lab, and finds an existing one again.
//!
//! **Invariant:** nothing is written outside the lab's directory, and an existing lab is never overwritten.
//! Tested in `tests/it/lab.rs`.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PublicKey};
use serde::{Deserialize, Serialize};

use super::error::LabError;
use super::texts;
use super::tunnel::{self, Tunnel};

/// At most so many workers: their addresses are `127.X.A.B` with two free bytes, and a process has about as many descriptors.
pub const WORKERS_MAX: usize = 20_000;

/// The lab's own record of its hosts.
const RECORD: &str = "lab.json";
/// The user that every host lets in, as in the real fleet.
const USER: &str = "deploy";
/// Ports below the range from which systems take ephemeral ones.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How often a random address and port are tried before giving up.
const ADDRESS_TRIES: usize = 64;

/// What a host is in the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The one that dispatches work.
    ControlPlane,
    /// One that does it.
    Worker,
}

impl Role {
    /// The unit of its service.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::ControlPlane => "nanoclaw",
            Self::Worker => "nanoclaw-worker",
        }
    }

    /// The port on which its service listens, on the host's own loopback.
    #[must_use]
    pub fn service_port(self) -> u16 {
        match self {
            Self::ControlPlane => 7700,
            Self::Worker => 7801,
        }
    }
}

/// One host of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabHost {
    /// Its name in the inventory.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Where its SSH server listens.
    pub address: SocketAddrV4,
}

/// A lab on disk.
#[derive(Debug, Clone)]
pub struct Lab {
    directory: PathBuf,
    hosts: Vec<LabHost>,
}

/// Fills a buffer with random bytes.
type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

impl Lab {
    /// Writes a new lab: a control plane and so many workers.
    /// `binary` is the running `lockturn`, of which the hosts' `sqlite3` is a hidden verb (`lab-sqlite3`).
    ///
    /// # Errors
    /// When the directory holds a lab already or cannot be written, or no address is free.
    pub fn create(directory: &Path, workers: usize, binary: &Path, random: Random<'_>) -> Result<Self, LabError> {
        if workers > WORKERS_MAX {
            return Err(LabError::TooManyWorkers(workers));
        }
        make_dir(directory)?;
        let directory = fs::canonicalize(directory).map_err(LabError::files("find", directory))?;
        let record = directory.join(RECORD);
        if record.exists() {
            return Err(LabError::broken(&record, "there is a lab already"));
        }
        let lab = Self { hosts: choose_hosts(workers, random)?, directory };
        for sub in ["hosts", "playbooks", "run"] {
            make_dir(&lab.directory.join(sub))?;
        }
        let mut known_hosts = String::new();
        let client = new_key("lockturn-lab", random)?;
        write_key(&lab.client_key(), &client)?;
        let secrets: Vec<String> = lab.hosts.iter().map(|_| hex(random)).collect();
        for (host, secret) in lab.hosts.iter().zip(&secrets) {
            let key = lab.write_host(host, secret, binary, random)?;
            let public = key.public_key().to_openssh().map_err(|error| LabError::broken(&record, error))?;
            let _ = writeln!(known_hosts, "[{}]:{} {public}", host.address.ip(), host.address.port());
        }
        lab.write_database(&secrets)?;
        write(&lab.known_hosts(), &known_hosts, 0o644)?;
        write(&lab.inventory(), &lab.inventory_text(), 0o644)?;
        write(&lab.directory.join("playbooks/worker-secret.yml"), texts::WORKER_SECRET, 0o644)?;
        write(&lab.directory.join("playbooks/os-http-secret.yml"), texts::OS_HTTP_SECRET, 0o644)?;
        write(&lab.directory.join("playbooks/quarantine.yml"), texts::QUARANTINE, 0o644)?;
        // Last, so that a lab with a record is a whole one.
        let text = serde_json::to_string_pretty(&lab.hosts).map_err(|error| LabError::broken(&record, error))?;
        write(&record, &text, 0o644)?;
        Ok(lab)
    }

    /// Finds a lab that was created before.
    ///
    /// # Errors
    /// When the directory has no lab.
    pub fn open(directory: &Path) -> Result<Self, LabError> {
        let directory = fs::canonicalize(directory).map_err(LabError::files("find", directory))?;
        let record = directory.join(RECORD);
        let text = fs::read_to_string(&record).map_err(LabError::files("read", &record))?;
        let hosts = serde_json::from_str(&text).map_err(|error| LabError::broken(&record, error))?;
        Ok(Self { directory, hosts })
    }

    /// The lab's directory, absolute.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its hosts, the control plane first.
    #[must_use]
    pub fn hosts(&self) -> &[LabHost] {
        &self.hosts
    }

    /// The login directory of a host.
    #[must_use]
    pub fn host_directory(&self, host: &str) -> PathBuf {
        self.directory.join("hosts").join(host)
    }

    /// The inventory of its hosts.
    #[must_use]
    pub fn inventory(&self) -> PathBuf {
        self.directory.join("inventory.yml")
    }

    /// The host keys of its hosts.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.directory.join("known_hosts")
    }

    /// The key that every host lets in.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.directory.join("client_key")
    }

    /// Where the stand-ins of `systemctl` reach the running lab.
    pub(super) fn control(&self) -> PathBuf {
        self.directory.join("run/control")
    }

    pub(super) fn host_key(&self, host: &str) -> Result<PrivateKey, LabError> {
        let path = self.directory.join("host_keys").join(host);
        PrivateKey::read_openssh_file(&path).map_err(|error| LabError::broken(&path, error))
    }

    pub(super) fn client_public_key(&self) -> Result<PublicKey, LabError> {
        let path = self.client_key();
        let key = PrivateKey::read_openssh_file(&path).map_err(|error| LabError::broken(&path, error))?;
        Ok(key.public_key().clone())
    }

    fn write_host(
        &self,
        host: &LabHost,
        secret: &str,
        binary: &Path,
        random: Random<'_>,
    ) -> Result<PrivateKey, LabError> {
        let home = self.host_directory(&host.name);
        make_dir(&home.join("bin"))?;
        make_dir(&home.join("opt/nanoclaw"))?;
        write(&home.join("bin/systemctl"), texts::SYSTEMCTL, 0o755)?;
        write(&home.join("bin/sqlite3"), &sqlite_wrapper(binary), 0o755)?;
        match host.role {
            Role::Worker => {
                write(&home.join("opt/nanoclaw/.env"), &worker_env(&host.name, secret), 0o600)?;
            }
            Role::ControlPlane => {
                make_dir(&home.join("opt/nanoclaw/cockpit"))?;
                make_dir(&home.join("opt/nanoclaw/store"))?;
                for worker in self.hosts.iter().filter(|host| host.role == Role::Worker) {
                    let file = Tunnel::file(&home, &worker.name);
                    make_dir(file.parent().unwrap_or(&home))?;
                    write(&file, tunnel::WELL, 0o600)?;
                }
                let shared = control_plane_env(random);
                let service = format!(
                    "{shared}\n# Signs the parameters of external calls.\nEXT_CALL_HMAC_SECRET={}\n",
                    hex(random)
                );
                write(&home.join("opt/nanoclaw/.env"), &service, 0o600)?;
                write(&home.join("opt/nanoclaw/cockpit/.env"), &format!("PORT=3000\n{shared}"), 0o600)?;
            }
        }
        // Beside the hosts' directories: a host's login directory holds nothing that its own commands should not see.
        make_dir(&self.directory.join("host_keys"))?;
        let key = new_key(&host.name, random)?;
        write_key(&self.directory.join("host_keys").join(&host.name), &key)?;
        Ok(key)
    }

    fn write_database(&self, secrets: &[String]) -> Result<(), LabError> {
        let Some(plane) = self.hosts.iter().find(|host| host.role == Role::ControlPlane) else { return Ok(()) };
        let path = self.host_directory(&plane.name).join("opt/nanoclaw/store/messages.db");
        self.fill_database(&path, secrets).map_err(|error| LabError::broken(&path, error))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(LabError::files("protect", &path))
    }

    fn fill_database(&self, path: &Path, secrets: &[String]) -> rusqlite::Result<()> {
        let mut connection = rusqlite::Connection::open(path)?;
        connection.execute_batch(texts::TABLES)?;
        let transaction = connection.transaction()?;
        let workers = self.hosts.iter().zip(secrets).filter(|(host, _)| host.role == Role::Worker);
        for (local_port, (host, secret)) in (17_801_u32..).zip(workers) {
            transaction.execute(
                "INSERT INTO workers(id, ssh_host, ssh_user, ssh_port, local_port, remote_port, status, shared_secret,
                   callback_url, groups_json, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, 7801, 'online', ?6, 'http://127.0.0.1:7700', '[\"main\"]', datetime('now'),
                   datetime('now'))",
                rusqlite::params![
                    host.name,
                    host.address.ip().to_string(),
                    USER,
                    host.address.port(),
                    local_port,
                    secret
                ],
            )?;
        }
        transaction.commit()
    }

    fn inventory_text(&self) -> String {
        let mut text =
            String::from("# The lab's hosts. All of them live in one process on this machine.\nall:\n  vars:\n");
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let _ = writeln!(text, "    user: {USER}\n    identity_file: {}", quoted(&self.client_key()));
        let _ = writeln!(text, "    known_hosts: {}", quoted(&self.known_hosts()));
        text.push_str("    state_dir: .lockturn\n    path: bin\n  children:\n");
        for (group, role) in [("control_plane", Role::ControlPlane), ("workers", Role::Worker)] {
            let _ = writeln!(text, "    {group}:\n      hosts:");
            for host in self.hosts.iter().filter(|host| host.role == role) {
                let (ip, port) = (host.address.ip(), host.address.port());
                let _ = writeln!(text, "        {}: {{ address: {ip}, port: {port} }}", host.name);
            }
        }
        text
    }
}

/// Names and addresses. Linux listens on all of 127/8: every host gets an address of its own there, and all the same port.
/// Elsewhere they share 127.0.0.1, each with a port of its own.
fn choose_hosts(workers: usize, random: Random<'_>) -> Result<Vec<LabHost>, LabError> {
    let addresses = choose_addresses(workers + 1, random)?;
    let host = |(number, address)| match number {
        0 => LabHost { name: "control".to_owned(), role: Role::ControlPlane, address },
        _ => LabHost { name: format!("worker-{number}"), role: Role::Worker, address },
    };
    Ok(addresses.into_iter().enumerate().map(host).collect())
}

fn choose_addresses(count: usize, random: Random<'_>) -> Result<Vec<SocketAddrV4>, LabError> {
    let own_addresses = TcpListener::bind((Ipv4Addr::new(127, 1, 0, 1), 0)).is_ok();
    for _ in 0..ADDRESS_TRIES {
        let mut bytes = [0; 3];
        random(&mut bytes);
        let port = PORTS.start + u16::from_be_bytes([bytes[0], bytes[1]]) % (PORTS.end - PORTS.start);
        // Never 127.0: other programs of this machine live there.
        let net = bytes[2].max(1);
        let address = |number: usize| -> Option<SocketAddrV4> {
            let number = u16::try_from(number).ok()?;
            if own_addresses {
                let [high, low] = (number + 1).to_be_bytes();
                Some(SocketAddrV4::new(Ipv4Addr::new(127, net, high, low), port))
            } else {
                Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port.checked_add(number)?))
            }
        };
        let addresses: Option<Vec<_>> = (0..count).map(address).collect();
        if let Some(addresses) = addresses
            && addresses.iter().all(|address| TcpListener::bind(address).is_ok())
        {
            return Ok(addresses);
        }
    }
    Err(LabError::NoAddress)
}

fn hex(random: Random<'_>) -> String {
    /// As `openssl rand -hex 32`.
    const SECRET_BYTES: usize = 32;
    let mut bytes = [0; SECRET_BYTES];
    random(&mut bytes);
    super::service::hex(&bytes)
}

fn new_key(comment: &str, random: Random<'_>) -> Result<PrivateKey, LabError> {
    let mut seed = [0; 32];
    random(&mut seed);
    let mut key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    key.set_comment(comment);
    Ok(key)
}

fn write_key(path: &Path, key: &PrivateKey) -> Result<(), LabError> {
    let text = key.to_openssh(LineEnding::LF).map_err(|error| LabError::broken(path, error))?;
    write(path, &text, 0o600)
}

fn worker_env(name: &str, secret: &str) -> String {
    format!(
        "# nanoclaw worker {name}\nNODE_ENV=production\nWORKER_ID={name}\nWORKER_PORT=7801\nMAX_WIP=2\n\n\
         # The same value stands in the control plane's table `workers`.\nWORKER_SHARED_SECRET={secret}\n\n\
         CONTROL_PLANE_URL=\"http://127.0.0.1:7700\"\nLOG_LEVEL=info\n"
    )
}

fn control_plane_env(random: Random<'_>) -> String {
    let mut text = String::from("# nanoclaw control plane\nNODE_ENV=production\nOS_HTTP_PORT=7700\n\n");
    let keys = ["OS_HTTP_SECRET", "COCKPIT_WRITE_SECRET_CURRENT", "COCKPIT_SESSION_SECRET", "COCKPIT_CSRF_SECRET"];
    for key in keys {
        let _ = writeln!(text, "{key}={}", hex(random));
    }
    text
}

/// `bin/sqlite3`: the lab needs no package, so the running binary plays it.
fn sqlite_wrapper(binary: &Path) -> String {
    let quoted = binary.display().to_string().replace('\'', r"'\''");
    format!("#!/bin/sh\n# Plays sqlite3 for this host of the lab.\nexec '{quoted}' lab-sqlite3 \"$@\"\n")
}

fn make_dir(path: &Path) -> Result<(), LabError> {
    fs::create_dir_all(path).map_err(LabError::files("make", path))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), LabError> {
    let open = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
        std::io::Write::write_all(&mut file, text.as_bytes())
    };
    open().map_err(LabError::files("write", path))
}
