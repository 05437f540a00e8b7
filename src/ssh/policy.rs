//! What we speak, what we refuse, and whom we believe.

use std::borrow::Cow;
use std::time::Duration;

use russh::client::{self, ChannelOpenHandle, DisconnectReason, Session};
use russh::keys::{Algorithm, HashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelOpenFailure, Limits, Preferred, cipher, client::Msg};

use crate::model::{Reason, ReasonKind, harmless, quote};

use super::connector::Endpoint;
use super::handshake::{Phase, Shared};
use super::known_hosts::{HostKeys, Trust, lookup_name};
use super::settings::Settings;

/// A server that opens more channels to us than this wants something that it will not get.
const SERVER_CHANNELS_MAX: u32 = 8;

/// Keys are exchanged anew after so long (RFC 4253, 9).
const REKEY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The configuration of one connection. `pinned` are the algorithms of the keys that known_hosts has for the host.
pub(super) fn config(pinned: &[Algorithm], settings: &Settings) -> client::Config {
    // SHA-1 signatures are not believed.
    let strong = |algorithm: &Algorithm| !matches!(algorithm, Algorithm::Rsa { hash: None });
    let mut key: Vec<Algorithm> =
        Preferred::DEFAULT.key.iter().filter(|algorithm| strong(algorithm)).cloned().collect();
    key.sort_by_key(|algorithm| !pinned.iter().any(|pin| same_family(pin, algorithm)));
    client::Config {
        preferred: Preferred { key: Cow::Owned(key), ..Preferred::DEFAULT },
        nodelay: true,
        keepalive_interval: Some(settings.keepalive),
        keepalive_max: settings.keepalives_missed,
        limits: Limits::new(settings.rekey_bytes, settings.rekey_bytes, REKEY_AFTER),
        window_size: 512 * 1024,
        channel_buffer_size: 64,
        ..client::Config::default()
    }
}

fn same_family(pin: &Algorithm, offered: &Algorithm) -> bool {
    pin == offered || matches!((pin, offered), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

/// The hash for signatures with an RSA key; other keys have their own.
pub(super) fn rsa_hash(algorithm: &Algorithm) -> Option<HashAlg> {
    algorithm.clone().is_rsa().then_some(HashAlg::Sha512)
}

/// Believes a host or not, and refuses whatever it wants of us.
pub(super) struct Guard {
    host: String,
    address: String,
    port: u16,
    known: HostKeys,
    progress: Shared,
    channels: u32,
}

/// An error of a connection: ours with its reason, or russh's.
#[derive(Debug)]
pub(super) enum GuardError {
    Refused(Reason),
    Russh(russh::Error),
}

impl From<russh::Error> for GuardError {
    fn from(error: russh::Error) -> Self {
        Self::Russh(error)
    }
}

impl Guard {
    pub(super) fn new(endpoint: &Endpoint, known: HostKeys, progress: Shared) -> Self {
        let Endpoint { host, address, port, .. } = endpoint;
        Self { host: host.to_string(), address: address.clone(), port: *port, known, progress, channels: 0 }
    }

    fn believe(&self, shown: &PublicKeyOrCertificate) -> Result<(), Reason> {
        let key = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => key,
            PublicKeyOrCertificate::Certificate(_) => {
                return Err(Reason::new(
                    ReasonKind::HostKeyUnknown,
                    "the host shows a certificate; none was asked for",
                ));
            }
        };
        let print = key.fingerprint(HashAlg::Sha256);
        let Self { host, address, port, known, .. } = self;
        match known.check(key) {
            Trust::Known => Ok(()),
            Trust::Unknown => {
                let bad = known.bad_line().map(|place| format!(" ({place} cannot be read)")).unwrap_or_default();
                // What is to be pasted stands before a list of files that may be cut off.
                let adds = known
                    .first_file()
                    .map(|file| format!("; to add it: ssh-keyscan -p {port} {} >> {}", quote(address), quote(&file)));
                let detail = format!(
                    "`{host}` ({address}:{port}) shows {print}{}; no key for it is in {}{bad}",
                    adds.unwrap_or_default(),
                    known.files()
                );
                Err(Reason::new(ReasonKind::HostKeyUnknown, detail))
            }
            Trust::Changed { place } => {
                let file = place.rsplit_once(':').map_or(place.as_str(), |(file, _)| file);
                let name = lookup_name(address, *port);
                let detail = format!(
                    "`{host}` ({address}:{port}) shows another key than {place} has: {print}; to forget that one: ssh-keygen -R {} -f {}",
                    quote(&name),
                    quote(file)
                );
                Err(Reason::new(ReasonKind::HostKeyChanged, detail))
            }
            Trust::Revoked { place } => Err(Reason::new(
                ReasonKind::HostKeyRevoked,
                format!("`{host}` shows the key {print}, which {place} says is revoked"),
            )),
        }
    }

    async fn refuse(&mut self, reply: ChannelOpenHandle) -> Result<(), GuardError> {
        self.channels += 1;
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        if self.channels > SERVER_CHANNELS_MAX {
            let detail = "the server keeps opening channels to us";
            return Err(GuardError::Refused(Reason::new(ReasonKind::ProtocolBroken, detail)));
        }
        Ok(())
    }
}

impl client::Handler for Guard {
    type Error = GuardError;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, GuardError> {
        self.believe(shown).map_err(GuardError::Refused)?;
        self.progress.lock().expect("nobody panics while holding it").phase = Phase::Authentication;
        Ok(true)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<GuardError>) -> Result<(), GuardError> {
        let words = match reason {
            DisconnectReason::ReceivedDisconnect(said) => harmless(&said.message),
            DisconnectReason::Error(GuardError::Refused(reason)) => reason.detail,
            DisconnectReason::Error(GuardError::Russh(_)) => return Ok(()),
        };
        self.progress.lock().expect("nobody panics while holding it").last_words = Some(words);
        Ok(())
    }

    async fn kex_done(
        &mut self,
        _shared_secret: Option<&[u8]>,
        names: &russh::Names,
        _session: &mut Session,
    ) -> Result<(), GuardError> {
        // Terrapin (CVE-2023-48795): without strict key exchange this cipher lets a middle man cut messages out.
        if names.cipher == cipher::CHACHA20_POLY1305 && !names.strict_kex() {
            let detail = "the server speaks chacha20-poly1305 without strict key exchange (Terrapin); update its sshd";
            return Err(GuardError::Refused(Reason::new(ReasonKind::NoCommonAlgorithm, detail)));
        }
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), GuardError> {
        self.refuse(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _from: &str,
        _from_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), GuardError> {
        self.refuse(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), GuardError> {
        self.refuse(reply).await
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _from: &str,
        _from_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), GuardError> {
        self.refuse(reply).await
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), GuardError> {
        self.refuse(reply).await
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), GuardError> {
        self.refuse(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _from: &str,
        _from_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), GuardError> {
        self.refuse(reply).await
    }
}
