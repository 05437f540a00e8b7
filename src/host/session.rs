//! One program on one host: started once, then one request and one reply at a time.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::model::{Reason, ReasonKind, Secret, harmless};

use super::Request;

/// The constant program as it is sent: its part for quarantine before its loop, and without the lines that are comments. No host needs
/// those, and where `/bin/sh` is bash or mksh it reads them byte by byte.
pub static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let program = include_str!("program.sh");
    let at = program.find("# --- The loop").unwrap_or(program.len());
    let lines = [&program[..at], include_str!("quarantine.sh"), &program[at..]];
    let lines = lines.into_iter().flat_map(|part| part.split_inclusive('\n'));
    lines.filter(|line| !line.trim_start().starts_with('#')).collect()
});

/// What the program prints when it is ready to be talked to.
const READY: &[u8] = b"LOCKTURN-READY 1\n";

/// Noise that is skipped before the program is ready and between replies: more than any MOTD, little enough to bore an attacker.
const NOISE_BYTES_MAX: usize = 64 * 1024;

/// The longest reply: a file of 1 MiB (the program's own limit), its header, and room.
const REPLY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// How much is read at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// What replies begin with in one session, so that nothing else on the stream can be taken for one.
pub struct Nonce(String);

impl Nonce {
    /// Takes the bytes that the edge drew.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        Self(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a request was not answered with `ok`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The host said no: the request was not done, and the session goes on.
    Refused(Reason),
    /// No answer: whether it was done is unknown, and the session is over.
    Lost(Reason),
}

impl CallError {
    /// The reason, whichever it is.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        match self {
            Self::Refused(reason) | Self::Lost(reason) => reason,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(f)
    }
}

impl std::error::Error for CallError {}

