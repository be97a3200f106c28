//! Keys that come, change, go stale; tokens that are remembered, and until when.

use super::stand_in::Answer;
use super::*;

#[tokio::test]
async fn unknown_key_ids_make_no_storm_of_fetches() {
    let now = now();
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let issuer = StandIn::with_keys(&[&old]).await;
    let issuers = opened(&keys_at(&issuer), now).await;
    assert_eq!(issuer.asked().len(), 1);
    issuer.says_keys(&[&old, &new]);
    let token = new.token(&account(now));
    // Not within 30 seconds of the last time, however often it is tried.
    let soon = now.later(Duration::from_secs(29));
    for _ in 0..100 {
        assert_eq!(refusal(&issuers, &token, soon).await, Some(Refusal::UnknownKey));
    }
    assert_eq!(issuer.asked().len(), 1);
    // After that once, for all who wait; the good one passes.
    let later = now.later(Duration::from_secs(31));
    let strangers: Vec<_> =
        (0..40).map(|_| Signer::es256("nobody's").token(&account(now))).collect();
    let all = strangers.iter().chain([&token]).map(|token| refusal(&issuers, token, later));
    let refused = join_all(all).await;
    assert_eq!(refused.iter().filter(|refused| refused.is_none()).count(), 1);
    assert_eq!(issuer.asked().len(), 2);
    for token in &strangers {
        assert!(ask(&issuers, token, later).await.is_none());
    }
    assert_eq!(issuer.asked().len(), 2);
}

#[tokio::test]
async fn who_waits_for_an_issuer_waits_no_longer_than_its_timeout_and_few_wait() {
    let now = now();
    let signer = Signer::es256("k1");
    let issuer = StandIn::with_keys(&[&signer]).await;
    let issuers = opened(&keys_at(&issuer), now).await;
    issuer.says(|_| None);
    let later = now.later(MINUTE);
    let stranger = Signer::es256("x");
    let with = |name: &str, value: Value, mut claims: Value| {
        claims[name] = value;
        claims
    };
    let strangers: Vec<_> =
        (0..600).map(|jti| stranger.token(&with("jti", jti.into(), account(now)))).collect();
    let all = join_all(strangers.iter().map(|token| refusal(&issuers, token, later)));
    let refused = tokio::time::timeout(4 * fetch::FETCH_TIMEOUT, all).await.unwrap();
    assert!(refused.iter().all(Option::is_some));
    let busy = refused.iter().filter(|refused| **refused == Some(Refusal::Busy)).count();
    assert_eq!(busy, 600 - 512);
    assert_eq!(issuer.asked().len(), 2);
    // Who holds a known key waits for nobody.
    assert!(ask(&issuers, &signer.token(&account(later)), later).await.is_some());
}

#[tokio::test]
async fn keys_that_nobody_confirms_are_used_until_their_bound() {
    let now = now();
    let signer = Signer::es256("k1");
    let issuer = StandIn::with_keys(&[&signer]).await;
    let issuers = opened(&keys_at(&issuer), now).await;
    issuer.says(|_| Some((503, String::new())));
    let just_before = now.later(24 * HOUR - Duration::from_secs(1));
    issuers.keep_fresh(just_before).await;
    assert!(issuers.status(just_before)[0].problem.is_some());
    let token = signer.token(&account(just_before));
    assert!(ask(&issuers, &token, just_before).await.is_some());
    let after = now.later(24 * HOUR);
    let fresh = signer.token(&account(after));
    assert_eq!(refusal(&issuers, &fresh, after).await, Some(Refusal::NoKeys));
    assert!(ask(&issuers, &token, after).await.is_none(), "nor is one that is remembered");
    assert!(!issuers.status(after)[0].keys.as_ref().unwrap().usable);
    // The issuer is back.
    issuer.says_keys(&[&signer]);
    issuers.keep_fresh(after.later(MINUTE)).await;
    assert!(ask(&issuers, &fresh, after.later(MINUTE)).await.is_some());
}

