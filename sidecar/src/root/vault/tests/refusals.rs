use keypod_test_servers::VaultTls;
use serde_json::Value;

use super::*;

fn root_of(server: &VaultServer, folder: &TempDir, key: &str, mount: &str) -> VaultRoot {
    let auth = VaultAuth::TokenFile(private_file(folder, "root", server.root_token()));
    let mut settings = settings(server.address(), key, auth);
    settings.mount = mount.to_owned();
    open(&settings)
}

async fn unusable(root: &VaultRoot, wanted: &str) {
    for error in
        [root.check("test").await.map(drop), root.wrap(&secret(), binding()).await.map(drop)]
    {
        let error = error.unwrap_err();
        assert!(matches!(error, RootError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

async fn check_says(root: &VaultRoot, wanted: &str) {
    let error = root.check("test").await.unwrap_err();
    assert!(matches!(error, RootError::Unusable { .. } | RootError::Exposed { .. }), "{error:?}");
    assert!(error.to_string().contains(wanted), "{error}");
    assert!(error.to_string().contains("make another one"), "{error}");
}

fn keys_of(place: &Place) -> Option<Value> {
    let (status, found) =
        place.server.ask("GET", &format!("transit/keys/{}", place.key), None).unwrap();
    (status == 200).then_some(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_is_gone_and_not_made() {
    let place = Place::without_key(vault());
    let wrapped = WrappedKey::from_bytes(NOBODYS.as_bytes().to_vec());
    for auth in [place.token(), place.approle(&json!({}))] {
        let root = place.open(auth);
        let errors = [
            root.check("test").await.map(drop),
            root.wrap(&secret(), binding()).await.map(drop),
            root.unwrap_key(&wrapped, binding()).await.map(drop),
        ];
        for error in errors {
            let error = error.unwrap_err();
            assert!(matches!(error, RootError::KeyGone { .. }), "{error:?}");
            assert!(error.to_string().contains(&format!("transit/keys/{}", place.key)), "{error}");
        }
    }
    assert!(keys_of(&place).is_none());
}

/// With `create` Vault makes a key of whatever name by wrapping under it; the check looks before it wraps.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_makes_no_key_even_where_the_policy_would_allow_it() {
    let place = Place::without_key(vault());
    let rules = r#"path "transit/encrypt/+" { capabilities = ["create", "update"] }
                   path "transit/decrypt/+" { capabilities = ["update"] }"#;
    place.server.make_policy(&place.key, rules).unwrap();
    let error = place.open(place.token()).check("test").await.unwrap_err();
    assert!(matches!(error, RootError::KeyGone { .. }), "{error:?}");
    assert!(keys_of(&place).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_transit_engine_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for mount in ["nowhere", "sys", "auth/approle"] {
        let root = root_of(vault(), &folder, "keypod", mount);
        unusable(&root, &format!("there is no transit engine at {mount}/")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_a_root_key_are_refused_by_the_check() {
    let cases = [
        (json!({"derived": true}), "is derived"),
        (json!({"exportable": true}), "is exportable"),
        (json!({"allow_plaintext_backup": true}), "allows plaintext backups"),
        (json!({"type": "rsa-2048"}), "takes no associated data"),
        (json!({"type": "ed25519"}), "takes no associated data"),
    ];
    for (properties, wanted) in cases {
        let place = Place::without_key(vault());
        place.server.make_key(&place.key, &properties).unwrap();
        check_says(&place.open(place.token()), wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_wrong_kind_are_refused_when_they_are_used_as_well() {
    for properties in
        [json!({"derived": true}), json!({"type": "rsa-2048"}), json!({"type": "ed25519"})]
    {
        let place = Place::without_key(vault());
        place.server.make_key(&place.key, &properties).unwrap();
        let error = place.open(place.token()).wrap(&secret(), binding()).await.unwrap_err();
        assert!(matches!(error, RootError::Unusable { .. }), "{properties}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_should_know_is_noted() {
    let place = Place::new();
    let root = place.open(place.token());
    assert_eq!(root.check("test").await.unwrap(), Vec::<String>::new());
    let config = format!("transit/keys/{}/config", place.key);
    place.server.write(&config, &json!({"deletion_allowed": true})).unwrap();
    let VaultAuth::TokenFile(path) = place.token() else { panic!() };
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let notes = root.check("test").await.unwrap();
    assert!(notes[0].contains("may be deleted") && notes[1].contains("chmod o-r"), "{notes:?}");
    let rules = policy(&place.key).replace("\"read\"", "\"deny\"");
    place.server.make_policy(&place.key, &rules).unwrap();
    let notes = root.check("test").await.unwrap();
    assert!(notes[0].contains("`read` on transit/keys/"), "{notes:?}");
    let rules = policy(&place.key).replace(r#"["update"]"#, r#"["create", "update"]"#);
    for auth in [
        place.token(),
        VaultAuth::TokenFile(private_file(&place.folder, "root", place.server.root_token())),
    ] {
        place.server.make_policy(&place.key, &rules).unwrap();
        let notes = place.open(auth).check("test").await.unwrap();
        assert!(notes[1].contains("may do more than it needs"), "{notes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_no_longer_decrypted_and_a_deleted_key_are_gone() {
    let place = Place::new();
    let root = place.open(place.token());
    let wrapped = root.wrap(&secret(), binding()).await.unwrap();
    let key = format!("transit/keys/{}", place.key);
    place.server.write(&format!("{key}/rotate"), &json!({})).unwrap();
    let config = json!({"min_decryption_version": 2, "deletion_allowed": true});
    place.server.write(&format!("{key}/config"), &config).unwrap();
    let gone = root.unwrap_key(&wrapped, binding()).await.unwrap_err();
    assert!(matches!(gone, RootError::KeyGone { .. }), "{gone:?}");
    assert!(gone.to_string().contains("lower its min_decryption_version"), "{gone}");
    place.server.ask("DELETE", &key, None).unwrap();
    for gone in [
        root.unwrap_key(&wrapped, binding()).await.unwrap_err(),
        root.wrap(&secret(), binding()).await.unwrap_err(),
    ] {
        assert!(matches!(gone, RootError::KeyGone { .. }), "{gone:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_throttling() {
    let server = VaultServer::start(VaultTls::Off).unwrap();
    let folder = tempfile::tempdir().unwrap();
    server.make_key("keypod", &json!({})).unwrap();
    let root = root_of(&server, &folder, "keypod", "transit");
    root.check("test").await.unwrap();
    let with_header = json!({"enable_rate_limit_response_headers": true});
    server.write("sys/quotas/config", &with_header).unwrap();
    let quota = json!({"path": "transit", "rate": 1, "interval": "1h"});
    server.write("sys/quotas/rate-limit/keypod", &quota).unwrap();
    root.wrap(&secret(), binding()).await.unwrap();
    let throttled = root.wrap(&secret(), binding()).await.unwrap_err();
    let RootError::Throttled { retry_after: Some(after), .. } = throttled else {
        panic!("{throttled:?}")
    };
    assert!(after > Duration::ZERO, "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_vault_and_one_that_is_away_are_unavailable_and_it_works_again_by_itself() {
    let mut server = VaultServer::start(VaultTls::Off).unwrap();
    server.make_key("keypod", &json!({})).unwrap();
    let rules = policy("keypod");
    server.make_policy("keypod", &rules).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let role = json!({"token_policies": ["keypod"]});
    let (role_id, secret_id) = server.make_approle("keypod", &role).unwrap();
    let secret_id_file = private_file(&folder, "secret-id", &secret_id);
    let auth = VaultAuth::AppRole { mount: "approle".to_owned(), role_id, secret_id_file };
    let logged_in = open(&settings(server.address(), "keypod", auth.clone()));
    logged_in.check("test").await.unwrap();
    let not_yet = open(&settings(server.address(), "keypod", auth));
    server.seal().unwrap();
    for root in [&logged_in, &not_yet] {
        let error = root.wrap(&secret(), binding()).await.unwrap_err();
        assert!(matches!(error, RootError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("unseal it"), "{error}");
    }
    server.unseal().unwrap();
    for root in [&logged_in, &not_yet] {
        let mut worked = root.wrap(&secret(), binding()).await;
        for _ in 0..1000 {
            if worked.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            worked = root.wrap(&secret(), binding()).await;
        }
        worked.unwrap();
    }
    server.stop();
    let error = logged_in.wrap(&secret(), binding()).await.unwrap_err();
    assert!(matches!(error, RootError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("no connection"), "{error}");
}
