//! The API server's word.

use futures_util::FutureExt as _;

use super::stand_in::Asked;
use super::*;

fn review(asked: &Asked, status: Value) -> Option<(u16, String)> {
    assert_eq!(asked.path, "/apis/authentication.k8s.io/v1/tokenreviews");
    Some((201, json!({"kind": "TokenReview", "status": status}).to_string()))
}

fn vouched() -> Value {
    json!({
        "authenticated": true,
        "audiences": ["keypod"],
        "user": {
            "username": "system:serviceaccount:clinic:intake",
            "groups": ["system:masters"],
            "extra": {"authentication.kubernetes.io/pod-uid": ["pod-uid"]},
        },
    })
}

async fn reviewed(server: &StandIn, token_file: Option<std::path::PathBuf>, now: Now) -> Issuers {
    let endpoint = Endpoint { token_file, ..at(&server.address) };
    let mut settings = cluster(KubernetesCheck::TokenReview(endpoint));
    settings.kubernetes.as_mut().unwrap().pod_uid = Some(PodUid::Is("pod-uid".to_owned()));
    opened(&settings, now).await
}

#[tokio::test]
async fn a_token_is_asked_about_once_a_minute_for_our_audience_with_our_token() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let server = StandIn::start(|asked| review(asked, vouched())).await;
    let issuers = reviewed(&server, Some(file.clone()), now).await;
    let token = signer.token(&account(now));
    for later in [0, 10, 59] {
        let now = now.later(Duration::from_secs(later));
        let found = ask(&issuers, &token, now).await.unwrap();
        assert_eq!(found.identity.name().as_str(), "system:serviceaccount:clinic:intake");
        let roles: Vec<_> = found.identity.roles().iter().map(|role| role.as_str()).collect();
        assert_eq!(roles, ["system:serviceaccounts", "system:serviceaccounts:clinic"]);
    }
    assert_eq!(server.asked().len(), 1);
    std::fs::write(&file, "second\n").unwrap();
    assert!(ask(&issuers, &token, now.later(MINUTE)).await.is_some());
    let [first, second] = &server.asked()[..] else { panic!("asked again after a minute") };
    assert_eq!(first.authorization.as_deref(), Some("Bearer first"));
    assert_eq!(second.authorization.as_deref(), Some("Bearer second"), "the file is read again");
    assert_eq!(first.body["spec"], json!({"token": token, "audiences": ["keypod"]}));
}

#[tokio::test]
async fn what_the_api_server_does_not_vouch_for_is_refused_and_not_remembered() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let token = signer.token(&account(now));
    let with = |pointer: &str, value: Value| {
        let mut status = vouched();
        *status.pointer_mut(pointer).unwrap() = value;
        status
    };
    let pod = "/user/extra/authentication.kubernetes.io~1pod-uid";
    let cases = [
        (with("/authenticated", json!(false)), Refusal::Review),
        (json!({}), Refusal::Review),
        (json!({"error": "no"}), Refusal::Review),
        (with("/user/username", json!("system:serviceaccount:clinic:viewer")), Refusal::Review),
        (with("/user/username", json!("system:admin")), Refusal::Review),
        (with("/audiences", json!([])), Refusal::Audience),
        (with("/audiences", json!(["https://kubernetes.default.svc"])), Refusal::Audience),
        (with(pod, json!(["other"])), Refusal::Pod),
        (with(pod, json!([])), Refusal::Pod),
    ];
    let server = StandIn::start(|asked| review(asked, vouched())).await;
    for (status, expected) in cases {
        let issuers = reviewed(&server, None, now).await;
        let said = status.clone();
        server.says(move |asked| review(asked, said.clone()));
        assert_eq!(refusal(&issuers, &token, now).await, Some(expected), "{status}");
        server.says(|asked| review(asked, vouched()));
        assert_eq!(refusal(&issuers, &token, now).await, None, "it is asked about anew");
    }
    let issuers = reviewed(&server, None, now).await;
    for (status, text) in [(403, "{}"), (500, ""), (200, "<html>"), (302, "http://127.0.0.1:1/")] {
        server.says(move |_| Some((status, text.to_owned())));
        assert_eq!(refusal(&issuers, &token, now).await, Some(Refusal::Review), "{status}");
        assert!(issuers.status(now)[0].problem.is_some());
    }
}

#[tokio::test]
async fn what_is_wrong_by_itself_is_not_asked_about_and_a_flood_is_cut() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let server = StandIn::start(|asked| review(asked, json!({"authenticated": false}))).await;
    let issuers = reviewed(&server, None, now).await;
    for (claim, value) in [("aud", json!("other")), ("exp", json!(1)), ("sub", json!("root"))] {
        let mut claims = account(now);
        claims[claim] = value;
        assert!(ask(&issuers, &signer.token(&claims), now).await.is_none());
    }
    assert!(server.asked().is_empty());
    let forged = |number: u32| {
        let mut claims = account(now);
        claims["jti"] = number.into();
        signer.token(&claims)
    };
    let tokens: Vec<_> = (0..500).map(forged).collect();
    let all = tokens.iter().map(|token| refusal(&issuers, token, now));
    let refused = futures_util::future::join_all(all).await;
    assert!(refused.iter().all(Option::is_some));
    assert!(refused.contains(&Some(Refusal::Busy)));
    assert!(server.asked().len() <= 40, "{} of 500 were asked about", server.asked().len());
}

#[tokio::test]
async fn many_requests_with_one_token_are_one_review() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let server = StandIn::start(|asked| review(asked, vouched())).await;
    let issuers = reviewed(&server, None, now).await;
    let token = signer.token(&account(now));
    // As an application has it when its token was last asked about a minute ago.
    for minute in 0..3 {
        let now = now.later(minute * MINUTE);
        let all = futures_util::future::join_all((0..300).map(|_| ask(&issuers, &token, now)));
        assert!(all.await.iter().all(Option::is_some), "none of them is refused");
    }
    assert_eq!(server.asked().len(), 3);
    // Who goes away takes the review from nobody.
    let later = now.later(3 * MINUTE);
    let mut first = Box::pin(ask(&issuers, &token, later));
    assert!(first.as_mut().now_or_never().is_none(), "it waits");
    drop(first);
    assert!(ask(&issuers, &token, later).await.is_some());
    assert_eq!(server.asked().len(), 4);
}
