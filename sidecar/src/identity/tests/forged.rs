//! What somebody without the issuer's key might send.

use super::signer::base64url;
use super::*;

const ALL: [fn(&'static str) -> Signer; 3] = [Signer::rs256, Signer::es256, Signer::ed25519];

#[tokio::test]
async fn a_token_of_each_algorithm_is_taken_and_with_any_part_altered_is_not() {
    let now = now();
    for signer in ALL.map(|make| make("k1")) {
        let issuer = StandIn::with_keys(&[&signer]).await;
        let issuers = opened(&keys_at(&issuer), now).await;
        let token = signer.token(&account(now));
        let good = ask(&issuers, &token, now).await.unwrap();
        assert_eq!(good.identity.name().as_str(), "system:serviceaccount:clinic:intake");
        assert!(!good.mfa);
        let mut other = account(now);
        other["sub"] = "system:serviceaccount:clinic:viewer".into();
        other["kubernetes.io"]["serviceaccount"]["name"] = "viewer".into();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let header = signed.split_once('.').unwrap().0;
        let swapped = format!("{header}.{}.{signature}", base64url(other.to_string()));
        assert_eq!(refusal(&issuers, &swapped, now).await, Some(Refusal::Signature));
        for at in (signed.len() + 1..token.len()).step_by(7) {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            assert!(ask(&issuers, &altered, now).await.is_none(), "{} at {at}", signer.alg());
        }
        for cut in ["", "AA", &signature[..signature.len() - 4], &format!("{signature}A")] {
            assert!(ask(&issuers, &format!("{signed}.{cut}"), now).await.is_none(), "{cut}");
        }
        let stranger = ALL.map(|make| make("k1")).map(|other| other.token(&account(now)));
        for token in stranger {
            assert!(ask(&issuers, &token, now).await.is_none());
        }
    }
}

#[tokio::test]
async fn an_algorithm_is_the_keys_and_never_the_tokens() {
    let now = now();
    let claims = account(now).to_string();
    let header = |alg: &str| json!({"alg": alg, "kid": "k1", "typ": "JWT"}).to_string();
    for signer in ALL.map(|make| make("k1")) {
        let issuer = StandIn::with_keys(&[&signer]).await;
        let issuers = opened(&keys_at(&issuer), now).await;
        let signed = signer.sign(&header(signer.alg()), &claims);
        assert!(ask(&issuers, &signed, now).await.is_some());
        for none in ["none", "None", "NONE", "nOnE", ""] {
            let signed = format!("{}.{}.", base64url(header(none)), base64url(&claims));
            assert!(ask(&issuers, &signed, now).await.is_none(), "{none}, without a signature");
            let signature = format!("{signed}{}", base64url([0; 64]));
            let refused = refusal(&issuers, &signature, now).await;
            assert_eq!(refused, Some(Refusal::Algorithm), "{none}");
        }
        for secret in signer.public_forms() {
            for alg in ["HS256", "hs256", signer.alg()] {
                let forged = Signer::sign_hs256(&secret, &header(alg), &claims);
                let refused = refusal(&issuers, &forged, now).await.unwrap();
                assert!(matches!(refused, Refusal::Algorithm | Refusal::Signature), "{alg}");
            }
        }
        for other in ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "rs256"] {
            if other != signer.alg() {
                let signed = signer.sign(&header(other), &claims);
                let refused = refusal(&issuers, &signed, now).await;
                assert_eq!(refused, Some(Refusal::Algorithm), "{} says {other}", signer.alg());
            }
        }
    }
}

#[tokio::test]
async fn an_rsa_key_is_for_one_padding_alone() {
    let (now, signer) = (now(), Signer::rs256("k1"));
    let issuer = StandIn::with_keys(&[&signer]).await;
    let claims = account(now).to_string();
    let pss = signer.sign_ps256(r#"{"alg":"PS256","kid":"k1"}"#, &claims);
    let issuers = opened(&keys_at(&issuer), now).await;
    assert_eq!(refusal(&issuers, &pss, now).await, Some(Refusal::Algorithm), "its alg is RS256");
    // Without an `alg` of its own it is for the first that is listed.
    let mut bare = signer.jwk();
    bare.as_object_mut().unwrap().remove("alg");
    issuer.says(move |_| Some((200, json!({"keys": [bare]}).to_string())));
    for (listed, takes_pss) in [
        ([Algorithm::RS256, Algorithm::PS256], false),
        ([Algorithm::PS256, Algorithm::RS256], true),
    ] {
        let mut settings = keys_at(&issuer);
        settings.kubernetes.as_mut().unwrap().algorithms = listed.to_vec();
        let issuers = opened(&settings, now).await;
        assert_eq!(ask(&issuers, &pss, now).await.is_some(), takes_pss);
        let pkcs1 = signer.sign(r#"{"alg":"RS256","kid":"k1"}"#, &claims);
        assert_eq!(ask(&issuers, &pkcs1, now).await.is_some(), !takes_pss);
    }
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused_each_for_its_reason() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let issuer = StandIn::with_keys(&[&signer]).await;
    let issuers = opened(&keys_at(&issuer), now).await;
    let wall = now.wall.0;
    let cases = [
        ("iss", json!("https://elsewhere"), Refusal::Issuer),
        ("iss", json!(format!("{CLUSTER}/")), Refusal::Issuer),
        ("iss", json!([CLUSTER]), Refusal::Claims),
        ("aud", json!(["other"]), Refusal::Audience),
        ("aud", json!("keypod2"), Refusal::Audience),
        ("aud", json!("Keypod"), Refusal::Audience),
        ("aud", json!([]), Refusal::Audience),
        ("aud", json!([["keypod"]]), Refusal::Claims),
        ("sub", json!(""), Refusal::Subject),
        ("exp", json!(wall - 30), Refusal::Expired),
        ("exp", json!(0), Refusal::Expired),
        ("exp", json!(wall + 24 * 3600), Refusal::Lifetime),
        ("exp", json!(u64::MAX), Refusal::Lifetime),
        ("exp", json!(1e300), Refusal::Claims),
        ("exp", json!(-1), Refusal::Claims),
        ("exp", json!((wall + 600).to_string()), Refusal::Claims),
        ("iat", json!(wall + 31), Refusal::TooEarly),
        ("nbf", json!(wall + 31), Refusal::TooEarly),
        ("nbf", json!(u64::MAX), Refusal::TooEarly),
    ];
    for (claim, value, expected) in cases {
        let mut claims = account(now);
        claims[claim] = value;
        let refused = refusal(&issuers, &signer.token(&claims), now).await;
        assert_eq!(refused, Some(expected), "{claim} of {claims}");
    }
    for claim in ["iss", "aud", "sub", "exp", "iat"] {
        for gone in [None, Some(Value::Null)] {
            let mut claims = account(now);
            match gone {
                None => drop(claims.as_object_mut().unwrap().remove(claim)),
                Some(null) => claims[claim] = null,
            }
            let refused = refusal(&issuers, &signer.token(&claims), now).await;
            assert_eq!(refused, Some(Refusal::Claims), "{claims}");
        }
    }
    // At the edge of the leeway, and without what may be left out.
    let mut claims = account(now);
    (claims["exp"], claims["nbf"], claims["iat"]) =
        (json!(wall - 29), json!(wall + 30), json!(wall + 30));
    assert_eq!(refusal(&issuers, &signer.token(&claims), now).await, None);
    claims.as_object_mut().unwrap().remove("nbf");
    claims["aud"] = json!("keypod");
    assert_eq!(refusal(&issuers, &signer.token(&claims), now).await, None);
}

#[tokio::test]
async fn headers_that_ask_for_more_are_refused() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let issuer = StandIn::with_keys(&[&signer]).await;
    let issuers = opened(&keys_at(&issuer), now).await;
    let claims = account(now).to_string();
    let sign = |header: &str| signer.sign(header, &claims);
    for (header, expected) in [
        (r#"{"alg":"ES256","kid":"k1","crit":["b64"],"b64":true}"#, Refusal::Critical),
        (r#"{"alg":"ES256","kid":"k1","crit":[]}"#, Refusal::Critical),
        (r#"{"alg":"ES256","kid":"k1","crit":null}"#, Refusal::Critical),
        (r#"{"alg":"ES256","kid":"k1","typ":"secevent+jwt"}"#, Refusal::Type),
        (r#"{"alg":"ES256","kid":"k1","typ":""}"#, Refusal::Type),
        (r#"{"alg":"ES256","kid":"k1","alg":"ES256"}"#, Refusal::Header),
        (r#"{"alg":"none","kid":"k1","\u0061lg":"ES256"}"#, Refusal::Header),
        (r#"{"kid":"k1"}"#, Refusal::Header),
        (r#"{"alg":["ES256"],"kid":"k1"}"#, Refusal::Header),
        (r#"{"alg":"ES256","kid":1}"#, Refusal::Header),
        (r#"["ES256"]"#, Refusal::Header),
        ("", Refusal::Header),
        (r#"{"alg":"ES256","kid":"../../k1"}"#, Refusal::UnknownKey),
    ] {
        assert_eq!(refusal(&issuers, &sign(header), now).await, Some(expected), "{header}");
    }
    for header in [
        r#"{"alg":"ES256","kid":"k1"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"k1","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","kid":"k1","typ":"application/at+JWT"}"#,
    ] {
        assert_eq!(refusal(&issuers, &sign(header), now).await, None, "{header}");
    }
    // A key that comes along is not looked at, nor where one might be fetched.
    let own = Signer::es256("k1");
    let mut header = own.header();
    (header["jwk"], header["jku"]) = (own.jwk(), json!(format!("{}/evil", issuer.address)));
    let forged = own.sign(&header.to_string(), &claims);
    assert_eq!(refusal(&issuers, &forged, now).await, Some(Refusal::Signature));
    assert!(issuer.asked().iter().all(|asked| asked.path != "/evil"));
}

#[tokio::test]
async fn garbage_and_giants_are_refused_and_nobody_is_asked() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let issuer = StandIn::with_keys(&[&signer]).await;
    let issuers = opened(&keys_at(&issuer), now).await;
    let before = issuer.asked().len();
    let twice = account(now).to_string().replacen(
        '{',
        r#"{"sub":"system:serviceaccount:kube-system:root","#,
        1,
    );
    let inner = account(now).to_string().replacen(
        "\"namespace\":\"clinic\"",
        "\"namespace\":\"kube-system\",\"namespace\":\"clinic\"",
        1,
    );
    for claims in [twice.as_str(), &inner, "", "null", "[]", "{", "{}", "{}x", "\"a\""] {
        let token = signer.sign(&signer.header().to_string(), claims);
        assert_eq!(refusal(&issuers, &token, now).await, Some(Refusal::Claims), "{claims}");
    }
    let mut long = signer.header();
    long["kid"] = "k".repeat(10 << 10).into();
    let token = signer.sign(&long.to_string(), &account(now).to_string());
    assert_eq!(refusal(&issuers, &token, now).await, Some(Refusal::UnknownKey));
    let mut huge = account(now);
    huge["x"] = "x".repeat(1 << 20).into();
    assert_eq!(refusal(&issuers, &signer.token(&huge), now).await, Some(Refusal::Long));
    let good = signer.token(&account(now));
    let (header, rest) = good.split_once('.').unwrap();
    for token in [
        format!("{header}=.{rest}"),
        format!("{header}.{rest}="),
        format!("{header}..{rest}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{header}"),
        format!("{header}.{rest}\u{e9}"),
        rest.to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "a.b.".to_owned(),
        String::new(),
    ] {
        assert!(ask(&issuers, &token, now).await.is_none(), "{token}");
    }
    assert!(ask(&issuers, &good, now).await.is_some());
    assert_eq!(issuer.asked().len(), before, "the issuer is asked for none of it");
}
