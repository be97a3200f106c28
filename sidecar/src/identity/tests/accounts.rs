//! Service accounts, and the pod that a token is bound to.

use super::*;

async fn with_pod(uid: Option<&str>, signer: &Signer, now: Now) -> Issuers {
    let issuer = StandIn::with_keys(&[signer]).await;
    let mut settings = keys_at(&issuer);
    let uid = uid.map(|uid| PodUid::Is(uid.to_owned()));
    settings.kubernetes.as_mut().unwrap().pod_uid = uid;
    opened(&settings, now).await
}

#[tokio::test]
async fn an_account_has_its_name_and_the_roles_of_its_namespace() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let issuers = with_pod(None, &signer, now).await;
    let found = ask(&issuers, &signer.token(&account(now)), now).await.unwrap();
    let roles: Vec<_> = found.identity.roles().iter().map(|role| role.to_string()).collect();
    assert_eq!(roles, ["system:serviceaccounts", "system:serviceaccounts:clinic"]);
    assert_eq!(found.identity.kind(), crate::policy::CallerKind::ServiceAccount);
}

#[tokio::test]
async fn a_subject_that_is_not_the_bound_account_is_refused() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let issuers = with_pod(None, &signer, now).await;
    for subject in [
        "system:serviceaccount:clinic:viewer",
        "system:serviceaccount:other:intake",
        "system:serviceaccount:clinic:intake:x",
        "system:serviceaccount:clinic:",
        "system:serviceaccount::intake",
        "system:serviceaccount:clinic",
        "system:node:intake",
        "system:admin",
        "intake",
    ] {
        let mut claims = account(now);
        claims["sub"] = subject.into();
        let refused = refusal(&issuers, &signer.token(&claims), now).await;
        assert_eq!(refused, Some(Refusal::Subject), "{subject}");
    }
    for spoil in [json!(null), json!("x"), json!({}), json!({"namespace": "clinic"})] {
        let mut claims = account(now);
        claims["kubernetes.io"] = spoil;
        assert_eq!(refusal(&issuers, &signer.token(&claims), now).await, Some(Refusal::Claims));
    }
}

#[tokio::test]
async fn with_a_pod_uid_only_that_pods_tokens_are_taken() {
    let (now, signer) = (now(), Signer::es256("k1"));
    let issuers = with_pod(Some("pod-uid"), &signer, now).await;
    assert_eq!(refusal(&issuers, &signer.token(&account(now)), now).await, None);
    for pod in
        [json!({"name": "intake-0", "uid": "other"}), json!({"name": "p", "uid": ""}), json!(null)]
    {
        let mut claims = account(now);
        claims["kubernetes.io"]["pod"] = pod;
        assert_eq!(refusal(&issuers, &signer.token(&claims), now).await, Some(Refusal::Pod));
    }
}

#[test]
fn a_pod_uid_comes_from_its_file_and_an_empty_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("uid");
    let read = || kubernetes::read_pod_uid("kubernetes", &PodUid::File(path.clone()));
    assert!(matches!(read(), Err(IdentityError::Unreadable { .. })));
    std::fs::write(&path, " \n").unwrap();
    assert!(matches!(read(), Err(IdentityError::Content { .. })));
    std::fs::write(&path, "8d1f\n").unwrap();
    assert_eq!(read().unwrap(), "8d1f");
}
