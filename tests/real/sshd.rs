//! Debian's OpenSSH server: the real binary against the real thing.

mod agent;
mod battery;
mod drill;
mod evidence;
pub(crate) mod fleet;
mod from_hosts;
mod jump;
mod keys;
mod known_hosts;
mod lease;
mod login;
mod probes;
mod rivals;
mod rotation;
