use hkdf::Hkdf;
use proptest::prelude::*;
use serde_json::Value;

use super::super::testing::{context_of, key, key_of, key_ref, unhex};
use super::*;

/// The file writes hex in lower case, without spaces.
fn field(test: &Value, name: &str) -> Vec<u8> {
    unhex(test[name].as_str().unwrap())
}

fn padded(salt: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut padded = [0; BLOCK_BYTES];
    padded[..salt.len()].copy_from_slice(salt);
    padded
}

fn derived(salt: &[u8], ikm: &[u8], info: &[u8]) -> [u8; 64] {
    let (mut prk, mut t1, mut t2) = ([0; 32], [0; 32], [0; 32]);
    extract(&padded(salt), ikm, &mut prk);
    expand(&prk, info, &mut t1, &mut t2);
    [t1, t2].concat().try_into().unwrap()
}

/// HKDF's output of some length begins every longer one, so each vector checks up to 64 bytes.
#[test]
fn hkdf_gives_what_wycheproof_says() {
    let file = include_str!("../../../../tests/vectors/wycheproof/hkdf_sha256_test.json");
    let file: Value = serde_json::from_str(file).unwrap();
    let mut checked = 0;
    for test in file["testGroups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["tests"].as_array().unwrap())
    {
        let (salt, okm) = (field(test, "salt"), field(test, "okm"));
        // Ours takes salts of one block; a size that HKDF cannot give has no output.
        if salt.len() > BLOCK_BYTES || test["result"] != "valid" {
            continue;
        }
        let ours = derived(&salt, &field(test, "ikm"), &field(test, "info"));
        let len = okm.len().min(64);
        assert_eq!(ours[..len], okm[..len], "tcId {}", test["tcId"]);
        checked += 1;
    }
    assert_eq!(checked, 81);
}

proptest! {
    #[test]
    fn hkdf_agrees_with_the_crate_of_that_name(
        salt in proptest::collection::vec(any::<u8>(), 0..=BLOCK_BYTES),
        ikm in any::<[u8; 32]>(),
        info in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut theirs = [0; 64];
        Hkdf::<Sha256>::new(Some(&salt), &ikm).expand(&info, &mut theirs).unwrap();
        prop_assert_eq!(derived(&salt, &ikm, &info), theirs);
    }
}

#[test]
fn a_data_key_depends_on_everything_it_is_derived_from() {
    let keys = [
        key_of(key_ref(1, 7), 9, None),
        key_of(key_ref(2, 7), 9, None),
        key_of(key_ref(1, 8), 9, None),
        key_of(key_ref(1, 7), 8, None),
        key_of(key_ref(1, 7), 9, Some(1)),
        key_of(key_ref(1, 7), 9, Some(2)),
    ];
    for (at, one) in keys.iter().enumerate() {
        for other in &keys[..at] {
            assert_ne!(one.expose_bytes(), other.expose_bytes());
        }
    }
}

#[test]
fn a_data_key_knows_what_it_was_derived_for() {
    let plain = key_of(key_ref(3, 5), 9, None);
    assert_eq!((plain.key(), plain.mixes_subject()), (key_ref(3, 5), false));
    assert!(key_of(key_ref(3, 5), 9, Some(1)).mixes_subject());
}

#[test]
fn key_and_commitment_depend_on_context_and_header() {
    let derived = |context: &Context, start: &[u8]| {
        let (message_key, commitment) = message_key(&key(), context, start);
        (*message_key.expose_bytes(), commitment)
    };
    let (one_key, one) = derived(&Context::empty(), &[1; 39]);
    let (other_key, other) = derived(&Context::empty(), &[2; 39]);
    let (third_key, third) = derived(&context_of(&[("a", "")]), &[1; 39]);
    assert!(one_key != other_key && one_key != third_key && one_key != one);
    assert!(one != other && one != third);
}
