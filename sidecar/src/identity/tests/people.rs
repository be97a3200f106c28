//! People: discovery, groups, and the second factor.

use super::*;
use crate::policy::CallerKind;

/// A provider `staff` at `issuer`, whose document and keys it answers with.
async fn provider(signer: &Signer) -> (StandIn, OidcSettings) {
    let issuer = StandIn::start(|_| None).await;
    let (keys, address) = (signer::jwks(&[signer]), issuer.address.clone());
    issuer.says(move |asked| {
        Some(match asked.path.as_str() {
            "/.well-known/openid-configuration" => (200, document(&address, &address)),
            "/keys" => (200, keys.clone()),
            _ => (404, String::new()),
        })
    });
    let settings = OidcSettings {
        name: "staff".to_owned(),
        issuer: issuer.address.clone(),
        audience: "keypod".to_owned(),
        algorithms: default_algorithms(),
        ca_file: None,
        groups_claim: "groups".to_owned(),
        mfa_amr: vec!["mfa".to_owned()],
        mfa_acr: vec!["urn:strong".to_owned()],
    };
    (issuer, settings)
}

fn document(issuer: &str, address: &str) -> String {
    json!({"issuer": issuer, "jwks_uri": format!("{address}/keys"), "more": [1]}).to_string()
}

async fn staff(settings: &OidcSettings, now: Now) -> Issuers {
    opened(&IdentitySettings { oidc: vec![settings.clone()], ..super::settings() }, now).await
}

fn person(settings: &OidcSettings, now: Now) -> Value {
    let wall = now.wall.0;
    json!({"iss": settings.issuer, "aud": "keypod", "sub": "ada|7", "iat": wall, "exp": wall + 300})
}

#[tokio::test]
async fn a_person_has_the_providers_name_before_theirs_and_before_their_groups() {
    let (now, signer) = (now(), Signer::rs256("k1"));
    let (_issuer, settings) = provider(&signer).await;
    let issuers = staff(&settings, now).await;
    let mut claims = person(&settings, now);
    for (groups, expected) in [
        (json!(null), vec![]),
        (json!("ops"), vec!["staff:ops"]),
        (json!(["Ops & Dev", "/a/b"]), vec!["staff:/a/b", "staff:Ops & Dev"]),
    ] {
        claims["groups"] = groups;
        let found = ask(&issuers, &signer.token(&claims), now).await.unwrap();
        assert_eq!(found.identity.name().as_str(), "staff:ada|7");
        assert_eq!(found.identity.kind(), CallerKind::Person);
        let roles: Vec<_> = found.identity.roles().iter().map(|role| role.to_string()).collect();
        assert_eq!(roles, expected);
        assert!(!found.mfa);
    }
}

#[tokio::test]
async fn groups_that_cannot_be_roles_or_are_elsewhere_refuse_the_token() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let (_issuer, settings) = provider(&signer).await;
    let issuers = staff(&settings, now).await;
    let many: Vec<_> = (0..257).map(|number| number.to_string()).collect();
    for groups in [json!(["a\u{7}"]), json!(["x".repeat(300)]), json!([1]), json!({}), json!(many)]
    {
        let mut claims = person(&settings, now);
        claims["groups"] = groups;
        assert_eq!(refusal(&issuers, &signer.token(&claims), now).await, Some(Refusal::Groups));
    }
    let mut claims = person(&settings, now);
    claims["_claim_names"] = json!({"groups": "src1"});
    assert_eq!(refusal(&issuers, &signer.token(&claims), now).await, Some(Refusal::Groups));
    for subject in ["a b", "ä", "a\n", &"x".repeat(600)] {
        let mut claims = person(&settings, now);
        claims["sub"] = subject.into();
        assert_eq!(refusal(&issuers, &signer.token(&claims), now).await, Some(Refusal::Subject));
    }
}

#[tokio::test]
async fn a_second_factor_is_what_the_configuration_says_it_is() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let (_issuer, mut settings) = provider(&signer).await;
    let cases = [
        (json!({}), false, false),
        (json!({"amr": ["pwd"]}), false, false),
        (json!({"amr": ["pwd", "mfa"]}), true, false),
        (json!({"amr": "mfa"}), true, false),
        (json!({"amr": ["pwd", "hwk"]}), false, true),
        (json!({"amr": ["MFA"]}), false, false),
        (json!({"acr": "urn:strong"}), true, true),
        (json!({"acr": "urn:weak", "amr": []}), false, false),
    ];
    for (amr, which) in [(vec!["mfa".to_owned()], 1), (vec!["hwk".to_owned()], 2)] {
        settings.mfa_amr = amr;
        let issuers = staff(&settings, now).await;
        for (more, with_mfa, with_hwk) in &cases {
            let mut claims = person(&settings, now);
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let found = ask(&issuers, &signer.token(&claims), now).await.unwrap();
            assert_eq!(found.mfa, if which == 1 { *with_mfa } else { *with_hwk }, "{more}");
        }
    }
    let issuers = staff(&settings, now).await;
    let mut claims = person(&settings, now);
    claims["amr"] = json!({"mfa": true});
    assert_eq!(refusal(&issuers, &signer.token(&claims), now).await, Some(Refusal::Claims));
}

#[tokio::test]
async fn a_document_of_another_issuer_or_with_keys_in_the_open_is_not_believed() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let (issuer, settings) = provider(&signer).await;
    let (own, keys) = (issuer.address.clone(), signer::jwks(&[&signer]));
    for (text, expected) in [
        (document("https://evil.example", &own), FetchError::OtherIssuer),
        (document(&format!("{own}/"), &own), FetchError::OtherIssuer),
        (json!({"issuer": own, "jwks_uri": "http://evil.example/keys"}).to_string(), content()),
        (json!({"issuer": own, "jwks_uri": "file:///etc/keys"}).to_string(), content()),
        (json!({"issuer": own, "jwks_uri": "https://u:p@evil.example/"}).to_string(), content()),
        (json!({"issuer": own}).to_string(), content()),
        ("<html>".to_owned(), content()),
    ] {
        let keys = keys.clone();
        issuer.says(move |asked| {
            let is_document = asked.path.ends_with("openid-configuration");
            Some((200, if is_document { text.clone() } else { keys.clone() }))
        });
        let issuers = staff(&settings, now).await;
        assert_eq!(issuers.status(now)[0].problem, Some(expected));
        let token = signer.token(&person(&settings, now));
        assert_eq!(refusal(&issuers, &token, now).await, Some(Refusal::NoKeys));
    }
}

fn content() -> FetchError {
    FetchError::Content { wanted: "discovery document with a jwks_uri over https" }
}

#[tokio::test]
async fn a_token_of_one_issuer_is_not_checked_by_the_keys_of_another() {
    let now = now();
    let (ours, theirs) = (Signer::es256("k1"), Signer::es256("k1"));
    let (_issuer, first) = provider(&ours).await;
    let (_other, mut second) = provider(&theirs).await;
    second.name = "guests".to_owned();
    let settings =
        IdentitySettings { oidc: vec![first.clone(), second.clone()], ..super::settings() };
    let issuers = opened(&settings, now).await;
    assert_eq!(
        name(&issuers, &ours.token(&person(&first, now)), now).await.unwrap(),
        "staff:ada|7"
    );
    assert_eq!(
        name(&issuers, &theirs.token(&person(&second, now)), now).await.unwrap(),
        "guests:ada|7"
    );
    for token in [theirs.token(&person(&first, now)), ours.token(&person(&second, now))] {
        assert_eq!(refusal(&issuers, &token, now).await, Some(Refusal::Signature));
    }
}
