//! Message buffers: plaintext and ciphertext as different types over one allocation.
//!
//! A [`SealBuffer`] holds plaintext between room for a header and room for a tag; sealing consumes it and gives
//! a [`Ciphertext`]. An [`OpenBuffer`] holds a ciphertext; opening consumes it and gives a [`Plaintext`] in the
//! same bytes. Whatever has held plaintext is wiped on drop.

use std::fmt;

use zeroize::Zeroize;

use super::WipedBytes;

const HEADER_BYTES: usize = SealBuffer::HEADER_BYTES;
const TAG_BYTES: usize = SealBuffer::TAG_BYTES;

/// Plaintext on its way in: `[71 bytes for the header | plaintext | 16 bytes for the tag]`, allocated once.
pub struct SealBuffer(WipedBytes);

impl SealBuffer {
    /// Bytes before the plaintext: the header of FORMAT.md.
    pub(crate) const HEADER_BYTES: usize = 71;
    /// Bytes after the plaintext: one AES-GCM-SIV tag.
    pub(crate) const TAG_BYTES: usize = 16;

    /// Room for exactly `plaintext_len` bytes, all zero.
    #[must_use]
    pub fn with_len(plaintext_len: usize) -> Self {
        Self(WipedBytes::zeroed(HEADER_BYTES + plaintext_len + TAG_BYTES))
    }

    /// A buffer with a copy of `plaintext`.
    #[must_use]
    pub fn copied_from(plaintext: &[u8]) -> Self {
        let mut buffer = Self::with_len(plaintext.len());
        buffer.expose_plaintext_mut().copy_from_slice(plaintext);
        buffer
    }

    /// Plaintext bytes that it holds.
    #[must_use]
    pub fn plaintext_len(&self) -> usize {
        self.0.len() - HEADER_BYTES - TAG_BYTES
    }

    /// Shortens the plaintext to `plaintext_len`, if it is longer: for a decoder that knows the length only
    /// when it has finished. What is cut off is wiped: sealing gives the allocation away.
    pub fn truncate(&mut self, plaintext_len: usize) {
        if plaintext_len < self.plaintext_len() {
            let end = HEADER_BYTES + plaintext_len;
            self.0.get_mut(end..).unwrap_or_default().zeroize();
            self.0.truncate(end + TAG_BYTES);
        }
    }

    /// The plaintext, to be filled in place.
    pub fn expose_plaintext_mut(&mut self) -> &mut [u8] {
        let end = self.0.len() - TAG_BYTES;
        self.0.get_mut(HEADER_BYTES..end).unwrap_or_default()
    }

    /// The whole allocation: header, plaintext and tag. Only the envelope takes it.
    pub(crate) fn expose_whole(self) -> WipedBytes {
        self.0
    }
}

impl fmt::Debug for SealBuffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealBuffer({} bytes)", self.plaintext_len())
    }
}

/// A whole sealed message in binary form (FORMAT.md). Not secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Ciphertext(Vec<u8>);

impl Ciphertext {
    /// Only the envelope makes one.
    pub(crate) fn from_sealed(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The binary form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The binary form, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Ciphertext({} bytes)", self.0.len())
    }
}

/// A ciphertext on its way in, which will be opened in place; wiped on drop, since a failed opening may leave
/// plaintext that was never authentic.
pub struct OpenBuffer(WipedBytes);

impl OpenBuffer {
    /// These bytes, as received: not yet parsed.
    #[must_use]
    pub fn from_received(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// The received bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The whole allocation. Only the envelope takes it.
    pub(crate) fn into_whole(self) -> WipedBytes {
        self.0
    }
}

impl fmt::Debug for OpenBuffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OpenBuffer({} bytes)", self.0.len())
    }
}

/// An authentic plaintext, still in the allocation that it was opened in; wiped on drop.
pub struct Plaintext {
    whole: WipedBytes,
    start: usize,
    end: usize,
}

impl Plaintext {
    /// The authentic bytes are `whole[start..end]`. Only the envelope makes one.
    pub(crate) fn from_opened(whole: WipedBytes, start: usize, end: usize) -> Self {
        Self { whole, start, end }
    }

    /// The plaintext.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        self.whole.get(self.start..self.end).unwrap_or_default()
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Plaintext({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_lengths_and_never_bytes() {
        let buffer = SealBuffer::copied_from(b"diagnosis");
        assert_eq!(format!("{buffer:?}"), "SealBuffer(9 bytes)");
        let opened = Plaintext::from_opened(b"xdiagnosis".to_vec().into(), 1, 10);
        assert_eq!(format!("{opened:?}"), "Plaintext(9 bytes)");
        assert_eq!(opened.expose_bytes(), b"diagnosis");
    }

    #[test]
    fn a_shortened_buffer_keeps_its_room_for_header_and_tag() {
        let mut buffer = SealBuffer::copied_from(b"abcdef");
        buffer.truncate(3);
        assert_eq!(buffer.expose_plaintext_mut(), b"abc");
        buffer.truncate(100);
        assert_eq!(buffer.plaintext_len(), 3);
        assert_eq!(buffer.expose_whole().len(), HEADER_BYTES + 3 + TAG_BYTES);
    }

    #[test]
    fn what_is_cut_off_is_wiped() {
        let mut buffer = SealBuffer::copied_from(&[7; 100]);
        buffer.truncate(3);
        assert_eq!(buffer.expose_whole()[HEADER_BYTES + 3..], [0; TAG_BYTES]);
    }
}
