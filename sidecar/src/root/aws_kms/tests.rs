mod authority;
mod chain;
mod logs;
mod lookups;
mod refusals;
mod transport;

use std::sync::Arc;

use aws_credential_types::Credentials;
use keypod_test_servers::{Answer, KmsStandIn, MotoServer};
use serde_json::{Value, json};

use super::*;
use crate::names::{KeyId, KeyRef, KeyVersion};
use crate::root::conformance::{Which, every_root_conforms};
use crate::secret::Protection;

const REGION: &str = "eu-central-1";
/// Longer than any server of a test takes on a busy machine.
const PATIENT: Duration = Duration::from_secs(30);

const ACCESS_KEY: &str = "AKIACANARY0000000001";
const SECRET_KEY: &str = "canarySecretKey/canarySecretKey+canary01";
const SESSION_TOKEN: &str = "canarySessionToken//canarySessionToken+canarySessionToken==";

fn arena() -> Arena {
    Arena::new(Protection::Heap).unwrap()
}

fn settings(key: &str, endpoint: &str) -> AwsKmsSettings {
    AwsKmsSettings {
        name: "kms".parse().unwrap(),
        key: key.to_owned(),
        region: None,
        endpoint: Some(endpoint.to_owned()),
        fips: false,
        dual_stack: false,
        audit_key: None,
    }
}

fn credentials() -> Credentials {
    Credentials::new(ACCESS_KEY, SECRET_KEY, Some(SESSION_TOKEN.to_owned()), None, "test")
}

/// A chain that looks at nothing of this machine.
fn chain(
    credentials: impl aws_credential_types::provider::ProvideCredentials + 'static,
) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

fn root_of(settings: &AwsKmsSettings) -> AwsKmsRoot {
    AwsKmsRoot::with_chain(settings, &chain(credentials()), PATIENT, &arena()).unwrap()
}

fn root(key: &str, endpoint: &str) -> AwsKmsRoot {
    root_of(&settings(key, endpoint))
}

fn binding() -> Binding<'static> {
    let key = KeyRef { id: KeyId::from_bytes([7; 8]), version: KeyVersion::new(3).unwrap() };
    Binding { key, domain: "clinic.example/eu" }
}

fn secret() -> KeyVersionSecret {
    KeyVersionSecret::fill(&arena(), |bytes| {
        bytes.fill(0x42);
        Ok::<_, RootError>(())
    })
    .unwrap()
}

async fn wraps_and_unwraps(root: &AwsKmsRoot) {
    let wrapped = root.wrap(&secret(), binding()).await.unwrap();
    let opened = root.unwrap_key(&wrapped, binding()).await.unwrap();
    assert_eq!(opened.expose_bytes(), &[0x42; 32]);
}

// The stand-in is between because moto answers a ciphertext of another key otherwise than AWS does; see there.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_in_aws_kms_conforms() {
    let moto = MotoServer::shared();
    let stand_in = KmsStandIn::before(moto);
    let keys = [moto.create_key(REGION), moto.create_key(REGION)];
    let arena = arena();
    every_root_conforms(async |which| {
        let key = match which {
            Which::This => &keys[0],
            Which::Another => &keys[1],
        };
        let settings = settings(key, &stand_in.endpoint());
        let root = AwsKmsRoot::with_chain(&settings, &chain(credentials()), PATIENT, &arena);
        Arc::new(root.unwrap()) as Arc<dyn Root>
    })
    .await;
    assert_eq!(arena.slots_used(), 0);
}

#[tokio::test]
async fn kms_sees_the_binding_as_its_context_and_nothing_else() {
    let stand_in = KmsStandIn::before(MotoServer::shared());
    let root = root(&MotoServer::shared().create_key(REGION), &stand_in.endpoint());
    wraps_and_unwraps(&root).await;
    let seen = stand_in.seen();
    let operations: Vec<_> = seen.iter().map(|seen| seen.operation.as_str()).collect();
    assert_eq!(operations, ["Encrypt", "Decrypt"]);
    for request in seen {
        let context = json!({
            "keypod:key": "0707070707070707",
            "keypod:version": "3",
            "keypod:domain": "clinic.example/eu",
        });
        assert_eq!(request.parameters["EncryptionContext"], context);
        assert_eq!(request.region.as_deref(), Some(REGION));
    }
}

