//! People with tokens that Vault's OpenID Connect issuer signs.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keypod_test_servers::{Fault, FaultProxy};
use keypod_tests::{Client, until};
use serde_json::{Value, json};
use sha2::Sha256;

use super::person::{PLACE, Person, issuer, staff};
use super::{
    assert_all_refused, assert_not_logged, assert_refused, both_ways, builder, decrypts, sidecar,
    unauthenticated,
};

/// `token` with other bytes for its header or its claims, and the signature that it had.
fn with_part(token: &str, at: usize, change: impl Fn(&mut Value)) -> String {
    let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    let mut value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[at]).unwrap()).unwrap();
    change(&mut value);
    parts[at] = URL_SAFE_NO_PAD.encode(value.to_string());
    parts.join(".")
}

/// `token` with another header, signed with `secret` by HMAC.
fn by_hmac(token: &str, secret: &[u8]) -> String {
    let altered = with_part(token, 0, |header| header["alg"] = "HS256".into());
    let signed = altered.rsplit_once('.').unwrap().0;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_person_is_who_vault_says_with_the_groups_and_the_second_factor_that_it_says() {
    let strong = Person::new("keypod", ", \"amr\": [\"pwd\", \"mfa\"]").await;
    let weak = Person::new("keypod", ", \"amr\": [\"pwd\"]").await;
    let policy = format!(
        "permit (principal == Caller::{:?}, action == Action::\"decrypt\", resource);
         permit (principal in Role::{:?}, action == Action::\"read_status\", resource)
         when {{ context.mfa && principal.kind == \"person\" }};
         permit (principal in Role::{:?}, action == Action::\"read_status\", resource)
         when {{ context.mfa }};",
        strong.caller(),
        strong.group(),
        weak.group(),
    );
    let sidecar = sidecar(&staff(&issuer(strong.vault)), &policy).await;
    let sealed = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
    let (strong_token, weak_token) = (strong.token().await, weak.token().await);
    for client in both_ways(&sidecar, &strong_token) {
        assert_eq!(decrypts(&client, &sealed).await, 200);
        let status = client.get("/v1/status").await;
        assert_eq!(status.status, 200, "it is in the group and has a second factor");
        let issuer = &status.json()["identity"]["issuers"][0];
        assert_eq!((&issuer["name"], &issuer["usable"]), (&json!("staff"), &json!(true)));
    }
    for client in both_ways(&sidecar, &weak_token) {
        client.try_decrypt(&sealed, &json!({})).await.assert_problem(403, "forbidden");
        client.get("/v1/status").await.assert_problem(403, "forbidden");
    }
    assert!(sidecar.metric("keypod_tokens_remembered").await > 1.0);
    let text = String::from_utf8(sidecar.observe("/metrics").await.body).unwrap();
    let counted = |outcome: &str, count: u32| {
        let mut lines = text.lines().filter(|line| line.contains("keypod_tokens_total"));
        let line = lines.find(|line| line.contains("\"staff\"") && line.contains(outcome)).unwrap();
        assert!(line.ends_with(&format!(" {count}")), "{line}");
    };
    counted("checked", 2);
    counted("remembered", 6);
    counted("refused", 0);
    let log = sidecar.log();
    assert!(log.contains(&weak.caller()), "who was denied is in the log");
    for token in [&strong_token, &weak_token] {
        assert_not_logged(&sidecar, token);
    }
}

#[tokio::test]
async fn every_forged_token_gets_what_a_stranger_gets() {
    let person = Person::new("keypod", "").await;
    let guest = Person::new("another", "").await;
    let policy = "permit (principal, action, resource);";
    let sidecar = sidecar(&staff(&issuer(person.vault)), policy).await;
    let good = person.token().await;
    let parts: Vec<_> = good.split('.').collect();
    let keys = format!("{}/.well-known/keys", issuer(person.vault));
    let published = reqwest::get(&keys).await.unwrap().text().await.unwrap();
    let key: Value = serde_json::from_str(&published).unwrap();
    let mut forged = vec![
        ("another audience", guest.token().await),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("another's signature", {
            let other = guest.token().await;
            format!("{}.{}.{}", parts[0], parts[1], other.rsplit_once('.').unwrap().1)
        }),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{good}.{}", parts[0])),
        ("garbage", "a.b.c".to_owned()),
        ("an empty token", String::new()),
        ("17 KiB", format!("{good}{}", "A".repeat(17 << 10))),
        ("another subject", with_part(&good, 1, |claims| claims["sub"] = "root".into())),
        ("a later end", with_part(&good, 1, |claims| claims["exp"] = 4_000_000_000_u64.into())),
        ("a long kid", with_part(&good, 0, |header| header["kid"] = "k".repeat(10_000).into())),
        ("an unknown kid", with_part(&good, 0, |header| header["kid"] = "unknown".into())),
        ("crit", with_part(&good, 0, |header| header["crit"] = json!(["exp"]))),
        ("another algorithm", with_part(&good, 0, |header| header["alg"] = "RS256".into())),
    ];
    for none in ["none", "None", "NONE"] {
        let token = with_part(&good, 0, |header| header["alg"] = none.into());
        let signed = token.rsplit_once('.').unwrap().0.to_owned();
        forged.extend([("alg none", format!("{signed}.")), ("alg none, signed", token)]);
    }
    for secret in [published.as_bytes(), key["keys"][0].to_string().as_bytes(), b""] {
        forged.push(("HMAC with what is public", by_hmac(&good, secret)));
    }
    assert_all_refused(&sidecar, &forged).await;
    let line =
        sidecar.log().lines().filter(|line| line.contains("signed token was refused")).count();
    assert!(line > 20, "each has its reason in the debug log");
    for (_, token) in &forged {
        assert_not_logged(&sidecar, token);
    }
    for client in both_ways(&sidecar, &good) {
        assert_eq!(client.get("/v1/status").await.status, 200, "and the good one is still good");
    }
}

#[tokio::test]
async fn a_token_anywhere_but_in_one_authorization_header_is_none() {
    let person = Person::new("keypod", "").await;
    let sidecar =
        sidecar(&staff(&issuer(person.vault)), "permit (principal, action, resource);").await;
    let good = person.token().await;
    let nobody = Client::tcp(sidecar.tcp(), None);
    let expected = super::stranger(&sidecar).await;
    for name in ["access_token", "token", "authorization"] {
        let answer = nobody.get(&format!("/v1/status?{name}={good}")).await;
        assert_eq!(unauthenticated(&answer), expected, "{name} in the query");
    }
    // Beside a good header it is refused too, because that route takes no query.
    let known = Client::tcp(sidecar.tcp(), Some(&good));
    let answer = known.get(&format!("/v1/status?access_token={good}")).await;
    answer.assert_problem(400, "invalid_request");
    let get = || nobody.request("GET", "/v1/status");
    for request in [
        get().header("authorization", format!("Basic {good}")),
        get().header("authorization", format!("JWT {good}")),
        get().header("authorization", &good),
        get().header("cookie", format!("access_token={good}")),
        get().header("x-auth-token", &good),
        get().bearer_auth(&good).header("authorization", format!("Bearer {good}")),
    ] {
        assert_eq!(unauthenticated(&nobody.send(request).await), expected);
    }
    assert_eq!(known.get("/v1/status").await.status, 200);
    assert_not_logged(&sidecar, &good);
}

#[tokio::test]
async fn a_key_that_the_issuer_no_longer_publishes_ends_its_tokens() {
    let (gone, stays) = (Person::new("keypod", "").await, Person::new("keypod", "").await);
    let sidecar =
        sidecar(&staff(&issuer(gone.vault)), "permit (principal, action, resource);").await;
    let (of_gone, of_stays) = (gone.token().await, stays.token().await);
    let taken = async |token: &str| {
        Client::tcp(sidecar.tcp(), Some(token)).get("/v1/status").await.status == 200
    };
    assert!(taken(&of_gone).await && taken(&of_stays).await);
    gone.revoke_key();
    until("the remembered token is refused", async || !taken(&of_gone).await).await;
    assert_refused(&sidecar, &of_gone, "a revoked key").await;
    assert!(taken(&of_stays).await);
    // A key that is new is found by its first token.
    let new = Person::new("keypod", "").await;
    let of_new = new.token().await;
    until("the new key is found", async || taken(&of_new).await).await;
}

#[tokio::test]
async fn an_issuer_that_is_away_holds_up_nobody_elses_start_and_is_found_when_it_is_back() {
    let person = Person::new("keypod", "").await;
    let upstream: SocketAddr =
        person.vault.address().trim_start_matches("http://").parse().unwrap();
    let proxy = FaultProxy::start(upstream).unwrap();
    // The cluster's keys come through the proxy, and Vault plays the cluster: what is fetched is what counts.
    let keys = format!("http://{}{PLACE}/.well-known/keys", proxy.address());
    let identity = format!(
        "[identity.kubernetes]\naudience = \"keypod\"\nissuer = \"{}\"\njwks_url = \"{keys}\"",
        issuer(person.vault)
    );
    proxy.set(Fault::Refuse);
    let builder = builder(&identity, "permit (principal, action, resource);");
    builder.write();
    let (status, said) = builder.run_serve(&["--check"]);
    assert!(!status.success(), "{said}");
    let sidecar = builder.start().await;
    assert_eq!(sidecar.client().get("/v1/status").await.status, 200, "others are served");
    let issuers = async || {
        let status = sidecar.client().get("/v1/status").await.json();
        status["identity"]["issuers"][0].clone()
    };
    let away = issuers().await;
    assert_eq!(away["usable"], false);
    assert!(away["problem"].as_str().unwrap().contains("no connection"), "{away}");
    assert!(sidecar.log().contains("an issuer's keys cannot be had"));
    assert_refused(&sidecar, &person.token().await, "no keys").await;
    proxy.set(Fault::None);
    until("the keys are there", async || issuers().await["usable"] == true).await;
    assert!(sidecar.metric("keypod_issuer_failures_total").await > 0.0);
}
