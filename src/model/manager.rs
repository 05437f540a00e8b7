//! From where a host in quarantine may still be managed: an address, or a prefix.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Address, AddressError};

/// The widest prefixes: a site of each family. What is wider holds others than managers.
const BITS_MIN_V4: u8 = 16;
const BITS_MIN_V6: u8 = 48;

/// One address, or all that begin with the same bits; beyond them there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Manager {
    first: IpAddr,
    bits: u8,
}

/// Why something is not from where a host may be managed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagerError {
    /// It is no address, or not that of one machine.
    Address(AddressError),
    /// What stands behind the slash is no length of a prefix of that family.
    Length(String),
    /// It has bits beyond its prefix: one machine and a network at once.
    Beyond {
        /// What was written.
        written: String,
        /// The network that it is in.
        network: Manager,
    },
    /// Too many machines are in it.
    Wide {
        /// What was written.
        written: String,
        /// The shortest prefix that may be.
        least: u8,
    },
}

impl fmt::Display for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => error.fmt(f),
            Self::Length(written) => {
                write!(f, "`{}` has no length of a prefix behind its slash, such as /24 or /64", written.escape_debug())
            }
            Self::Beyond { written, network } => {
                write!(f, "`{written}` is a machine and a network at once: {network} is the network")
            }
            Self::Wide { written, least } => {
                write!(f, "`{written}` is wider than /{least}: others than managers are in it")
            }
        }
    }
}

impl std::error::Error for ManagerError {}

impl Manager {
    /// Whether that address is in it.
    #[must_use]
    pub fn has(&self, ip: IpAddr) -> bool {
        self.first.is_ipv4() == ip.is_ipv4() && cut(ip, self.bits) == self.first
    }

    /// Whether all of the other is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.has(other.first)
    }

    /// Its first address.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// Whether it is more than one machine's address.
    #[must_use]
    pub fn is_network(&self) -> bool {
        self.bits < width(self.first)
    }
}

impl From<Address> for Manager {
    fn from(address: Address) -> Self {
        Self { first: address.ip(), bits: width(address.ip()) }
    }
}

impl FromStr for Manager {
    type Err = ManagerError;

    fn from_str(text: &str) -> Result<Self, ManagerError> {
        let Some((address, length)) = text.split_once('/') else {
            return Ok(text.parse::<Address>().map_err(ManagerError::Address)?.into());
        };
        let written = || text.to_owned();
        let ip = address.parse::<Address>().map_err(ManagerError::Address)?.ip();
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        // The clothes of IPv6 have another length; a zone is of one machine's.
        let plain = ip.is_ipv6() == address.contains(':') && !address.contains('%');
        let bits = length.parse().ok().filter(|bits| digits && plain && *bits <= width(ip));
        let bits: u8 = bits.ok_or_else(|| ManagerError::Length(written()))?;
        let least = if ip.is_ipv4() { BITS_MIN_V4 } else { BITS_MIN_V6 };
        if bits < least {
            return Err(ManagerError::Wide { written: written(), least });
        }
        let network = Self { first: cut(ip, bits), bits };
        if network.first == ip { Ok(network) } else { Err(ManagerError::Beyond { written: written(), network }) }
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_network() { write!(f, "{}/{}", self.first, self.bits) } else { self.first.fmt(f) }
    }
}

impl TryFrom<String> for Manager {
    type Error = ManagerError;

    fn try_from(text: String) -> Result<Self, ManagerError> {
        text.parse()
    }
}

impl From<Manager> for String {
    fn from(manager: Manager) -> Self {
        manager.to_string()
    }
}

const fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The address without what stands beyond so many bits.
fn cut(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(u32::from(32 - bits)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(u32::from(128 - bits)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}
