//! An SSH server on loopback that does what its script says, behind a relay that stalls or breaks where it is told to.

use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lockturn::model::{Reason, ReasonKind};
use lockturn::ssh::{Connection, Connector, Endpoint, Keys, Settings};
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes: only a hang meets it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What the server does. By default it lets us in, echoes what a program is sent, and forwards.
#[derive(Clone, Default)]
pub(super) struct Script {
    pub(super) link: Link,
    pub(super) login: Login,
    pub(super) program: Program,
    pub(super) forward: Forward,
    /// How many channels it opens to us when we are logged in.
    pub(super) opens: usize,
    /// How many connections it drops before it takes one.
    pub(super) full_for: usize,
    /// How much it takes for a program's standard input, if not the usual.
    pub(super) window: Option<u32>,
}

/// What the network does after so many bytes from the server.
#[derive(Clone, Copy, Default)]
pub(super) enum Link {
    #[default]
    Whole,
    StallsAfter(u64),
    BreaksAfter(u64),
}

#[derive(Clone, Copy, Default)]
pub(super) enum Login {
    #[default]
    Accepted,
    Refused,
    SecondFactor,
    NoAnswer,
}

#[derive(Clone, Copy, Default)]
pub(super) enum Program {
    #[default]
    Echo,
    NeverOpens,
    Refused,
    /// Says a word and ends, with or without an exit status.
    Ends(Option<u32>),
    Silent,
    /// Nothing comes from the server any more.
    Vanishes,
    Floods,
    FloodsStderr,
    /// Pretends to be the program that shows evidence.
    Shows(Shows),
}

/// What it does when it is asked for an item: its nonce, the number of the request and its line.
pub(super) type Shows = fn(&str, usize, &str) -> Showing;

#[derive(Clone)]
pub(super) enum Showing {
    Bytes(Vec<u8>),
    /// These, and then bytes without end.
    Endless(Vec<u8>),
    /// Ends the connection.
    HangsUp,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Forward {
    #[default]
    Allowed,
    Prohibited,
    NeverOpens,
    /// The first byte that comes back takes so long.
    LateBy(Duration),
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) counts: Arc<Counts>,
    /// While it is set nothing comes from the server any more, though its sockets stay open.
    pub(super) gone: Arc<AtomicBool>,
    dir: tempfile::TempDir,
}

/// What happened to the server.
#[derive(Default)]
pub(super) struct Counts {
    /// Sockets that the client has not closed.
    pub(super) open: AtomicUsize,
    pub(super) connections: AtomicUsize,
    pub(super) sent: AtomicU64,
    pub(super) refused_channels: AtomicUsize,
    pub(super) accepted_channels: AtomicUsize,
    pub(super) forwards_closed: AtomicUsize,
}

pub(super) fn key(seed: u8) -> PrivateKey {
    Ed25519Keypair::from_seed(&[seed; 32]).into()
}

impl Server {
    pub(super) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        key(1).write_openssh_file(dir.path().join("key"), LineEnding::LF).unwrap();
        let address = listener.local_addr().unwrap();
        let public = key(2).public_key().to_openssh().unwrap();
        std::fs::write(dir.path().join("known_hosts"), format!("[127.0.0.1]:{} {public}\n", address.port())).unwrap();
        let (counts, gone) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let config = server::Config {
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            auth_rejection_time: Duration::ZERO,
            keys: vec![key(2)],
            window_size: script.window.unwrap_or(2 * 1024 * 1024),
            ..server::Config::default()
        };
        tokio::spawn(accept(listener, Arc::new(config), script, Arc::clone(&counts), Arc::clone(&gone)));
        Self { address, counts, gone, dir }
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: "h".parse().unwrap(),
            address: "127.0.0.1".to_owned(),
            port: self.address.port(),
            user: "deploy".to_owned(),
            identity_files: vec![self.at("key")],
            known_hosts: vec![self.at("known_hosts")],
            jump: None,
        }
    }

    pub(super) async fn connect(&self, settings: Settings) -> Result<Connection, Reason> {
        connect(settings, &self.endpoint()).await
    }

    /// Waits until no client's socket is open any more.
    pub(super) async fn left_alone(&self) {
        eventually("the client still holds a socket", || self.counts.open.load(Ordering::SeqCst) == 0).await;
    }
}

