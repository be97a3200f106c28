use std::os::unix::fs::PermissionsExt as _;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::*;
use crate::secret::Protection;

fn arena() -> Arena {
    Arena::with_protection_at_most(Protection::Heap).unwrap()
}

const NAME: &str = "witness.example/w1";

#[test]
fn a_key_is_made_once_and_read_back_and_others_may_not_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let public = CosigningKey::create(&path, NAME).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let arena = arena();
    let key = CosigningKey::read(&path, &arena).unwrap();
    assert_eq!(key.verification_key(), &public);
    assert_eq!(CosignatureKey::parse(&public.to_string()).unwrap(), public);
    let debug = format!("{key:?}");
    assert!(debug.contains("SigningSeed(32 bytes)"), "{debug}");
    assert!(matches!(CosigningKey::create(&path, NAME), Err(KeyError::File { .. })));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(CosigningKey::read(&path, &arena), Err(KeyError::TooOpen { .. })));
    for name in ["", "a b", "a+b", "a\nb", &"a".repeat(513)] {
        let other = folder.path().join("other");
        assert!(matches!(CosigningKey::create(&other, name), Err(KeyError::Name)), "{name}");
        assert!(!other.exists());
    }
}

#[test]
fn a_file_that_holds_something_else_is_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let public = CosigningKey::create(&path, NAME).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    let bad = [
        String::new(),
        public.to_string(),
        good.replacen("PRIVATE", "PUBLIC", 1),
        good.replacen("w1", "w2", 1),
        good.replacen("+B", "+C", 1),
        format!("{good}{good}"),
        "x".repeat(2000),
    ];
    for text in bad {
        std::fs::write(&path, &text).unwrap();
        let error = CosigningKey::read(&path, &arena()).unwrap_err();
        assert!(matches!(error, KeyError::Content { .. }), "{text}: {error:?}");
        assert!(!error.to_string().contains(&good[20..40]), "{error}");
    }
}

#[test]
fn keys_of_one_type_are_not_taken_for_another() {
    let seed = SigningKey::from_bytes(&[1; 32]).verifying_key();
    let spelling = |kind: u8| {
        let id = key_id(NAME, &[&[kind], seed.as_bytes().as_slice()].concat());
        spelt(NAME, id, kind, seed.as_bytes())
    };
    let (log, cosignature) = (spelling(ED25519), spelling(COSIGNATURE));
    assert_eq!(LogKey::parse(&log).unwrap().to_string(), log);
    assert_eq!(CosignatureKey::parse(&cosignature).unwrap().to_string(), cosignature);
    assert!(AuthorityKey::parse(&log).is_ok());
    assert!(matches!(LogKey::parse(&cosignature), Err(KeyError::Kind { .. })));
    assert!(matches!(CosignatureKey::parse(&log), Err(KeyError::Kind { .. })));
    assert!(matches!(AuthorityKey::parse(&cosignature), Err(KeyError::Kind { .. })));
    for bad in [
        String::new(),
        log.replacen("w1", "w2", 1),
        log.to_uppercase(),
        format!("{log}="),
        format!(" {log}"),
        log.replacen('+', "++", 1),
        log.replacen('+', " ", 1),
    ] {
        assert!(matches!(LogKey::parse(&bad), Err(KeyError::Malformed)), "{bad}");
        assert!(matches!(AuthorityKey::parse(&bad), Err(KeyError::Malformed)), "{bad}");
    }
}

/// As the roots sign: the key that is made of a signature verifies the note that has it.
#[test]
fn an_authority_of_either_kind_signs_notes() {
    let text = b"keypod-audit-certificate/v1\n";
    let ed25519 = SigningKey::from_bytes(&[1; 32]);
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let head = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
    let signatures = [
        (
            SignatureAlgorithm::Ed25519,
            ed25519.verifying_key().to_bytes().to_vec(),
            ed25519.sign(text).to_bytes().to_vec(),
        ),
        (
            SignatureAlgorithm::EcdsaP256Sha256,
            [&head[..], p256.public_key().as_ref()].concat(),
            p256.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec(),
        ),
    ];
    for (algorithm, public_key, signature) in signatures {
        let name = "keypod-root/kms".to_owned();
        let signed = AuthoritySignature { name, algorithm, public_key, signature };
        let key = AuthorityKey::parse(&AuthorityKey::of_signature(&signed)).unwrap();
        let line = AuthorityKey::line_of(&signed);
        let note = Note::from_bytes(&[&text[..], b"\n", line.as_bytes()].concat()).unwrap();
        assert!(is_signed_by(&note, std::slice::from_ref(&key)), "{algorithm:?}");
        let other = Note::from_bytes(&[b"another\n\n", line.as_bytes()].concat()).unwrap();
        assert!(!is_signed_by(&other, std::slice::from_ref(&key)));
        let file = format!("# authorities\n\n{}\n", AuthorityKey::of_signature(&signed));
        assert_eq!(AuthorityKey::parse_all(&file).unwrap(), [key]);
    }
    assert!(AuthorityKey::parse_all("what\n").is_err());
}
