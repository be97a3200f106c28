use aes_gcm_siv::aead::AeadInOut;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit};
use proptest::prelude::*;
use serde_json::Value;

use super::super::header::HeaderStart;
use super::super::testing::*;
use super::super::{SEGMENT_BYTES, SegmentSealer, derive};
use super::*;
use crate::secret::{Arena, DataKeyBytes, Protection};

const PLAINTEXT: &[u8] = b"Type 2 diabetes mellitus";

fn context() -> Context {
    context_of(&[("record", "r-1029"), ("tenant", "clinic-7")])
}

#[test]
fn the_cipher_gives_what_wycheproof_says() {
    let file = include_str!("../../../../tests/vectors/wycheproof/aes_gcm_siv_test.json");
    let file: Value = serde_json::from_str(file).unwrap();
    let (mut opened, mut refused) = (0, 0);
    let groups = file["testGroups"].as_array().unwrap().iter();
    for group in groups.filter(|group| group["keySize"] == 256) {
        for test in group["tests"].as_array().unwrap() {
            let field = |name: &str| unhex(test[name].as_str().unwrap());
            let aead = Aes256GcmSiv::new_from_slice(&field("key")).unwrap();
            let nonce: [u8; 12] = field("iv").try_into().unwrap();
            let tag: [u8; 16] = field("tag").try_into().unwrap();
            let (plaintext, aad, mut text) = (field("msg"), field("aad"), field("ct"));
            let valid = test["result"] == "valid";
            let result = aead.decrypt_inout_detached(
                &nonce.into(),
                &aad,
                text.as_mut_slice().into(),
                &tag.into(),
            );
            assert_eq!(result.is_ok(), valid, "tcId {}", test["tcId"]);
            if !valid {
                refused += 1;
                continue;
            }
            opened += 1;
            assert_eq!(text, plaintext, "tcId {}", test["tcId"]);
            let sealed =
                aead.encrypt_inout_detached(&nonce.into(), &aad, text.as_mut_slice().into());
            assert_eq!(sealed.unwrap().as_slice(), tag, "tcId {}", test["tcId"]);
            assert_eq!(text, field("ct"), "tcId {}", test["tcId"]);
        }
    }
    assert_eq!((opened, refused), (69, 34));
}

#[test]
fn what_was_sealed_opens() {
    for len in
        [0, 1, 15, 16, 17, 64, 1_024, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 200_000]
    {
        let plaintext: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
        let whole = sealed(&key(), &context(), &plaintext);
        assert_eq!(whole.len(), len + FORMAT_OVERHEAD_BYTES);
        assert_eq!(opened(&key(), &context(), &whole).as_ref(), Some(&plaintext));
        let segmented = sealed_in_segments(&key(), &context(), &plaintext);
        assert_eq!(opened(&key(), &context(), &segmented).as_ref(), Some(&plaintext));
        assert_eq!(open_in_segments(&key(), &context(), &segmented), Ok(plaintext));
    }
}

#[test]
fn sealing_and_opening_stay_in_one_allocation() {
    let mut buffer = SealBuffer::copied_from(PLAINTEXT);
    let place = buffer.expose_plaintext_mut().as_ptr();
    let message = seal(&key(), &context(), buffer).unwrap().into_bytes();
    assert_eq!(message[HEADER_BYTES..].as_ptr(), place);

    let header = Header::parse(&message).unwrap();
    let opened = open(&key(), &context(), &header, OpenBuffer::from_received(message)).unwrap();
    assert_eq!(opened.expose_bytes().as_ptr(), place);
    assert_eq!(opened.expose_bytes(), PLAINTEXT);
}

#[test]
fn equal_plaintexts_give_different_messages() {
    let (one, other) = (sealed(&key(), &context(), b"x"), sealed(&key(), &context(), b"x"));
    assert_ne!(one[15..39], other[15..39], "message id");
    assert_ne!(one[39..71], other[39..71], "commitment");
    assert_ne!(one[71..], other[71..], "body");
}

