//! The wire between the operator and a host: it carries, fast or slowly, swallows one direction or both or what is large, or breaks after so
//! many bytes. It can be another at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// What the wire does to what it is given.
pub(super) struct Faults {
    /// What the operator sends does not arrive.
    pub(super) swallows_in: AtomicBool,
    /// What the host sends does not arrive.
    pub(super) swallows_out: AtomicBool,
    /// A connection is reset when the operator has sent so many bytes over it.
    pub(super) resets_at: AtomicU64,
    /// Whether that happens to one connection only.
    pub(super) once: AtomicBool,
    /// Of what the operator sends no more than so many bytes pass at a time; nothing does behind more.
    pub(super) largest: AtomicU64,
    /// So many bytes pass at a time, either way,
    pub(super) at_a_time: AtomicU64,
    /// and for so many milliseconds they are on their way.
    pub(super) pause: AtomicU64,
    /// How many bytes the operator has sent at most over one connection.
    pub(super) sent: AtomicU64,
    connections: std::sync::Mutex<Vec<CancellationToken>>,
}

pub(super) struct Wire {
    pub(super) port: u16,
    pub(super) faults: Arc<Faults>,
    _runtime: tokio::runtime::Runtime,
}

impl Wire {
    pub(super) fn to(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let faults = Arc::new(Faults {
            swallows_in: AtomicBool::new(false),
            swallows_out: AtomicBool::new(false),
            resets_at: AtomicU64::new(u64::MAX),
            once: AtomicBool::new(false),
            largest: AtomicU64::new(u64::MAX),
            at_a_time: AtomicU64::new(u64::MAX),
            pause: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            connections: std::sync::Mutex::default(),
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let own = listener.local_addr().unwrap().port();
        let shared = Arc::clone(&faults);
        runtime.spawn(async move {
            while let Ok((operator, _)) = listener.accept().await {
                tokio::spawn(carry(operator, port, Arc::clone(&shared)));
            }
        });
        Self { port: own, faults, _runtime: runtime }
    }
}

impl Faults {
    /// It carries, whatever it did before.
    pub(super) fn heal(&self) {
        self.swallows_in.store(false, SeqCst);
        self.swallows_out.store(false, SeqCst);
        self.resets_at.store(u64::MAX, SeqCst);
        self.largest.store(u64::MAX, SeqCst);
        self.pause.store(0, SeqCst);
    }

    /// How much it takes at once.
    fn takes(&self) -> usize {
        usize::try_from(self.at_a_time.load(SeqCst)).unwrap_or(usize::MAX).min(16 * 1024)
    }

    async fn on_the_way(&self) {
        match self.pause.load(SeqCst) {
            0 => {}
            pause => tokio::time::sleep(Duration::from_millis(pause)).await,
        }
    }

    /// Resets every connection that there is.
    pub(super) fn reset(&self) {
        self.connections.lock().unwrap().drain(..).for_each(|connection| connection.cancel());
    }
}

async fn carry(operator: TcpStream, port: u16, faults: Arc<Faults>) {
    let Ok(host) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    // Closed like that, each end hears of a reset and not of an end.
    for end in [&operator, &host] {
        end.set_zero_linger().unwrap();
    }
    let broken = CancellationToken::new();
    faults.connections.lock().unwrap().push(broken.clone());
    let ((from_operator, to_operator), (from_host, to_host)) = (operator.into_split(), host.into_split());
    tokio::select! {
        () = broken.cancelled() => {}
        () = upload(from_operator, to_host, &faults) => {}
        () = download(from_host, to_operator, &faults) => {}
    }
}

async fn upload(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults) {
    let (mut bytes, mut sent, mut stuck) = (vec![0; 16 * 1024], 0_u64, false);
    while let Ok(count @ 1..) = from.read(&mut bytes[..faults.takes()]).await {
        faults.on_the_way().await;
        stuck |= count as u64 > faults.largest.load(SeqCst);
        let until = faults.resets_at.load(SeqCst);
        let carried = usize::try_from(until.saturating_sub(sent)).unwrap_or(usize::MAX).min(count);
        if !stuck && !faults.swallows_in.load(SeqCst) && to.write_all(&bytes[..carried]).await.is_err() {
            return;
        }
        sent += count as u64;
        faults.sent.fetch_max(sent, SeqCst);
        if carried < count {
            if faults.once.load(SeqCst) {
                faults.resets_at.store(u64::MAX, SeqCst);
            }
            return;
        }
    }
}

async fn download(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes[..faults.takes()]).await {
        faults.on_the_way().await;
        if !faults.swallows_out.load(SeqCst) && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
