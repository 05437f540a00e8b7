//! The steps on one host, the states that they lead to, and the verdicts of a run.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $type {
            $($(#[$vdoc])* #[serde(rename = $label)] $variant,)*
        }

        impl $type {
            /// Every one, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its one word, the same in ledger, screen, JSON and documentation.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.label())
            }
        }
    };
}

words! {
    /// What is done on one host, in the order of a run that goes forward, then of one that goes back, then of a quarantine.
    Step {
        /// Take the host for this run.
        Lock = "lock",
        /// Put the new content beside the old one, keep a backup, rehearse the way back.
        Stage = "stage",
        /// Write down that the host waits for a confirmation.
        Arm = "arm",
        /// Put the new content in place. Nothing else.
        Cut = "cut",
        /// Make the services take it.
        Activate = "activate",
        /// Prove it: new accepted, old refused.
        Verify = "verify",
        /// Tell the host that the decision is to stay.
        Confirm = "confirm",
        /// Put the old content back in place.
        Revert = "revert",
        /// Make the services take the old content again.
        Reactivate = "reactivate",
        /// Prove that the old value is accepted again, the new one refused.
        Reverify = "reverify",
        /// Remove everything that the run left on the host.
        Clean = "clean",
        /// In a quarantine: end there what leads to the isolated hosts.
        Stop = "stop",
        /// In a quarantine: make worthless there what the isolated hosts know, and prove it.
        Forget = "forget",
    }
}

words! {
    /// Where a host stands in a run.
    HostState {
        /// Nothing has been done there.
        Pending = "pending",
        /// The new content lies beside the old one.
        Staged = "staged",
        /// It waits for the cut.
        Armed = "armed",
        /// The new content is in place; the services may run with either.
        Cut = "cut",
        /// The services proved the new value.
        Verified = "verified",
        /// It knows that the new value stays.
        Confirmed = "confirmed",
        /// It is on its way back.
        Reverting = "reverting",
        /// It is back on the old value: proved, or else on the operator's word.
        Reverted = "reverted",
        /// Nobody knows: it did not answer.
        InDoubt = "in-doubt",
        /// It owes the rotation.
        Owing = "owing",
        /// Its service is stopped on purpose.
        Held = "held",
        /// It is isolated.
        Quarantined = "quarantined",
        /// It answered, and what it says does not fit: a person must look.
        Inconsistent = "inconsistent",
    }
}

words! {
    /// What became of a run.
    Verdict {
        /// Every host proved the new values and the run left nothing behind.
        Rotated = "rotated",
        /// Every host that had moved is back on the old values: proved, or else on the operator's word.
        RolledBack = "rolled-back",
        /// A drill: the fault was there, and then every host was proved to be back on the old values, in the way that was rehearsed.
        Drilled = "drilled",
        /// Nobody moved.
        Refused = "refused",
        /// The new values are proved; something is still owed: a host, or a clean-up.
        RotatedWithDebt = "rotated-with-debt",
        /// Some hosts are in doubt or inconsistent: a person must look.
        Inconsistent = "inconsistent",
        /// Every peer is proved to drop the hosts.
        Quarantined = "quarantined",
        /// Hosts and peers are proved to have none of the rules any more.
        Released = "released",
        /// The rules are not proved on every peer, or not gone from every machine.
        Partial = "partial",
    }
}
