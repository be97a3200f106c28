use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use ed25519_dalek::{Signer, SigningKey};

use super::*;
use crate::root::authority::{Authority, SignatureAlgorithm};
use crate::root::conformance::every_authority_conforms;

fn authority(key: &str, endpoint: &str) -> AwsKmsAuthority {
    let mut settings = settings("alias/keypod", endpoint);
    settings.audit_key = Some(key.to_owned());
    root_of(&settings).authority().unwrap()
}

fn p256(moto: &MotoServer) -> String {
    let parameters = json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY" });
    moto.create_key_with(REGION, &parameters)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_p256_key_in_aws_kms_conforms_as_an_authority() {
    let moto = MotoServer::shared();
    let keys = [p256(moto), p256(moto)];
    every_authority_conforms(SignatureAlgorithm::EcdsaP256Sha256, async |which| {
        let key = match which {
            Which::This => &keys[0],
            Which::Another => &keys[1],
        };
        Arc::new(authority(key, &moto.endpoint())) as Arc<dyn Authority>
    })
    .await;
}

#[tokio::test]
async fn kms_sees_the_message_and_the_configured_key() {
    let moto = MotoServer::shared();
    let stand_in = KmsStandIn::before(moto);
    let key = p256(moto);
    authority(&key, &stand_in.endpoint()).sign(b"message").await.unwrap();
    let seen = stand_in.seen();
    let operations: Vec<_> = seen.iter().map(|seen| seen.operation.as_str()).collect();
    assert_eq!(operations, ["GetPublicKey", "Sign"]);
    assert!(seen.iter().all(|seen| seen.parameters["KeyId"] == json!(key)));
    assert_eq!(seen[1].parameters["Message"], json!(base64(b"message")));
    assert_eq!(seen[1].parameters["SigningAlgorithm"], json!("ECDSA_SHA_256"));
}

/// moto signs a digest as if it were the message, so a key of this test's own answers for it.
#[tokio::test]
async fn a_long_message_goes_there_as_its_digest() {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let long = vec![b'x'; 4097];
    let signature = key.sign(&SystemRandom::new(), &long).unwrap();
    let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap();
    let stand_in = KmsStandIn::alone(Answer::Close);
    let body =
        json!({ "PublicKey": base64(spki.as_ref()), "Signature": base64(signature.as_ref()) });
    answers(&stand_in, &body);
    authority("alias/audit", &stand_in.endpoint()).sign(&long).await.unwrap();
    let sent = &stand_in.seen()[1].parameters;
    let digest = sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(&long));
    assert_eq!(sent["Message"], json!(base64(&digest)));
    assert_eq!(sent["MessageType"], json!("DIGEST"));
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&*crate::secret::STANDARD, bytes)
}

