//! One authenticated connection: programs on the host, and streams that start there.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures::future::BoxFuture;
use russh::client::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelStream, Disconnect};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::model::{Reason, ReasonKind, harmless};

use super::policy::Guard;

/// How much of a program's standard error is kept: enough for its last words.
const STDERR_BYTES_MAX: usize = 8 * 1024;

/// What lies between the connection and whoever reads a program's output. When it is full the reader is late; the output is then
/// dropped and the program given up, because waiting would hold up everything else on the connection, keepalives too.
const OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a polite goodbye may take.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// One authenticated connection. Dropping it closes the socket.
pub struct Connection {
    handle: Handle<Guard>,
    token: CancellationToken,
    _close: DropGuard,
}

/// A program that runs on the host.
pub struct Exec {
    /// Its standard output.
    pub reader: ExecReader,
    /// Its standard input.
    pub writer: ExecWriter,
    /// How it ended, once it has.
    pub ended: BoxFuture<'static, HowEnded>,
}

/// A program's standard output.
pub type ExecReader = DuplexStream;

/// A program's standard input.
pub type ExecWriter = Pin<Box<dyn AsyncWrite + Send + Sync>>;

/// How a program ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HowEnded {
    /// Its exit status; `None` if it never said: then nobody knows what it did.
    pub status: Option<u32>,
    /// The end of its standard error, made harmless.
    pub stderr: String,
}

/// Why a stream from the host could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardError {
    /// Nothing listens there.
    Refused,
    /// The server does not forward (`AllowTcpForwarding no`).
    Prohibited,
    /// Anything else.
    Failed(String),
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("nothing listens there"),
            Self::Prohibited => f.write_str("the server does not allow forwarding (`AllowTcpForwarding`)"),
            Self::Failed(why) => write!(f, "the stream could not be opened: {why}"),
        }
    }
}

impl Connection {
    pub(super) fn new(handle: Handle<Guard>, token: CancellationToken) -> Self {
        Self { handle, _close: token.clone().drop_guard(), token }
    }

    /// Starts a program on the host.
    ///
    /// # Errors
    /// If the server does not start it.
    pub async fn exec(&self, command: &str) -> Result<Exec, Reason> {
        let refused = |why: String| Reason::new(ReasonKind::NoShell, format!("the server starts no program: {why}"));
        let channel = self.handle.channel_open_session().await.map_err(|error| refused(error.to_string()))?;
        channel.exec(true, command).await.map_err(|error| refused(error.to_string()))?;
        let writer = Box::pin(channel.make_writer());
        let (reader, output) = tokio::io::duplex(OUTPUT_BYTES_MAX);
        let (tell, told) = oneshot::channel();
        tokio::spawn(drain(channel, output, tell));
        let ended = Box::pin(async { told.await.unwrap_or_default() });
        Ok(Exec { reader, writer, ended })
    }

    /// Opens a stream that starts on the host.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn forward(&self, host: &str, port: u16) -> Result<ChannelStream<Msg>, ForwardError> {
        let opened = self.handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await;
        opened.map(Channel::into_stream).map_err(|error| match error {
            russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::ConnectFailed) => ForwardError::Refused,
            russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::AdministrativelyProhibited) => {
                ForwardError::Prohibited
            }
            error => ForwardError::Failed(error.to_string()),
        })
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.token.is_cancelled() || self.handle.is_closed()
    }

    /// Says goodbye and closes it.
    pub async fn close(self) {
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "en");
        let _polite = tokio::time::timeout(GOODBYE_MAX, goodbye).await;
    }
}

/// Takes everything off the channel at once, whatever the reader does: an undrained channel stops the whole connection.
async fn drain(mut channel: Channel<Msg>, mut output: DuplexStream, tell: oneshot::Sender<HowEnded>) {
    let mut ended = HowEnded::default();
    let mut stderr = Vec::new();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                // A reader that is not there any more, or 4 MiB late, has given up.
                let wrote = tokio::time::timeout(Duration::from_secs(5), output.write_all(&data)).await;
                if !matches!(wrote, Ok(Ok(()))) {
                    let _already_gone = channel.close().await;
                    break;
                }
            }
            ChannelMsg::ExtendedData { data, .. } => {
                stderr.extend_from_slice(&data);
                let excess = stderr.len().saturating_sub(STDERR_BYTES_MAX);
                stderr.drain(..excess);
            }
            ChannelMsg::ExitStatus { exit_status } => ended.status = Some(exit_status),
            ChannelMsg::Failure | ChannelMsg::Close => break,
            _ => {}
        }
    }
    ended.stderr = harmless(&String::from_utf8_lossy(&stderr));
    // Nobody may want to know.
    let _unheard = tell.send(ended);
}

const _: () = {
    const fn is_reader<T: AsyncRead>() {}
    is_reader::<ExecReader>();
};
