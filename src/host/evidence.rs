//! What a host is asked to show before it is isolated, and how its answers are read. They are bytes of somebody who may mean harm: they are
//! counted, passed on and never looked into.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::model::{Reason, ReasonKind};

use super::Nonce;

/// The program as it is sent: with the functions that it shares with the other one, and without the lines that are comments.
pub static EVIDENCE_PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let shared = ["has", "bounded", "words_of", "recorded"].map(shared);
    let lines = shared.into_iter().chain([include_str!("evidence.sh")]).flat_map(|part| part.split_inclusive('\n'));
    lines.filter(|line| !line.trim_start().starts_with('#')).collect()
});

/// A function of the other program.
fn shared(name: &str) -> &'static str {
    let program = include_str!("program.sh");
    let (begin, end) = (format!("\n{name}() {{\n"), "\n}\n");
    let at = program.find(&begin).map_or(program.len(), |at| at + 1);
    let to = program[at..].find(end).map_or(program.len(), |to| at + to + end.len());
    &program[at..to]
}

/// One thing that a host can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvidenceItem {
    /// Its one word. The name of its file comes from here and from nowhere else.
    pub name: &'static str,
    /// How soon it is gone: 1 is memory, 2 the state of the network and the kernel, 3 that of services, 4 logs and files.
    pub class: u8,
    /// How long it may take.
    pub time: Duration,
    /// How many bytes it may have.
    pub bytes: u64,
}

const MIB: u64 = 1024 * 1024;

const fn item(name: &'static str, class: u8, seconds: u64, mib: u64) -> EvidenceItem {
    EvidenceItem { name, class, time: Duration::from_secs(seconds), bytes: mib * MIB }
}

/// All that is asked for, in order of volatility (RFC 3227, 2.1): what is gone first is asked for first.
pub const EVIDENCE: [EvidenceItem; 23] = [
    item("clock", 1, 5, 1),
    item("processes", 1, 10, 32),
    item("programs", 1, 10, 16),
    item("open-files", 1, 10, 32),
    item("sockets", 1, 10, 32),
    item("logins", 1, 5, 4),
    item("modules", 1, 5, 4),
    item("kernel-log", 1, 5, 8),
    item("network", 2, 10, 16),
    item("firewall", 2, 10, 16),
    item("mounts", 2, 5, 4),
    item("units", 3, 10, 16),
    item("timers", 3, 5, 4),
    item("containers", 3, 5, 8),
    item("journal", 4, 15, 64),
    item("auth-log", 4, 10, 64),
    item("login-history", 4, 5, 8),
    item("histories", 4, 5, 16),
    item("authorized-keys", 4, 5, 8),
    item("scheduled", 4, 5, 8),
    item("startup", 4, 5, 8),
    item("accounts", 4, 5, 8),
    item("binaries", 4, 15, 4),
];

/// What the program prints when it is ready.
const READY: &[u8] = b"LOCKTURN-EVIDENCE 1\n";

/// What it prints instead where sudo would record what it answers.
const RECORDED: &[u8] = b"LOCKTURN-EVIDENCE recorded\n";

/// Noise that is skipped before the program is ready and before an item begins.
const NOISE_BYTES_MAX: usize = 64 * 1024;

/// How much a host may send beyond what it was asked for: the byte that shows that there is more, and what was under way.
const BEYOND_BYTES_MAX: u64 = 2;

/// The longest end of the line that ends an item: a status.
const STATUS_BYTES_MAX: usize = 8;

/// How much is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// How an item ended that came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvidenceEnd {
    /// The status that the program on the host gives it.
    pub status: u32,
    /// There was more of it.
    pub cut: bool,
}

/// Why an item did not come to its end. The session is over then; what has come by then is there.
#[derive(Debug)]
pub enum EvidenceError {
    /// The host.
    Host(Reason),
    /// What was to keep it, here.
    Here(io::Error),
}

