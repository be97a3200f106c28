//! The header of a ciphertext: 71 bytes, parsed strictly (FORMAT.md).
//!
//! Depends on [`crate::names`]. Never looks at the body, never judges the commitment: that takes the key.
//! What it takes in and gives out is public.
//!
//! Invariant: a header that parses is written back to the same bytes (test
//! `every_changed_byte_of_a_header_is_refused_or_kept`).

mod message_id;

pub use message_id::{MessageId, RandomUnavailable};

use super::concatenated;
use crate::names::{KeyId, KeyRef, KeyVersion};
use crate::secret::{DataKey, SealBuffer};

/// Bytes of the header.
pub const HEADER_BYTES: usize = SealBuffer::HEADER_BYTES;
/// Bytes of one AES-GCM-SIV tag.
pub const TAG_BYTES: usize = SealBuffer::TAG_BYTES;
/// What a whole message has beyond its plaintext, and the length of the shortest message.
pub const FORMAT_OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;
/// The header up to the commitment: what the derivation takes in.
pub(super) const START_BYTES: usize = 39;
/// The first byte of every message.
const FORMAT: u8 = 0x01;
/// Bit 0 of the flags.
const MIXES_SUBJECT: u8 = 0x01;

/// Why bytes are not one of our messages. They are not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotOurs {
    /// Less than a header and a tag.
    #[error("not a Keypod ciphertext: it has fewer than 87 bytes; see that all of it arrives")]
    TooShort,
    /// The first byte is not 0x01.
    #[error(
        "not a Keypod ciphertext: unknown format; see that these are the bytes that were sealed"
    )]
    Format,
    /// Neither 0x01 nor 0x02.
    #[error("sealed with a suite that this build does not open; a newer or a FIPS build may")]
    Suite,
    /// A bit other than bit 0 is set.
    #[error("sealed with a feature that this build does not know; a newer build may open it")]
    Flags,
    /// Key versions count from 1.
    #[error(
        "not a Keypod ciphertext: key version 0; see that these are the bytes that were sealed"
    )]
    Version,
    /// Neither `kp1.` nor base64url in its one canonical form.
    #[error("not a Keypod ciphertext in text form: it is kp1. and base64url without padding")]
    Text,
}

/// How the body is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Suite {
    /// One AES-256-GCM-SIV message.
    Whole = 0x01,
    /// Segments of 65,536 bytes, each an AES-256-GCM-SIV message (STREAM).
    Segmented = 0x02,
}

/// The parsed header of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_BYTES],
    suite: Suite,
    key: KeyRef,
    mixes_subject: bool,
}

impl Header {
    /// Reads the header at the front of `message`, of which at least the first 87 bytes must be there.
    ///
    /// # Errors
    /// [`NotOurs`], one variant for each reason.
    pub fn parse(message: &[u8]) -> Result<Self, NotOurs> {
        let (bytes, body) = message.split_first_chunk::<HEADER_BYTES>().ok_or(NotOurs::TooShort)?;
        if body.len() < TAG_BYTES {
            return Err(NotOurs::TooShort);
        }
        let [format, suite, flags, i0, i1, i2, i3, i4, i5, i6, i7, v0, v1, v2, v3, ..] = *bytes;
        if format != FORMAT {
            return Err(NotOurs::Format);
        }
        let suite = match suite {
            0x01 => Suite::Whole,
            0x02 => Suite::Segmented,
            _ => return Err(NotOurs::Suite),
        };
        if flags & !MIXES_SUBJECT != 0 {
            return Err(NotOurs::Flags);
        }
        let key = KeyRef {
            id: KeyId::from_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
            version: KeyVersion::new(u32::from_be_bytes([v0, v1, v2, v3]))
                .map_err(|_| NotOurs::Version)?,
        };
        Ok(Self { bytes: *bytes, suite, key, mixes_subject: flags == MIXES_SUBJECT })
    }

    /// How the body is made.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The key version that sealed it, or so it says: true only once it has opened.
    #[must_use]
    pub fn key(&self) -> KeyRef {
        self.key
    }

    /// Whether a subject's secret is to be mixed in.
    #[must_use]
    pub fn mixes_subject(&self) -> bool {
        self.mixes_subject
    }

    /// The 71 bytes, which are the associated data of every part of the body.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; HEADER_BYTES] {
        &self.bytes
    }

    /// `header[0..39]`, which the derivation takes in.
    pub(super) fn start(&self) -> &[u8] {
        self.bytes.split_at(START_BYTES).0
    }

    /// `header[39..71]`.
    pub(super) fn commitment(&self) -> &[u8] {
        self.bytes.split_at(START_BYTES).1
    }
}

/// `header[0..39]` of a message that is being sealed: the commitment follows from it.
pub(super) struct HeaderStart([u8; START_BYTES]);

impl HeaderStart {
    pub(super) fn new(suite: Suite, key: &DataKey, id: MessageId) -> Self {
        let flags = if key.mixes_subject() { MIXES_SUBJECT } else { 0 };
        let version = key.key().version.number().to_be_bytes();
        let fields = [FORMAT, suite as u8, flags];
        Self(concatenated(&[&fields, key.key().id.as_bytes(), &version, id.as_bytes()]))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The whole header.
    pub(super) fn committed(self, commitment: &[u8; 32]) -> [u8; HEADER_BYTES] {
        concatenated(&[&self.0, commitment])
    }
}

#[cfg(test)]
mod tests;
