//! The SSH server of one connection: keys only, `exec`, and forwarding to the host's own service.
//!
//! **Invariant:** nothing but the lab's client key is let in; no shell, no other port, no agent, no forwarding back.

use std::collections::HashMap;
use std::sync::Arc;

use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fault::Fault;
use super::running::Host;
use super::{exec, http};

/// How a host's SSH server is set up.
pub(super) fn config(key: russh::keys::PrivateKey) -> Config {
    Config {
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // Nobody guesses at a lab: waiting would only slow tests down.
        auth_rejection_time: std::time::Duration::ZERO,
        keys: vec![key],
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    }
}

/// One connection to one host.
pub(super) struct Connection {
    pub(super) host: Arc<Host>,
    pub(super) client: Arc<PublicKey>,
    pub(super) token: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// Session channels on which no command was asked for yet.
    pub(super) open: HashMap<ChannelId, Channel<Msg>>,
    /// What ends the command of a channel.
    pub(super) commands: HashMap<ChannelId, CancellationToken>,
}

impl Drop for Connection {
    /// The session is over: so are its commands, also one that is stuck in a write to its stdin.
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Connection {
    fn drop_if_down(&self) {
        if Fault::of_host(&self.host.directory) == Fault::Down {
            self.token.cancel();
        }
    }

    fn check(&self, key: &PublicKey) -> Auth {
        // The comment of a key is not part of it.
        if key.key_data() == self.client.key_data() { Auth::Accept } else { Auth::reject() }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    /// A host that went down by its file `fault` is noticed with the next bytes that the client sends.
    async fn data(&mut self, _id: ChannelId, _data: &[u8], _session: &mut Session) -> Result<(), Self::Error> {
        self.drop_if_down();
        Ok(())
    }

    async fn auth_publickey_offered(&mut self, _user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.check(offer.public_key))
    }

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.check(key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.drop_if_down();
        self.open.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.drop_if_down();
        let own = matches!(address, "127.0.0.1" | "localhost") && port == u32::from(self.host.host.role.service_port());
        if !own || !self.host.service().show().active {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        }
        reply.accept().await;
        let (host, token) = (Arc::clone(&self.host), self.token.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = http::serve(host, channel.into_stream()) => {}
            }
        });
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        let (Some(channel), Ok(command)) = (self.open.remove(&id), String::from_utf8(data.to_vec())) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let token = self.token.child_token();
        self.commands.insert(id, token.clone());
        let host = Arc::clone(&self.host);
        self.tasks.spawn(async move { exec::run(channel, command, &host.directory, token).await });
        Ok(())
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.open.remove(&id);
        if let Some(command) = self.commands.remove(&id) {
            command.cancel();
        }
        Ok(())
    }
}
