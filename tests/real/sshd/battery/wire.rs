//! The wire between the operator and a host: it carries, swallows one direction or both, or breaks after so many bytes. It can be another
//! at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

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
    let (mut bytes, mut sent) = (vec![0; 16 * 1024], 0_u64);
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let until = faults.resets_at.load(SeqCst);
        let carried = usize::try_from(until.saturating_sub(sent)).unwrap_or(usize::MAX).min(count);
        if !faults.swallows_in.load(SeqCst) && to.write_all(&bytes[..carried]).await.is_err() {
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
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if !faults.swallows_out.load(SeqCst) && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
