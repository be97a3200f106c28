//! The context of a message: names and values that whoever opens it must give again (FORMAT.md).
//!
//! Depends on nothing of this crate. Pairs are parsed and sorted once; a [`Context`] is valid ever after.
//! Values can be personal data (a patient's number), so neither `Debug` nor an error ever shows one, nor a
//! name.
//!
//! Invariant: two contexts have one digest only if they have the same pairs (test
//! `contexts_encode_as_the_vectors_say`, and `context.json`).

mod json;

use std::fmt;

use sha2::{Digest, Sha256};

/// Pairs that one request may carry (API.md).
const PAIRS_MAX: usize = 32;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of a value.
const VALUE_BYTES_MAX: usize = 1_024;
/// The SHA-256 of four zero bytes, which is the encoding of no pairs (first vector of `context.json`).
const EMPTY_DIGEST: [u8; 32] = [
    0xdf, 0x3f, 0x61, 0x98, 0x04, 0xa9, 0x2f, 0xdb, 0x40, 0x57, 0x19, 0x2d, 0xc4, 0x3d, 0xd7, 0x48,
    0xea, 0x77, 0x8a, 0xdc, 0x52, 0xbc, 0x49, 0x8c, 0xe8, 0x05, 0x24, 0xc0, 0x14, 0xb8, 0x11, 0x19,
];

/// Why a context was refused. Neither names nor values are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// More than 32 pairs.
    #[error("a context has at most 32 pairs: leave some out")]
    TooManyPairs,
    /// A name that is not 1 to 64 of `[a-z0-9_.-]`.
    #[error("a name in a context is 1 to 64 of a-z 0-9 _ . -: rename the pair")]
    Name,
    /// A value of more than 1,024 bytes.
    #[error("a value in a context is at most 1024 bytes of UTF-8: shorten it, or give its hash")]
    Value,
    /// One name more than once, in one context or in two that are joined.
    #[error("a name stands twice in a context: give each name once")]
    NameTwice,
    /// JSON, but not an object.
    #[error("a context is a JSON object of strings: leave it out if there is none")]
    NotAnObject,
    /// A value of another JSON type, `null` among them.
    #[error("a value in a context is a JSON string: write numbers and booleans in quotes")]
    NotAString,
}

/// Pairs of a name and a value, sorted by the bytes of their names. Deserialises from a JSON object of strings
/// and from nothing else; a field should be `#[serde(default)] Context`, since an `Option` would take `null`.
///
/// Its digest is computed when it is parsed: sealing, the audit log and every other item of a batch use it again.
#[derive(Clone, PartialEq, Eq)]
pub struct Context {
    pairs: Vec<(String, String)>,
    digest: [u8; 32],
}

impl Context {
    /// No pairs.
    #[must_use]
    pub const fn empty() -> Self {
        Self { pairs: Vec::new(), digest: EMPTY_DIGEST }
    }

    /// These pairs, in any order, within the limits of API.md.
    ///
    /// # Errors
    /// [`ContextError`] for a pair beyond the limits and for a name given twice.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ContextError> {
        let mut taken = Vec::new();
        for (name, value) in pairs {
            if taken.len() == PAIRS_MAX {
                return Err(ContextError::TooManyPairs);
            }
            check_pair(&name, &value)?;
            taken.push((name, value));
        }
        Self::sorted(taken)
    }

    /// The pairs of both: an item's context adds to its batch's.
    ///
    /// # Errors
    /// [`ContextError::NameTwice`] if a name stands in both, [`ContextError::TooManyPairs`] if there are more
    /// than 32 together.
    pub fn joined(&self, other: &Self) -> Result<Self, ContextError> {
        if self.len() + other.len() > PAIRS_MAX {
            return Err(ContextError::TooManyPairs);
        }
        Self::sorted(self.pairs.iter().chain(&other.pairs).cloned().collect())
    }

    /// The value of the pair with this name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let at = self.pairs.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        self.pairs.get(at).map(|(_, value)| value.as_str())
    }

    /// The pairs, sorted by the bytes of their names.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether it has no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// How many pairs it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// `SHA-256(encode(context))` (FORMAT.md).
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    fn sorted(mut pairs: Vec<(String, String)>) -> Result<Self, ContextError> {
        // `str` is ordered by its bytes, which is the format's order.
        pairs.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        if !pairs.is_sorted_by(|(one, _), (other, _)| one < other) {
            return Err(ContextError::NameTwice);
        }
        let mut hash = Sha256::new();
        encode(&pairs, |bytes| hash.update(bytes));
        Ok(Self { pairs, digest: hash.finalize().into() })
    }

    /// `encode(context)`, in one piece.
    #[cfg(test)]
    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut encoded = Vec::new();
        encode(&self.pairs, |bytes| encoded.extend_from_slice(bytes));
        encoded
    }

    /// Pairs beyond the API's limits, which some vectors have.
    #[cfg(test)]
    pub(crate) fn beyond_limits(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::sorted(pairs.into_iter().collect()).unwrap()
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Context({} pairs)", self.len())
    }
}

fn check_pair(name: &str, value: &str) -> Result<(), ContextError> {
    let in_name = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(in_name) {
        return Err(ContextError::Name);
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(ContextError::Value);
    }
    Ok(())
}

/// `encode(context)` (FORMAT.md), piece by piece: every string after its length, so that no two contexts have
/// one encoding. Allocates nothing.
fn encode(pairs: &[(String, String)], mut write: impl FnMut(&[u8])) {
    write(&length(pairs.len()));
    for (name, value) in pairs {
        write(&length(name.len()));
        write(name.as_bytes());
        write(&length(value.len()));
        write(value.as_bytes());
    }
}

/// A length as the format writes it. Every length fits: the limits are far below 2^32.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests;
