//! What the process tells its caller: the one table of exit codes.

use std::process::ExitCode;

use crate::model::Verdict;

/// How a command ended. The numbers are a promise; scripts depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done as asked, proved.
    Done,
    /// 1: rolled back, every host is on the old secret.
    RolledBack,
    /// 2: the command line is wrong.
    Usage,
    /// 3: the inventory or the playbook is not valid.
    Invalid,
    /// 4: refused, nothing was changed.
    Refused,
    /// 5: another run holds the lock.
    Locked,
    /// 6: a person must look; the hosts are named.
    PersonMustLook,
    /// 7: done, and something is still owed; it is named.
    Owing,
    /// 70: a bug in lockturn (`EX_SOFTWARE` of sysexits).
    Bug,
}

impl Exit {
    /// Every one, in the order of its number.
    pub const ALL: &[Self] = &[
        Self::Done,
        Self::RolledBack,
        Self::Usage,
        Self::Invalid,
        Self::Refused,
        Self::Locked,
        Self::PersonMustLook,
        Self::Owing,
        Self::Bug,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::RolledBack => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::Refused => 4,
            Self::Locked => 5,
            Self::PersonMustLook => 6,
            Self::Owing => 7,
            Self::Bug => 70,
        }
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Rotated | Verdict::Drilled | Verdict::Quarantined | Verdict::Released => Self::Done,
            Verdict::RolledBack => Self::RolledBack,
            Verdict::Refused => Self::Refused,
            Verdict::RotatedWithDebt => Self::Owing,
            Verdict::Inconsistent | Verdict::Partial => Self::PersonMustLook,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
