//! What to do next, for each kind of reason.

use crate::model::ReasonKind;

/// What to do next; nothing where the reason says it all.
#[must_use]
pub const fn hint(kind: ReasonKind) -> Option<&'static str> {
    use ReasonKind as K;
    Some(match kind {
        K::NameUnknown => "give the host an `address` in the inventory",
        K::ConnectionRefused => "is sshd up, and is `port` right?",
        K::TimedOut => "is the host up, and may this machine reach it? if only another host may, name it as `jump`",
        K::Unreachable => "check the route to the host, or name a `jump` host",
        K::Throttled => {
            "its sshd drops or bans us (MaxStartups, PerSourcePenalties, fail2ban); wait a minute and try again"
        }
        K::HostKeyUnknown => "look at the key on the host itself first, and add it only if it is this one",
        K::HostKeyChanged => {
            "somebody may stand in between; forget the known key only after you looked at the one on the host itself"
        }
        K::HostKeyRevoked => "do not log in there; the key was revoked for a reason",
        K::KnownHostsUnreadable => "mend the file, or name another one with --known-hosts",
        K::NoCommonAlgorithm => "update the sshd of that host",
        K::AuthRefused => "name `user` and `identity_file` in the inventory, and see the host's authorized_keys",
        K::KeyUnusable => "check `identity_file` in the inventory",
        K::AgentUnusable => "ssh-add -l, or name an `identity_file`",
        K::JumpFailed => "see the jump host first: every host behind it waits for it",
        K::NoShell => "the login must run a POSIX /bin/sh: no forced command, no nologin",
        K::SudoRefused => "the login user needs NOPASSWD for /bin/sh in sudoers; a password is never sent",
        K::SudoRecords => {
            "values would be in its log: the rule for the login user in sudoers needs `NOLOG_INPUT: NOLOG_OUTPUT:`"
        }
        K::ToolMissing => "install the tool on the host",
        K::ProtocolBroken => "is it an sshd that listens at `port`, and is it up to date?",
        K::ConnectionLost | K::AnswerBroken => {
            "see the host and the way to it; what it did last is unknown until it is asked again"
        }
        K::HostLocked => {
            "another run holds the host: wait until it has ended, or resume it where it was begun if it was left; if what began it is lost: lockturn resume --from-hosts"
        }
        K::Fenced => {
            "another coordinator has taken this run up: go on where it remembers it; if it has ended there without an end of the run, resume here once more"
        }
        K::NothingLeft => {
            "another coordinator has ended the run there: go on where it remembers it, not with this state directory; or the host was set up anew"
        }
        K::Fired => "the coordinator was away for longer than the lease; a longer `rollout: lease:` gives it more time",
        K::Missing => "the playbook names something that the host does not have",
        K::Denied => "does the playbook need `become: sudo` there?",
        K::ReadOnly => "the file or its directory cannot be replaced (read-only, immutable, or a mount point)",
        K::NoSpace => "make room on the host",
        K::IsLink => "say `follow: true` if its final target is meant",
        K::NotPlain | K::TooLarge | K::Unclear => "put the value where every reader reads it alike",
        K::Ambiguous => "remove all but one",
        K::Changed => "somebody else changed it meanwhile; see who, then plan again",
        K::Disagrees => "the fleet is split already; put the same value on both sides by hand, then rotate",
        K::MetadataLost => "install the acl and attr packages on the host",
        K::ServiceFailed => "journalctl -u UNIT on the host",
        K::UnitMissing => "check the unit's name in the playbook",
        K::NewRefused => "the service does not read the value from where the playbook puts it, or did not restart",
        K::OldAccepted => "the service did not restart, or reads the value from somewhere else",
        K::ProbeUnanswered | K::ProbeUnexpected => "check the probe's URL and codes against the service",
        K::ProbeImpossible => {
            "install curl on the host, let its sshd forward (`AllowTcpForwarding local`), or use a `command` probe"
        }
        K::ReadBackDiffers | K::RehearsalFailed | K::DatabaseFailed | K::CommandFailed => return None,
        K::Interrupted | K::Fleet | K::Drill | K::ValueLost | K::JournalLost | K::Quarantined => {
            return None;
        }
    })
}
