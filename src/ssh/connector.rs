//! From an endpoint to an authenticated connection, each phase with its own deadline.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::model::{HostName, Reason, ReasonKind};

use super::auth::Keys;
use super::connection::Connection;
use super::handshake::{handshake, timed_out};
use super::jump::{Jumps, no_way, not_reached};
use super::known_hosts::{HostKeys, KnownHosts};
use super::settings::Settings;

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
    connects: Semaphore,
    handshakes: Semaphore,
    known: Mutex<HashMap<Vec<PathBuf>, KnownOrNot>>,
    jumps: Jumps,
}

/// The entries of some files, or why they cannot be read.
type KnownOrNot = Result<Arc<KnownHosts>, Reason>;

impl Connector {
    /// A connector with these limits and keys.
    #[must_use]
    pub fn new(settings: Settings, keys: Keys) -> Self {
        let (connects, handshakes) = (Semaphore::new(settings.connects), Semaphore::new(settings.handshakes));
        Self { settings, keys, connects, handshakes, known: Mutex::default(), jumps: Jumps::default() }
    }

    /// Its deadlines and limits.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads the keys of these endpoints and of their jump hosts, and asks for the passphrases, so that nobody is asked in the middle
    /// of something else. A key that cannot be used is said by [`Connector::connect`].
    pub async fn unlock(&self, endpoints: impl IntoIterator<Item = &Endpoint>) {
        for endpoint in endpoints {
            let hops = std::iter::successors(Some(endpoint), |hop| hop.jump.as_deref());
            for hop in hops {
                let _said_later = self.keys.unlock(&hop.identity_files, self.settings.connect).await;
            }
        }
    }

    /// Connects and authenticates. Cancelling the token ends the connection, now or later.
    ///
    /// # Errors
    /// Why not. Nothing was sent for authentication unless the host's key was known.
    pub async fn connect(&self, endpoint: &Endpoint, cancel: CancellationToken) -> Result<Connection, ConnectError> {
        self.reach(endpoint, &cancel).await.map_err(|reason| ConnectError { reason })
    }

    /// A jump host may lie behind another one.
    fn reach<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Connection, Reason>> {
        Box::pin(async move {
            // Before anybody waits for us: a person may have to type first, if that was not done before.
            self.keys.unlock(&endpoint.identity_files, self.settings.connect).await?;
            let known = self.known(&endpoint.known_hosts)?.lookup(&endpoint.address, endpoint.port);
            let mut pauses = self.settings.pauses.iter();
            loop {
                let reached = match &endpoint.jump {
                    None => self.directly(endpoint, &known, cancel).await,
                    Some(jump) => self.through(endpoint, &known, jump, cancel).await,
                };
                match (&reached, pauses.next()) {
                    // A moment later it may have room. More than a few times would be what it defends itself against.
                    (Err(reason), Some(pause)) if reason.kind == ReasonKind::Throttled => sleep(*pause).await,
                    _ => return reached,
                }
            }
        })
    }

    async fn directly(
        &self,
        endpoint: &Endpoint,
        known: &HostKeys,
        cancel: &CancellationToken,
    ) -> Result<Connection, Reason> {
        // Dead addresses wait apart, so that they do not keep the living ones from their handshakes.
        let connecting = permit(&self.connects).await;
        let stream = self.tcp(endpoint).await?;
        let _handshaking = permit(&self.handshakes).await;
        drop(connecting);
        handshake(&self.settings, &self.keys, endpoint, known.clone(), stream, cancel).await
    }

    async fn through(
        &self,
        endpoint: &Endpoint,
        known: &HostKeys,
        through: &Endpoint,
        cancel: &CancellationToken,
    ) -> Result<Connection, Reason> {
        let jump = self.jumps.get(through, self.settings.through_jump);
        let connection = jump.connection(self.reach(through, cancel), self.settings.connect).await;
        let connection = connection.map_err(|reason| not_reached(through, &reason))?;
        let _handshaking = permit(&jump.handshakes).await;
        let forward = connection.forward(&endpoint.address, endpoint.port).await;
        let stream = forward.map_err(|error| no_way(through, endpoint, &error))?;
        handshake(&self.settings, &self.keys, endpoint, known.clone(), stream, cancel).await
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
}

async fn permit(semaphore: &Semaphore) -> SemaphorePermit<'_> {
    semaphore.acquire().await.expect("the semaphores of a connector are never closed")
}
