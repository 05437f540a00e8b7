//! An address of one machine, as firewall rules may name it.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

/// The unicast address of one machine: what loops back, names many or names nobody is none, because dropping it would hit others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(IpAddr);

/// Why something is not the address of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// It is not an address at all: a name, or a typing mistake.
    Unreadable(String),
    /// It loops back to whoever uses it.
    Loopback(IpAddr),
    /// It is the address of many machines, or of none.
    NotOneMachine(IpAddr),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(text) => write!(f, "`{}` is not an IP address", text.escape_debug()),
            Self::Loopback(ip) => {
                write!(f, "{ip} is every machine's own address: rules about it would hit whoever has them")
            }
            Self::NotOneMachine(ip) => write!(f, "{ip} is not the address of one machine"),
        }
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Takes the address of one machine. An IPv4 address in the clothes of IPv6 is an IPv4 address.
    ///
    /// # Errors
    /// If it loops back, or is not the address of one machine.
    pub fn new(ip: IpAddr) -> Result<Self, AddressError> {
        let ip = ip.to_canonical();
        let one = match ip {
            // 0.0.0.0/8 is "this network", everything from 224.0.0.0 on is multicast, reserved or broadcast.
            IpAddr::V4(v4) => (1..224).contains(&v4.octets()[0]),
            // `::/16` has no machine in it: unspecified, loopback, and forms of IPv4 that nobody routes.
            IpAddr::V6(v6) => !v6.is_multicast() && v6.segments()[0] != 0,
        };
        match one {
            _ if ip.is_loopback() => Err(AddressError::Loopback(ip)),
            true => Ok(Self(ip)),
            false => Err(AddressError::NotOneMachine(ip)),
        }
    }

    /// The address itself.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads an address as sshd and `ip` print one: maybe with a zone (`fe80::1%eth0`), which no rule needs.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let unreadable = || AddressError::Unreadable(text.to_owned());
        let ip = match text.split_once('%') {
            Some((ip, zone)) if !zone.is_empty() && ip.contains(':') => ip,
            Some(_) => return Err(unreadable()),
            None => text,
        };
        Self::new(ip.parse().map_err(|_| unreadable())?)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
