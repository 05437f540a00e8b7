//! Real connections: russh, host keys, authentication, jump hosts, forwarding.
//!
//! russh's defaults trust the peer too much (it accepts every channel that a server opens, and waits for ever); each of them is
//! overridden here, and nowhere else does the product touch russh's client.
//!
//! **Invariant:** no byte is sent for authentication before the host's key was found in known_hosts; every wait has a deadline; what a
//! host sends is bounded. Tested against servers that mean harm in `tests/it/ssh/`, and against OpenSSH in `tests/real/sshd/`.

mod agent;
mod auth;
mod connection;
mod connector;
mod cut;
mod handshake;
mod jump;
mod keys;
mod known_hosts;
mod policy;
mod settings;

pub use auth::Keys;
pub use connection::{Connection, Exec, ExecReader, ExecWriter, ForwardError, ForwardStream, HowEnded};
pub use connector::{ConnectError, Connector, Endpoint};
pub(crate) use cut::Cut;
pub use keys::AskPassphrase;
pub use known_hosts::{HostKeys, KnownHosts, Trust};
pub use settings::Settings;
