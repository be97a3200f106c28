//! Derives data keys and message keys: HKDF-SHA-256 (RFC 5869), with the inputs that FORMAT.md gives it.
//!
//! Depends on [`crate::secret`] and [`crate::names`]. Every key is written where it is to stay. HKDF is spelt
//! out here over HMAC, in eight lines, because the crate of that name keeps each output block in memory of its
//! own, which it does not wipe; tests compare the two and run Wycheproof's vectors. `sha2` and `hmac` wipe
//! their states on drop (feature `zeroize`); what moves and padded key blocks leave on the stack,
//! [`super::wiping_the_stack`] covers.

use std::convert::Infallible;

use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::header::START_BYTES;
use super::{Context, concatenated, wiping_the_stack};
use crate::names::KeyRef;
use crate::secret::{
    Arena, ArenaError, DataKey, DataKeyBytes, FillError, KEY_BYTES, KeyVersionSecret, MessageKey,
    SubjectSecret,
};

/// Bytes of SHA-256's block. HMAC pads a shorter key with zeros to one block, so a padded key is the same key.
const BLOCK_BYTES: usize = 64;

/// The data key of one key version, or of one subject under it:
/// `HKDF-Extract(salt = key_id ‖ version ‖ subject_secret, IKM = version_secret)`.
///
/// # Errors
/// [`ArenaError`] when there is no protected memory left for it.
pub fn data_key(
    arena: &Arena,
    key: KeyRef,
    version_secret: &KeyVersionSecret,
    subject: Option<&SubjectSecret>,
) -> Result<DataKey, ArenaError> {
    let derive = |slot: &mut [u8; KEY_BYTES]| {
        wiping_the_stack(|| {
            let salt = data_key_salt(key, subject);
            extract(&salt, version_secret.expose_bytes(), slot);
        });
        Ok::<(), Infallible>(())
    };
    match DataKeyBytes::fill(arena, derive) {
        Ok(bytes) => Ok(DataKey::new(bytes, key, subject.is_some())),
        Err(FillError::Arena(error)) => Err(error),
        Err(FillError::Fill(never)) => match never {},
    }
}

/// `key_id(8) ‖ version(4) ‖ subject_secret(0 or 32)`, padded with zeros to one block.
fn data_key_salt(key: KeyRef, subject: Option<&SubjectSecret>) -> Zeroizing<[u8; BLOCK_BYTES]> {
    let version = key.version.number().to_be_bytes();
    let subject = subject.map_or(&[][..], |secret| secret.expose_bytes());
    Zeroizing::new(concatenated(&[key.id.as_bytes(), &version, subject]))
}

/// What the derivation of a message key is told apart by.
const LABEL: &[u8; 17] = b"keypod/v1/message";

/// The key of one message and its commitment:
/// `HKDF-Expand(data_key, "keypod/v1/message" ‖ header[0..39] ‖ context_digest, 64)`.
pub(super) fn message_key(
    key: &DataKey,
    context: &Context,
    header_start: &[u8],
) -> (MessageKey, [u8; 32]) {
    let info: [u8; LABEL.len() + START_BYTES + 32] =
        concatenated(&[LABEL, header_start, &context.digest()]);
    let mut commitment = [0; 32];
    let message_key =
        MessageKey::fill(|bytes| expand(key.expose_bytes(), &info, bytes, &mut commitment));
    (message_key, commitment)
}

/// HKDF-Extract (RFC 5869, section 2.2).
fn extract(salt: &[u8; BLOCK_BYTES], ikm: &[u8], prk: &mut [u8; KEY_BYTES]) {
    let mut hmac = Hmac::<Sha256>::new(salt.into());
    hmac.update(ikm);
    hmac.finalize_into(prk.into());
}

/// The first 64 bytes of HKDF-Expand (RFC 5869, section 2.3): `T(1)` and `T(2)`.
fn expand(prk: &[u8; KEY_BYTES], info: &[u8], t1: &mut [u8; 32], t2: &mut [u8; 32]) {
    let padded: Zeroizing<[u8; BLOCK_BYTES]> = Zeroizing::new(concatenated(&[prk]));
    // Updated through `&mut`: each move of a state would cost as much as a block, and leave a copy behind.
    let mut second = Hmac::<Sha256>::new((&*padded).into());
    let mut first = second.clone();
    first.update(info);
    first.update(&[1]);
    first.finalize_into(t1.into());
    second.update(t1.as_slice());
    second.update(info);
    second.update(&[2]);
    second.finalize_into(t2.into());
}

#[cfg(test)]
mod tests;
