//! The values of a run, in memory only, for as long as it lasts.

use std::collections::BTreeMap;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::model::{Fingerprint, FingerprintKey, HostName, Secret, ValueId};

/// The old and the new value of one secret.
#[derive(Clone)]
pub struct Pair {
    /// What the fleet holds when the run begins.
    pub old: Arc<Secret>,
    /// What it shall hold.
    pub new: Arc<Secret>,
}

impl Pair {
    /// Whether both values are the same, in a time that does not tell where they differ.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.old.same_as(&other.old) & self.new.same_as(&other.new)
    }
}

/// The values of a run.
#[derive(Clone, Default)]
pub struct Vault {
    pairs: BTreeMap<ValueId, Pair>,
    /// Where a host holds another old value than the rest.
    apart: BTreeMap<HostName, BTreeMap<ValueId, Pair>>,
}

impl Vault {
    /// Remembers a pair.
    pub fn insert(&mut self, id: ValueId, pair: Pair) {
        self.pairs.insert(id, pair);
    }

    /// Remembers the pair of a host that holds another old value than the rest.
    pub fn insert_apart(&mut self, host: HostName, id: ValueId, pair: Pair) {
        self.apart.entry(host).or_default().insert(id, pair);
    }

    /// The values as they are on one host.
    #[must_use]
    pub fn of(&self, host: &HostName) -> Self {
        let mut pairs = self.pairs.clone();
        pairs.extend(self.apart.get(host).into_iter().flatten().map(|(id, pair)| (id.clone(), pair.clone())));
        Self { pairs, apart: BTreeMap::new() }
    }

    /// Whether any host holds another old value than the rest.
    #[must_use]
    pub fn is_apart(&self, host: &HostName) -> bool {
        self.apart.contains_key(host)
    }

    /// The pair of a value.
    #[must_use]
    pub fn get(&self, id: &ValueId) -> Option<&Pair> {
        self.pairs.get(id)
    }

    /// All pairs, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ValueId, &Pair)> {
        self.pairs.iter()
    }

    /// The fingerprints of the new values.
    #[must_use]
    pub fn fingerprints(&self, key: &FingerprintKey) -> BTreeMap<ValueId, Fingerprint> {
        self.pairs.iter().map(|(id, pair)| (id.clone(), key.fingerprint(&pair.new))).collect()
    }

    /// The values that one host keeps in its own root-only directory until the run is cleaned, so that any coordinator can go on
    /// with this run: a line a value, `id old-hex new-hex`.
    #[must_use]
    pub fn to_keep<'a>(&self, ids: impl IntoIterator<Item = &'a ValueId>) -> Secret {
        let mut text = Zeroizing::new(Vec::new());
        for (id, pair) in ids.into_iter().filter_map(|id| Some((id, self.get(id)?))) {
            text.extend_from_slice(id.to_string().as_bytes());
            for value in [&pair.old, &pair.new] {
                text.push(b' ');
                push_hex(&mut text, value.expose());
            }
            text.push(b'\n');
        }
        Secret::new(std::mem::take(&mut *text))
    }

    /// Takes back what a host kept.
    ///
    /// # Errors
    /// If it is not what [`Vault::to_keep`] wrote. The text names no value.
    pub fn take_kept(&mut self, kept: &Secret) -> Result<(), String> {
        let broken = || "the values that the host kept cannot be read".to_owned();
        for line in kept.expose().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let mut words = line.split(|byte| *byte == b' ');
            let (Some(id), Some(old), Some(new), None) = (words.next(), words.next(), words.next(), words.next())
            else {
                return Err(broken());
            };
            let id = std::str::from_utf8(id).map_err(|_| broken())?.to_owned();
            let pair = Pair {
                old: Arc::new(from_hex(old).ok_or_else(broken)?),
                new: Arc::new(from_hex(new).ok_or_else(broken)?),
            };
            self.insert(ValueId::try_from(id)?, pair);
        }
        Ok(())
    }
}

fn push_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn from_hex(text: &[u8]) -> Option<Secret> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    Some(Secret::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_keeps_comes_back_byte_for_byte() {
        let id = ValueId::try_from("s/worker-1".to_owned()).unwrap();
        let all_bytes: Vec<u8> = (0..=255).collect();
        let mut vault = Vault::default();
        let pair = Pair { old: Arc::new(Secret::new(Vec::new())), new: Arc::new(Secret::new(all_bytes.clone())) };
        vault.insert(id.clone(), pair);
        let mut back = Vault::default();
        back.take_kept(&vault.to_keep([&id])).unwrap();
        let pair = back.get(&id).unwrap();
        assert_eq!((pair.old.len(), pair.new.expose()), (0, all_bytes.as_slice()));
    }

    #[test]
    fn what_is_damaged_is_refused() {
        for bad in ["x", "s/w 00", "s/w 0 00", "s/w zz 00", "s/w 00 00 00"] {
            assert!(Vault::default().take_kept(&Secret::new(bad.as_bytes().to_vec())).is_err(), "{bad}");
        }
    }
}
