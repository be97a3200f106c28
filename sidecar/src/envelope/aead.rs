//! Seals a whole message, and opens one of either suite, in place.
//!
//! Depends on the derivation and on [`crate::secret`]'s buffers. Allocates nothing, and returns plaintext only
//! when all of it is authentic. The key, the commitment and the tag can be wrong in many ways, and every one of
//! them is the same [`OpenFailed`].
//!
//! Invariants: nothing is decrypted before the commitment has been compared (test
//! `only_the_commitment_refuses_a_message_whose_tag_agrees`); a ciphertext of which any bit is changed does not
//! open (test `no_changed_bit_opens`).

mod cipher;

pub(super) use cipher::MessageCipher;

use super::stream::{LastSegment, Place, SEALED_SEGMENT_BYTES};
use super::{
    Context, FORMAT_OVERHEAD_BYTES, HEADER_BYTES, Header, MessageId, RandomUnavailable, Suite,
    wiping_the_stack,
};
use crate::secret::{Ciphertext, DataKey, OpenBuffer, Plaintext, SealBuffer};

/// The nonce of a whole message: constant, since its key is for this one message.
const WHOLE_NONCE: [u8; 12] = [0; 12];

/// A message did not open: wrong key, wrong context, or changed bytes. Which one is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the ciphertext does not open: see that context, key and bytes are those it was sealed with"
)]
pub struct OpenFailed;

/// Seals `buffer` as one whole message (suite 0x01), in its own allocation. At most 64 GiB (RFC 8452).
///
/// A `key` that mixes a subject in needs a `context` that names one (`subject`); without it the message would
/// never open.
///
/// # Errors
/// [`RandomUnavailable`] if there is no fresh message id to be had.
pub fn seal(
    key: &DataKey,
    context: &Context,
    buffer: SealBuffer,
) -> Result<Ciphertext, RandomUnavailable> {
    seal_as(MessageId::random()?, key, context, buffer)
}

/// Seals under a given message id: [`seal`] draws it, the vectors prescribe it.
pub(super) fn seal_as(
    id: MessageId,
    key: &DataKey,
    context: &Context,
    buffer: SealBuffer,
) -> Result<Ciphertext, RandomUnavailable> {
    wiping_the_stack(|| {
        let cipher = MessageCipher::to_seal(Suite::Whole, id, key, context);
        let mut whole = buffer.expose_whole();
        // A `SealBuffer` always has room for both ends.
        let (header, body) = whole.split_at_mut(HEADER_BYTES);
        header.copy_from_slice(cipher.header());
        // Fails beyond 64 GiB alone, where `whole` is wiped: there is no error to tell it apart.
        cipher.seal(&WHOLE_NONCE, body).map_err(|_| RandomUnavailable)?;
        Ok(Ciphertext::from_sealed(std::mem::take(&mut *whole)))
    })
}

/// Opens `buffer`, whose parsed header is `header`, whole or in segments, in its own allocation.
///
/// # Errors
/// [`OpenFailed`], whatever is wrong; what had been decrypted until then is wiped.
pub fn open(
    key: &DataKey,
    context: &Context,
    header: &Header,
    buffer: OpenBuffer,
) -> Result<Plaintext, OpenFailed> {
    wiping_the_stack(|| {
        let cipher = MessageCipher::to_open(key, context, header)?;
        let mut whole = buffer.into_whole();
        // A header from elsewhere would open a body that these bytes do not claim to be. And without a single
        // segment there would be nothing to authenticate.
        if !whole.starts_with(header.as_bytes()) || whole.len() < FORMAT_OVERHEAD_BYTES {
            return Err(OpenFailed);
        }
        let end = match header.suite() {
            Suite::Whole => {
                HEADER_BYTES + cipher.open(&WHOLE_NONCE, whole.split_at_mut(HEADER_BYTES).1)?
            }
            Suite::Segmented => open_segments(&cipher, &mut whole)?,
        };
        Ok(Plaintext::from_opened(whole, HEADER_BYTES, end))
    })
}

/// Opens every segment and moves the plaintexts together; returns where they end.
fn open_segments(cipher: &MessageCipher, whole: &mut [u8]) -> Result<usize, OpenFailed> {
    let mut place = Place::first();
    let (mut start, mut opened_end) = (HEADER_BYTES, HEADER_BYTES);
    while start < whole.len() {
        // The end of the input alone says which segment is the last one.
        let next = start + SEALED_SEGMENT_BYTES;
        let last = if next < whole.len() { LastSegment::No } else { LastSegment::Yes };
        let end = next.min(whole.len());
        let segment = whole.get_mut(start..end).ok_or(OpenFailed)?;
        let plaintext_len = cipher.open_segment(&mut place, segment, last)?;
        whole.copy_within(start..start + plaintext_len, opened_end);
        opened_end += plaintext_len;
        start = end;
    }
    Ok(opened_end)
}

#[cfg(test)]
mod tests;