#[tokio::test]
async fn decrypt_always_names_the_configured_key() {
    let moto = MotoServer::shared();
    let stand_in = KmsStandIn::before(moto);
    let key = moto.create_key(REGION);
    let root = root(&key, &stand_in.endpoint());
    let own = root.wrap(&secret(), binding()).await.unwrap();
    root.unwrap_key(&own, binding()).await.unwrap();

    // A row whose ciphertext is of a key that whoever wrote the row chose, and that this role may use as well.
    let theirs = moto.create_key(REGION);
    let theirs = self::root(&theirs, &moto.endpoint()).wrap(&secret(), binding()).await.unwrap();
    let opened = root.unwrap_key(&theirs, binding()).await;
    assert!(matches!(opened, Err(RootError::Corrupt { .. })), "{opened:?}");
    let seen = stand_in.seen();
    let decrypts: Vec<_> = seen.iter().filter(|seen| seen.operation == "Decrypt").collect();
    assert_eq!(decrypts.len(), 2);
    assert!(decrypts.iter().all(|seen| seen.parameters["KeyId"] == json!(key)));
}

#[tokio::test]
async fn bytes_that_kms_would_not_take_are_not_sent() {
    let stand_in = KmsStandIn::alone(Answer::access_denied());
    let root = root("alias/keypod", &stand_in.endpoint());
    let too_long = [&[LAYOUT][..], &[1; CIPHERTEXT_BYTES_MAX + 1]].concat();
    for wrapped in [vec![], vec![LAYOUT], vec![2, 1, 1], too_long] {
        let opened = root.unwrap_key(&WrappedKey::from_bytes(wrapped), binding()).await;
        assert!(matches!(opened, Err(RootError::Corrupt { .. })), "{opened:?}");
    }
    assert_eq!(stand_in.seen().len(), 0);
}

#[tokio::test]
async fn what_is_not_a_secret_of_32_bytes_is_not_taken_for_one() {
    let stand_in = KmsStandIn::alone(Answer::Close);
    let root = root("alias/keypod", &stand_in.endpoint());
    let wrapped = WrappedKey::from_bytes(vec![LAYOUT, 1, 2, 3]);
    let of = |len: usize| base64::Engine::encode(&*crate::secret::STANDARD, vec![1_u8; len]);
    for (body, taken) in [
        (json!({ "Plaintext": of(32) }), true),
        (json!({ "Plaintext": of(31) }), false),
        (json!({ "Plaintext": of(33) }), false),
        (json!({ "Plaintext": of(4096) }), false),
        (json!({ "Plaintext": "" }), false),
        (json!({}), false),
    ] {
        stand_in.answer(Answer::raw(200, "application/x-amz-json-1.1", &body.to_string()));
        let opened = root.unwrap_key(&wrapped, binding()).await;
        match taken {
            true => assert_eq!(opened.unwrap().expose_bytes(), &[1; 32]),
            false => {
                assert!(matches!(opened, Err(RootError::Corrupt { .. })), "{body}: {opened:?}")
            }
        }
    }
    for body in [json!({ "CiphertextBlob": "" }), json!({}), json!({ "CiphertextBlob": of(6145) })]
    {
        stand_in.answer(Answer::raw(200, "application/x-amz-json-1.1", &body.to_string()));
        let wrapped = root.wrap(&secret(), binding()).await;
        assert!(matches!(wrapped, Err(RootError::Unavailable { .. })), "{body}: {wrapped:?}");
    }
}

