//! Seals and opens a message segment by segment (suite 0x02, the STREAM construction).
//!
//! Depends on the cipher of a message alone. Never holds more than one segment, never does I/O. A segment's
//! place and whether it is the last one are in its nonce, so segments cannot be left out, moved, repeated or
//! cut off.
//!
//! The last segment must be known as such when it is sealed or opened, and only the end of the input tells
//! (FORMAT.md). The simple way is to keep one full segment back: when the current one is full *and another byte
//! arrives*, it was not the last ([`LastSegment::No`]); when the input ends, whatever is held is the last one
//! ([`LastSegment::Yes`]), full, short or, for an empty message, empty. An opener's input has ended well only
//! once a segment has opened with `Yes`.
//!
//! Invariant: after an error, and after the last segment, nothing more is sealed or opened (tests
//! `a_sealer_refuses_everything_after_*`, `an_opener_refuses_everything_after_*`).

mod place;
mod segment;

pub(super) use place::Place;
#[cfg(test)]
pub(super) use place::segment_nonce;
pub use segment::SealSegment;

use super::aead::MessageCipher;
use super::{
    Context, HEADER_BYTES, Header, MessageId, OpenFailed, RandomUnavailable, Suite, TAG_BYTES,
    wiping_the_stack,
};
use crate::secret::{DataKey, OpenBuffer, Plaintext};

/// Plaintext bytes of every segment but the last.
pub const SEGMENT_BYTES: usize = 65_536;
/// The same, sealed.
pub(super) const SEALED_SEGMENT_BYTES: usize = SEGMENT_BYTES + TAG_BYTES;
/// Segments of one message: 2^32, which is 256 TiB.
const SEGMENTS_MAX: u64 = 1 << 32;

/// Whether a segment is the last one of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastSegment {
    /// More follow: it must be full.
    No,
    /// None follows.
    Yes,
}

/// Why a segment was not sealed: the caller used the sealer wrongly, or the message is too long. The stream
/// cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// A segment that is not the last one must be full.
    #[error("a segment before the last has fewer than 65536 bytes: fill it before sealing it")]
    NotFull,
    /// An empty segment can only be the only one.
    #[error("the last segment is empty: keep one segment back until the input goes on or ends")]
    EmptyLast,
    /// The last segment was sealed, or a segment failed.
    #[error("the message has ended: begin another one")]
    Ended,
    /// More than 2^32 segments.
    #[error("the message is longer than 2^32 segments: seal it as several messages")]
    TooLong,
}

/// Seals one message, segment by segment. Write [`SegmentSealer::header`] first, then each sealed segment.
#[derive(Debug)]
pub struct SegmentSealer {
    // Boxed: a value that lives across awaits moves, and each move would leave the key schedule behind.
    cipher: Box<MessageCipher>,
    place: Place,
}

impl SegmentSealer {
    /// A new message.
    ///
    /// # Errors
    /// [`RandomUnavailable`] if there is no fresh message id to be had.
    pub fn new(key: &DataKey, context: &Context) -> Result<Self, RandomUnavailable> {
        Ok(Self::sealing_as(MessageId::random()?, key, context))
    }

    /// A message with a given id: [`SegmentSealer::new`] draws it, the vectors prescribe it.
    pub(super) fn sealing_as(id: MessageId, key: &DataKey, context: &Context) -> Self {
        let cipher = wiping_the_stack(|| {
            Box::new(MessageCipher::to_seal(Suite::Segmented, id, key, context))
        });
        Self { cipher, place: Place::first() }
    }

    /// The 71 bytes before the first segment.
    #[must_use]
    pub fn header(&self) -> &[u8; HEADER_BYTES] {
        self.cipher.header()
    }

    /// The next segment, sealed in its own allocation.
    ///
    /// # Errors
    /// [`StreamError`]; the segment is wiped and the message cannot go on.
    pub fn seal(
        &mut self,
        segment: SealSegment,
        last: LastSegment,
    ) -> Result<Vec<u8>, StreamError> {
        let nonce = self.place.take(segment.len(), last)?;
        let mut part = segment.expose_with_room_for_tag();
        wiping_the_stack(|| self.cipher.seal(&nonce, &mut part))
            .map_err(|_| StreamError::TooLong)?;
        Ok(std::mem::take(&mut *part))
    }
}

/// Opens one message, segment by segment.
#[derive(Debug)]
pub struct SegmentOpener {
    cipher: Box<MessageCipher>,
    place: Place,
}

impl SegmentOpener {
    /// The message with this header, once its commitment has been compared.
    ///
    /// # Errors
    /// [`OpenFailed`] if key or context are not the ones it was sealed with, or it is not segmented.
    pub fn new(key: &DataKey, context: &Context, header: &Header) -> Result<Self, OpenFailed> {
        if header.suite() != Suite::Segmented {
            return Err(OpenFailed);
        }
        let cipher =
            wiping_the_stack(|| MessageCipher::to_open(key, context, header).map(Box::new))?;
        Ok(Self { cipher, place: Place::first() })
    }

    /// Opens the next segment (ciphertext and tag: 65,552 bytes, or fewer for the last one) in its own
    /// allocation.
    ///
    /// # Errors
    /// [`OpenFailed`]; the segment is wiped and the message cannot go on.
    pub fn open(
        &mut self,
        segment: OpenBuffer,
        last: LastSegment,
    ) -> Result<Plaintext, OpenFailed> {
        let mut part = segment.into_whole();
        let end = wiping_the_stack(|| self.cipher.open_segment(&mut self.place, &mut part, last))?;
        Ok(Plaintext::from_opened(part, 0, end))
    }
}

#[cfg(test)]
mod tests;
