//! Where in its message a segment stands: one set of rules for sealing and opening.

use super::{LastSegment, SEGMENT_BYTES, SEGMENTS_MAX, StreamError};

/// The place of the next segment.
#[derive(Debug)]
pub(in crate::envelope) struct Place {
    /// Its index, or `None` once the message has ended, well or not.
    next: Option<u64>,
}

impl Place {
    /// The place of the first segment.
    pub(in crate::envelope) const fn first() -> Self {
        Self { next: Some(0) }
    }

    /// Takes the place for a segment of `plaintext_len` bytes and returns its nonce. The last segment ends the
    /// message, and so does an error.
    pub(in crate::envelope) fn take(
        &mut self,
        plaintext_len: usize,
        last: LastSegment,
    ) -> Result<[u8; 12], StreamError> {
        let index = self.next.take().ok_or(StreamError::Ended)?;
        if index >= SEGMENTS_MAX || plaintext_len > SEGMENT_BYTES {
            return Err(StreamError::TooLong);
        }
        match last {
            LastSegment::No if plaintext_len < SEGMENT_BYTES => return Err(StreamError::NotFull),
            LastSegment::Yes if plaintext_len == 0 && index > 0 => {
                return Err(StreamError::EmptyLast);
            }
            LastSegment::No => self.next = Some(index + 1),
            LastSegment::Yes => {}
        }
        Ok(segment_nonce(index, last))
    }

    /// Ends the message: a segment was not authentic.
    pub(in crate::envelope) fn end(&mut self) {
        self.next = None;
    }
}

/// `i as 11-byte integer ‖ last` (FORMAT.md).
pub(in crate::envelope) fn segment_nonce(index: u64, last: LastSegment) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = index.to_be_bytes();
    [0, 0, 0, a, b, c, d, e, f, g, h, u8::from(last == LastSegment::Yes)]
}

#[cfg(test)]
mod tests {
    use super::LastSegment::{No, Yes};
    use super::*;

    const FULL: usize = SEGMENT_BYTES;

    #[test]
    fn segments_before_the_last_are_full_and_the_last_is_not_empty() {
        let mut place = Place::first();
        assert_eq!(place.take(FULL, No), Ok([0; 12]));
        assert_eq!(place.take(FULL, No), Ok([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]));
        assert_eq!(place.take(1, Yes), Ok([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1]));

        assert_eq!(Place::first().take(0, Yes), Ok([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
        assert!(Place::first().take(FULL, Yes).is_ok());
        assert_eq!(Place::first().take(FULL + 1, Yes), Err(StreamError::TooLong));
        assert_eq!(Place::first().take(FULL + 1, No), Err(StreamError::TooLong));
        assert_eq!(Place::first().take(FULL - 1, No), Err(StreamError::NotFull));
        let mut second = Place { next: Some(1) };
        assert_eq!(second.take(0, Yes), Err(StreamError::EmptyLast));
    }

    #[test]
    fn nothing_comes_after_the_last_segment_or_an_error() {
        for (len, last) in [(FULL, Yes), (1, Yes), (1, No), (FULL + 1, Yes)] {
            let mut place = Place::first();
            let _ = place.take(len, last);
            assert_eq!(place.take(FULL, No), Err(StreamError::Ended));
            assert_eq!(place.take(1, Yes), Err(StreamError::Ended));
        }
        let mut place = Place::first();
        place.end();
        assert_eq!(place.take(FULL, No), Err(StreamError::Ended));
    }

    #[test]
    fn a_message_has_at_most_two_to_the_32_segments() {
        let mut place = Place { next: Some(SEGMENTS_MAX - 1) };
        assert_eq!(place.take(FULL, No), Ok([0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0]));
        assert_eq!(place.take(1, Yes), Err(StreamError::TooLong));
        assert!(Place { next: Some(SEGMENTS_MAX - 1) }.take(1, Yes).is_ok());
    }
}
