//! The bodies of the fuzz targets. Each takes any bytes and panics if something that must always hold does not.
//!
//! `tests/fuzz/run` gives them to libFuzzer; `tests/properties.rs` runs the same bodies on stable Rust.

// The sources under test, as links to the sidecar's, without the rest of it: they depend on nothing above (test
// `layering`).
#[allow(dead_code, unused_imports, reason = "not all of it is fuzzed")]
pub mod audit;
#[allow(dead_code, clippy::disallowed_methods, reason = "not all of it is fuzzed")]
pub mod clock;
#[allow(dead_code, reason = "not all of it is fuzzed")]
pub mod envelope;
#[allow(dead_code, reason = "not all of it is fuzzed")]
pub mod names;
#[allow(dead_code, reason = "not all of it is fuzzed")]
pub mod secret;

use std::convert::Infallible;
use std::sync::OnceLock;

use crate::audit::prove::Proof;
use crate::audit::reader::Bundle;
use crate::audit::verify::{Certificate, Checkpoint, Entry, SignedText, VerifyingKey};
use crate::envelope::{
    Context, HEADER_BYTES, Header, LastSegment, SEGMENT_BYTES, SealSegment, SegmentOpener,
    SegmentSealer, Suite, TAG_BYTES, data_key, decode_text, encode_text, encode_text_into, seal,
};
use crate::names::{KeyId, KeyRef, KeyVersion};
use crate::secret::{
    Arena, DataKey, KeyVersionSecret, OpenBuffer, Protection, SealBuffer, SubjectSecret,
};

/// The header parser: what parses has its 87 bytes, and comes back as the bytes it was.
pub fn header(bytes: &[u8]) {
    let Ok(header) = Header::parse(bytes) else { return };
    assert!(bytes.len() >= HEADER_BYTES + TAG_BYTES);
    assert!(bytes.starts_with(header.as_bytes()));
    let suite = if header.suite() == Suite::Whole { 1 } else { 2 };
    assert_eq!(bytes[..3], [1, suite, u8::from(header.mixes_subject())]);
    assert_eq!(&bytes[3..11], header.key().id.as_bytes());
    assert_eq!(bytes[11..15], header.key().version.number().to_be_bytes());
    assert_ne!(header.key().version.number(), 0);
}

/// The text form: any bytes come back from their text, and no bytes have two texts.
pub fn text(bytes: &[u8]) {
    let encoded = encode_text(bytes);
    assert_eq!(decode_text(&encoded).expect("our own text").as_bytes(), bytes);
    let mut appended = b"x".to_vec();
    encode_text_into(bytes, &mut appended);
    assert_eq!(appended, format!("x{encoded}").into_bytes());

    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(decoded) = decode_text(text) {
        assert_eq!(encode_text(decoded.as_bytes()), text);
    }
}