/// A session with the program on one host.
pub struct HostProgram<R, W> {
    reader: R,
    writer: W,
    nonce: Nonce,
    seq: u64,
    /// What was read and not yet used. Holds file contents for a moment, so it is wiped.
    buffer: Zeroizing<Vec<u8>>,
    over: bool,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> HostProgram<R, W> {
    /// Sends the program to a shell and waits until it is ready.
    ///
    /// # Errors
    /// [`CallError::Lost`] with `no-shell` if it never gets ready. Nothing was changed on the host then.
    pub async fn start(reader: R, writer: W, nonce: Nonce, deadline: Duration) -> Result<Self, CallError> {
        let mut session = Self { reader, writer, nonce, seq: 0, buffer: Zeroizing::new(Vec::new()), over: false };
        match timeout(deadline, session.get_ready()).await {
            Ok(done) => done.map(|()| session),
            Err(_) => Err(no_shell("the shell did not begin to answer in time")),
        }
    }

    async fn get_ready(&mut self) -> Result<(), CallError> {
        // Written and read together: a host that prints much before it reads must not block us.
        let (reader, writer, buffer) = (&mut self.reader, &mut self.writer, &mut self.buffer);
        let send = async {
            // A login that ends at once takes no program, but has often said why: that is heard to its end.
            let sent = async { writer.write_all(PROGRAM.as_bytes()).await.and(writer.flush().await) };
            if sent.await.is_err() { std::future::pending().await } else { Ok(()) }
        };
        let wait = async {
            loop {
                if let Some(at) = find(buffer, READY) {
                    buffer.drain(..at + READY.len());
                    return Ok(());
                }
                if buffer.len() > NOISE_BYTES_MAX {
                    return Err(no_shell("the login prints more than 64 KiB before the shell answers"));
                }
                if fill(reader, buffer).await? == 0 {
                    let said = String::from_utf8_lossy(&buffer[..buffer.len().min(200)]).into_owned();
                    return Err(no_shell(&format!(
                        "the login ended without a shell; it said: \"{}\"",
                        harmless(&said)
                    )));
                }
            }
        };
        futures::try_join!(send, wait)?;
        let line = format!("{}\n", self.nonce.0);
        self.writer.write_all(line.as_bytes()).await.map_err(|_| no_shell("the shell ended"))?;
        self.writer.flush().await.map_err(|_| no_shell("the shell ended"))
    }

    /// Sends one request and waits for its reply.
    ///
    /// # Errors
    /// [`CallError::Refused`] if the host said no; [`CallError::Lost`] if nobody knows, and then the session is over.
    pub async fn call(&mut self, request: &Request<'_>, deadline: Duration) -> Result<Secret, CallError> {
        if self.over {
            return Err(lost(ReasonKind::ConnectionLost, "the session with the host had ended before"));
        }
        self.seq += 1;
        let frame = request.frame(self.seq).map_err(|position| {
            let detail = format!("argument {position} of `{}` has a line break or a NUL", request.verb());
            CallError::Refused(Reason::new(ReasonKind::Unclear, detail))
        })?;
        self.over = true;
        let answer = match timeout(deadline, self.exchange(&frame)).await {
            Ok(answer) => answer,
            Err(_) => {
                let detail = format!("no answer to `{}` within {} s", request.verb(), deadline.as_secs());
                Err(lost(ReasonKind::TimedOut, &detail))
            }
        };
        self.over = matches!(answer, Err(CallError::Lost(_)));
        answer
    }

    async fn exchange(&mut self, frame: &[u8]) -> Result<Secret, CallError> {
        let ended = |_| lost(ReasonKind::ConnectionLost, "the connection ended while the request was sent");
        self.writer.write_all(frame).await.map_err(ended)?;
        self.writer.flush().await.map_err(ended)?;
        let (status, bytes) = self.head().await?;
        while self.buffer.len() < bytes + 1 {
            self.more().await?;
        }
        if self.buffer[bytes] != b'\n' {
            return Err(lost(ReasonKind::AnswerBroken, "the reply does not end where it said"));
        }
        let payload = Secret::new(self.buffer[..bytes].to_vec());
        let rest = Zeroizing::new(self.buffer[bytes + 1..].to_vec());
        self.buffer = rest;
        if status == "ok" {
            return Ok(payload);
        }
        let Some(kind) = ReasonKind::ALL.iter().copied().find(|kind| kind.label() == status) else {
            return Err(lost(ReasonKind::AnswerBroken, "the reply has a status that this version does not know"));
        };
        let said = String::from_utf8_lossy(&payload.expose()[..bytes.min(600)]).into_owned();
        Err(CallError::Refused(Reason::new(kind, harmless(&said))))
    }

    /// The first line of the reply: its status and how many bytes follow. Lines that do not begin with the nonce are noise.
    async fn head(&mut self) -> Result<(String, usize), CallError> {
        let mut noise = 0;
        loop {
            let Some(end) = find(&self.buffer, b"\n") else {
                if self.buffer.len() > NOISE_BYTES_MAX {
                    return Err(lost(ReasonKind::AnswerBroken, "the host prints more than 64 KiB that is no reply"));
                }
                self.more().await?;
                continue;
            };
            let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            self.buffer.drain(..=end);
            let Some(words) = line.strip_prefix(&self.nonce.0) else {
                noise += end;
                if noise > NOISE_BYTES_MAX {
                    return Err(lost(ReasonKind::AnswerBroken, "the host prints more than 64 KiB that is no reply"));
                }
                continue;
            };
            let words: Vec<&str> = words.split_ascii_whitespace().collect();
            let [seq, status, bytes] = words[..] else {
                return Err(lost(ReasonKind::AnswerBroken, "the reply's first line has not three words"));
            };
            if seq != self.seq.to_string() {
                return Err(lost(ReasonKind::AnswerBroken, "the reply answers another request"));
            }
            let bytes: usize =
                bytes.parse().map_err(|_| lost(ReasonKind::AnswerBroken, "the reply's length is not a number"))?;
            if bytes > REPLY_BYTES_MAX {
                return Err(lost(ReasonKind::AnswerBroken, "the reply is longer than 2 MiB"));
            }
            return Ok((status.to_owned(), bytes));
        }
    }

    async fn more(&mut self) -> Result<(), CallError> {
        match fill(&mut self.reader, &mut self.buffer).await? {
            0 => Err(lost(ReasonKind::ConnectionLost, "the connection ended before the reply")),
            _ => Ok(()),
        }
    }

    /// Whether no further request can be answered.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }
}

async fn fill<R: AsyncRead + Unpin>(reader: &mut R, buffer: &mut Zeroizing<Vec<u8>>) -> Result<usize, CallError> {
    let mut chunk = Zeroizing::new([0_u8; CHUNK_BYTES]);
    let count = reader
        .read(&mut chunk[..])
        .await
        .map_err(|_| lost(ReasonKind::ConnectionLost, "the connection broke before the reply"))?;
    buffer.extend_from_slice(&chunk[..count]);
    Ok(count)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn lost(kind: ReasonKind, detail: &str) -> CallError {
    CallError::Lost(Reason::new(kind, detail))
}

fn no_shell(detail: &str) -> CallError {
    lost(ReasonKind::NoShell, detail)
}
