use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::*;

async fn works(root: &VaultRoot) {
    let wrapped = root.wrap(&secret(), binding()).await.unwrap();
    let opened = root.unwrap_key(&wrapped, binding()).await.unwrap();
    assert_eq!(opened.expose_bytes(), &[0x5a; 32]);
}

async fn denied(root: &VaultRoot) -> String {
    match root.wrap(&secret(), binding()).await {
        Err(RootError::Denied { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

async fn token(root: &VaultRoot) -> String {
    root.access.session.token().await.unwrap().expose_token().to_owned()
}

fn take_back(token: &str) {
    vault().write("auth/token/revoke", &json!({"token": token})).unwrap();
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not happen within a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_taken_back_is_replaced_by_a_login() {
    let place = Place::new();
    let root = place.open(place.approle(&json!({})));
    works(&root).await;
    let first = token(&root).await;
    take_back(&first);
    works(&root).await;
    assert_ne!(token(&root).await, first);
}

/// The secret id may be used once: a second login would be refused.
#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_make_one_login() {
    let place = Place::new();
    let root = Arc::new(place.open(place.approle(&json!({"secret_id_num_uses": 1}))));
    let calls = (0..64).map(|_| {
        let root = Arc::clone(&root);
        tokio::spawn(async move { works(&root).await })
    });
    join_all(calls).await.into_iter().for_each(|call| call.unwrap());
    take_back(&token(&root).await);
    assert!(denied(&root).await.contains("the login at auth/approle was refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_with_a_token_that_was_taken_back_make_one_login() {
    let place = Place::new();
    let root = Arc::new(place.open(place.approle(&json!({"secret_id_num_uses": 2}))));
    works(&root).await;
    take_back(&token(&root).await);
    let calls = (0..64).map(|_| {
        let root = Arc::clone(&root);
        tokio::spawn(async move { works(&root).await })
    });
    join_all(calls).await.into_iter().for_each(|call| call.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_was_taken_away_is_denied_with_the_policy_that_is_wanted() {
    let place = Place::new();
    // One login alone: a refusal to a new token does not make another.
    let roots =
        [place.open(place.token()), place.open(place.approle(&json!({"secret_id_num_uses": 1})))];
    let mut wrapped = Vec::new();
    for root in &roots {
        works(root).await;
        wrapped.push(root.wrap(&secret(), binding()).await.unwrap());
    }
    place
        .server
        .make_policy(&place.key, r#"path "transit/decrypt/none" { capabilities = [] }"#)
        .unwrap();
    for (root, wrapped) in roots.iter().zip(wrapped) {
        let opened = root.unwrap_key(&wrapped, binding()).await;
        let Err(RootError::Denied { reason, .. }) = opened else { panic!("{opened:?}") };
        for wanted in ["encrypt", "decrypt"] {
            assert!(reason.contains(&format!("transit/{wanted}/{}", place.key)), "{reason}");
        }
        assert!(reason.contains("its token is valid"), "{reason}");
        assert_eq!(denied(root).await, reason);
    }
    place.server.make_policy(&place.key, &policy(&place.key)).unwrap();
    for root in &roots {
        works(root).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_file_that_was_taken_back_is_told_from_a_missing_policy_and_read_again() {
    let place = Place::new();
    let root = place.open(place.token());
    works(&root).await;
    take_back(&token(&root).await);
    let reason = denied(&root).await;
    assert!(reason.contains("has ended or was revoked") && reason.contains("/token"), "{reason}");
    place.token();
    works(&root).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_before_it_ends() {
    let place = Place::new();
    let root = place.open(place.approle(&json!({"token_ttl": "2s", "token_max_ttl": "1h"})));
    works(&root).await;
    let first = token(&root).await;
    until(async || {
        let found = place.server.write("auth/token/lookup", &json!({"token": first})).unwrap();
        found["data"]["last_renewal_time"].is_u64()
    })
    .await;
    assert_eq!(token(&root).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_file_is_renewed_as_well() {
    let place = Place::new();
    let short = json!({"policies": [place.key], "ttl": "2s", "explicit_max_ttl": "1h"});
    let token = place.server.make_token(&short).unwrap();
    let file = private_file(&place.folder, "token", &token);
    let root = place.open(VaultAuth::TokenFile(file));
    works(&root).await;
    until(async || {
        let found = place.server.write("auth/token/lookup", &json!({"token": token})).unwrap();
        found["data"]["last_renewal_time"].is_u64()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_renewed_is_replaced_while_nobody_asks() {
    let place = Place::new();
    for limits in [
        json!({"token_ttl": "2s", "token_max_ttl": "3s"}),
        json!({"token_type": "batch", "token_ttl": "2s"}),
    ] {
        let root = place.open(place.approle(&limits));
        let first = token(&root).await;
        until(async || token(&root).await != first).await;
        works(&root).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_renewal_ends_with_the_root() {
    let place = Place::new();
    let root = place.open(place.approle(&json!({"token_ttl": "1h"})));
    works(&root).await;
    let session = Arc::downgrade(&root.access.session);
    let held = Arc::downgrade(&root.access.session.token().await.unwrap());
    drop(root);
    until(async || session.upgrade().is_none() && held.upgrade().is_none()).await;
}

/// A service account's token as Kubernetes would sign it, if `signature` is `genuine`.
fn jwt(account: &str, signature: &str) -> String {
    let part = |text: &str| crate::secret::URL_SAFE_NO_PAD.encode(text);
    let claims = json!({
        "iss": "kubernetes/serviceaccount",
        "sub": format!("system:serviceaccount:default:{account}"),
        "kubernetes.io/serviceaccount/namespace": "default",
        "kubernetes.io/serviceaccount/service-account.name": account,
        "kubernetes.io/serviceaccount/service-account.uid": "keypod-test",
    });
    let head = part(r#"{"alg":"RS256","typ":"JWT"}"#);
    format!("{head}.{}.{}", part(&claims.to_string()), part(signature))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_logs_in_and_its_token_is_read_anew() {
    let place = Place::new();
    let mount = place.server.name("clusters/kubernetes");
    place.server.enable_kubernetes(&mount, "keypod", &place.key).unwrap();
    let write = |account, signature| private_file(&place.folder, "jwt", &jwt(account, signature));
    let token_file = write("keypod", "genuine");
    let auth =
        VaultAuth::Kubernetes { mount: mount.clone(), role: "keypod".to_owned(), token_file };
    let root = place.open(auth.clone());
    works(&root).await;
    root.check("test").await.unwrap();
    for (account, signature) in [("keypod", "forged"), ("another", "genuine")] {
        take_back(&token(&root).await);
        write(account, signature);
        // Vault says the same when it cannot ask Kubernetes, so this passes by itself.
        let refused = root.wrap(&secret(), binding()).await;
        let Err(RootError::Unavailable { reason, .. }) = refused else { panic!("{refused:?}") };
        assert!(reason.contains(&format!("auth/{mount} was refused")), "{reason}");
        write("keypod", "genuine");
        works(&root).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_says_what_to_look_at() {
    let place = Place::new();
    let VaultAuth::AppRole { mount, role_id, secret_id_file } = place.approle(&json!({})) else {
        panic!()
    };
    let root = place.open(VaultAuth::AppRole {
        mount: "nowhere".to_owned(),
        role_id: role_id.clone(),
        secret_id_file: secret_id_file.clone(),
    });
    let reason = denied(&root).await;
    assert!(reason.contains("auth/nowhere") && reason.contains("enabled"), "{reason}");
    let root =
        place.open(VaultAuth::AppRole { mount, role_id, secret_id_file: secret_id_file.clone() });
    let good = fs::read_to_string(&secret_id_file).unwrap();
    fs::write(&secret_id_file, "3a1a9c3e-0000-4000-8000-000000000000").unwrap();
    let reason = denied(&root).await;
    assert!(reason.contains("secret id in ") && reason.contains("invalid"), "{reason}");
    fs::remove_file(&secret_id_file).unwrap();
    let gone = root.wrap(&secret(), binding()).await.unwrap_err();
    assert!(matches!(gone, RootError::Unavailable { .. }), "{gone:?}");
    assert!(gone.to_string().contains("secret-id cannot be read"), "{gone}");
    fs::write(&secret_id_file, good).unwrap();
    works(&root).await;
}
