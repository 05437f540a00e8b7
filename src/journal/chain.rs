//! The hash chain: each entry's hash covers the one before it.

use sha2::{Digest as _, Sha256};

/// What the first entry is chained to.
pub(super) const FIRST: &str = "";

/// The hash of an entry, in hex. Lengths stand before texts, so that no two entries have the same bytes.
pub(super) fn hash(before: &str, seq: u64, run: &str, at_unix: u64, elapsed: u64, event: &str) -> String {
    let mut hasher = Sha256::new();
    for text in [before, run, event] {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    for number in [seq, at_unix, elapsed] {
        hasher.update(number.to_be_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
