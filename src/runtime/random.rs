//! The one place where randomness is read: the operating system's generator.

use rand::TryRng as _;
use rand::rngs::SysRng;

/// Fills with random bytes.
///
/// # Panics
/// If the operating system has no randomness to give: nothing that lockturn does is safe without.
pub fn fill(bytes: &mut [u8]) {
    SysRng.try_fill_bytes(bytes).expect("the operating system gives randomness");
}

/// So many random bytes.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}
