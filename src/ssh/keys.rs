//! Private keys in files, each read once.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{PrivateKey, PublicKey, decode_secret_key};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::model::{Reason, ReasonKind};

use super::agent::Agent;

/// How often a person may mistype a passphrase.
const TYPED_MAX: usize = 3;

/// A longer file is no key.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Asks for the passphrase of a key file; `None` if nobody can be asked.
pub type AskPassphrase = Box<dyn Fn(&Path) -> Option<Zeroizing<String>> + Send + Sync>;

/// A key that can sign, here or in the agent.
#[derive(Clone)]
pub(super) enum Key {
    Private(Arc<PrivateKey>),
    InAgent(PublicKey),
}

/// The key files of a run.
pub(super) struct KeyFiles {
    loaded: Mutex<HashMap<PathBuf, Result<Key, Reason>>>,
    ask: AskPassphrase,
}

impl KeyFiles {
    pub(super) fn new(ask: AskPassphrase) -> Self {
        Self { loaded: Mutex::default(), ask }
    }

    /// The key in a file. A public one stands for the private one in the agent; one with a passphrase is used from the agent where
    /// the agent has it, so that nobody has to type.
    pub(super) async fn key(&self, path: &Path, agent: Option<&Agent>, patience: Duration) -> Result<Key, Reason> {
        // The lock is held while a person types: everybody else waits for the same key anyhow.
        let mut loaded = self.loaded.lock().await;
        if let Some(known) = loaded.get(path) {
            return known.clone();
        }
        let key = self.load(path, agent, patience).await;
        loaded.insert(path.to_owned(), key.clone());
        key
    }

    async fn load(&self, path: &Path, agent: Option<&Agent>, patience: Duration) -> Result<Key, Reason> {
        let unusable = |why: &str| unusable(path, why);
        let text = read(path)?;
        if let Ok(public) = PublicKey::from_openssh(text.trim()) {
            return match agent {
                Some(_) => Ok(Key::InAgent(public)),
                None => Err(unusable("is a public key, and there is no SSH agent that could have the private one")),
            };
        }
        match decode_secret_key(&text, None) {
            Ok(key) if !key.is_encrypted() => return Ok(Key::Private(Arc::new(key))),
            Ok(_) | Err(russh::keys::Error::KeyIsEncrypted) => {}
            Err(_) => return Err(unusable("is not a private key that we can read")),
        }
        if let (Some(agent), Ok(key)) = (agent, PrivateKey::from_openssh(text.as_bytes()))
            && agent.has(key.public_key(), patience).await
        {
            return Ok(Key::InAgent(key.public_key().clone()));
        }
        tokio::task::block_in_place(|| {
            for _ in 0..TYPED_MAX {
                let typed = (self.ask)(path);
                let typed = typed.ok_or_else(|| unusable("has a passphrase, and nobody can be asked for it"))?;
                if let Ok(key) = decode_secret_key(&text, Some(&typed)) {
                    return Ok(Key::Private(Arc::new(key)));
                }
            }
            Err(unusable("does not open with that passphrase"))
        })
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, Reason> {
    let unreadable = |error: std::io::Error| unusable(path, &format!("cannot be read: {error}"));
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(unusable(path, "is not a private key that we can read"));
    }
    let text = Zeroizing::new(fs::read(path).map_err(unreadable)?);
    let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
    // As ssh does: a private key that others can read is nobody's own.
    let ours = metadata.uid() == rustix::process::getuid().as_raw();
    if ours && metadata.mode() & 0o077 != 0 && text.contains("PRIVATE KEY") {
        let mode = metadata.mode() & 0o777;
        return Err(unusable(path, &format!("can be read by others (mode {mode:04o}); chmod 600 it")));
    }
    Ok(text)
}

fn unusable(path: &Path, why: &str) -> Reason {
    Reason::new(ReasonKind::KeyUnusable, format!("the key {} {why}", path.display()))
}
