//! The text form of a message: `kp1.` and base64url without padding (FORMAT.md).
//!
//! Depends on nothing of this crate but [`OpenBuffer`] and [`NotOurs`]. One message has one text: padding,
//! white space, the other alphabet and unused bits that are set are all refused (test
//! `text_that_decodes_encodes_to_itself`).

use base64::Engine;

use super::NotOurs;
use crate::secret::{OpenBuffer, URL_SAFE_NO_PAD};

/// In front of every text.
const PREFIX: &str = "kp1.";

/// The text form of a message.
#[must_use]
pub fn encode_text(message: &[u8]) -> String {
    let mut text = String::with_capacity(PREFIX.len() + digits(message.len()));
    text.push_str(PREFIX);
    URL_SAFE_NO_PAD.encode_string(message, &mut text);
    text
}

/// Appends the text form of a message to `text`, which grows once if it has to.
pub fn encode_text_into(message: &[u8], text: &mut Vec<u8>) {
    let digits = digits(message.len());
    text.reserve(PREFIX.len() + digits);
    text.extend_from_slice(PREFIX.as_bytes());
    let start = text.len();
    text.resize(start + digits, 0);
    let (_, room) = text.split_at_mut(start);
    let written = URL_SAFE_NO_PAD.encode_slice(message, room);
    debug_assert_eq!(written, Ok(digits), "the room is what the digits need");
}

/// The bytes of a message in text form, not yet parsed.
///
/// # Errors
/// [`NotOurs::Text`] for anything but the one text of some bytes.
pub fn decode_text(text: &str) -> Result<OpenBuffer, NotOurs> {
    let digits = text.strip_prefix(PREFIX).ok_or(NotOurs::Text)?;
    URL_SAFE_NO_PAD.decode(digits).map(OpenBuffer::from_received).map_err(|_| NotOurs::Text)
}

/// Base64 digits of `bytes` bytes, without padding.
const fn digits(bytes: usize) -> usize {
    bytes / 3 * 4 + (bytes % 3 * 4).div_ceil(3)
}

#[cfg(test)]
mod tests;
