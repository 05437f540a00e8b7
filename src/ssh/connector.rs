//! From an endpoint to an authenticated connection, each phase with its own deadline.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::model::{HostName, Reason, ReasonKind};

use super::auth::Keys;
use super::connection::Connection;
use super::cut::Cut;
use super::known_hosts::KnownHosts;
use super::policy::{Guard, GuardError, config};

/// How one host is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The host, for messages.
    pub host: HostName,
    /// Name or address.
    pub address: String,
    /// The port of its sshd.
    pub port: u16,
    /// Who we log in as.
    pub user: String,
    /// Private keys to try, in order; none means the agent's.
    pub identity_files: Vec<PathBuf>,
    /// Where the host's key is looked up.
    pub known_hosts: Vec<PathBuf>,
    /// The host through which it is reached.
    pub jump: Option<Box<Self>>,
}

/// Deadlines and limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// To one address: SYN retries come after 1 s and 3 s, so 10 s forgive two lost packets.
    pub connect: Duration,
    /// Version, key exchange and authentication together: about eight round trips, and a slow host's signatures.
    pub handshake: Duration,
    /// Handshakes at the same time. They cost CPU on both sides; sshd drops a part of more than ten that are not logged in yet
    /// (`MaxStartups 10:30:100`), which matters for a bastion: see `through_jump`.
    pub handshakes: usize,
    /// Handshakes at the same time through one jump host.
    pub through_jump: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), handshake: Duration::from_secs(60), handshakes: 32, through_jump: 8 }
    }
}

/// Why a host could not be connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectError {
    /// The reason.
    pub reason: Reason,
}

/// Connects the hosts of one run.
pub struct Connector {
    settings: Settings,
    keys: Keys,
    handshakes: Semaphore,
    known: Mutex<HashMap<Vec<PathBuf>, KnownOrNot>>,
    jumps: Mutex<HashMap<Endpoint, Arc<Jump>>>,
}

/// The entries of some files, or why they cannot be read.
type KnownOrNot = Result<Arc<KnownHosts>, Reason>;

/// A jump host: one connection for all hosts behind it.
struct Jump {
    connection: OnceCell<Result<Connection, Reason>>,
    handshakes: Semaphore,
}

impl Connector {
    /// A connector with these limits and keys.
    #[must_use]
    pub fn new(settings: Settings, keys: Keys) -> Self {
        let handshakes = Semaphore::new(settings.handshakes);
        Self { settings, keys, handshakes, known: Mutex::default(), jumps: Mutex::default() }
    }

    /// Connects and authenticates. Cancelling the token ends the connection, now or later.
    ///
    /// # Errors
    /// Why not. Nothing was sent for authentication unless the host's key was known.
    pub async fn connect(&self, endpoint: &Endpoint, cancel: CancellationToken) -> Result<Connection, ConnectError> {
        let connected = match &endpoint.jump {
            None => self.directly(endpoint, &cancel).await,
            Some(jump) => self.through(endpoint, jump, &cancel).await,
        };
        connected.map_err(|reason| ConnectError { reason })
    }

    async fn directly(&self, endpoint: &Endpoint, cancel: &CancellationToken) -> Result<Connection, Reason> {
        let _permit = self.handshakes.acquire().await.expect("the semaphore is never closed");
        let stream = self.tcp(endpoint).await?;
        self.handshake(endpoint, stream, cancel).await
    }

    async fn through(
        &self,
        endpoint: &Endpoint,
        jump: &Endpoint,
        cancel: &CancellationToken,
    ) -> Result<Connection, Reason> {
        let known = Arc::clone(
            self.jumps.lock().expect("nobody panics while holding it").entry(jump.clone()).or_insert_with(|| {
                Arc::new(Jump { connection: OnceCell::new(), handshakes: Semaphore::new(self.settings.through_jump) })
            }),
        );
        let failed = |reason: &Reason| {
            Reason::new(reason.kind, format!("through the jump host `{}`: {}", jump.host, reason.detail))
        };
        let connecting = known.connection.get_or_init(|| Box::pin(self.directly(jump, cancel)));
        let connection = connecting.await.as_ref().map_err(failed)?;
        let _permit = known.handshakes.acquire().await.expect("the semaphore is never closed");
        let forward = timeout(self.settings.connect, connection.forward(&endpoint.address, endpoint.port)).await;
        let stream = match forward {
            Err(_) => return Err(failed(&timed_out("it did not open the way", self.settings.connect))),
            Ok(Err(error)) => return Err(failed(&Reason::new(ReasonKind::JumpFailed, error.to_string()))),
            Ok(Ok(stream)) => stream,
        };
        self.handshake(endpoint, stream, cancel).await
    }