/// A connector that has no agent and nobody to ask.
pub(super) fn connector(settings: Settings) -> Connector {
    Connector::new(settings, Keys::new(Box::new(|_| None), None))
}

/// Connects with a connector of its own.
pub(super) async fn connect(settings: Settings, endpoint: &Endpoint) -> Result<Connection, Reason> {
    let connector = connector(settings);
    let connecting = connector.connect(endpoint, CancellationToken::new());
    let connected = tokio::time::timeout(PATIENCE, connecting).await.expect("connecting hangs");
    connected.map_err(|error| error.reason)
}

pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[track_caller]
pub(super) fn refused<T>(result: Result<T, Reason>, kind: ReasonKind, words: &str) {
    let Err(reason) = result else { panic!("it was let in") };
    assert_eq!(reason.kind, kind, "{reason}");
    assert!(reason.detail.contains(words), "`{words}` is not in: {reason}");
}

async fn accept(
    listener: TcpListener,
    config: Arc<server::Config>,
    script: Script,
    counts: Arc<Counts>,
    gone: Arc<AtomicBool>,
) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        if counts.connections.fetch_add(1, Ordering::SeqCst) < script.full_for {
            continue;
        }
        counts.open.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(relay(socket, ours, script.link, Arc::clone(&counts), Arc::clone(&gone)));
        let peer = Peer {
            script: script.clone(),
            counts: Arc::clone(&counts),
            held: Vec::new(),
            running: Vec::new(),
            asked: String::new(),
            nonce: None,
            shown: 0,
            gone: Arc::clone(&gone),
        };
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            // How it ends is the client's matter.
            if let Ok(session) = server::run_stream(config, theirs, peer).await {
                let _ended = session.await;
            }
        });
    }
}

