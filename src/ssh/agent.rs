//! The SSH agent: which keys it has, and a connection that signs.

use std::path::PathBuf;
use std::time::Duration;

use russh::keys::PublicKey;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::model::{Reason, ReasonKind};

/// An agent behind a socket.
pub(super) struct Agent {
    socket: PathBuf,
}

impl Agent {
    pub(super) const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// A connection to it.
    pub(super) async fn connect(&self, patience: Duration) -> Result<AgentClient<UnixStream>, Reason> {
        match timeout(patience, AgentClient::connect_uds(&self.socket)).await {
            Err(_) => Err(self.unusable("does not answer", patience)),
            Ok(Err(error)) => Err(self.unusable_because("does not answer", &error)),
            Ok(Ok(client)) => Ok(client),
        }
    }

    /// Its keys and their comments, in its order. Its certificates are not used.
    pub(super) async fn keys(&self, patience: Duration) -> Result<Vec<(PublicKey, String)>, Reason> {
        let mut client = self.connect(patience).await?;
        let identities = match timeout(patience, client.request_identities()).await {
            Err(_) => return Err(self.unusable("does not list its keys", patience)),
            Ok(Err(error)) => return Err(self.unusable_because("does not list its keys", &error)),
            Ok(Ok(identities)) => identities,
        };
        let plain = |identity| match identity {
            AgentIdentity::PublicKey { key, comment } => Some((key, comment)),
            AgentIdentity::Certificate { .. } => None,
        };
        Ok(identities.into_iter().filter_map(plain).collect())
    }

    /// Whether it has this key. One that cannot be asked has none.
    pub(super) async fn has(&self, key: &PublicKey, patience: Duration) -> bool {
        let keys = self.keys(patience).await.unwrap_or_default();
        keys.iter().any(|(had, _)| had.key_data() == key.key_data())
    }

    fn unusable(&self, what: &str, patience: Duration) -> Reason {
        self.unusable_because(what, &format!("nothing came within {} s", patience.as_secs_f32()))
    }

    fn unusable_because(&self, what: &str, why: &dyn std::fmt::Display) -> Reason {
        let detail = format!("the SSH agent at {} {what}: {why}", self.socket.display());
        Reason::new(ReasonKind::AgentUnusable, detail)
    }
}
