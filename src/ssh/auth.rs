//! Who we are: private keys from files, and the agent. Never a password.

use std::path::PathBuf;
use std::time::Duration;

use russh::client::{AuthResult, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKey};

use crate::model::{Reason, ReasonKind};

use super::agent::Agent;
use super::connector::Endpoint;
use super::handshake::{Phase, Shared};
use super::keys::{AskPassphrase, Key, KeyFiles};
use super::policy::{Guard, rsa_hash};

/// A server counts refused keys (`MaxAuthTries`, `PerSourcePenalties`): more guesses than this get us banned, not in.
const TRIES_MAX: usize = 3;

/// The keys of a run: each file is read once, and its passphrase asked once.
pub struct Keys {
    files: KeyFiles,
    agent: Option<Agent>,
}

impl Keys {
    /// No key yet. `agent` is the socket of an SSH agent.
    #[must_use]
    pub fn new(ask: AskPassphrase, agent: Option<PathBuf>) -> Self {
        Self { files: KeyFiles::new(ask), agent: agent.map(Agent::new) }
    }

    /// Reads these files, and asks for their passphrases.
    pub(super) async fn unlock(&self, files: &[PathBuf], patience: Duration) -> Result<(), Reason> {
        for path in files.iter().take(TRIES_MAX) {
            self.files.key(path, self.agent.as_ref(), patience).await?;
        }
        Ok(())
    }

    /// Tells the server who we are. `patience` is for the agent's first answer.
    pub(super) async fn authenticate(
        &self,
        handle: &mut Handle<Guard>,
        endpoint: &Endpoint,
        progress: &Shared,
        patience: Duration,
    ) -> Result<(), Reason> {
        let mut login = Login { handle, user: &endpoint.user, progress, tried: Vec::new() };
        for path in endpoint.identity_files.iter().take(TRIES_MAX) {
            let name = path.display().to_string();
            let accepted = match (self.files.key(path, self.agent.as_ref(), patience).await?, &self.agent) {
                (Key::Private(key), _) => {
                    let hash = rsa_hash(&key.algorithm());
                    let with_hash = PrivateKeyWithHashAlg::new(key, hash);
                    let answer = login.handle.authenticate_publickey(login.user, with_hash).await;
                    login.heard(name, answer.map_err(|error| error.to_string()))?
                }
                (Key::InAgent(key), Some(agent)) => login.ask_agent(agent, &key, name, patience).await?,
                (Key::InAgent(_), None) => unreachable!("a key is in the agent only where there is one"),
            };
            if accepted {
                return Ok(());
            }
        }
        // A named key is meant to be that key; the agent is asked where none is named.
        let mut untried = 0;
        if let (Some(agent), true) = (&self.agent, endpoint.identity_files.is_empty()) {
            let keys = agent.keys(patience).await?;
            untried = keys.len().saturating_sub(TRIES_MAX);
            for (key, comment) in keys.into_iter().take(TRIES_MAX) {
                if login.ask_agent(agent, &key, format!("{comment} (agent)"), patience).await? {
                    return Ok(());
                }
            }
        }
        Err(login.refused(untried))
    }
}

/// One attempt to log in.
struct Login<'a> {
    handle: &'a mut Handle<Guard>,
    user: &'a str,
    progress: &'a Shared,
    tried: Vec<String>,
}

impl Login<'_> {
    async fn ask_agent(
        &mut self,
        agent: &Agent,
        key: &PublicKey,
        name: String,
        patience: Duration,
    ) -> Result<bool, Reason> {
        let mut signer = agent.connect(patience).await?;
        // Keys that may be used for certain hosts only (`ssh-add -h`) want to know for which one. An old agent does not care.
        if let Some(binding) = self.handle.agent_session_binding() {
            let _older = signer.bind_session(binding, false).await;
        }
        let hash = rsa_hash(&key.algorithm());
        self.set_phase(Phase::Agent);
        let answer = self.handle.authenticate_publickey_with(self.user, key.clone(), hash, &mut signer).await;
        self.set_phase(Phase::Authentication);
        match answer {
            Err(russh::AgentAuthError::Key(error)) => {
                Err(Reason::new(ReasonKind::AgentUnusable, format!("the SSH agent does not sign with {name}: {error}")))
            }
            answer => self.heard(name, answer.map_err(|error| error.to_string())),
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.progress.lock().expect("nobody panics while holding it").phase = phase;
    }

    /// What the server's answer to one key means.
    fn heard(&mut self, name: String, answer: Result<AuthResult, String>) -> Result<bool, Reason> {
        self.tried.push(name);
        match answer {
            Ok(AuthResult::Success) => Ok(true),
            // russh says the same when the connection dies.
            Ok(AuthResult::Failure { .. }) | Err(_) if self.handle.is_closed() => Err(self.ended()),
            Ok(AuthResult::Failure { partial_success: true, .. }) => {
                let detail = "the server wants a second factor, which a run of a whole fleet cannot give";
                Err(Reason::new(ReasonKind::AuthRefused, detail))
            }
            Ok(AuthResult::Failure { .. }) => Ok(false),
            Err(error) => Err(Reason::new(ReasonKind::ProtocolBroken, error)),
        }
    }

    /// The connection ended. A server that says goodbye has refused us (too many keys); one that is just gone has said nothing of our
    /// keys.
    fn ended(&self) -> Reason {
        match &self.progress.lock().expect("nobody panics while holding it").last_words {
            Some(words) => Reason::new(
                ReasonKind::AuthRefused,
                format!("the server ended the login of `{}`: \"{words}\"; tried {}", self.user, self.tried.join(", ")),
            ),
            None => {
                Reason::new(ReasonKind::ConnectionLost, "the server closed the connection while we said who we are")
            }
        }
    }

    fn refused(&self, untried: usize) -> Reason {
        let (user, tried) = (self.user, self.tried.join(", "));
        let detail = match (self.tried.is_empty(), untried) {
            (true, _) => format!(
                "no key to log in as `{user}`: the inventory names no `identity_file` and there is no SSH agent with a key"
            ),
            (false, 0) => format!("the server takes none of our keys for `{user}`; tried {tried}"),
            (false, more) => format!(
                "the server takes none of the agent's first {TRIES_MAX} keys for `{user}`: {tried}; {more} more were \
                 not tried, because servers ban who guesses: name the right one's public file as `identity_file`"
            ),
        };
        Reason::new(ReasonKind::AuthRefused, detail)
    }
}