async fn relay(client: TcpStream, server: DuplexStream, link: Link, counts: Arc<Counts>, gone: Arc<AtomicBool>) {
    let (mut client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = tokio::io::split(server);
    let up = async {
        let mut chunk = [0; 16 * 1024];
        while let Ok(count @ 1..) = client_read.read(&mut chunk).await {
            // A server that is gone reads nothing; the client's socket is watched all the same.
            let _unread = server_write.write_all(&chunk[..count]).await;
        }
    };
    let down = async {
        let mut chunk = [0; 16 * 1024];
        let mut sent: u64 = 0;
        while let Ok(count @ 1..) = server_read.read(&mut chunk).await {
            let limit = match link {
                Link::Whole => u64::MAX,
                Link::StallsAfter(bytes) | Link::BreaksAfter(bytes) => bytes,
            };
            let passed = (count as u64).min(limit - sent);
            if gone.load(Ordering::SeqCst)
                || client_write.write_all(&chunk[..usize::try_from(passed).unwrap()]).await.is_err()
            {
                pending::<()>().await;
            }
            sent += passed;
            counts.sent.fetch_add(passed, Ordering::SeqCst);
            if sent == limit {
                match link {
                    Link::BreaksAfter(_) => break,
                    Link::Whole | Link::StallsAfter(_) => pending().await,
                }
            }
        }
    };
    tokio::select! { () = up => {}, () = down => {} }
    counts.open.fetch_sub(1, Ordering::SeqCst);
}

struct Peer {
    script: Script,
    counts: Arc<Counts>,
    /// Questions that are never answered.
    held: Vec<ChannelOpenHandle>,
    running: Vec<ChannelId>,
    gone: Arc<AtomicBool>,
    /// What one that shows evidence was sent and has not answered.
    asked: String,
    nonce: Option<String>,
    shown: usize,
}

impl Peer {
    /// Behind the program comes the nonce, and then a line for each item.
    fn show(&mut self, shows: Shows, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        self.asked.push_str(&String::from_utf8_lossy(data));
        if self.nonce.is_none() {
            let Some((_, rest)) = self.asked.split_once("lockturn_evidence; exit\n") else { return Ok(()) };
            let Some((nonce, rest)) = rest.split_once('\n') else { return Ok(()) };
            (self.nonce, self.asked) = (Some(nonce.to_owned()), rest.to_owned());
        }
        while let Some((line, rest)) = self.asked.split_once('\n') {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            self.asked = rest;
            self.shown += 1;
            match shows(self.nonce.as_deref().unwrap(), self.shown, &line) {
                Showing::Bytes(bytes) => session.data(id, bytes)?,
                Showing::Endless(bytes) => {
                    session.data(id, bytes)?;
                    let handle = session.handle();
                    tokio::spawn(async move { while handle.data(id, vec![b'x'; 30_000]).await.is_ok() {} });
                }
                Showing::HangsUp => return Err(russh::Error::Disconnect),
            }
        }
        Ok(())
    }

    async fn judge(&self, key: &PublicKey) -> Auth {
        match self.script.login {
            Login::Accepted if key.key_data() == self::key(1).public_key().key_data() => Auth::Accept,
            Login::Accepted | Login::Refused => Auth::reject(),
            Login::SecondFactor => {
                let proceed_with_methods = Some(MethodSet::from(&[MethodKind::KeyboardInteractive][..]));
                Auth::Reject { proceed_with_methods, partial_success: true }
            }
            Login::NoAnswer => pending().await,
        }
    }
}

impl server::Handler for Peer {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.judge(offer.public_key).await)
    }

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.judge(key.public_key).await)
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let (handle, counts, opens) = (session.handle(), Arc::clone(&self.counts), self.script.opens);
        tokio::spawn(async move {
            for number in 0..opens {
                let opened = match number % 7 {
                    0 => handle.channel_open_session().await,
                    1 => handle.channel_open_agent().await,
                    2 => handle.channel_open_x11("127.0.0.1", 6000).await,
                    3 => handle.channel_open_forwarded_tcpip("127.0.0.1", 1, "127.0.0.1", 2).await,
                    4 => handle.channel_open_forwarded_streamlocal("/run/x").await,
                    5 => handle.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 2).await,
                    _ => handle.channel_open_direct_streamlocal("/run/docker.sock").await,
                };
                let count = if opened.is_ok() { &counts.accepted_channels } else { &counts.refused_channels };
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.script.program {
            Program::NeverOpens => self.held.push(reply),
            _ => reply.accept().await,
        }
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, _command: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        if matches!(self.script.program, Program::Refused) {
            return session.channel_failure(id);
        }
        session.channel_success(id)?;
        self.running.push(id);
        let handle = session.handle();
        match self.script.program {
            Program::Ends(status) => {
                session.data(id, &b"a word\n"[..])?;
                if let Some(status) = status {
                    session.exit_status_request(id, status)?;
                }
                session.eof(id)?;
                session.close(id)?;
            }
            Program::Floods => {
                tokio::spawn(async move { while handle.data(id, vec![b'x'; 30_000]).await.is_ok() {} });
            }
            Program::FloodsStderr => {
                tokio::spawn(async move { while handle.extended_data(id, 1, vec![b'e'; 30_000]).await.is_ok() {} });
            }
            Program::Vanishes => self.gone.store(true, Ordering::SeqCst),
            Program::Shows(_) => session.data(id, &b"some words first\nLOCKTURN-EVIDENCE 1\n"[..])?,
            Program::Echo | Program::NeverOpens | Program::Refused | Program::Silent => {}
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        if let Program::Shows(shows) = self.script.program {
            return self.show(shows, id, data, session);
        }
        let echoes = matches!(self.script.program, Program::Echo) && self.running.contains(&id);
        if echoes { session.data(id, data.to_vec()) } else { Ok(()) }
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let late = match self.script.forward {
            Forward::Prohibited => {
                reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
                return Ok(());
            }
            Forward::NeverOpens => {
                self.held.push(reply);
                return Ok(());
            }
            Forward::LateBy(late) => late,
            Forward::Allowed => Duration::ZERO,
        };
        let (target, counts) = (format!("{address}:{port}"), Arc::clone(&self.counts));
        // Not in the session's own task: what is asked next is answered meanwhile.
        tokio::spawn(async move {
            tokio::time::sleep(late).await;
            match TcpStream::connect(target).await {
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
                Ok(mut socket) => {
                    reply.accept().await;
                    let _ended = tokio::io::copy_bidirectional(&mut socket, &mut channel.into_stream()).await;
                    counts.forwards_closed.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Ok(())
    }
}
