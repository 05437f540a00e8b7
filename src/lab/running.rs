//! A lab whose hosts listen.
//!
//! **Invariant:** after `stop` there is no listener, no connection, no child process and no task of the lab.
//! Tested in `tests/it/lab.rs`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use russh::keys::PublicKey;
use russh::server::Config;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::create::{Lab, LabHost};
use super::error::LabError;
use super::fault::Fault;
use super::server::Connection;
use super::service::{Service, Signed, hex};
use super::{server, systemctl};
use crate::model::{Secret, hmac_sha256};
use crate::ssh::Cut;

/// How long a listener rests after an accept that failed, as it does when descriptors run out.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// One host while the lab runs.
pub(super) struct Host {
    pub(super) host: LabHost,
    pub(super) directory: PathBuf,
    service: Mutex<Service>,
    /// Ends all its connections; replaced by a new one whenever it is used.
    connections: Mutex<CancellationToken>,
}

impl Host {
    pub(super) fn service(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, CancellationToken> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lab whose hosts listen, until it is stopped or dropped.
pub struct RunningLab {
    lab: Lab,
    hosts: HashMap<String, Arc<Host>>,
    /// The control pipe, once this process made it.
    control: Option<PathBuf>,
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Lab {
    /// Starts every host: its services, and its SSH server.
    ///
    /// # Errors
    /// When an address is taken or a file of the lab is missing; nothing runs then.
    pub async fn start(&self) -> Result<RunningLab, LabError> {
        let running = RunningLab {
            lab: self.clone(),
            hosts: HashMap::new(),
            control: None,
            token: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        running.start().await
    }
}

impl RunningLab {
    async fn start(mut self) -> Result<Self, LabError> {
        let client = Arc::new(self.lab.client_public_key()?);
        for host in self.lab.hosts() {
            let directory = self.lab.host_directory(&host.name);
            let mut service = Service::new(directory.clone(), host.role);
            // A service that does not start is a failed unit, not a failed lab.
            let _ = service.start(Timestamp::now());
            let running = Arc::new(Host {
                host: host.clone(),
                directory,
                service: Mutex::new(service),
                connections: Mutex::new(self.token.child_token()),
            });
            let listener = TcpListener::bind(host.address).await.map_err(|source| LabError::Listen {
                host: host.name.clone(),
                address: host.address.to_string(),
                source,
            })?;
            let config = Arc::new(server::config(self.lab.host_key(&host.name)?));
            let listen = listen(listener, Arc::clone(&running), config, Arc::clone(&client), self.tasks.clone());
            let token = self.token.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    () = token.cancelled() => {}
                    () = listen => {}
                }
            });
            self.hosts.insert(host.name.clone(), running);
        }
        // Only now: a lab that runs already has the addresses, and must not lose its pipe to this one.
        let control = self.lab.control();
        let pipe = systemctl::make_pipe(&control)?;
        self.control = Some(control);
        let serve = systemctl::serve(pipe, self.hosts.clone(), self.token.clone(), self.tasks.clone());
        self.tasks.spawn(serve);
        Ok(self)
    }

    /// The lab that runs.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Makes a host misbehave, or behave again; a host that goes down loses its connections at once.
    ///
    /// # Errors
    /// When the lab has no such host, or its directory cannot be written.
    pub fn set_fault(&self, host: &str, fault: Fault) -> Result<(), LabError> {
        let host = self.hosts.get(host).ok_or_else(|| LabError::NoSuchHost(host.to_owned()))?;
        fault.write(&host.directory).map_err(LabError::files("write", &host.directory))?;
        if fault == Fault::Down {
            let mut connections = host.connections();
            connections.cancel();
            *connections = self.token.child_token();
        }
        Ok(())
    }

    /// Whether the running service of a host takes what is signed with this value in the name of this worker. It is asked in this process,
    /// so that whoever doubts everything else can believe the answer.
    #[must_use]
    pub fn takes(&self, host: &str, worker: &str, value: &str) -> bool {
        let Some(host) = self.hosts.get(host) else { return false };
        /// No two questions are the same to a service that refuses what it has heard before.
        static ASKED: AtomicU64 = AtomicU64::new(0);
        let (now, id) = (Timestamp::now(), format!("asked-{}", ASKED.fetch_add(1, Ordering::Relaxed)));
        let at = now.to_string();
        let hmac = hmac_sha256(&Secret::new(value.as_bytes().to_vec()), format!("{at}\n{id}\n").as_bytes());
        let hmac = hex(&hmac);
        let signed = Signed { worker: Some(worker), timestamp: Some(&at), request_id: Some(&id), hmac: Some(&hmac) };
        host.service().check(&signed, b"", now).is_ok()
    }

    /// Stops everything and waits until it is gone.
    pub async fn stop(self) {
        self.token.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for RunningLab {
    fn drop(&mut self) {
        self.token.cancel();
        // A stand-in that finds no pipe says that the lab is not running; one that found it would wait.
        if let Some(control) = &self.control {
            let _ = std::fs::remove_file(control);
        }
    }
}

/// Takes the connections of one host.
async fn listen(
    listener: TcpListener,
    host: Arc<Host>,
    config: Arc<Config>,
    client: Arc<PublicKey>,
    tasks: TaskTracker,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if Fault::of_host(&host.directory) == Fault::Down {
            continue;
        }
        let token = host.connections().child_token();
        let connection = Connection {
            host: Arc::clone(&host),
            client: Arc::clone(&client),
            token: token.clone(),
            tasks: tasks.clone(),
            open: HashMap::new(),
            commands: HashMap::new(),
        };
        tasks.spawn(session(stream, token, Arc::clone(&config), connection));
    }
}

async fn session(stream: TcpStream, token: CancellationToken, config: Arc<Config>, connection: Connection) {
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    let stream = Cut::new(stream, token);
    if let Ok(session) = russh::server::run_stream(config, stream, connection).await {
        let _ = session.await;
    }
}
