//! The plaintext of one segment, on its way in.

use std::fmt;

use super::{SEALED_SEGMENT_BYTES, SEGMENT_BYTES, TAG_BYTES};
use crate::secret::WipedBytes;

/// Up to 65,536 bytes of plaintext, with room for a tag after them; wiped on drop.
pub struct SealSegment(WipedBytes);

impl SealSegment {
    /// An empty segment. What it will ever need is allocated at once: to grow would leave plaintext behind.
    #[must_use]
    pub fn new() -> Self {
        Self(WipedBytes::with_capacity(SEALED_SEGMENT_BYTES))
    }

    /// Takes as much from the front of `bytes` as still fits; `bytes` is what is left.
    pub fn fill_from(&mut self, bytes: &mut &[u8]) {
        let room = SEGMENT_BYTES - self.0.len();
        let (taken, left) = bytes.split_at(room.min(bytes.len()));
        self.0.extend_from_slice(taken);
        *bytes = left;
    }

    /// Whether it holds 65,536 bytes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() == SEGMENT_BYTES
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `[plaintext | room for a tag]`, in the same allocation.
    pub(super) fn expose_with_room_for_tag(mut self) -> WipedBytes {
        self.0.extend_from_slice(&[0; TAG_BYTES]);
        self.0
    }
}

impl Default for SealSegment {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SealSegment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealSegment({} bytes)", self.len())
    }
}