/// A session with the program that shows evidence.
pub struct EvidenceSession<R, W> {
    reader: R,
    writer: W,
    nonce: Nonce,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> EvidenceSession<R, W> {
    /// Sends the program to a shell and waits until it is ready.
    ///
    /// # Errors
    /// If it never gets ready.
    pub async fn start(reader: R, writer: W, nonce: Nonce, deadline: Duration) -> Result<Self, Reason> {
        let mut session = Self { reader, writer, nonce, number: 0, buffer: Vec::new() };
        match timeout(deadline, session.get_ready()).await {
            Ok(done) => done.map(|()| session),
            Err(_) => Err(no_shell("the shell did not begin to answer in time")),
        }
    }

    async fn get_ready(&mut self) -> Result<(), Reason> {
        let (reader, writer, buffer) = (&mut self.reader, &mut self.writer, &mut self.buffer);
        let send = async {
            let sent = async { writer.write_all(EVIDENCE_PROGRAM.as_bytes()).await.and(writer.flush().await) };
            // A login that takes no program has often said why: that is heard to its end.
            if sent.await.is_err() { std::future::pending().await } else { Ok(()) }
        };
        let wait = async {
            while find(buffer, READY).is_none() {
                if find(buffer, RECORDED).is_some() {
                    let words = "sudo would keep a record of all evidence on the host's own disk";
                    return Err(Reason::new(ReasonKind::SudoRecords, words));
                }
                if buffer.len() > NOISE_BYTES_MAX {
                    return Err(no_shell("the login prints more than 64 KiB before the shell answers"));
                }
                if fill(reader, buffer).await? == 0 {
                    return Err(no_shell("the login ended without a shell"));
                }
            }
            Ok(())
        };
        futures::try_join!(send, wait)?;
        let at = find(&self.buffer, READY).unwrap_or_default();
        self.buffer.drain(..at + READY.len());
        self.send(&format!("{}\n", self.nonce.as_str())).await
    }

    async fn send(&mut self, line: &str) -> Result<(), Reason> {
        let ended = |_| Reason::new(ReasonKind::ConnectionLost, "the connection ended");
        self.writer.write_all(line.as_bytes()).await.map_err(ended)?;
        self.writer.flush().await.map_err(ended)
    }

    /// Has the host show one item, and passes on what it sends, at most so many bytes. Bounded in time by whoever waits: what was passed on
    /// by then is passed on. The host is told to end it by itself after this time.
    ///
    /// # Errors
    /// If it did not come to its end. The session is over then.
    pub async fn show(
        &mut self,
        item: &EvidenceItem,
        (time, bytes): (Duration, u64),
        mut keep: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<EvidenceEnd, EvidenceError> {
        self.number += 1;
        // One more than is kept shows whether there is more.
        let line = format!("{} {} {}\n", item.name, time.as_secs().max(1), bytes + 1);
        self.send(&line).await.map_err(EvidenceError::Host)?;
        self.begin().await.map_err(EvidenceError::Host)?;
        let mark = format!("\n{} {} end ", self.nonce.as_str(), self.number).into_bytes();
        let mut came = 0_u64;
        loop {
            let end = find(&self.buffer, &mark);
            // The beginning of the mark may have come, and no more of it yet.
            let sure = end.unwrap_or_else(|| self.buffer.len().saturating_sub(mark.len() - 1));
            let kept = usize::try_from(bytes.saturating_sub(came)).unwrap_or(usize::MAX).min(sure);
            if kept > 0 {
                keep(&self.buffer[..kept]).map_err(EvidenceError::Here)?;
            }
            came += sure as u64;
            self.buffer.drain(..sure);
            if came > bytes + BEYOND_BYTES_MAX {
                return Err(EvidenceError::Host(broken("it sends more than it was asked for")));
            }
            if end.is_some() {
                self.buffer.drain(..mark.len());
                let status = self.status().await.map_err(EvidenceError::Host)?;
                return Ok(EvidenceEnd { status, cut: came > bytes });
            }
            self.more().await.map_err(EvidenceError::Host)?;
        }
    }

    /// Skips to the line that begins the item.
    async fn begin(&mut self) -> Result<(), Reason> {
        let mark = format!("{} {} begin\n", self.nonce.as_str(), self.number).into_bytes();
        loop {
            if let Some(at) = find(&self.buffer, &mark) {
                self.buffer.drain(..at + mark.len());
                return Ok(());
            }
            if self.buffer.len() > NOISE_BYTES_MAX {
                return Err(broken("it prints more than 64 KiB that is no answer"));
            }
            self.more().await?;
        }
    }

    async fn status(&mut self) -> Result<u32, Reason> {
        let none = || broken("an item ends with a status that is no number");
        loop {
            let end = self.buffer.iter().take(STATUS_BYTES_MAX + 1).position(|byte| *byte == b'\n');
            match end {
                Some(end) => {
                    let digits = self.buffer[..end].iter().all(u8::is_ascii_digit);
                    let status = std::str::from_utf8(&self.buffer[..end]).ok().and_then(|text| text.parse().ok());
                    self.buffer.drain(..=end);
                    return status.filter(|_| digits).ok_or_else(none);
                }
                None if self.buffer.len() > STATUS_BYTES_MAX => return Err(none()),
                None => self.more().await?,
            }
        }
    }

    async fn more(&mut self) -> Result<(), Reason> {
        match fill(&mut self.reader, &mut self.buffer).await? {
            0 => Err(Reason::new(ReasonKind::ConnectionLost, "the connection ended before the item did")),
            _ => Ok(()),
        }
    }
}

async fn fill<R: AsyncRead + Unpin>(reader: &mut R, buffer: &mut Vec<u8>) -> Result<usize, Reason> {
    buffer.reserve(CHUNK_BYTES);
    reader
        .take(CHUNK_BYTES as u64)
        .read_buf(buffer)
        .await
        .map_err(|_| Reason::new(ReasonKind::ConnectionLost, "the connection broke"))
}

/// Where it begins. Line by line: what is looked for begins or ends with one, and an item may have millions of bytes.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle[0];
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == first) {
        if haystack[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

fn broken(detail: &str) -> Reason {
    Reason::new(ReasonKind::AnswerBroken, detail)
}

fn no_shell(detail: &str) -> Reason {
    Reason::new(ReasonKind::NoShell, detail)
}