#[tokio::test]
async fn one_key_has_four_names() {
    let moto = MotoServer::shared();
    let arn = moto.create_key(REGION);
    let id = arn.rsplit('/').next().unwrap();
    let alias = format!("alias/{id}");
    moto.kms(REGION, "CreateAlias", &json!({ "AliasName": alias, "TargetKeyId": id }));
    let alias_arn = arn.replace("key/", "alias/");
    let wrapped = root(&arn, &moto.endpoint()).wrap(&secret(), binding()).await.unwrap();
    for name in [id, &arn, &alias, &alias_arn] {
        let root = root(name, &moto.endpoint());
        let opened = root.unwrap_key(&wrapped, binding()).await.unwrap();
        assert_eq!(opened.expose_bytes(), &[0x42; 32]);
    }
}

#[tokio::test]
async fn an_alias_that_points_elsewhere_does_not_open_what_it_wrapped_before() {
    let moto = MotoServer::shared();
    let stand_in = KmsStandIn::before(moto);
    let (before, after) = (moto.create_key(REGION), moto.create_key(REGION));
    let alias = format!("alias/{}", before.rsplit('/').next().unwrap());
    moto.kms(REGION, "CreateAlias", &json!({ "AliasName": alias, "TargetKeyId": before }));
    let root = root(&alias, &stand_in.endpoint());
    let wrapped = root.wrap(&secret(), binding()).await.unwrap();
    moto.kms(REGION, "UpdateAlias", &json!({ "AliasName": alias, "TargetKeyId": after }));
    let opened = root.unwrap_key(&wrapped, binding()).await;
    assert!(matches!(opened, Err(RootError::Corrupt { .. })), "{opened:?}");
}

#[tokio::test]
async fn two_regions_are_two_roots_and_neither_opens_what_the_other_wrapped() {
    let moto = MotoServer::shared();
    let stand_in = KmsStandIn::before(moto);
    let roots = [REGION, "us-west-2"].map(|region| {
        let mut settings = settings(&moto.create_key(region), &stand_in.endpoint());
        settings.name = region.parse().unwrap();
        root_of(&settings)
    });
    for root in &roots {
        wraps_and_unwraps(root).await;
    }
    let wrapped = roots[0].wrap(&secret(), binding()).await.unwrap();
    let opened = roots[1].unwrap_key(&wrapped, binding()).await;
    assert!(matches!(opened, Err(RootError::Corrupt { .. })), "{opened:?}");
    let regions: Vec<_> = stand_in.seen().into_iter().filter_map(|seen| seen.region).collect();
    assert_eq!(regions, [REGION, REGION, "us-west-2", "us-west-2", REGION, "us-west-2"]);
}

#[test]
fn the_region_is_the_configured_one_or_the_key_s_and_they_must_agree() {
    let arn = "arn:aws-cn:kms:cn-north-1:111122223333:alias/keypod";
    let with = |key: &str, region: Option<&str>| {
        let mut settings = settings(key, "http://127.0.0.1:1");
        settings.region = region.map(str::to_owned);
        settings
    };
    for (key, region, described) in [
        ("alias/keypod", None, "alias/keypod in eu-central-1 at http://127.0.0.1:1"),
        ("alias/keypod", Some("us-east-1"), "alias/keypod in us-east-1 at http://127.0.0.1:1"),
        (arn, None, &format!("{arn} in cn-north-1 at http://127.0.0.1:1")),
        (arn, Some("cn-north-1"), &format!("{arn} in cn-north-1 at http://127.0.0.1:1")),
    ] {
        assert_eq!(root_of(&with(key, region)).describe().place, described);
    }
    let error = |settings: &AwsKmsSettings| {
        let nowhere = SdkConfig::builder().build();
        AwsKmsRoot::with_chain(settings, &nowhere, PATIENT, &arena()).unwrap_err()
    };
    let no_region = error(&with("alias/keypod", None));
    assert!(no_region.to_string().contains("set root.aws_kms.region"), "{no_region}");
    let differ = error(&with(arn, Some("us-east-1")));
    assert!(matches!(differ, AwsKmsRootError::RegionOfTheKey { .. }), "{differ}");
    for key in
        ["arn:aws:s3:eu-west-1:1:key/1", "arn:aws:kms::1:key/1", "arn:aws:kms:eu-west-1:1:x/1"]
    {
        let bad = error(&with(key, None));
        assert!(matches!(bad, AwsKmsRootError::Arn { .. }), "{bad}");
    }
}

