//! The bytes of a secret, and the only form in which they are ever shown.
//!
//! **Invariant:** a [`Secret`] has no `Debug`, `Display`, `Serialize`, `PartialEq` or `Clone`. It leaves only through
//! [`Secret::expose`], so that `grep expose` lists every place where bytes are handled. Tested in `tests/it/walls.rs`.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A value that must not be seen. Wiped when dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes; the caller's buffer becomes this one and is wiped with it.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one statement that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in a time that depends on the lengths only.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }

    /// A second copy, wiped like the first. Named, because each copy is one more place to wipe.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}

/// How many bytes of the HMAC a fingerprint keeps: 64 bits tell values of one fleet apart and give nothing to search for.
const FINGERPRINT_BYTES: usize = 8;

/// A keyed HMAC-SHA-256 (RFC 2104) of a value, cut to 64 bits: the only form in which a value is shown, logged or stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let broken = || format!("`{text}` is not a fingerprint: {} hex digits are", FINGERPRINT_BYTES * 2);
        if text.len() != FINGERPRINT_BYTES * 2 || !text.is_ascii() {
            return Err(broken());
        }
        let mut bytes = [0; FINGERPRINT_BYTES];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[i * 2..i * 2 + 2], 16).map_err(|_| broken())?;
        }
        Ok(Self(bytes))
    }
}

/// The operator's own key of all fingerprints. Without it a short secret could be found by trying values.
pub struct FingerprintKey(Secret);

impl FingerprintKey {
    /// How many bytes a key has: the output size of SHA-256.
    pub const BYTES: usize = 32;

    /// Takes a key that the edge read or generated.
    #[must_use]
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(Secret::new(bytes.to_vec()))
    }

    /// The fingerprint of a value under this key.
    #[must_use]
    pub fn fingerprint(&self, value: &Secret) -> Fingerprint {
        let full = hmac_sha256(&self.0, value.expose());
        let mut bytes = [0; FINGERPRINT_BYTES];
        bytes.copy_from_slice(&full[..FINGERPRINT_BYTES]);
        Fingerprint(bytes)
    }
}

/// HMAC-SHA-256 (RFC 2104) of `message` under `key`.
#[must_use]
pub fn hmac_sha256(key: &Secret, message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_the_key_and_the_value() {
        let (a, b) = (FingerprintKey::new([1; 32]), FingerprintKey::new([2; 32]));
        let value = Secret::new(b"hunter2".to_vec());
        assert_ne!(a.fingerprint(&value), b.fingerprint(&value));
        assert_eq!(a.fingerprint(&value), a.fingerprint(&value.duplicate()));
        let text = a.fingerprint(&value).to_string();
        assert_eq!(Fingerprint::try_from(text.clone()).map(String::from), Ok(text));
    }

    #[test]
    fn hmac_is_that_of_rfc_4231_test_case_2() {
        let mac = hmac_sha256(&Secret::new(b"Jefe".to_vec()), b"what do ya want for nothing?");
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }
}