    /// Tries the addresses of the host one after the other.
    async fn tcp(&self, endpoint: &Endpoint) -> Result<TcpStream, Reason> {
        let Endpoint { address, port, .. } = endpoint;
        let lookup = timeout(self.settings.connect, tokio::net::lookup_host((address.as_str(), *port))).await;
        let unknown = |why: &str| Reason::new(ReasonKind::NameUnknown, format!("the name {address} {why}"));
        let addresses: Vec<SocketAddr> = match lookup {
            Err(_) => return Err(unknown("was not resolved in time")),
            Ok(Err(_)) => return Err(unknown("has no address")),
            Ok(Ok(addresses)) => addresses.collect(),
        };
        let mut last = unknown("has no address");
        for address in addresses {
            match timeout(self.settings.connect, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Small messages wait for nobody.
                    let _slower_without = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => {
                    let kind = match error.kind() {
                        std::io::ErrorKind::ConnectionRefused => ReasonKind::ConnectionRefused,
                        _ => ReasonKind::Unreachable,
                    };
                    last = Reason::new(kind, format!("{address}: {error}"));
                }
                Err(_) => last = timed_out(&format!("{address} did not answer"), self.settings.connect),
            }
        }
        Err(last)
    }

    fn known(&self, files: &[PathBuf]) -> Result<Arc<KnownHosts>, Reason> {
        let mut known = self.known.lock().expect("nobody panics while holding it");
        if let Some(read) = known.get(files) {
            return read.clone();
        }
        let read = KnownHosts::read(files).map(Arc::new);
        known.insert(files.to_vec(), read.clone());
        read
    }

    async fn handshake<S>(
        &self,
        endpoint: &Endpoint,
        stream: S,
        cancel: &CancellationToken,
    ) -> Result<Connection, Reason>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let known = self.known(&endpoint.known_hosts)?;
        let config = Arc::new(config(&known.algorithms(&endpoint.address, endpoint.port)));
        let believed = Arc::new(Mutex::new(false));
        let guard = Guard {
            host: endpoint.host.to_string(),
            address: endpoint.address.clone(),
            port: endpoint.port,
            known,
            believed: Arc::clone(&believed),
            channels: 0,
        };
        // russh leaves the socket open when its future is dropped: the token closes it.
        let token = cancel.child_token();
        let on_failure = token.clone().drop_guard();
        let stream = Cut::new(stream, token.clone());
        let connecting = async {
            let mut handle =
                client::connect_stream(config, stream, guard).await.map_err(|error| why(error, &believed))?;
            self.keys.authenticate(&mut handle, &endpoint.user, &endpoint.identity_files).await?;
            Ok(handle)
        };
        let handle = match timeout(self.settings.handshake, connecting).await {
            Ok(handle) => handle?,
            Err(_) => {
                let phase = if *believed.lock().expect("nobody panics while holding it") {
                    "connected, but authentication did not end"
                } else {
                    "connected, but the key exchange did not end"
                };
                return Err(timed_out(phase, self.settings.handshake));
            }
        };
        let _keep_open = on_failure.disarm();
        Ok(Connection::new(handle, token))
    }
}

fn timed_out(what: &str, limit: Duration) -> Reason {
    Reason::new(ReasonKind::TimedOut, format!("{what} within {} s", limit.as_secs_f32()))
}

fn why(error: GuardError, believed: &Mutex<bool>) -> Reason {
    let error = match error {
        GuardError::Refused(reason) => return reason,
        GuardError::Russh(error) => error,
    };
    let kind = match &error {
        russh::Error::NoCommonAlgo { .. } => ReasonKind::NoCommonAlgorithm,
        russh::Error::Disconnect | russh::Error::HUP | russh::Error::IO(_)
            if !*believed.lock().expect("nobody panics while holding it") =>
        {
            ReasonKind::Throttled
        }
        _ => ReasonKind::ProtocolBroken,
    };
    let detail = match kind {
        ReasonKind::Throttled => "the server closed the connection before it said who it is".to_owned(),
        _ => format!("the SSH handshake failed: {error}"),
    };
    Reason::new(kind, detail)
}
