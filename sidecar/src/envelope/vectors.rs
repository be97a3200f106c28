//! The format's own vectors, `tests/vectors/v1/*.json`: every intermediate value, every refusal, every context.

use serde_json::Value;

use super::aead::seal_as;
use super::header::HeaderStart;
use super::testing::{open_in_segments, seal_in_segments, unhex, writes};
use super::*;
use crate::names::{KeyId, KeyRef, KeyVersion};
use crate::secret::{
    Arena, DataKey, KeyVersionSecret, OpenBuffer, Plaintext, Protection, SealBuffer, SubjectSecret,
};

const SEAL: &str = include_str!("../../../tests/vectors/v1/seal.json");
const REFUSE: &str = include_str!("../../../tests/vectors/v1/refuse.json");
const CONTEXT: &str = include_str!("../../../tests/vectors/v1/context.json");

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    unhex(vector[field].as_str().unwrap_or_else(|| panic!("{field} of {vector:.200}")))
}

fn array<const N: usize>(vector: &Value, field: &str) -> [u8; N] {
    bytes(vector, field).try_into().unwrap()
}

fn name(vector: &Value) -> &str {
    vector["name"].as_str().unwrap()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).to_vec()
}

fn number(vector: &Value, field: &str) -> usize {
    usize::try_from(vector[field].as_u64().unwrap()).unwrap()
}

fn context(vector: &Value) -> Context {
    let pair =
        |(name, value): (&String, &Value)| (name.clone(), value.as_str().unwrap().to_owned());
    Context::beyond_limits(vector["context"].as_object().unwrap().iter().map(pair))
}

/// The key that the vector's secrets give, with the subject's secret only if `mix_subject`.
fn key(vector: &Value, mix_subject: bool) -> DataKey {
    let arena = Arena::new(Protection::Heap).unwrap();
    let version_secret =
        KeyVersionSecret::fill(&arena, writes(array(vector, "version_secret_hex"))).unwrap();
    let subject = (mix_subject && !vector["subject_secret_hex"].is_null())
        .then(|| SubjectSecret::fill(&arena, writes(array(vector, "subject_secret_hex"))).unwrap());
    let number = u32::try_from(vector["version"].as_u64().unwrap()).unwrap();
    let key = KeyRef {
        id: KeyId::from_bytes(array(vector, "key_id_hex")),
        version: KeyVersion::new(number).unwrap(),
    };
    data_key(&arena, key, &version_secret, subject.as_ref()).unwrap()
}

fn plaintext(vector: &Value) -> Vec<u8> {
    if vector.get("plaintext_hex").is_some() {
        return bytes(vector, "plaintext_hex");
    }
    let repeat = &vector["plaintext_repeat"];
    let mut plaintext = bytes(repeat, "repeat_hex").repeat(number(repeat, "times"));
    plaintext.extend(bytes(repeat, "then_hex"));
    plaintext
}

fn check_message(vector: &Value, message: &[u8]) {
    let name = name(vector);
    assert_eq!(message.len(), number(vector, "ciphertext_length"), "{name}");
    if vector.get("ciphertext_hex").is_some() {
        assert_eq!(message, bytes(vector, "ciphertext_hex"), "{name}");
        assert_eq!(encode_text(message), vector["text"].as_str().unwrap(), "{name}");
    } else {
        assert!(message.starts_with(&bytes(vector, "ciphertext_first_128_hex")), "{name}");
        assert!(message.ends_with(&bytes(vector, "ciphertext_last_128_hex")), "{name}");
    }
    assert_eq!(sha256(message), bytes(vector, "ciphertext_sha256_hex"), "{name}");
}