#[test]
fn open_fails_when_context_differs() {
    for message in
        [sealed(&key(), &context(), PLAINTEXT), sealed_in_segments(&key(), &context(), PLAINTEXT)]
    {
        for other in [
            Context::empty(),
            context_of(&[("tenant", "clinic-7")]),
            context_of(&[("record", "r-1029"), ("tenant", "clinic-8")]),
            context_of(&[("record", "r-1029"), ("tenant", "clinic-7"), ("x", "")]),
        ] {
            assert_eq!(opened(&key(), &other, &message), None);
        }
    }
}

#[test]
fn open_fails_under_any_other_key() {
    let message = sealed(&key(), &context(), PLAINTEXT);
    for other in [
        key_of(key_ref(1, 7), 8, None),
        key_of(key_ref(1, 8), 9, None),
        key_of(key_ref(2, 7), 9, None),
        key_of(key_ref(1, 7), 9, Some(1)),
    ] {
        assert_eq!(opened(&other, &context(), &message), None);
    }
}

/// The same bytes as `key`, bound to something else.
fn rebound(key: &DataKey, to: crate::names::KeyRef, mixes_subject: bool) -> DataKey {
    let arena = Arena::new(Protection::Heap).unwrap();
    let bytes = DataKeyBytes::fill(&arena, writes(*key.expose_bytes())).unwrap();
    DataKey::new(bytes, to, mixes_subject)
}

#[test]
fn open_fails_when_the_key_is_bound_to_another_version_than_the_header_names() {
    let context = context_of(&[("subject", "s")]);
    for subject in [None, Some(5)] {
        let key = key_of(key_ref(1, 7), 9, subject);
        let flag = key.mixes_subject();
        for message in
            [sealed(&key, &context, PLAINTEXT), sealed_in_segments(&key, &context, PLAINTEXT)]
        {
            let opens = |key: &DataKey| opened(key, &context, &message).is_some();
            assert!(opens(&rebound(&key, key_ref(1, 7), flag)));
            assert!(!opens(&rebound(&key, key_ref(1, 8), flag)));
            assert!(!opens(&rebound(&key, key_ref(2, 7), flag)));
            assert!(!opens(&rebound(&key, key_ref(1, 7), !flag)));
        }
    }
}

#[test]
fn a_subjects_message_opens_only_with_the_subject_in_the_context_and_its_secret() {
    let subject = context_of(&[("subject", "s")]);
    let key = key_of(key_ref(1, 7), 9, Some(5));
    let message = sealed(&key, &subject, PLAINTEXT);
    assert_eq!(opened(&key, &subject, &message).as_deref(), Some(PLAINTEXT));
    assert_eq!(opened(&key, &Context::empty(), &message), None);
    assert_eq!(opened(&key, &context_of(&[("subject", "t")]), &message), None);
    assert_eq!(opened(&key_of(key_ref(1, 7), 9, Some(6)), &subject, &message), None);
    assert_eq!(opened(&key_of(key_ref(1, 7), 9, None), &subject, &message), None);
}

/// A message that is right but for its commitment, made with the real message key.
fn with_commitment(suite: Suite, change: impl FnOnce(&mut [u8; 32])) -> Vec<u8> {
    let start = HeaderStart::new(suite, &key(), MessageId::from_bytes([4; 24]));
    let (message_key, mut commitment) = derive::message_key(&key(), &context(), start.as_bytes());
    change(&mut commitment);
    let header = start.committed(&commitment);
    let nonce = match suite {
        Suite::Whole => WHOLE_NONCE,
        Suite::Segmented => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    };
    let mut text = PLAINTEXT.to_vec();
    let aead = Aes256GcmSiv::new(message_key.expose_bytes().into());
    let tag = aead.encrypt_inout_detached(&nonce.into(), &header, text.as_mut_slice().into());
    [&header[..], &text, &tag.unwrap()].concat()
}

#[test]
fn only_the_commitment_refuses_a_message_whose_tag_agrees() {
    for suite in [Suite::Whole, Suite::Segmented] {
        let right = with_commitment(suite, |_| ());
        assert_eq!(opened(&key(), &context(), &right).as_deref(), Some(PLAINTEXT));
        for at in 0..32 {
            let wrong = with_commitment(suite, |commitment| commitment[at] ^= 0x80);
            assert_eq!(opened(&key(), &context(), &wrong), None, "byte {at}");
        }
    }
}

