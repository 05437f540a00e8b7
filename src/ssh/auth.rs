//! Who we are: private keys from files, and the agent. Never a password.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, load_secret_key};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::model::{Reason, ReasonKind};

use super::policy::{Guard, rsa_hash};

/// A server counts refused keys (`MaxAuthTries`, `PerSourcePenalties`): more guesses than this get us banned, not in.
const TRIES_MAX: usize = 3;

/// Asks for the passphrase of a key file; `None` if nobody can be asked.
pub type AskPassphrase = Box<dyn Fn(&Path) -> Option<Zeroizing<String>> + Send + Sync>;

/// The private keys of a run: each file is read once, and its passphrase asked once.
pub struct Keys {
    loaded: Mutex<HashMap<PathBuf, Result<Arc<PrivateKey>, Reason>>>,
    ask: AskPassphrase,
    agent: Option<PathBuf>,
}

impl Keys {
    /// No key yet. `agent` is the socket of an SSH agent.
    #[must_use]
    pub fn new(ask: AskPassphrase, agent: Option<PathBuf>) -> Self {
        Self { loaded: Mutex::new(HashMap::new()), ask, agent }
    }

    async fn key(&self, path: &Path) -> Result<Arc<PrivateKey>, Reason> {
        // The lock is held while a person types: everybody else waits for the same key anyhow.
        let mut loaded = self.loaded.lock().await;
        if let Some(known) = loaded.get(path) {
            return known.clone();
        }
        let key = tokio::task::block_in_place(|| self.load(path)).map(Arc::new);
        loaded.insert(path.to_owned(), key.clone());
        key
    }

    fn load(&self, path: &Path) -> Result<PrivateKey, Reason> {
        let unusable = |why: &str| Reason::new(ReasonKind::KeyUnusable, format!("the key {} {why}", path.display()));
        match load_secret_key(path, None) {
            Ok(key) if key.is_encrypted() => {}
            Ok(key) => return Ok(key),
            Err(russh::keys::Error::KeyIsEncrypted) => {}
            Err(russh::keys::Error::IO(error)) => return Err(unusable(&format!("cannot be read: {error}"))),
            Err(_) => return Err(unusable("is not a private key that we can read")),
        }
        let passphrase =
            (self.ask)(path).ok_or_else(|| unusable("has a passphrase, and nobody can be asked for it"))?;
        load_secret_key(path, Some(&passphrase)).map_err(|_| unusable("does not open with that passphrase"))
    }

    /// Tells the server who we are.
    pub(super) async fn authenticate(
        &self,
        handle: &mut Handle<Guard>,
        user: &str,
        files: &[PathBuf],
    ) -> Result<(), Reason> {
        let mut tried = Vec::new();
        for path in files.iter().take(TRIES_MAX) {
            let key = self.key(path).await?;
            let hash = rsa_hash(&key.algorithm());
            let with_hash = PrivateKeyWithHashAlg::new(key, hash);
            let answer = handle.authenticate_publickey(user, with_hash).await;
            if accepted(handle, answer.map_err(|error| error.to_string()))? {
                return Ok(());
            }
            tried.push(path.display().to_string());
        }
        // A named key is meant to be that key; the agent is asked where none is named.
        if let (Some(socket), true) = (&self.agent, files.is_empty()) {
            self.authenticate_by_agent(socket, handle, user, &mut tried).await?;
            return Ok(());
        }
        Err(refused(user, &tried))
    }

    async fn authenticate_by_agent(
        &self,
        socket: &Path,
        handle: &mut Handle<Guard>,
        user: &str,
        tried: &mut Vec<String>,
    ) -> Result<(), Reason> {
        let unusable = |why: String| Reason::new(ReasonKind::AgentUnusable, format!("the SSH agent {why}"));
        let mut agent =
            AgentClient::connect_uds(socket).await.map_err(|error| unusable(format!("does not answer: {error}")))?;
        let identities =
            agent.request_identities().await.map_err(|error| unusable(format!("does not list its keys: {error}")))?;
        for identity in identities.into_iter().take(TRIES_MAX) {
            let AgentIdentity::PublicKey { key, comment } = identity else { continue };
            let hash = rsa_hash(&key.algorithm());
            let answer = handle.authenticate_publickey_with(user, key, hash, &mut agent).await;
            if accepted(handle, answer.map_err(|error| error.to_string()))? {
                return Ok(());
            }
            tried.push(format!("{comment} (agent)"));
        }
        Err(refused(user, tried))
    }
}

fn accepted(handle: &Handle<Guard>, answer: Result<AuthResult, String>) -> Result<bool, Reason> {
    match answer {
        Ok(AuthResult::Success) => Ok(true),
        // russh says the same when the connection dies.
        Ok(AuthResult::Failure { .. }) if handle.is_closed() => {
            let detail = "the server closed the connection while we said who we are";
            Err(Reason::new(ReasonKind::ConnectionLost, detail))
        }
        Ok(AuthResult::Failure { partial_success: true, .. }) => {
            let detail = "the server wants a second factor, which a run of a whole fleet cannot give";
            Err(Reason::new(ReasonKind::AuthRefused, detail))
        }
        Ok(AuthResult::Failure { .. }) => Ok(false),
        Err(error) => Err(Reason::new(ReasonKind::ProtocolBroken, error)),
    }
}

fn refused(user: &str, tried: &[String]) -> Reason {
    let detail = if tried.is_empty() {
        format!(
            "no key to log in as `{user}`: the inventory names no `identity_file` and there is no SSH agent with a key"
        )
    } else {
        format!("the server takes none of our keys for `{user}`; tried {}", tried.join(", "))
    };
    Reason::new(ReasonKind::AuthRefused, detail)
}