#[tokio::test]
async fn opening_asks_nobody_and_the_first_call_says_who_is_missing() {
    let mut settings = settings("alias/keypod", "http://127.0.0.1:1");
    settings.region = Some(REGION.to_owned());
    AwsKmsRoot::open(&settings, PATIENT, &arena()).await.unwrap();
    let refused = root_of(&settings).check("test").await.unwrap_err();
    assert!(matches!(refused, RootError::Unavailable { .. }), "{refused:?}");
    assert!(refused.to_string().contains("alias/keypod in eu-central-1 at http://127.0.0.1:1"));
}

async fn notes(key: &str, endpoint: &str) -> Result<Vec<String>, RootError> {
    root(key, endpoint).check("test").await
}

#[tokio::test]
async fn a_check_says_what_of_the_key_will_bite_later() {
    let moto = MotoServer::shared();
    let stand_in = KmsStandIn::before(moto);
    let key = moto.create_key(REGION);
    assert_eq!(notes(&key, &stand_in.endpoint()).await.unwrap(), Vec::<String>::new());

    let alias = format!("alias/{}", key.rsplit('/').next().unwrap());
    moto.kms(REGION, "CreateAlias", &json!({ "AliasName": alias, "TargetKeyId": key }));
    let found = notes(&alias, &stand_in.endpoint()).await.unwrap();
    assert!(found.len() == 1 && found[0].contains("is an alias"), "{found:?}");

    stand_in.answer_only("DescribeKey", Answer::access_denied());
    let found = notes(&key, &stand_in.endpoint()).await.unwrap();
    assert!(found.len() == 1 && found[0].contains("allow kms:DescribeKey"), "{found:?}");

    let described = |change: Value| {
        let mut key = json!({ "KeyId": "1", "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT", "KeyState": "Enabled" });
        key.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let body = json!({ "KeyMetadata": key }).to_string();
        stand_in.answer_only("DescribeKey", Answer::raw(200, "application/x-amz-json-1.1", &body));
    };
    for (change, note) in [
        (
            json!({ "KeyState": "PendingDeletion", "DeletionDate": 1_800_000_000 }),
            "1 is deleted on 2027-01-15T08:00:00Z",
        ),
        (json!({ "KeyState": "Updating" }), "1 is in the state Updating"),
        (
            json!({ "ValidTo": 1_800_000_000 }),
            "imported material of 1 expires on 2027-01-15T08:00:00Z",
        ),
    ] {
        described(change);
        let found = notes(&key, &stand_in.endpoint()).await.unwrap();
        assert!(found.len() == 1 && found[0].contains(note), "{found:?}");
    }
    for change in [json!({ "KeySpec": "RSA_2048" }), json!({ "KeyUsage": "GENERATE_VERIFY_MAC" })] {
        described(change);
        let refused = notes(&key, &stand_in.endpoint()).await.unwrap_err();
        assert!(matches!(refused, RootError::Unusable { .. }), "{refused:?}");
        assert!(refused.to_string().contains("SYMMETRIC_DEFAULT"), "{refused}");
    }
}

#[tokio::test]
async fn an_asymmetric_key_fails_the_check_before_anything_is_entrusted_to_it() {
    let moto = MotoServer::shared();
    let parameters = json!({ "KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT" });
    let key = moto.create_key_with(REGION, &parameters);
    let refused = notes(&key, &moto.endpoint()).await.unwrap_err();
    assert!(matches!(refused, RootError::Unusable { .. }), "{refused:?}");
}