/// What KMS answers to `GetPublicKey` and to `Sign` of an Ed25519 key, in one. moto has none of this kind.
fn ed25519_answer(key: &SigningKey, signature: &[u8]) -> Value {
    let public_key =
        [&b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"[..], key.verifying_key().as_bytes()]
            .concat();
    json!({
        "KeyId": "arn:aws:kms:eu-central-1:1:key/1",
        "KeySpec": "ECC_NIST_EDWARDS25519",
        "KeyUsage": "SIGN_VERIFY",
        "PublicKey": base64(&public_key),
        "Signature": base64(signature),
        "SigningAlgorithm": "ED25519_SHA_512",
    })
}

fn answers(stand_in: &KmsStandIn, body: &Value) {
    stand_in.answer(Answer::raw(200, "application/x-amz-json-1.1", &body.to_string()));
}

#[tokio::test]
async fn an_ed25519_key_signs_the_message_itself() {
    let key = SigningKey::from_bytes(&[9; 32]);
    let stand_in = KmsStandIn::alone(Answer::Close);
    answers(&stand_in, &ed25519_answer(&key, &key.sign(b"message").to_bytes()));
    let signed = authority("alias/audit", &stand_in.endpoint()).sign(b"message").await.unwrap();
    assert_eq!(signed.algorithm, SignatureAlgorithm::Ed25519);
    assert_eq!(signed.public_key, key.verifying_key().to_bytes());
    assert_eq!(signed.name, "keypod-root/kms");
    let seen = stand_in.seen();
    assert_eq!(seen[1].parameters["Message"], json!(base64(b"message")));
    assert_eq!(seen[1].parameters["MessageType"], json!("RAW"));
    assert_eq!(seen[1].parameters["SigningAlgorithm"], json!("ED25519_SHA_512"));
}

#[tokio::test]
async fn an_answer_that_does_not_verify_is_refused() {
    let (key, other) = (SigningKey::from_bytes(&[9; 32]), SigningKey::from_bytes(&[8; 32]));
    let stand_in = KmsStandIn::alone(Answer::Close);
    let authority = authority("alias/audit", &stand_in.endpoint());
    for signature in [
        other.sign(b"message").to_bytes().to_vec(),
        key.sign(b"another message").to_bytes().to_vec(),
        vec![0; 64],
        vec![],
    ] {
        answers(&stand_in, &ed25519_answer(&key, &signature));
        let refused = authority.sign(b"message").await.unwrap_err();
        assert!(matches!(refused, RootError::WrongSignature { .. }), "{refused:?}");
        assert!(refused.to_string().contains("kms gave a signature"), "{refused}");
    }
    for (public_key, kind) in [(base64(&[1; 44]), "unusable"), (String::new(), "unavailable")] {
        let mut body = ed25519_answer(&key, &key.sign(b"message").to_bytes());
        body["PublicKey"] = json!(public_key);
        answers(&stand_in, &body);
        let refused = authority.sign(b"message").await.unwrap_err();
        assert_eq!(refusals::kind(&refused), kind, "{refused:?}");
    }
}

#[tokio::test]
async fn two_answers_of_two_keys_are_no_signature() {
    let moto = MotoServer::shared();
    let stand_in = KmsStandIn::before(moto);
    let (key, theirs) = (p256(moto), p256(moto));
    let public_key = moto.kms(REGION, "GetPublicKey", &json!({ "KeyId": theirs }));
    let body = public_key.to_string();
    stand_in.answer_only("GetPublicKey", Answer::raw(200, "application/x-amz-json-1.1", &body));
    let refused = authority(&key, &stand_in.endpoint()).sign(b"message").await.unwrap_err();
    assert!(matches!(refused, RootError::WrongSignature { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_key_of_another_kind_is_refused_with_the_one_to_make() {
    let moto = MotoServer::shared();
    for parameters in [
        json!({ "KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY" }),
        json!({ "KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT" }),
        json!({ "KeySpec": "ECC_NIST_P384", "KeyUsage": "SIGN_VERIFY" }),
        json!({}),
    ] {
        let key = moto.create_key_with(REGION, &parameters);
        let authority = authority(&key, &moto.endpoint());
        for refused in
            [authority.sign(b"m").await.unwrap_err(), authority.check().await.unwrap_err()]
        {
            assert!(matches!(refused, RootError::Unusable { .. }), "{parameters}: {refused:?}");
            assert!(refused.to_string().contains("ECC_NIST_P256"), "{parameters}: {refused}");
        }
    }
}

#[tokio::test]
async fn refusals_are_told_apart_and_say_what_to_allow() {
    let stand_in = KmsStandIn::alone(Answer::Close);
    let authority = authority("alias/audit", &stand_in.endpoint());
    for (answer, kind, words) in [
        (Answer::access_denied(), "denied", "allow kms:Sign and kms:GetPublicKey"),
        (Answer::disabled(), "gone", "aws kms enable-key"),
        (Answer::not_found(), "gone", "root.aws_kms.audit_key to the key's ARN"),
        (Answer::throttled(), "throttled", "asks for fewer calls"),
        (Answer::bad_gateway(), "unavailable", "alias/audit in eu-central-1"),
    ] {
        stand_in.answer(answer);
        let refused = authority.sign(b"m").await.unwrap_err();
        assert_eq!(refusals::kind(&refused), kind, "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
    }
}

#[tokio::test]
async fn a_disabled_key_in_moto_is_gone() {
    let moto = MotoServer::shared();
    let stand_in = KmsStandIn::before(moto);
    let key = p256(moto);
    let authority = authority(&key, &stand_in.endpoint());
    authority.sign(b"m").await.unwrap();
    stand_in.answer_only("Sign", Answer::disabled());
    let refused = authority.sign(b"m").await.unwrap_err();
    assert!(matches!(refused, RootError::KeyGone { .. }), "{refused:?}");
}

#[test]
fn without_an_audit_key_there_is_no_authority_and_its_region_is_the_roots() {
    let with = |audit_key: Option<&str>| {
        let mut settings = settings("alias/keypod", "http://127.0.0.1:1");
        settings.audit_key = audit_key.map(str::to_owned);
        AwsKmsRoot::with_chain(&settings, &chain(credentials()), PATIENT, &arena())
    };
    assert!(with(None).unwrap().authority().is_none());
    let described = with(Some("alias/audit")).unwrap().authority().unwrap().describe();
    assert_eq!(described.place, "alias/audit in eu-central-1 at http://127.0.0.1:1");
    let elsewhere = with(Some("arn:aws:kms:us-east-1:1:key/1")).unwrap_err();
    assert!(matches!(elsewhere, AwsKmsRootError::RegionOfTheAuditKey { .. }), "{elsewhere}");
    let bad = with(Some("arn:aws:s3:::bucket")).unwrap_err();
    assert!(bad.to_string().starts_with("root.aws_kms.audit_key is"), "{bad}");
}