#[tokio::test]
async fn nothing_is_taken_without_keys() {
    let now = now();
    let signer = Signer::es256("k1");
    let mut oct = json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "k1"});
    let oct_only = json!({"keys": [oct.clone()]}).to_string();
    oct["alg"] = "ES256".into();
    let oct_in_disguise = json!({"keys": [oct]}).to_string();
    let many = json!({"keys": vec![signer.jwk(); 65]}).to_string();
    let huge = json!({"keys": [signer.jwk()], "x": "x".repeat(256 << 10)}).to_string();
    let twice = format!("{{\"keys\":[],\"keys\":[{}]}}", signer.jwk());
    let answers: Vec<(Answer, bool)> = vec![
        (Some((200, String::new())), false),
        (Some((200, "<html>".to_owned())), false),
        (Some((200, "{}".to_owned())), false),
        (Some((200, r#"{"keys":{}}"#.to_owned())), false),
        (Some((200, twice)), false),
        (Some((200, many)), false),
        (Some((200, huge)), false),
        (Some((404, String::new())), false),
        (Some((500, signer::jwks(&[&signer]))), false),
        (Some((200, r#"{"keys":[]}"#.to_owned())), true),
        (Some((200, r#"{"keys":[1,null,{}]}"#.to_owned())), true),
        (Some((200, oct_only)), true),
        (Some((200, oct_in_disguise)), true),
    ];
    let token = signer.token(&account(now));
    let symmetric =
        Signer::sign_hs256(b"secret", r#"{"alg":"HS256","kid":"k1"}"#, &account(now).to_string());
    for (answer, well) in answers {
        let said = format!("{answer:.60?}");
        let issuer = StandIn::start(move |_| answer.clone()).await;
        let issuers = opened(&keys_at(&issuer), now).await;
        assert_eq!(issuers.status(now)[0].problem.is_none(), well, "{said}");
        for token in [&token, &symmetric] {
            assert!(ask(&issuers, token, now).await.is_none(), "{said}");
        }
    }
    let nobody = cluster(KubernetesCheck::Keys(KeyPlace::Address(at("http://127.0.0.1:1/keys"))));
    let issuers = opened(&nobody, now).await;
    assert_eq!(refusal(&issuers, &token, now).await, Some(Refusal::NoKeys));
    let none = opened(&settings(), now).await;
    assert!(!none.could_be_a_token(token.as_bytes()));
}

#[tokio::test]
async fn only_public_signature_keys_of_a_listed_algorithm_are_taken() {
    let signer = Signer::es256("k1");
    let rsa = Signer::rs256("r1");
    let with = |signer: &Signer, name: &str, value: Value| {
        let mut jwk = signer.jwk();
        jwk[name] = value;
        jwk
    };
    for (jwk, taken) in [
        (signer.jwk(), true),
        (with(&signer, "key_ops", json!(["verify"])), true),
        (with(&signer, "use", json!("enc")), false),
        (with(&signer, "key_ops", json!(["encrypt"])), false),
        (with(&signer, "alg", json!("RS256")), false),
        (with(&signer, "alg", json!("HS256")), false),
        (with(&signer, "alg", json!("ES384")), false),
        (with(&signer, "alg", json!("none")), false),
        (with(&signer, "alg", json!("made-up")), false),
        (with(&signer, "crv", json!("P-521")), false),
        (with(&signer, "d", json!("AAAA")), false),
        (with(&signer, "k", json!("AAAA")), false),
        (with(&signer, "kty", json!("RSA")), false),
        (with(&rsa, "alg", json!("RS512")), false),
        (with(&rsa, "alg", json!("ES256")), false),
    ] {
        let text = json!({"keys": [jwk]}).to_string();
        let set = keys::KeySet::parse(text.as_bytes(), &default_algorithms()).unwrap();
        assert_eq!(set.len(), usize::from(taken), "{text}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let now = now();
    let signer = Signer::es256("k1");
    let elsewhere = StandIn::with_keys(&[&signer]).await;
    let location = elsewhere.address.clone();
    let issuer = StandIn::start(move |_| Some((302, location.clone()))).await;
    let issuers = opened(&keys_at(&issuer), now).await;
    assert_eq!(issuers.status(now)[0].problem, Some(FetchError::Status { status: 302 }));
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_expiry_on_either_clock() {
    let now = now();
    let signer = Signer::es256("k1");
    let issuer = StandIn::with_keys(&[&signer]).await;
    let issuers = opened(&keys_at(&issuer), now).await;
    let token = signer.token(&account(now));
    let counts = || issuers.status(now)[0].tokens;
    assert!(ask(&issuers, &token, now).await.is_some());
    assert!(ask(&issuers, &token, now.later(599 * MINUTE / 60)).await.is_some());
    assert_eq!((counts().checked, counts().remembered), (1, 1));
    // It is over on both clocks, past the leeway.
    assert!(ask(&issuers, &token, now.later(11 * MINUTE)).await.is_none());
    // Set back by an hour, the wall clock says that it is not over: it is not taken from memory.
    assert!(ask(&issuers, &token, now).await.is_some());
    let remembered = counts().remembered;
    let back = Now { wall: now.wall, ..now.later(11 * MINUTE) };
    assert!(ask(&issuers, &token, back).await.is_some(), "the wall clock decides anew");
    assert_eq!(counts().remembered, remembered, "but nothing is remembered for longer");
    // Set forward, it is over at once.
    let ahead = Now { wall: now.later(HOUR).wall, ..now };
    assert!(ask(&issuers, &token, ahead).await.is_none());
}

#[tokio::test]
async fn remembered_tokens_end_when_the_keys_change() {
    let now = now();
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let issuer = StandIn::with_keys(&[&old, &new]).await;
    let issuers = opened(&keys_at(&issuer), now).await;
    let (gone, stays) = (old.token(&account(now)), new.token(&account(now)));
    for token in [&gone, &stays] {
        assert!(ask(&issuers, token, now).await.is_some());
    }
    assert_eq!(issuers.remembered().0, 2);
    issuer.says_keys(&[&new]);
    let early = now.later(5 * MINUTE);
    issuers.keep_fresh(early).await;
    assert!(ask(&issuers, &gone, early).await.is_some(), "nobody has told yet");
    let later = now.later(15 * MINUTE);
    let mut longer = account(now);
    longer["exp"] = (later.wall.0 + 600).into();
    let gone = old.token(&longer);
    assert!(ask(&issuers, &gone, early).await.is_some());
    issuers.keep_fresh(later).await;
    assert_eq!(issuers.remembered().0, 0);
    assert_eq!(refusal(&issuers, &gone, later).await, Some(Refusal::UnknownKey));
    assert!(ask(&issuers, &gone, later).await.is_none());
    assert!(ask(&issuers, &new.token(&longer), later).await.is_some());
}

#[tokio::test]
async fn remembered_tokens_end_when_somebody_elses_token_shows_that_the_keys_changed() {
    let now = now();
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let issuer = StandIn::with_keys(&[&old]).await;
    let issuers = opened(&keys_at(&issuer), now).await;
    let gone = old.token(&account(now));
    issuer.says_keys(&[&new]);
    let later = now.later(MINUTE);
    assert!(ask(&issuers, &gone, later).await.is_some());
    assert!(ask(&issuers, &new.token(&account(now)), later).await.is_some());
    assert_eq!(issuers.remembered().0, 2);
    assert!(ask(&issuers, &gone, later).await.is_none());
}

#[tokio::test]
async fn a_file_with_keys_is_read_when_it_changes_and_revokes_them_when_it_goes() {
    let now = now();
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, signer::jwks(&[&old])).unwrap();
    let settings = cluster(KubernetesCheck::Keys(KeyPlace::File(path.clone())));
    let issuers = opened(&settings, now).await;
    let tokens = [old.token(&account(now)), new.token(&account(now))];
    let taken = async || {
        issuers.keep_fresh(now).await;
        let asked = tokens.iter().map(|token| ask(&issuers, token, now));
        join_all(asked).await.iter().map(Option::is_some).collect::<Vec<_>>()
    };
    assert_eq!(taken().await, [true, false]);
    std::fs::write(&path, signer::jwks(&[&old, &new])).unwrap();
    assert_eq!(taken().await, [true, true]);
    std::fs::write(&path, signer::jwks(&[&new])).unwrap();
    assert_eq!(taken().await, [false, true]);
    std::fs::write(&path, "garbage").unwrap();
    assert_eq!(taken().await, [false, false]);
    std::fs::write(&path, signer::jwks(&[&old])).unwrap();
    assert_eq!(taken().await, [true, false]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(taken().await, [false, false]);
    assert!(issuers.status(now)[0].problem.is_some());
}

#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let now = now();
    let remembered = Remembered::new();
    let identity = |roles: usize| {
        let roles = (0..roles).map(|role| format!("staff:{role:0200}").parse().unwrap()).collect();
        Identity::new("a:b".parse().unwrap(), crate::policy::CallerKind::Person, roles)
    };
    for (roles, most) in [(0, 4096), (60, 400)] {
        let proven = Proven { identity: identity(roles).into(), mfa: false };
        for number in 0..10_000_u32 {
            let known = Known {
                proven: proven.clone(),
                provider: 0,
                generation: 0,
                until: now.wall.after(HOUR),
                deadline: now.later(HOUR).monotonic,
            };
            remembered.remember(digest(&number.to_string()), known);
        }
        let (tokens, bytes) = remembered.size();
        assert!(tokens <= most && bytes <= 4 << 20, "{tokens} tokens, {bytes} bytes");
        assert!(tokens > most / 4, "{tokens} tokens");
    }
}
