//! What goes wrong in a simulation: drawn from its seed, so that some seeds have much of a few faults and others a little of all (swarm).

use std::collections::BTreeMap;
use std::fmt;

use super::kernel::Kernel;

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $label:literal,)*) => {
        /// Something that goes wrong at some moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Fault { $($(#[$doc])* $fault,)* }

        impl Fault {
            pub(crate) const ALL: &[Self] = &[$(Self::$fault,)*];

            pub(crate) const fn label(self) -> &'static str {
                match self { $(Self::$fault => $label,)* }
            }
        }
    };
}

faults! {
    /// `kill -9` of the coordinator.
    CoordinatorDies = "coordinator killed",
    /// `kill -9` of the coordinator around a certain record.
    DiesAtRecord = "coordinator killed at a record",
    /// SIGSTOP and SIGCONT.
    CoordinatorStopped = "coordinator stopped for a while",
    /// Its machine is suspended to memory.
    CoordinatorSleeps = "coordinator's machine slept",
    /// An append to the journal fails.
    JournalFull = "journal: ENOSPC",
    /// A sync of the journal fails; what was written may be there or not.
    JournalError = "journal: EIO at fsync",
    /// Ctrl-C.
    Interrupt = "Ctrl-C",
    /// Somebody else takes the run up with a copy of the state directory while the first one is still at it.
    SecondOperator = "second operator with a copy of the state",
    /// Nothing reaches a host.
    PartitionTo = "partition to a host",
    /// Nothing comes back from a host.
    PartitionFrom = "partition from a host",
    /// Neither way.
    Partition = "partition both ways",
    /// A link is slow.
    Clog = "link clogged",
    /// A connection breaks.
    Reset = "connection reset",
    /// The shell on the host is killed.
    SessionDies = "session killed on the host",
    /// A host loses its power, and is started again.
    PowerCut = "host lost its power",
    /// A host is suspended to memory.
    HostSleeps = "host slept",
    /// A host's disk is full.
    DiskFull = "host: ENOSPC",
    /// A host's disk fails.
    DiskError = "host: EIO",
    /// A host's wall clock is set.
    ClockStep = "host: wall clock stepped",
    /// A service dies and is started again by nobody.
    ServiceDies = "service died",
    /// Somebody else writes to the file.
    Tampered = "file written by somebody else",
}

/// How a service behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Manner {
    Fine,
    /// It runs with the new value and refuses it.
    RefusesNew,
    /// It runs with the new value and still takes the old one.
    TakesBoth,
    /// It does not start with the new value.
    DiesOfNew,
}

/// What goes wrong in one seed.
#[derive(Debug, Clone)]
pub(crate) struct Knobs {
    pub(crate) hosts: usize,
    /// Changes on each host.
    pub(crate) changes: usize,
    /// Seconds.
    pub(crate) lease: u64,
    /// Of a thousand hosts so many have systemd.
    pub(crate) systemd: u64,
    pub(crate) faults: BTreeMap<Fault, u32>,
    /// Within so many seconds.
    pub(crate) horizon: u64,
    /// Milliseconds that a message is on its way, at most.
    pub(crate) delay: u64,
    /// Of a thousand messages so many are lost.
    pub(crate) loss: u64,
    /// Of a thousand requests so many arrive twice.
    pub(crate) twice: u64,
    /// Milliseconds that one thing on a host takes, at most.
    pub(crate) slowness: u64,
    /// Of a thousand starts of a service so many fail.
    pub(crate) bad_starts: u64,
    /// The service of host 0, if it is not fine.
    pub(crate) manner: Manner,
    /// The last host says yes to everything and does nothing.
    pub(crate) liar: bool,
    /// Clocks of hosts go wrong by so much in a million.
    pub(crate) drift: u64,
    /// Seconds until the operator looks again, at most.
    pub(crate) thinking: u64,
    /// The operator does not come back while things go wrong.
    pub(crate) never_back: bool,
    /// One host comes back long after everything else has healed.
    pub(crate) dead_host: bool,
}

impl Knobs {
    pub(crate) fn draw(kernel: &Kernel) -> Self {
        let one_of =
            |values: &[u64]| values[usize::try_from(kernel.between(0, values.len() as u64 - 1)).expect("it is small")];
        let share = one_of(&[60, 150, 300]);
        let faults = Fault::ALL
            .iter()
            .filter_map(|fault| {
                let much = u32::try_from(kernel.between(1, 3)).expect("it is small");
                kernel.chance(share).then_some((*fault, much))
            })
            .collect();
        let seldom = |kernel: &Kernel, often: u64| kernel.chance(often);
        Self {
            hosts: usize::try_from(kernel.between(1, 5)).expect("it is small"),
            changes: usize::try_from(kernel.between(1, 2)).expect("it is small"),
            lease: one_of(&[10, 30, 60, 120, 120, 300]),
            systemd: one_of(&[0, 1_000, 1_000, 700]),
            faults,
            horizon: one_of(&[10, 30, 90, 400]),
            delay: one_of(&[5, 20, 20, 300, 2_000]),
            loss: one_of(&[0, 0, 0, 5, 40]),
            twice: one_of(&[0, 0, 20, 200]),
            slowness: one_of(&[2, 10, 10, 200, 1_500]),
            bad_starts: one_of(&[0, 0, 0, 50, 300]),
            manner: if seldom(kernel, 150) {
                [Manner::RefusesNew, Manner::TakesBoth, Manner::DiesOfNew]
                    [usize::try_from(kernel.between(0, 2)).expect("it is small")]
            } else {
                Manner::Fine
            },
            liar: seldom(kernel, 50),
            drift: one_of(&[0, 0, 900]),
            thinking: one_of(&[2, 30, 200, 900]),
            never_back: seldom(kernel, 100),
            dead_host: seldom(kernel, 60),
        }
    }
}

impl fmt::Display for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
