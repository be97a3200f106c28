//! Service accounts with tokens that a real API server of Kubernetes issues, bound to pods.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keypod_tests::{Client, until};
use serde_json::{Value, json};

use super::account::{Account, own_token};
use super::{
    assert_all_refused, assert_not_logged, assert_refused, both_ways, builder, decrypts, sidecar,
};

fn policy(account: &Account) -> String {
    format!(
        "permit (principal == Caller::{:?}, action == Action::\"decrypt\", resource);
         permit (principal in Role::\"system:serviceaccounts:{}\", action == Action::\"read_status\", resource)
         when {{ principal.kind == \"service_account\" }};",
        account.caller(),
        account.namespace
    )
}

#[tokio::test]
async fn a_projected_token_decrypts_by_keys_and_by_review_and_no_other_does() {
    let (account, stranger) = (Account::new().await, Account::new().await);
    let folder = own_token(&account).await;
    let token = account.token("keypod").await;
    let unbound = account.bound_token("keypod", Value::Null).await;
    let claims = token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["kubernetes.io"]["pod"]["uid"], json!(account.pod_uid), "{claims}");
    for check in [account.keys(), account.reviews()] {
        let lines = format!("pod_uid = \"{}\"\n{check}", account.pod_uid);
        let identity = account.identity(&lines, &folder.path().join("token"));
        let sidecar = sidecar(&identity, &policy(&account)).await;
        let sealed = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
        for client in both_ways(&sidecar, &token) {
            assert_eq!(decrypts(&client, &sealed).await, 200, "{}", sidecar.log());
            let status = client.get("/v1/status").await.json();
            assert_eq!(status["identity"]["issuers"][0]["usable"], true, "{status}");
        }
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let other = stranger.token("keypod").await;
        // Its first six bits are others, whatever they were.
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        let altered = format!("{signed}.{first}{}", &signature[1..]);
        let forged = [
            ("of another pod", other.clone()),
            ("bound to no pod", unbound.clone()),
            ("for the API server", account.token(account.server.issuer()).await),
            ("for another audience", account.token("vault").await),
            ("another's signature", format!("{signed}.{}", other.rsplit_once('.').unwrap().1)),
            ("an altered signature", altered),
            ("no signature", format!("{signed}.")),
        ];
        assert_all_refused(&sidecar, &forged).await;
        for (_, token) in &forged {
            assert_not_logged(&sidecar, token);
        }
        assert_not_logged(&sidecar, &token);
        assert_not_logged(&sidecar, &std::fs::read_to_string(folder.path().join("token")).unwrap());
    }
}

#[tokio::test]
async fn the_token_of_a_deleted_pod_ends_with_the_next_review() {
    let (account, reviewer) = (Account::new().await, Account::new().await);
    let folder = own_token(&reviewer).await;
    let identity = account.identity(&account.reviews(), &folder.path().join("token"));
    let sidecar = sidecar(&identity, &policy(&account)).await;
    let (early, late) = (account.token("keypod").await, account.token("keypod").await);
    assert_ne!(early, late);
    let status = |token: &str| {
        let client = Client::tcp(sidecar.tcp(), Some(token));
        async move { client.get("/v1/status").await.status }
    };
    assert_eq!(status(&early).await, 200);
    let now = json!({"gracePeriodSeconds": 0});
    account.ask("DELETE", &account.path("pods/intake-0"), &now).await;
    // One that was reviewed before is remembered for a minute; one that was not is refused.
    assert_eq!(status(&early).await, 200);
    until("the API server knows that the pod is gone", async || status(&late).await == 401).await;
    assert_refused(&sidecar, &late, "its pod is gone").await;
}

#[tokio::test]
async fn a_sidecar_that_may_not_ask_or_whose_server_is_not_the_one_says_so() {
    let account = Account::new().await;
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    // For another audience: the API server does not take it.
    std::fs::write(&token_file, account.token("keypod").await).unwrap();
    let good = account.token("keypod").await;
    let other_ca = account.server.other_ca_file().to_str().unwrap().to_owned();
    let ca = account.server.ca_file().to_str().unwrap().to_owned();
    for (identity, said) in [
        (account.identity(&account.keys(), &token_file), "401"),
        (account.identity(&account.reviews(), &token_file), "401"),
        (account.identity(&account.keys(), &token_file).replace(&ca, &other_ca), "ca_file"),
        (account.identity(&account.keys(), &folder.path().join("none")), "cannot read"),
    ] {
        let builder = builder(&identity, &policy(&account));
        builder.write();
        let (status, _) = builder.run_serve(&["--check"]);
        assert!(!status.success());
        let sidecar = builder.start().await;
        assert_refused(&sidecar, &good, said).await;
        let status = sidecar.client().get("/v1/status").await.json();
        let problem = status["identity"]["issuers"][0]["problem"].as_str().unwrap().to_owned();
        assert!(problem.contains(said), "{problem}");
    }
}
