//! One authenticated connection: programs on the host, and streams that start there.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use russh::client::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelOpenFailure, ChannelStream, Disconnect};
use tokio::io::{AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::model::{Reason, ReasonKind, harmless};

use super::policy::Guard;

/// How much of a program's standard error is kept: enough for its last words.
const STDERR_BYTES_MAX: usize = 8 * 1024;

/// What lies between the connection and whoever reads a program's output: twice the longest reply. A host that fills it talks without
/// being asked; waiting for the reader would hold up everything else on the connection, keepalives too.
const OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a polite goodbye may take.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// One authenticated connection. Dropping it closes the socket.
pub struct Connection {
    handle: Arc<Handle<Guard>>,
    token: CancellationToken,
    /// Cancelled when the end of it is our own wish.
    ours: CancellationToken,
    open: Duration,
    _close: DropGuard,
}

/// A program that runs on the host.
pub struct Exec {
    /// Its standard output.
    pub reader: ExecReader,
    /// Its standard input.
    pub writer: ExecWriter,
    /// How it ended, once it has, or once the connection has.
    pub ended: BoxFuture<'static, HowEnded>,
}

/// What becomes of a connection when a program's output is not read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Full {
    Ends,
    Waits,
}

/// A program's standard output.
pub type ExecReader = DuplexStream;

/// A program's standard input.
pub type ExecWriter = Pin<Box<dyn AsyncWrite + Send + Sync>>;

/// A stream that starts on the host.
pub type ForwardStream = ChannelStream<Msg>;

/// How a program ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HowEnded {
    /// The server did not start it.
    pub refused: bool,
    /// The connection ended first, and not because we closed it.
    pub lost: bool,
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
    /// It did not open within this time.
    Late(Duration),
    /// Anything else.
    Failed(String),
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("nothing listens there"),
            Self::Prohibited => f.write_str("its sshd does not allow forwarding (`AllowTcpForwarding`, `PermitOpen`)"),
            Self::Late(limit) => write!(f, "no way was open within {} s", limit.as_secs_f32()),
            Self::Failed(why) => write!(f, "the stream could not be opened: {why}"),
        }
    }
}

impl Connection {
    pub(super) fn new(handle: Handle<Guard>, token: CancellationToken, open: Duration) -> Self {
        Self { handle: Arc::new(handle), _close: token.clone().drop_guard(), ours: token.child_token(), token, open }
    }

    /// Starts a program on the host.
    ///
    /// # Errors
    /// If the server does not start it; it may also say so later, in [`HowEnded::refused`].
    pub async fn exec(&self, command: &str) -> Result<Exec, Reason> {
        self.start(command, Full::Ends).await
    }

    /// As [`Connection::exec`], for a connection that nothing else uses: a program that sends faster than its output is read waits, and so
    /// does everything else here. Only a clock of the reader's own ends that.
    ///
    /// # Errors
    /// As [`Connection::exec`].
    pub async fn exec_alone(&self, command: &str) -> Result<Exec, Reason> {
        self.start(command, Full::Waits).await
    }

    async fn start(&self, command: &str, full: Full) -> Result<Exec, Reason> {
        let refused = |error: &dyn fmt::Display| {
            let kind = if self.is_closed() { ReasonKind::ConnectionLost } else { ReasonKind::NoShell };
            Reason::new(kind, format!("the server starts no program: {error}"))
        };
        let opened = timeout(self.open, self.handle.channel_open_session()).await;
        let late =
            |_| Reason::new(ReasonKind::TimedOut, format!("no session opened within {} s", self.open.as_secs_f32()));
        let channel = opened.map_err(late)?.map_err(|error| refused(&error))?;
        channel.exec(true, command).await.map_err(|error| refused(&error))?;
        let writer = Box::pin(channel.make_writer());
        let (reader, output) = tokio::io::duplex(OUTPUT_BYTES_MAX);
        let (tell, told) = oneshot::channel();
        tokio::spawn(drain(channel, (output, full), self.token.clone(), self.ours.clone(), tell));
        let ended = Box::pin(async { told.await.unwrap_or_default() });
        Ok(Exec { reader, writer, ended })
    }

    /// Opens a stream that starts on the host.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn forward(&self, host: &str, port: u16) -> Result<ForwardStream, ForwardError> {
        let (handle, host) = (Arc::clone(&self.handle), host.to_owned());
        // In a task of its own: a stream that opens when we have given up is dropped there, which closes it.
        let opening = tokio::spawn(async move {
            let opened = handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await;
            opened.map(Channel::into_stream)
        });
        match timeout(self.open, opening).await {
            Err(_) => Err(ForwardError::Late(self.open)),
            Ok(Err(error)) => Err(ForwardError::Failed(error.to_string())),
            Ok(Ok(opened)) => opened.map_err(|error| match error {
                russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed) => ForwardError::Refused,
                russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
                    ForwardError::Prohibited
                }
                error => ForwardError::Failed(error.to_string()),
            }),
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.token.is_cancelled() || self.handle.is_closed()
    }

    /// Says goodbye and closes it.
    pub async fn close(mut self) {
        self.ours.cancel();
        let goodbye = async {
            // One that has ended already hears nothing.
            let _unheard = self.handle.disconnect(Disconnect::ByApplication, "", "en").await;
            // A stream that is just opening holds it too; then the socket closes without a word.
            if let Some(handle) = Arc::get_mut(&mut self.handle) {
                let _ended = handle.await;
            }
        };
        let _polite = timeout(GOODBYE_MAX, goodbye).await;
    }
}

/// Takes everything off the channel at once, whatever the reader does: an undrained channel stops the whole connection.
async fn drain(
    mut channel: Channel<Msg>,
    (mut output, full): (DuplexStream, Full),
    connection: CancellationToken,
    ours: CancellationToken,
    tell: oneshot::Sender<HowEnded>,
) {
    let mut ended = HowEnded::default();
    let mut stderr = Vec::new();
    loop {
        let Some(message) = channel.wait().await else {
            ended.lost = !ours.is_cancelled();
            break;
        };
        match message {
            ChannelMsg::Data { data } if full == Full::Waits => {
                let _given_up = output.write_all(&data).await;
            }
            ChannelMsg::Data { data } => {
                // A reader that is not there any more has given up: what still comes for it is thrown away.
                let kept = tokio::task::unconstrained(output.write_all(&data)).now_or_never();
                if kept.is_none() {
                    // Full. Closing the channel would not stop a server that means harm, so the connection ends.
                    connection.cancel();
                }
            }
            ChannelMsg::ExtendedData { data, .. } => {
                stderr.extend_from_slice(&data);
                let excess = stderr.len().saturating_sub(STDERR_BYTES_MAX);
                stderr.drain(..excess);
            }
            ChannelMsg::ExitStatus { exit_status } => ended.status = Some(exit_status),
            ChannelMsg::Failure => {
                ended.refused = true;
                break;
            }
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    ended.stderr = harmless(&String::from_utf8_lossy(&stderr));
    // Nobody may want to know.
    let _unheard = tell.send(ended);
}