fn check_seal(vector: &Value) {
    let name = name(vector);
    let (key, context, plaintext) = (key(vector, true), context(vector), plaintext(vector));
    assert_eq!(sha256(&plaintext), bytes(vector, "plaintext_sha256_hex"), "{name}");
    assert_eq!(context.digest().to_vec(), bytes(vector, "context_digest_hex"), "{name}");
    assert_eq!(key.expose_bytes().to_vec(), bytes(vector, "data_key_hex"), "{name}");
    assert_eq!(u64::from(key.mixes_subject()), vector["flags"].as_u64().unwrap(), "{name}");

    let id = MessageId::from_bytes(array(vector, "message_id_hex"));
    let suite = if vector["suite"] == 1 { Suite::Whole } else { Suite::Segmented };
    let start = HeaderStart::new(suite, &key, id);
    let info = [b"keypod/v1/message", start.as_bytes(), &context.digest()].concat();
    assert_eq!(info, bytes(vector, "info_hex"), "{name}");
    let (message_key, commitment) = derive::message_key(&key, &context, start.as_bytes());
    assert_eq!(message_key.expose_bytes().to_vec(), bytes(vector, "message_key_hex"), "{name}");
    assert_eq!(commitment.to_vec(), bytes(vector, "commitment_hex"), "{name}");
    assert_eq!(start.committed(&commitment).to_vec(), bytes(vector, "header_hex"), "{name}");

    let message = match suite {
        Suite::Whole => {
            let buffer = SealBuffer::copied_from(&plaintext);
            seal_as(id, &key, &context, buffer).unwrap().into_bytes()
        }
        Suite::Segmented => {
            let sealing = || SegmentSealer::sealing_as(id, &key, &context);
            let message = seal_in_segments(sealing(), &plaintext, 50_000);
            assert_eq!(message, seal_in_segments(sealing(), &plaintext, SEGMENT_BYTES), "{name}");
            check_segments(vector, &message);
            assert_eq!(open_in_segments(&key, &context, &message).unwrap(), plaintext, "{name}");
            message
        }
    };
    check_message(vector, &message);
    let header = Header::parse(&message).unwrap();
    assert_eq!((header.suite(), header.key()), (suite, key.key()), "{name}");
    let opened = open(&key, &context, &header, OpenBuffer::from_received(message)).unwrap();
    assert_eq!(opened.expose_bytes(), plaintext, "{name}");
}

fn check_segments(vector: &Value, message: &[u8]) {
    let segments = vector["segments"].as_array().unwrap();
    let sealed: Vec<_> = message[HEADER_BYTES..].chunks(SEGMENT_BYTES + TAG_BYTES).collect();
    assert_eq!(segments.len(), sealed.len(), "{}", name(vector));
    for (index, (expected, sealed)) in segments.iter().zip(sealed).enumerate() {
        let last = if index + 1 == segments.len() { LastSegment::Yes } else { LastSegment::No };
        let nonce = stream::segment_nonce(index as u64, last);
        assert_eq!(nonce.to_vec(), bytes(expected, "nonce_hex"), "{}", name(vector));
        assert!(sealed.ends_with(&bytes(expected, "tag_hex")), "{}", name(vector));
        assert_eq!(sealed.len() - TAG_BYTES, number(expected, "plaintext_length"));
    }
}

#[test]
fn sealing_gives_every_value_of_the_vectors() {
    let file: Value = serde_json::from_str(SEAL).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 25);
    vectors.iter().for_each(check_seal);
}

/// What a caller gets for a message: not ours, does not open, or the plaintext.
fn outcome(vector: &Value, pieces: &Value) -> Result<Plaintext, &'static str> {
    let buffer = if let Some(text) = vector["text"].as_str() {
        decode_text(text).map_err(|error| {
            assert_eq!(error, NotOurs::Text, "{}", name(vector));
            "not_ours"
        })?
    } else if let Some(names) = vector["ciphertext_pieces"].as_array() {
        let piece = |name: &Value| bytes(pieces, name.as_str().unwrap());
        OpenBuffer::from_received(names.iter().flat_map(piece).collect())
    } else {
        OpenBuffer::from_received(bytes(vector, "ciphertext_hex"))
    };
    let header = Header::parse(buffer.as_bytes()).map_err(|_| "not_ours")?;
    // As a keyring does: the flag alone decides whether a subject's secret takes part.
    let (key, context) = (key(vector, header.mixes_subject()), context(vector));
    let message = buffer.as_bytes().to_vec();
    let opened = open(&key, &context, &header, buffer).map_err(|OpenFailed| "does_not_open");
    if header.suite() == Suite::Segmented {
        let in_segments = open_in_segments(&key, &context, &message);
        let opened = opened.as_ref().map(|plaintext| plaintext.expose_bytes().to_vec());
        assert_eq!(opened.ok(), in_segments.ok(), "{}", name(vector));
    }
    opened
}

