//! Deadlines and limits of connections.

use std::time::Duration;

/// Deadlines and limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// To one address: SYN retries come after 1 s and 3 s, so 10 s forgive two lost packets. Also how long a name may take, a jump
    /// host to open the way, an agent to list its keys; and how long a jump host that failed is not asked again.
    pub connect: Duration,
    /// Version, key exchange and authentication together: about eight round trips, and a slow host's signatures.
    pub handshake: Duration,
    /// A channel on a living connection: one round trip, and a fork on the host.
    pub open: Duration,
    /// A shell that reads the program and says that it is ready.
    pub start: Duration,
    /// A connection that is silent for so long is asked whether it lives.
    pub keepalive: Duration,
    /// So many questions may go unanswered; at the next one the connection is over.
    pub keepalives_missed: usize,
    /// Addresses tried at the same time: cheap, and a hundred of them may be dead.
    pub connects: usize,
    /// Handshakes at the same time. They cost CPU on both sides; sshd drops a part of more than ten that are not logged in yet
    /// (`MaxStartups 10:30:100`), which matters for a bastion: see `through_jump`.
    pub handshakes: usize,
    /// Handshakes at the same time through one jump host.
    pub through_jump: usize,
    /// How long to wait before a server that was full is asked again, one after the other.
    pub pauses: Vec<Duration>,
    /// Keys are exchanged anew after so many bytes in one direction, 1 GiB at most (RFC 4253, 9).
    pub rekey_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(60),
            open: Duration::from_secs(15),
            start: Duration::from_secs(30),
            keepalive: Duration::from_secs(10),
            keepalives_missed: 3,
            connects: 256,
            handshakes: 32,
            through_jump: 8,
            pauses: vec![Duration::from_secs(1), Duration::from_secs(4)],
            rekey_bytes: 1 << 30,
        }
    }
}
