//! Which way a run goes whose journal is lost, from what every one of its hosts says.
//!
//! A host is confirmed only after the decision to stay is durable, and hosts are cleaned only after all are confirmed. So where one host
//! is confirmed it was decided that the new content stays; where none is, none can have heard of such a decision, and going back
//! contradicts nobody.

use std::collections::BTreeMap;

use crate::model::{Decision, Found, HostName, Stands, Step};

use super::Host;

/// Which way it goes.
///
/// # Errors
/// A host that heard that the new content stays, and one whose word cannot be true then: nobody guesses which of the two is wrong.
pub fn way(found: &BTreeMap<HostName, Found>) -> Result<Decision, (&HostName, &HostName)> {
    let first = |stands: Stands| found.iter().find(|(_, said)| said.stands == stands).map(|(name, _)| name);
    let Some(confirmed) = first(Stands::Confirmed) else { return Ok(Decision::Rollback) };
    // Whoever was never cut had not proved the new value, so nothing was decided. Where somebody has not heard of the decision nobody
    // was cleaned.
    let cleaned_too_soon = first(Stands::Cut).and(first(Stands::Nothing));
    match first(Stands::Uncut).or(cleaned_too_soon) {
        Some(other) => Err((confirmed, other)),
        None => Ok(Decision::Commit),
    }
}

impl Host {
    /// A host of a run whose journal is lost.
    pub(super) fn found(stands: Stands, decision: Decision) -> Self {
        let taken = Self { entered: true, ..Self::default() };
        let cut = Self { moved: true, woken: true, forward: Some(Step::Stage), ..taken.clone() };
        match (stands, decision) {
            // It was cleaned, which is done only after everybody is confirmed; what it holds now it did not say.
            (Stands::Nothing, Decision::Commit) => {
                Self { forward: Some(Step::Confirm), clean: true, unproved: true, ..cut }
            }
            (Stands::Nothing, Decision::Rollback) => Self::default(),
            (Stands::Uncut, _) => taken,
            // Its services may have been told, or not.
            (Stands::Cut, _) => cut,
            (Stands::Confirmed, _) => Self { forward: Some(Step::Confirm), ..cut },
        }
    }
}
