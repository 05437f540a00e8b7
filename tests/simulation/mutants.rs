//! Deliberate bugs in the modelled parts, each of which a checker must see: a checker that cannot fail proves nothing.

/// A deliberate bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A resumed process does not see the decision, and decides again.
    ForgetsTheDecision,
    /// Whether hosts still wait is not looked at before the decision.
    LeaseNotLookedAt,
    /// Steps leave before they are recorded.
    EffectBeforeRecord,
    /// A journal that failed is written to as if it had not.
    RetriesFsync,
    /// The last host is taken for armed without being asked.
    BarrierMinusOne,
    /// A lost answer is taken for a yes.
    LostIsSuccess,
    /// Right after the decision hosts are cleaned, and not asked whether they stay.
    RevokesEarly,
    /// Hosts are not armed, and cut all the same.
    NeverArmed,
    /// `confirm` says yes whatever the host holds.
    BlindDisarm,
    /// The bytes of what is staged stay in memory.
    NoSync,
    /// Any session may do anything.
    NoEpochCheck,
    /// Who holds a host is looked at, and written down some time later.
    LocksWithoutTurns,
    /// What is in its place already is taken to be on the disk.
    MovedIsOnTheDisk,
    /// A host that was cut is cleaned by one who does not know, and has not looked.
    CleansWhatWasCut,
    /// Every run says that it went well.
    SaysRotated,
    /// A host that is lost is waited for without end.
    WaitsForever,
    /// Leases are counted by the wall clock.
    LeaseByWallClock,
    /// Nothing goes back at boot.
    NoBootUnit,
    /// The name of the values that a host keeps is not on the disk.
    KeepsInMemory,
    /// What `clean` removes may be there again after a power cut.
    CleansInMemory,
    /// `clean` removes nothing.
    ForgetsToClean,
}

/// Each one with the invariant that must see it. (Others may see it too, and sooner.)
pub(crate) const MUTANTS: &[(Mutant, &str)] = &[
    (Mutant::ForgetsTheDecision, "I1"),
    (Mutant::LeaseNotLookedAt, "I1"),
    (Mutant::EffectBeforeRecord, "I2"),
    (Mutant::RetriesFsync, "I2"),
    (Mutant::BarrierMinusOne, "I3"),
    (Mutant::LostIsSuccess, "I3"),
    (Mutant::RevokesEarly, "I4"),
    (Mutant::NeverArmed, "I5"),
    (Mutant::MovedIsOnTheDisk, "I5"),
    (Mutant::CleansWhatWasCut, "I5"),
    (Mutant::BlindDisarm, "I6"),
    (Mutant::NoSync, "I7"),
    (Mutant::NoEpochCheck, "I8"),
    (Mutant::LocksWithoutTurns, "I8"),
    (Mutant::SaysRotated, "I10"),
    (Mutant::WaitsForever, "I13"),
    (Mutant::LeaseByWallClock, "I14"),
    (Mutant::NoBootUnit, "I5"),
    (Mutant::ForgetsToClean, "I10"),
    (Mutant::CleansInMemory, "I15"),
    (Mutant::KeepsInMemory, "I15"),
];
