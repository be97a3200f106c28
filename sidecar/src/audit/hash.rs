//! Hashes whom and what an entry is about, so that the log can be searched and tells nobody.
//!
//! Depends on [`crate::names`] and [`crate::secret`]. The key is derived from a version of the reserved key
//! `keypod.audit` and lives in protected memory; whoever destroys that version makes its hashes meaningless. The format is
//! `docs/audit-log.md`, "The HMAC", with vectors. Tests: `the_documented_vectors_hold`,
//! `a_subject_and_a_context_never_have_one_hash`.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::names::KeyVersion;
use crate::secret::{
    Arena, ArenaError, AuditHashSecret, DataKey, FillError, KEY_BYTES, SealBuffer, URL_SAFE_NO_PAD,
    wiping_the_stack,
};

/// Bytes of a hash in the log.
pub const HASH_BYTES: usize = 16;

/// Bytes of that in base64url.
const HASH_TEXT_BYTES: usize = 22;

/// Bytes of a ciphertext's hash in the log.
const CIPHERTEXT_HASH_BYTES: usize = 8;

/// Bytes of that in base64url.
const CIPHERTEXT_HASH_TEXT_BYTES: usize = 11;

/// What the key is told apart by from others of the same data key.
const LABEL: &[u8] = b"keypod/v1/audit";
/// What stands before a subject.
const SUBJECT: u8 = 0x01;
/// What stands before the digest of a context.
const CONTEXT: u8 = 0x02;

/// Bytes of SHA-256's block. HMAC pads a shorter key with zeros to one block, so a padded key is the same key.
const BLOCK_BYTES: usize = 64;
/// More stack than the hashes below use: unoptimised code moves more.
const STACK_BYTES: usize = if cfg!(debug_assertions) { 32 * 1024 } else { 4 * 1024 };

/// The key of the hashes of one version of `keypod.audit`.
#[derive(Debug)]
pub struct AuditHashKey {
    secret: AuditHashSecret,
    version: KeyVersion,
}

impl AuditHashKey {
    /// `HKDF-Expand(data_key, "keypod/v1/audit", 32)` (RFC 5869, SHA-256).
    ///
    /// # Errors
    /// [`ArenaError`] when there is no protected memory left for it.
    pub fn derive(arena: &Arena, data_key: &DataKey) -> Result<Self, ArenaError> {
        let filled = AuditHashSecret::fill(arena, |secret| {
            wiping_the_stack::<STACK_BYTES, _>(|| {
                mac(data_key.expose_bytes(), &[LABEL, &[1]], secret);
            });
            Ok::<(), Infallible>(())
        });
        match filled {
            Ok(secret) => Ok(Self { secret, version: data_key.key().version }),
            Err(FillError::Arena(error)) => Err(error),
            Err(FillError::Fill(never)) => match never {},
        }
    }

    /// The version of `keypod.audit`.
    #[must_use]
    pub fn version(&self) -> KeyVersion {
        self.version
    }

    /// The hash of a context's `subject`.
    #[must_use]
    pub fn subject(&self, subject: &str) -> [u8; HASH_BYTES] {
        self.hash(SUBJECT, subject.as_bytes())
    }

    /// The hash of a whole context, of which this is the digest: `SHA-256(encode(context))`.
    #[must_use]
    pub fn context(&self, digest: &[u8; 32]) -> [u8; HASH_BYTES] {
        self.hash(CONTEXT, digest)
    }

    /// A hash as it stands in the log.
    #[must_use]
    pub fn entry(&self, hash: [u8; HASH_BYTES]) -> AuditHash {
        AuditHash { version: self.version, hash }
    }

    fn hash(&self, label: u8, message: &[u8]) -> [u8; HASH_BYTES] {
        let mut whole = [0; 32];
        wiping_the_stack::<STACK_BYTES, _>(|| {
            mac(self.secret.expose_bytes(), &[&[label], message], &mut whole);
        });
        let mut hash = [0; HASH_BYTES];
        hash.iter_mut().zip(whole).for_each(|(byte, of_whole)| *byte = of_whole);
        hash
    }
}

/// HMAC-SHA-256 (RFC 2104) of `parts`, one after the other.
fn mac(key: &[u8; KEY_BYTES], parts: &[&[u8]], to: &mut [u8; 32]) {
    let mut padded = Zeroizing::new([0; BLOCK_BYTES]);
    padded.iter_mut().zip(key).for_each(|(byte, of_key)| *byte = *of_key);
    let mut hmac = Hmac::<Sha256>::new((&*padded).into());
    parts.iter().for_each(|part| hmac.update(part));
    hmac.finalize_into(to.into());
}

/// A hash as it stands in the log: `V:H`, the version of `keypod.audit` and 16 bytes in base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AuditHash {
    /// The version of the key.
    pub version: KeyVersion,
    /// The hash.
    pub hash: [u8; HASH_BYTES],
}

impl fmt::Display for AuditHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; HASH_TEXT_BYTES];
        let written = URL_SAFE_NO_PAD.encode_slice(self.hash, &mut text).unwrap_or_default();
        let text = text.get(..written).and_then(|text| std::str::from_utf8(text).ok());
        write!(formatter, "{}:{}", self.version, text.unwrap_or_default())
    }
}

impl serde::Serialize for AuditHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that is no hash of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is a version, a colon and 22 characters, as `keypod audit hash` prints it")]
pub struct NoAuditHash;

impl FromStr for AuditHash {
    type Err = NoAuditHash;

    fn from_str(text: &str) -> Result<Self, NoAuditHash> {
        let (version, hash) = text.split_once(':').ok_or(NoAuditHash)?;
        let version = version.parse().map_err(|_| NoAuditHash)?;
        let hash = URL_SAFE_NO_PAD.decode(hash).map_err(|_| NoAuditHash)?;
        Ok(Self { version, hash: hash.try_into().map_err(|_| NoAuditHash)? })
    }
}

/// What tells a ciphertext in the log: the first 8 bytes of the SHA-256 of its header, in base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CiphertextHash([u8; CIPHERTEXT_HASH_BYTES]);

impl CiphertextHash {
    /// Of a ciphertext, or of the header that it begins with; of all that there is of what is shorter.
    #[must_use]
    pub(super) fn of(ciphertext: &[u8]) -> Self {
        let header = ciphertext.get(..SealBuffer::HEADER_BYTES).unwrap_or(ciphertext);
        let hash: [u8; 32] = Sha256::digest(header).into();
        let [a, b, c, d, e, f, g, h, ..] = hash;
        Self([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for CiphertextHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; CIPHERTEXT_HASH_TEXT_BYTES];
        let written = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).unwrap_or_default();
        let text = text.get(..written).and_then(|text| std::str::from_utf8(text).ok());
        formatter.write_str(text.unwrap_or_default())
    }
}

impl serde::Serialize for CiphertextHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The hash of a whole ciphertext, as it stands in the log. `None` for what is shorter than a header, and so no ciphertext.
#[must_use]
pub fn ciphertext_hash(ciphertext: &[u8]) -> Option<String> {
    let is_one = ciphertext.len() >= SealBuffer::HEADER_BYTES;
    is_one.then(|| CiphertextHash::of(ciphertext).to_string())
}

#[cfg(test)]
mod tests;
