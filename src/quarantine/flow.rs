//! Whether a peer reaches released hosts again, by what answered there before they were isolated and what answers now.

use core::net::IpAddr;
use std::collections::BTreeSet;
use std::fmt;

use crate::model::{HostName, Reached};

/// Why it is not proved that traffic flows again, though the rules are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoFlow {
    /// Something answered before, and does not now.
    Lost {
        /// Which host.
        host: HostName,
        /// At which of its addresses.
        address: IpAddr,
    },
    /// Nothing answers, and nothing is known to have answered before.
    Never(HostName),
}

impl fmt::Display for NoFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { host, address } => {
                write!(f, "the rules are gone; {host} ({address}) answered from here before, and does not now")
            }
            Self::Never(host) => {
                write!(
                    f,
                    "the rules are gone; {host} does not answer from here, and is not known to have done so before"
                )
            }
        }
    }
}

/// Each address that answered before answers again, by whatever was tried there. Where none is known to have, one must.
///
/// # Errors
/// Says of which host that is not so.
pub fn flows<'a>(
    hosts: impl IntoIterator<Item = &'a HostName>,
    before: &[Reached],
    now: &[Reached],
) -> Result<(), NoFlow> {
    for host in hosts {
        let of = |reached: &[Reached]| -> BTreeSet<IpAddr> {
            reached.iter().filter(|way| way.host == *host).map(|way| way.address).collect()
        };
        let (before, now) = (of(before), of(now));
        if let Some(address) = before.difference(&now).next() {
            return Err(NoFlow::Lost { host: host.clone(), address: *address });
        }
        if now.is_empty() {
            return Err(NoFlow::Never(host.clone()));
        }
    }
    Ok(())
}
