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

use super::{Context, wiping_the_stack};
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
    let subject = subject.map(SubjectSecret::expose_bytes).into_iter().flatten();
    let mut salt = Zeroizing::new([0; BLOCK_BYTES]);
    for (to, from) in salt.iter_mut().zip(key.id.as_bytes().iter().chain(&version).chain(subject)) {
        *to = *from;
    }
    salt
}

/// The key of one message and its commitment:
/// `HKDF-Expand(data_key, "keypod/v1/message" ‖ header[0..39] ‖ context_digest, 64)`.
pub(super) fn message_key(
    key: &DataKey,
    context: &Context,
    header_start: &[u8],
) -> (MessageKey, [u8; 32]) {
    const LABEL: &[u8] = b"keypod/v1/message";
    let info = [LABEL, header_start, &context.digest()];
    let mut commitment = [0; 32];
    let message_key =
        MessageKey::fill(|bytes| expand(key.expose_bytes(), &info, bytes, &mut commitment));
    (message_key, commitment)
}

/// HKDF-Extract (RFC 5869, section 2.2).
fn extract(salt: &[u8; BLOCK_BYTES], ikm: &[u8], prk: &mut [u8; KEY_BYTES]) {
    Hmac::<Sha256>::new(salt.into()).chain_update(ikm).finalize_into(prk.into());
}

/// The first 64 bytes of HKDF-Expand (RFC 5869, section 2.3): `T(1)` and `T(2)`.
fn expand(prk: &[u8; KEY_BYTES], info: &[&[u8]], t1: &mut [u8; 32], t2: &mut [u8; 32]) {
    let mut padded = Zeroizing::new([0; BLOCK_BYTES]);
    padded.split_at_mut(KEY_BYTES).0.copy_from_slice(prk);
    let keyed = Hmac::<Sha256>::new((&*padded).into());
    let with_info =
        |hmac: Hmac<Sha256>| info.iter().fold(hmac, |hmac, part| hmac.chain_update(part));
    with_info(keyed.clone()).chain_update([1]).finalize_into(t1.into());
    with_info(keyed.chain_update(t1.as_slice())).chain_update([2]).finalize_into(t2.into());
}

#[cfg(test)]
mod tests;