#[test]
fn open_fails_with_the_header_of_another_message() {
    let (one, other) =
        (sealed(&key(), &context(), PLAINTEXT), sealed(&key(), &context(), b"other"));
    let header = Header::parse(&one).unwrap();
    let open_as_one =
        |bytes: Vec<u8>| open(&key(), &context(), &header, OpenBuffer::from_received(bytes));
    assert!(open_as_one(one.clone()).is_ok());
    assert!(open_as_one(other.clone()).is_err());
    // The body would be authentic, but these bytes say that they are another message.
    let relabelled = [&other[..HEADER_BYTES], &one[HEADER_BYTES..]].concat();
    assert!(open_as_one(relabelled).is_err());
    for len in [0, 1, HEADER_BYTES, FORMAT_OVERHEAD_BYTES - 1] {
        assert!(open_as_one(one[..len].to_vec()).is_err(), "{len} bytes");
    }
}

#[test]
fn a_segmented_header_with_nothing_after_it_does_not_open() {
    let message = sealed_in_segments(&key(), &context(), b"");
    let header = Header::parse(&message).unwrap();
    let cut = OpenBuffer::from_received(message[..HEADER_BYTES].to_vec());
    assert_eq!(open(&key(), &context(), &header, cut).err(), Some(OpenFailed));
}

#[test]
fn no_changed_bit_opens() {
    for message in
        [sealed(&key(), &context(), PLAINTEXT), sealed_in_segments(&key(), &context(), PLAINTEXT)]
    {
        for bit in 0..message.len() * 8 {
            let mut changed = message.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opened(&key(), &context(), &changed), None, "bit {bit}");
        }
    }
}

#[test]
fn neither_a_shortened_nor_a_lengthened_message_opens() {
    for message in
        [sealed(&key(), &context(), PLAINTEXT), sealed_in_segments(&key(), &context(), PLAINTEXT)]
    {
        for len in 0..message.len() {
            assert_eq!(opened(&key(), &context(), &message[..len]), None, "{len} bytes");
        }
        for more in 1..=32 {
            let longer = [message.as_slice(), &vec![0; more]].concat();
            assert_eq!(opened(&key(), &context(), &longer), None, "{more} bytes more");
        }
    }
}

fn any_context() -> impl Strategy<Value = Context> {
    proptest::collection::btree_map("[a-z0-9_.-]{1,64}", ".{0,40}", 0..=32)
        .prop_map(|pairs| Context::new(pairs).unwrap())
}

proptest! {
    #[test]
    fn any_plaintext_opens_under_its_context_and_no_other(
        plaintext in proptest::collection::vec(any::<u8>(), 0..2_000),
        context in any_context(),
        other in any_context(),
    ) {
        let whole = sealed(&key(), &context, &plaintext);
        let segmented = sealed_in_segments(&key(), &context, &plaintext);
        for message in [whole, segmented] {
            prop_assert_eq!(opened(&key(), &context, &message), Some(plaintext.clone()));
            prop_assert_eq!(opened(&key(), &other, &message).is_some(), other == context);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_long_message_with_any_change_does_not_open(
        len in 0_usize..3 * SEGMENT_BYTES,
        piece in 1_usize..2 * SEGMENT_BYTES,
        at in any::<prop::sample::Index>(),
        bit in 0_u32..8,
        segments in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let plaintext: Vec<u8> = (0..251_u8).cycle().take(len).collect();
        let sealer = SegmentSealer::new(&key(), &context()).unwrap();
        let message = seal_in_segments(sealer, &plaintext, piece);
        prop_assert_eq!(opened(&key(), &context(), &message), Some(plaintext));

        let mut flipped = message.clone();
        flipped[at.index(message.len())] ^= 1 << bit;
        prop_assert_eq!(opened(&key(), &context(), &flipped), None);

        let cut = &message[..at.index(message.len())];
        prop_assert_eq!(opened(&key(), &context(), cut), None);

        let (header, body) = message.split_at(HEADER_BYTES);
        let mut parts: Vec<_> = body.chunks(SEALED_SEGMENT_BYTES).collect();
        let (one, other) = (segments.0.index(parts.len()), segments.1.index(parts.len()));
        parts.swap(one, other);
        let swapped = [header, &parts.concat()].concat();
        prop_assert_eq!(opened(&key(), &context(), &swapped).is_some(), one == other);
    }
}