/// What an auditor's program reads: keys, notes, bundles, entries, proofs. None takes more than it is given, and what has
/// one form comes back in that form.
pub fn audit(bytes: &[u8]) {
    let bundle = Bundle::of(bytes.to_vec());
    let taken: usize = bundle.entries().map(|entry| entry.len() + 2).sum();
    assert_eq!(taken + bundle.rest(), bytes.len());
    assert!(bundle.count() <= 256 && bundle.entries().all(|entry| !entry.is_empty()));
    for entry in bundle.entries().chain([bytes]) {
        if Entry::parse(entry).is_ok() {
            let value: serde_json::Value = serde_json::from_slice(entry).expect("JSON");
            assert!(value.is_object() && !entry.contains(&b'\n'));
        }
    }
    if let Ok(proof) = Proof::parse(bytes) {
        assert_eq!(proof.to_bytes(), bytes);
        assert!(proof.check(&[]).is_err(), "nobody is trusted");
    }
    if let Ok(note) = SignedText::parse(bytes) {
        if let Ok(Checkpoint { origin, head }) = Checkpoint::parse(&note) {
            let text = format!("{origin}\n{}\n{}\n\n", head.size, head.root);
            assert!(bytes.starts_with(text.as_bytes()));
        }
        if let Ok(certificate) = Certificate::parse(&note, bytes) {
            assert!(bytes.starts_with(b"keypod-audit-certificate/v1\nlog "));
            assert_eq!(
                certificate.origin,
                format!("{}/{}", certificate.prefix(), certificate.id())
            );
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = VerifyingKey::parse(text)
    {
        assert!(text.to_ascii_lowercase().starts_with(&key.to_string().to_ascii_lowercase()));
    }
}

/// Opening, both suites, under a fixed key: the bytes as a message, as the body of a message of ours, as a
/// plaintext, and as a change to a message.
pub fn open(bytes: &[u8]) {
    as_received(bytes);
    as_a_body(bytes);
    as_a_plaintext(bytes);
}

/// Whoever has not got the key makes nothing that opens.
fn as_received(bytes: &[u8]) {
    let Ok(header) = Header::parse(bytes) else { return };
    let key = fixed_key(header.key(), header.mixes_subject());
    assert_eq!(opened(&key, bytes), None, "a message from nowhere opened");
}

/// Past the commitment: a true header, and a body from nowhere.
fn as_a_body(bytes: &[u8]) {
    let key = fixed_key(one_key(), true);
    let (whole, segmented) = headers();
    for header in [whole, segmented] {
        let message = [&header[..], bytes].concat();
        if Header::parse(&message).is_ok() {
            assert_eq!(opened(&key, &message), None, "a body from nowhere opened");
        }
    }
}

/// What was sealed opens, and opens no more once it is changed as the first bytes say.
fn as_a_plaintext(bytes: &[u8]) {
    let key = fixed_key(one_key(), true);
    let whole = seal(&key, &context(), SealBuffer::copied_from(bytes)).expect("random bytes");
    for message in [whole.into_bytes(), sealed_in_segments(&key, bytes)] {
        assert_eq!(opened(&key, &message).as_deref(), Some(bytes));
        let [a, b, c, change, ..] = *bytes else { continue };
        let place = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let mut changed = message.clone();
        let place = place % changed.len();
        changed[place] ^= change.max(1);
        assert_eq!(opened(&key, &changed), None, "a changed message opened");
        assert_eq!(opened(&key, &message[..place]), None, "a shortened message opened");
        let longer =
            [&message[..], &bytes[..1 + usize::from(change).min(bytes.len() - 1)]].concat();
        assert_eq!(opened(&key, &longer), None, "a lengthened message opened");
    }
}

/// Parses and opens; a segmented message in both ways, which must agree.
fn opened(key: &DataKey, message: &[u8]) -> Option<Vec<u8>> {
    let header = Header::parse(message).ok()?;
    let buffer = OpenBuffer::from_received(message.to_vec());
    let opened = crate::envelope::open(key, &context(), &header, buffer).ok();
    let opened = opened.map(|plaintext| plaintext.expose_bytes().to_vec());
    if header.suite() == Suite::Segmented {
        assert_eq!(opened_in_segments(key, &header, message), opened, "two ways to open differ");
    }
    opened
}

fn opened_in_segments(key: &DataKey, header: &Header, message: &[u8]) -> Option<Vec<u8>> {
    let mut opener = SegmentOpener::new(key, &context(), header).ok()?;
    let mut segments = message[HEADER_BYTES..].chunks(SEGMENT_BYTES + TAG_BYTES).peekable();
    let mut plaintext = Vec::new();
    while let Some(segment) = segments.next() {
        let last = if segments.peek().is_none() { LastSegment::Yes } else { LastSegment::No };
        let segment = opener.open(OpenBuffer::from_received(segment.to_vec()), last).ok()?;
        plaintext.extend_from_slice(segment.expose_bytes());
    }
    Some(plaintext)
}

fn sealed_in_segments(key: &DataKey, mut plaintext: &[u8]) -> Vec<u8> {
    let mut sealer = SegmentSealer::new(key, &context()).expect("random bytes");
    let mut message = sealer.header().to_vec();
    loop {
        let mut segment = SealSegment::new();
        segment.fill_from(&mut plaintext);
        let last = if plaintext.is_empty() { LastSegment::Yes } else { LastSegment::No };
        message.extend(sealer.seal(segment, last).expect("a full segment or the last"));
        if last == LastSegment::Yes {
            return message;
        }
    }
}

/// The headers of a whole and of a segmented message under [`one_key`].
fn headers() -> (&'static [u8], &'static [u8]) {
    static HEADERS: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    let (whole, segmented) = HEADERS.get_or_init(|| {
        let key = fixed_key(one_key(), true);
        let whole = seal(&key, &context(), SealBuffer::with_len(0)).expect("random bytes");
        let segmented = SegmentSealer::new(&key, &context()).expect("random bytes");
        (whole.as_bytes()[..HEADER_BYTES].to_vec(), segmented.header().to_vec())
    });
    (whole, segmented)
}

fn one_key() -> KeyRef {
    KeyRef { id: KeyId::from_bytes(*b"fuzz key"), version: KeyVersion::FIRST }
}

fn context() -> Context {
    Context::new([("subject".to_owned(), "s-1".to_owned())]).expect("within the limits")
}

/// The key of any version that a header may name: each has one and the same secret.
fn fixed_key(key: KeyRef, mixes_subject: bool) -> DataKey {
    let arena = Arena::new(Protection::Heap).expect("heap memory");
    let secret = |slot: &mut [u8; 32]| {
        slot.fill(0x5a);
        Ok::<_, Infallible>(())
    };
    let version = KeyVersionSecret::fill(&arena, secret).expect("heap memory");
    let subject = mixes_subject.then(|| SubjectSecret::fill(&arena, secret).expect("heap memory"));
    data_key(&arena, key, &version, subject.as_ref()).expect("heap memory")
}
