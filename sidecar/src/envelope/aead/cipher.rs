//! The cipher of one message: AES-256-GCM-SIV under its message key, with its header as associated data.
//!
//! To have one for opening means that the commitment has been compared: there is no other way to make one.
//! The key schedule of the message key is computed once a message and wiped on drop (`aes` with `zeroize`);
//! AES-GCM-SIV itself derives an encryption key and a POLYVAL key from it for every nonce, so those cannot be
//! kept from one segment to the next.

use std::fmt;

use aes_gcm_siv::aead::AeadInOut;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit};
use subtle::ConstantTimeEq;

use super::super::derive::message_key;
use super::super::header::HeaderStart;
use super::super::stream::{LastSegment, Place};
use super::super::{Context, HEADER_BYTES, Header, MessageId, Suite, TAG_BYTES};
use super::OpenFailed;
use crate::secret::DataKey;

/// A part of more than 64 GiB, the most that RFC 8452 allows.
pub(in crate::envelope) struct TooLong;

/// AES-256-GCM-SIV under one message's key.
pub(in crate::envelope) struct MessageCipher {
    aead: Aes256GcmSiv,
    header: [u8; HEADER_BYTES],
}

impl MessageCipher {
    /// The cipher of a message that is to be sealed.
    pub(in crate::envelope) fn to_seal(
        suite: Suite,
        id: MessageId,
        key: &DataKey,
        context: &Context,
    ) -> Self {
        debug_assert!(names_its_subject(key.mixes_subject(), context), "it would never open");
        let start = HeaderStart::new(suite, key, id);
        let (message_key, commitment) = message_key(key, context, start.as_bytes());
        let aead = Aes256GcmSiv::new(message_key.expose_bytes().into());
        Self { aead, header: start.committed(&commitment) }
    }

    /// The cipher of a received message, if `key` and `context` are the ones it commits to.
    pub(in crate::envelope) fn to_open(
        key: &DataKey,
        context: &Context,
        header: &Header,
    ) -> Result<Self, OpenFailed> {
        if key.key() != header.key()
            || key.mixes_subject() != header.mixes_subject()
            || !names_its_subject(header.mixes_subject(), context)
        {
            return Err(OpenFailed);
        }
        let (message_key, commitment) = message_key(key, context, header.start());
        if !bool::from(commitment.ct_eq(header.commitment())) {
            return Err(OpenFailed);
        }
        let aead = Aes256GcmSiv::new(message_key.expose_bytes().into());
        Ok(Self { aead, header: *header.as_bytes() })
    }

    pub(in crate::envelope) fn header(&self) -> &[u8; HEADER_BYTES] {
        &self.header
    }

    /// Seals `[plaintext | room for a tag]` in place.
    pub(in crate::envelope) fn seal(
        &self,
        nonce: &[u8; 12],
        part: &mut [u8],
    ) -> Result<(), TooLong> {
        let (plaintext, room) = part.split_last_chunk_mut::<TAG_BYTES>().ok_or(TooLong)?;
        let tag = self.aead.encrypt_inout_detached(nonce.into(), &self.header, plaintext.into());
        *room = tag.map_err(|_| TooLong)?.into();
        Ok(())
    }

    /// Opens `[ciphertext | tag]` in place, and returns the length of the plaintext at its front. If it fails,
    /// the part is as it was.
    pub(in crate::envelope) fn open(
        &self,
        nonce: &[u8; 12],
        part: &mut [u8],
    ) -> Result<usize, OpenFailed> {
        let (text, tag) = part.split_last_chunk_mut::<TAG_BYTES>().ok_or(OpenFailed)?;
        let tag = (&*tag).into();
        let opened =
            self.aead.decrypt_inout_detached(nonce.into(), &self.header, (&mut *text).into(), tag);
        opened.map_err(|_| OpenFailed)?;
        Ok(text.len())
    }

    /// Opens the next segment in place, and returns the length of the plaintext at its front. If it fails, the
    /// message has ended.
    pub(in crate::envelope) fn open_segment(
        &self,
        place: &mut Place,
        segment: &mut [u8],
        last: LastSegment,
    ) -> Result<usize, OpenFailed> {
        let opened = match segment.len().checked_sub(TAG_BYTES) {
            Some(len) => place.take(len, last).map_err(|_| OpenFailed),
            None => Err(OpenFailed),
        };
        let opened = opened.and_then(|nonce| self.open(&nonce, segment));
        if opened.is_err() {
            place.end();
        }
        opened
    }
}

impl fmt::Debug for MessageCipher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MessageCipher")
    }
}

/// Bit 0 of the flags says that a subject's secret is mixed in, and the pair `subject` says whose.
fn names_its_subject(mixes_subject: bool, context: &Context) -> bool {
    !mixes_subject || context.value("subject").is_some()
}
