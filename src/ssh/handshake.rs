//! Version, key exchange and authentication over a stream, and what a failure of them is called.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::model::{Reason, ReasonKind, harmless};

use super::auth::Keys;
use super::connection::Connection;
use super::connector::Endpoint;
use super::cut::Cut;
use super::known_hosts::HostKeys;
use super::policy::{Guard, GuardError, config};
use super::settings::Settings;

/// How far a handshake has come, and the server's last words: shared by those who take part in it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) phase: Phase,
    pub(super) last_words: Option<String>,
}

/// [`Progress`], shared.
pub(super) type Shared = Arc<Mutex<Progress>>;

/// The phases of a handshake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Until the host's key is believed.
    #[default]
    KeyExchange,
    /// The server decides whether we may log in.
    Authentication,
    /// The agent is asked to sign.
    Agent,
}

/// What did not end.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyExchange => "connected, but the key exchange did not end",
            Self::Authentication => "connected, but authentication did not end",
            Self::Agent => "connected, but the SSH agent did not sign",
        })
    }
}

/// Speaks SSH over a stream until we are logged in.
pub(super) async fn handshake<S>(
    settings: &Settings,
    keys: &Keys,
    endpoint: &Endpoint,
    known: HostKeys,
    stream: S,
    cancel: &CancellationToken,
) -> Result<Connection, Reason>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = Arc::new(config(&known.algorithms(), settings));
    let progress = Shared::default();
    let guard = Guard::new(endpoint, known, Arc::clone(&progress));
    // russh leaves the socket open when its future is dropped: the token closes it.
    let token = cancel.child_token();
    let on_failure = token.clone().drop_guard();
    let stream = Cut::new(stream, token.clone());
    let heard = stream.heard();
    let talking = async {
        let connected = client::connect_stream(config, stream, guard).await;
        let mut handle = connected.map_err(|error| why(error, &progress, &heard))?;
        keys.authenticate(&mut handle, endpoint, &progress, settings.connect).await?;
        Ok(handle)
    };
    let ended = timeout(settings.handshake, talking).await;
    let handle = match ended {
        Ok(handle) => handle?,
        Err(_) if heard.lock().expect("nobody panics while holding it").is_empty() => {
            return Err(timed_out("connected, but the server said nothing", settings.handshake));
        }
        Err(_) => {
            let phase = progress.lock().expect("nobody panics while holding it").phase;
            return Err(timed_out(&phase.to_string(), settings.handshake));
        }
    };
    let _keep_open = on_failure.disarm();
    Ok(Connection::new(handle, token, settings.open))
}

pub(super) fn timed_out(what: &str, limit: Duration) -> Reason {
    Reason::new(ReasonKind::TimedOut, format!("{what} within {} s", limit.as_secs_f32()))
}

fn why(error: GuardError, progress: &Mutex<Progress>, heard: &Mutex<Vec<u8>>) -> Reason {
    let error = match error {
        GuardError::Refused(reason) => return reason,
        GuardError::Russh(error) => error,
    };
    let Progress { phase, last_words } = &*progress.lock().expect("nobody panics while holding it");
    let closed = matches!(&error, russh::Error::Disconnect | russh::Error::HUP | russh::Error::IO(_));
    let kind = match &error {
        russh::Error::NoCommonAlgo { .. } => ReasonKind::NoCommonAlgorithm,
        _ if closed && *phase == Phase::KeyExchange => ReasonKind::Throttled,
        _ if closed => ReasonKind::ConnectionLost,
        _ => ReasonKind::ProtocolBroken,
    };
    let words = first_words(&heard.lock().expect("nobody panics while holding it"));
    let detail = match (kind, words.or_else(|| last_words.clone())) {
        (ReasonKind::Throttled, None) => "the server closed the connection before it showed its key".to_owned(),
        (ReasonKind::Throttled, Some(words)) => format!("the server closed the connection and said \"{words}\""),
        (ReasonKind::ProtocolBroken, Some(words)) => format!("the server speaks no SSH: it said \"{words}\""),
        (_, _) => format!("the SSH handshake failed: {error}"),
    };
    Reason::new(kind, detail)
}

/// What a server says instead of its version: why it does not want us, or that it is no SSH server at all.
fn first_words(heard: &[u8]) -> Option<String> {
    let line = heard.split(|byte| *byte == b'\n').next().filter(|line| !line.starts_with(b"SSH-"))?;
    Some(harmless(&String::from_utf8_lossy(line))).filter(|words| !words.is_empty())
}