#[test]
fn every_vector_that_must_be_refused_is_refused_as_its_class_says() {
    let file: Value = serde_json::from_str(REFUSE).unwrap();
    let vectors = file["refuse"].as_array().unwrap();
    assert_eq!(vectors.len(), 165);
    for vector in vectors {
        let refused = outcome(vector, &file["pieces_hex"]).map(|_| "opens");
        assert_eq!(refused, Err(vector["class"].as_str().unwrap()), "{}", name(vector));
    }
}

#[test]
fn the_messages_that_the_refused_ones_were_made_from_open() {
    let file: Value = serde_json::from_str(REFUSE).unwrap();
    let vectors = file["opens"].as_array().unwrap();
    assert_eq!(vectors.len(), 19);
    for vector in vectors {
        let opened = outcome(vector, &file["pieces_hex"]).unwrap();
        assert_eq!(opened.len(), number(vector, "plaintext_length"), "{}", name(vector));
        assert_eq!(sha256(opened.expose_bytes()), bytes(vector, "plaintext_sha256_hex"));
    }
}

/// FORMAT.md: an answer for each kind of header that does not parse.
#[test]
fn every_reason_for_not_ours_has_its_vector() {
    let file: Value = serde_json::from_str(REFUSE).unwrap();
    let vectors = file["refuse"].as_array().unwrap();
    let expected = |name: &str| match name {
        name if name.starts_with("format_") => Some(NotOurs::Format),
        name if name.starts_with("suite_") => Some(NotOurs::Suite),
        name if name.contains("flag_bit_") => Some(NotOurs::Flags),
        name if name.ends_with("_bytes") && name.contains("_cut_to_") => Some(NotOurs::TooShort),
        "version_0" => Some(NotOurs::Version),
        _ => None,
    };
    let mut seen = 0;
    for vector in vectors.iter().filter(|vector| vector["class"] == "not_ours") {
        if vector.get("ciphertext_hex").is_none() {
            continue;
        }
        seen += 1;
        let parsed = Header::parse(&bytes(vector, "ciphertext_hex"));
        assert_eq!(parsed.err(), expected(name(vector)), "{}", name(vector));
    }
    assert_eq!(seen, 40);
}

#[test]
fn contexts_encode_as_the_vectors_say() {
    let file: Value = serde_json::from_str(CONTEXT).unwrap();
    let vectors = file["encode"].as_array().unwrap();
    assert_eq!(vectors.len(), 30);
    for vector in vectors {
        let context = context(vector);
        assert_eq!(context.encoded(), bytes(vector, "encoded_context_hex"), "{}", name(vector));
        assert_eq!(context.digest().to_vec(), bytes(vector, "context_digest_hex"));
        let parsed: Result<Context, _> = serde_json::from_value(vector["context"].clone());
        let within = vector["within_api_limits"].as_bool().unwrap();
        assert_eq!(parsed.is_ok_and(|parsed| parsed == context), within, "{}", name(vector));
    }
}

#[test]
fn contexts_that_the_api_refuses_do_not_deserialise() {
    let file: Value = serde_json::from_str(CONTEXT).unwrap();
    let vectors = file["refuse"].as_array().unwrap();
    assert_eq!(vectors.len(), 25);
    for vector in vectors {
        let json = vector["json"].as_str().unwrap();
        assert!(serde_json::from_str::<Context>(json).is_err(), "{}", name(vector));
    }
}
