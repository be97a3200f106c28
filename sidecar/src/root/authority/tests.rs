use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair,
};
use ed25519_dalek::{Signer, SigningKey};

use super::*;

const MESSAGE: &[u8] = b"keypod-audit-certificate/v1\n";

fn ed25519(seed: u8) -> AuthoritySignature {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let public_key = key.verifying_key().to_bytes().to_vec();
    let signature = key.sign(MESSAGE).to_bytes().to_vec();
    let algorithm = SignatureAlgorithm::Ed25519;
    AuthoritySignature { name: "keypod-root/local".to_owned(), algorithm, public_key, signature }
}

fn p256() -> AuthoritySignature {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let public_key = [&P256_SPKI_HEAD[..], key.public_key().as_ref()].concat();
    let signature = key.sign(&SystemRandom::new(), MESSAGE).unwrap().as_ref().to_vec();
    let algorithm = SignatureAlgorithm::EcdsaP256Sha256;
    AuthoritySignature { name: "keypod-root/kms".to_owned(), algorithm, public_key, signature }
}

#[test]
fn a_signature_verifies_with_its_key_message_and_algorithm_and_with_no_other() {
    for signed in [ed25519(1), p256()] {
        assert!(signed.verifies(MESSAGE), "{signed:?}");
        assert!(!signed.verifies(b"another"));
        let (ed, ecdsa) = (SignatureAlgorithm::Ed25519, SignatureAlgorithm::EcdsaP256Sha256);
        let algorithm = if signed.algorithm == ed { ecdsa } else { ed };
        assert!(!AuthoritySignature { algorithm, ..signed }.verifies(MESSAGE));
    }
}

#[test]
fn what_does_not_verify_is_no_signature() {
    for signed in [ed25519(1), p256()] {
        let AuthoritySignature { name, algorithm, public_key, signature } = signed;
        let verified = |key: &[u8], signature: &[u8], message: &[u8]| {
            let (key, signature) = (key.to_vec(), signature.to_vec());
            AuthoritySignature::verified(&name, algorithm, key, signature, message).is_some()
        };
        assert!(verified(&public_key, &signature, MESSAGE));
        assert!(!verified(&public_key, &signature, b""));
        for (key, signature) in [
            (&[][..], &signature[..]),
            (&public_key[..], &[]),
            (&public_key[1..], &signature),
            (&public_key, &signature[1..]),
            (&public_key, &[0; 64]),
            (&[0; 32], &[0; 64]),
            (&public_key, &[0x30; 4096]),
        ] {
            assert!(!verified(key, signature, MESSAGE), "{algorithm:?}");
        }
    }
}

/// A key of small order verifies signatures of many messages: an answer with one proves nothing.
#[test]
fn an_ed25519_key_of_small_order_verifies_nothing() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut signature = vec![0; 64];
    signature[0] = 1;
    let signed = AuthoritySignature { public_key: identity.to_vec(), signature, ..ed25519(1) };
    assert!(!signed.verifies(MESSAGE));
}

#[test]
fn a_public_key_in_der_has_one_spelling() {
    let point = &p256().public_key[P256_SPKI_HEAD.len()..];
    let spki = [&P256_SPKI_HEAD[..], point].concat();
    let p256 = SignatureAlgorithm::EcdsaP256Sha256;
    assert_eq!(key_of_spki(&spki), Some((p256, spki.clone())));
    let ed25519 = [&ED25519_SPKI_HEAD[..], &[7; 32]].concat();
    assert_eq!(key_of_spki(&ed25519), Some((SignatureAlgorithm::Ed25519, vec![7; 32])));
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
    let compressed = [&P256_SPKI_HEAD[..], &[2], &point[1..33]].concat();
    for other in [
        &[][..],
        &spki[1..],
        &spki[..spki.len() - 1],
        &ed25519[..ed25519.len() - 1],
        &[&spki[..], &[0]].concat(),
        &[&ed25519[..], &[0]].concat(),
        point,
        &compressed,
        p384.public_key().as_ref(),
    ] {
        assert_eq!(key_of_spki(other), None);
    }
}

/// Signs with one key and says that it was another.
#[derive(Debug)]
struct Liar;

#[async_trait]
impl Authority for Liar {
    async fn sign(&self, _: &[u8]) -> Result<AuthoritySignature, RootError> {
        Ok(AuthoritySignature { public_key: ed25519(2).public_key, ..ed25519(1) })
    }

    fn describe(&self) -> AuthorityDescription {
        AuthorityDescription::of(&RootName::local(), "liar", "here".to_owned())
    }
}

#[tokio::test]
async fn a_check_believes_no_answer_that_does_not_verify() {
    let refused = Liar.check().await.unwrap_err();
    assert!(matches!(refused, RootError::WrongSignature { .. }), "{refused:?}");
    assert!(!refused.may_pass());
}
