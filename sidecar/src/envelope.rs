//! Seals and opens messages: pure, synchronous, no I/O (FORMAT.md, to the byte).
//!
//! Depends on [`crate::names`] and [`crate::secret`] and on nothing above. A message goes through four steps:
//! [`Header::parse`] says which key version it wants, [`data_key`] derives from that version's secret, and
//! [`open`] (or, segment by segment, [`SegmentOpener`]) compares the commitment and only then decrypts. Sealing
//! is the same backwards. Never tells why an authentic-looking message did not open.
//!
//! Invariant: the bytes are those of `tests/vectors/v1` (test `vectors`, every intermediate value of them).

mod aead;
mod context;
mod derive;
mod header;
mod stream;
#[cfg(test)]
mod testing;
mod text;
#[cfg(test)]
mod vectors;

pub use aead::{OpenFailed, open, seal};
pub use context::{Context, ContextError};
pub use derive::data_key;
pub use header::{
    FORMAT_OVERHEAD_BYTES, HEADER_BYTES, Header, MessageId, NotOurs, RandomUnavailable, Suite,
    TAG_BYTES,
};
pub use stream::{
    LastSegment, SEGMENT_BYTES, SealSegment, SegmentOpener, SegmentSealer, StreamError,
};
pub use text::{decode_text, encode_text, encode_text_into};

/// More than the deepest of these operations writes. In a release build that is 9,424 bytes, measured for opening
/// with AVX-512, whose round keys are spread over whole registers; unoptimised code moves more.
const WIPED_STACK_BYTES: usize = if cfg!(debug_assertions) { 65_536 } else { 12_288 };

/// Does `work` and then overwrites the stack that it used: values that move leave a copy behind, and the padded
/// key block of `hmac` is not wiped by its owner.
fn wiping_the_stack<T>(work: impl FnOnce() -> T) -> T {
    crate::secret::wiping_the_stack::<WIPED_STACK_BYTES, T>(work)
}

/// `parts` one after the other, and zeros up to `N` bytes; their lengths are known where this is called.
fn concatenated<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut room = bytes.as_mut_slice();
    for part in parts {
        if let Some((to, rest)) = std::mem::take(&mut room).split_at_mut_checked(part.len()) {
            to.copy_from_slice(part);
            room = rest;
        }
    }
    debug_assert!(parts.iter().map(|part| part.len()).sum::<usize>() <= N, "a part has no room");
    bytes
}
