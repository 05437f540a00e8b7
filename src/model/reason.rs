//! Why something did not go as planned: a closed list of kinds, so that nobody ever parses English.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::harmless;

/// What went wrong, and the words of whoever noticed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The kind, for machines and for the hint.
    pub kind: ReasonKind,
    /// One phrase for a person. Remote text in it has been made harmless and short.
    pub detail: String,
}

impl Reason {
    /// A reason with its phrase.
    pub fn new(kind: ReasonKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: harmless(&detail.into()) }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() { f.write_str(self.kind.label()) } else { f.write_str(&self.detail) }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// The closed list of what can go wrong on one host. The label is the same word everywhere.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ReasonKind {
            $($(#[$doc])* #[serde(rename = $label)] $variant,)*
        }

        impl ReasonKind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its one word.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

reasons! {
    // Reaching the host.
    /// The name has no address.
    NameUnknown = "name-unknown",
    /// The address refuses the connection.
    ConnectionRefused = "connection-refused",
    /// Nothing answered in time: which phase is in the detail.
    TimedOut = "timed-out",
    /// No route, or the network failed otherwise.
    Unreachable = "unreachable",
    /// The server closed the connection before it said who it is: too many connections, or a ban.
    Throttled = "throttled",
    /// The host's key is not in known_hosts.
    HostKeyUnknown = "host-key-unknown",
    /// The host shows another key than known_hosts has for it (another algorithm counts as another key).
    HostKeyChanged = "host-key-changed",
    /// The host's key is marked as revoked.
    HostKeyRevoked = "host-key-revoked",
    /// known_hosts could not be read.
    KnownHostsUnreadable = "known-hosts-unreadable",
    /// The server and we have no algorithm in common, or it offers only weak ones.
    NoCommonAlgorithm = "no-common-algorithm",
    /// The server broke the SSH protocol.
    ProtocolBroken = "protocol-broken",
    /// The server took none of our keys.
    AuthRefused = "auth-refused",
    /// A private key could not be used: unreadable, wrong passphrase, not a key.
    KeyUnusable = "key-unusable",
    /// The SSH agent did not help.
    AgentUnusable = "agent-unusable",
    /// The jump host did not let us through.
    JumpFailed = "jump-failed",
    // The program on the host.
    /// No shell answered: forced command, no login, too few sessions.
    NoShell = "no-shell",
    /// `sudo -n` would have asked for a password or refused.
    SudoRefused = "sudo-refused",
    /// sudo would record what the host is sent, or what it answers.
    SudoRecords = "sudo-records",
    /// A tool that the step needs is not installed there.
    ToolMissing = "tool-missing",
    /// The answer was not one: too long, wrong frame, wrong number.
    AnswerBroken = "answer-broken",
    /// The connection ended while a step was under way; what became of it is unknown.
    ConnectionLost = "connection-lost",
    /// Another run holds the host.
    HostLocked = "host-locked",
    /// The host has seen a newer coordinator of this run.
    Fenced = "fenced",
    /// The host has nothing of this run any more: another coordinator has ended it there, or the host was set up anew.
    NothingLeft = "nothing-left",
    /// Nobody confirmed the host in time, so it went back by itself.
    Fired = "fired",
    // Files and databases.
    /// There is no such file, key or row.
    Missing = "missing",
    /// No permission.
    Denied = "denied",
    /// Read-only file system, or a file that may not be replaced.
    ReadOnly = "read-only",
    /// The disk or the quota is full.
    NoSpace = "no-space",
    /// It is a symbolic link and the playbook does not say `follow: true`.
    IsLink = "is-link",
    /// Not a plain file, or one with several names.
    NotPlain = "not-plain",
    /// Larger than the limit.
    TooLarge = "too-large",
    /// The key stands more than once, or the row is not one row.
    Ambiguous = "ambiguous",
    /// The text has a form that its readers would read differently.
    Unclear = "unclear",
    /// It is not what inspect saw.
    Changed = "changed",
    /// Hosts that should share a value do not.
    Disagrees = "disagrees",
    /// Read back, it is not what was written.
    ReadBackDiffers = "read-back-differs",
    /// The way back did not work when it was rehearsed.
    RehearsalFailed = "rehearsal-failed",
    /// Owner, mode, ACL or attributes could not be kept.
    MetadataLost = "metadata-lost",
    /// The database said no.
    DatabaseFailed = "database-failed",
    /// Any other failure of a program on the host.
    CommandFailed = "command-failed",
    // Services and proofs.
    /// There is no such unit, or it is masked.
    UnitMissing = "unit-missing",
    /// The service did not start, or did not stay up.
    ServiceFailed = "service-failed",
    /// Nothing answered the probe.
    ProbeUnanswered = "probe-unanswered",
    /// The probe's answer was neither yes nor no.
    ProbeUnexpected = "probe-unexpected",
    /// The running service refuses the value that it must take.
    NewRefused = "new-refused",
    /// The running service still takes the value that it must refuse.
    OldAccepted = "old-accepted",
    /// The probe could not be tried at all.
    ProbeImpossible = "probe-impossible",
    // The run.
    /// The operator said stop.
    Interrupted = "interrupted",
    /// The run goes back whatever this host shows, so it was not waited for.
    Fleet = "fleet",
    /// A drill says so, to see the way back.
    Drill = "drill",
    /// The values are not on the hosts any more.
    ValueLost = "value-lost",
    /// The host was isolated after the run had begun: it gets nothing.
    Quarantined = "quarantined",
    /// The journal was lost, and no host had heard of a decision to stay.
    JournalLost = "journal-lost",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_one_kebab_case_word_and_stands_once() {
        let mut labels: Vec<_> = ReasonKind::ALL.iter().map(|kind| kind.label()).collect();
        assert!(labels.iter().all(|l| l.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ReasonKind::ALL.len());
    }
}
