//! What the tests of the envelope share: fixed keys, and messages sealed and opened in one call.

use super::*;
use crate::names::{KeyId, KeyRef, KeyVersion};
use crate::secret::{
    Arena, DataKey, KeyVersionSecret, OpenBuffer, Protection, SealBuffer, SubjectSecret,
};

pub(super) fn unhex(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

pub(super) fn writes(secret: [u8; 32]) -> impl FnOnce(&mut [u8; 32]) -> Result<(), ()> {
    move |slot| {
        *slot = secret;
        Ok(())
    }
}

pub(super) fn key_ref(id: u8, version: u32) -> KeyRef {
    KeyRef { id: KeyId::from_bytes([id; 8]), version: KeyVersion::new(version).unwrap() }
}

/// The data key of a version whose secret is `secret` 32 times, with a subject's secret made likewise.
pub(super) fn key_of(key: KeyRef, secret: u8, subject: Option<u8>) -> DataKey {
    let arena = Arena::new(Protection::Heap).unwrap();
    let version = KeyVersionSecret::fill(&arena, writes([secret; 32])).unwrap();
    let subject = subject.map(|byte| SubjectSecret::fill(&arena, writes([byte; 32])).unwrap());
    data_key(&arena, key, &version, subject.as_ref()).unwrap()
}

/// The key that most tests use.
pub(super) fn key() -> DataKey {
    key_of(key_ref(1, 7), 9, None)
}

pub(super) fn context_of(pairs: &[(&str, &str)]) -> Context {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Context::new(pairs.iter().map(owned)).unwrap()
}

/// A whole message.
pub(super) fn sealed(key: &DataKey, context: &Context, plaintext: &[u8]) -> Vec<u8> {
    seal(key, context, SealBuffer::copied_from(plaintext)).unwrap().into_bytes()
}

/// A segmented message.
pub(super) fn sealed_in_segments(key: &DataKey, context: &Context, plaintext: &[u8]) -> Vec<u8> {
    seal_in_segments(SegmentSealer::new(key, context).unwrap(), plaintext, 10_000)
}

/// Parses and opens as a server does: either error is a refusal.
pub(super) fn opened(key: &DataKey, context: &Context, message: &[u8]) -> Option<Vec<u8>> {
    let header = Header::parse(message).ok()?;
    let buffer = OpenBuffer::from_received(message.to_vec());
    open(key, context, &header, buffer).ok().map(|plaintext| plaintext.expose_bytes().to_vec())
}

/// Seals segment by segment, with the input in pieces of `piece` bytes, keeping one segment back.
pub(super) fn seal_in_segments(mut sealer: SegmentSealer, input: &[u8], piece: usize) -> Vec<u8> {
    let mut message = sealer.header().to_vec();
    let mut held = SealSegment::new();
    for mut bytes in input.chunks(piece) {
        while !bytes.is_empty() {
            if held.is_full() {
                let full = std::mem::take(&mut held);
                message.extend(sealer.seal(full, LastSegment::No).unwrap());
            }
            held.fill_from(&mut bytes);
        }
    }
    message.extend(sealer.seal(held, LastSegment::Yes).unwrap());
    message
}

/// Opens a segmented message segment by segment.
pub(super) fn open_in_segments(
    key: &DataKey,
    context: &Context,
    message: &[u8],
) -> Result<Vec<u8>, OpenFailed> {
    let header = Header::parse(message).unwrap();
    let mut opener = SegmentOpener::new(key, context, &header)?;
    let mut segments = message[HEADER_BYTES..].chunks(SEGMENT_BYTES + TAG_BYTES).peekable();
    let mut plaintext = Vec::new();
    while let Some(segment) = segments.next() {
        let last = if segments.peek().is_none() { LastSegment::Yes } else { LastSegment::No };
        let opened = opener.open(OpenBuffer::from_received(segment.to_vec()), last)?;
        plaintext.extend_from_slice(opened.expose_bytes());
    }
    Ok(plaintext)
}
