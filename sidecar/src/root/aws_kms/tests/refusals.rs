use std::error::Error;

use super::*;
use crate::root::aws_kms::redact::redacted;

pub(super) fn kind(error: &RootError) -> &'static str {
    match error {
        RootError::Unavailable { .. } => "unavailable",
        RootError::Throttled { .. } => "throttled",
        RootError::Denied { .. } => "denied",
        RootError::KeyGone { .. } => "gone",
        RootError::Unusable { .. } => "unusable",
        RootError::Corrupt { .. } => "corrupt",
        _ => "else",
    }
}

/// What wrapping and unwrapping come to when KMS answers like this: the same, with both texts.
async fn refused(answer: Answer) -> [RootError; 2] {
    let stand_in = KmsStandIn::alone(answer);
    let root = root("alias/keypod", &stand_in.endpoint());
    let wrapped = WrappedKey::from_bytes(vec![LAYOUT, 1, 2, 3]);
    let refused = [
        root.wrap(&secret(), binding()).await.unwrap_err(),
        root.unwrap_key(&wrapped, binding()).await.unwrap_err(),
    ];
    assert_eq!(stand_in.seen().len(), 2, "a call is one request: the layer above tries again");
    refused
}

fn said(status: u16, code: &str, message: &str) -> Answer {
    Answer::error(status, code, message)
}

/// Each answer, the kind of error that it must come to, and words that must be in it.
async fn assert_all(cases: Vec<(Answer, &str, &str)>) {
    for (answer, means, words) in cases {
        for refused in refused(answer.clone()).await {
            let text = refused.to_string();
            assert_eq!(kind(&refused), means, "{answer:?}: {text}");
            assert!(text.contains(words), "{answer:?}: {text}");
            let named = text.contains("alias/keypod in eu-central-1");
            let needs_no_name =
                ["throttled", "corrupt"].contains(&means) || words.contains("clock");
            assert!(named || needs_no_name, "{text}");
        }
    }
}

#[tokio::test]
async fn what_ends_the_use_of_a_key_is_what_aws_says_of_permissions_states_and_ciphertexts() {
    let refuses = "The external key store proxy denied access to the operation. Verify that the user and the external key are both authorized.";
    assert_all(vec![
        (Answer::access_denied(), "denied", "allow kms:Encrypt and kms:Decrypt"),
        (Answer::access_denied(), "denied", "111122223333:assumed-role/clinic-sidecar/pod-7"),
        (said(403, "UnrecognizedClientException", "It is invalid."), "denied", "renew them"),
        (said(403, "InvalidClientTokenId", ""), "denied", "renew them"),
        (said(403, "MissingAuthenticationTokenException", ""), "denied", "renew them"),
        (said(403, "OptInRequired", ""), "denied", "the account and the region are enabled"),
        (Answer::invalid_signature(SESSION_TOKEN), "denied", "InvalidSignatureException"),
        (said(403, "SignatureDoesNotMatch", ""), "denied", "renew them"),
        (Answer::disabled(), "gone", "aws kms enable-key"),
        (Answer::pending_deletion(), "gone", "is pending deletion"),
        (said(400, "KMSInvalidStateException", "it is pending import."), "gone", "pending import"),
        (said(400, "KMSInvalidStateException", "as never before"), "gone", "as never before"),
        (said(400, "KMSInvalidStateException", refuses), "gone", "denied access"),
        (Answer::not_found(), "gone", "set root.aws_kms.region"),
        (said(400, "InvalidKeyUsageException", ""), "unusable", "SYMMETRIC_DEFAULT"),
        (said(400, "ValidationException", "1 error"), "unusable", "1 error"),
        (said(404, "UnknownOperationException", ""), "unusable", "the endpoint"),
        (said(400, "SomethingNewException", "what"), "unusable", "SomethingNewException: what"),
        (said(400, "InvalidCiphertextException", ""), "corrupt", "the row was altered"),
        (said(400, "IncorrectKeyException", ""), "corrupt", "another root key wrapped it"),
    ])
    .await;
}

#[tokio::test]
async fn what_passes_by_itself_is_served_through_and_says_what_to_mend() {
    let away = "AWS KMS cannot communicate with the external key store proxy. This may be a transient networking issue.";
    let early = "Signature not yet current: 20260101T000000Z is still later than 20251231T233000Z";
    let late = "Signature expired: 20251231T233000Z is now earlier than 20260101T000000Z";
    assert_all(vec![
        (said(400, "InvalidSignatureException", early), "unavailable", "the clock of this machine"),
        (said(403, "SignatureDoesNotMatch", late), "unavailable", "the clock of this machine"),
        (said(400, "RequestExpired", ""), "unavailable", "the clock of this machine"),
        (Answer::expired_token(), "unavailable", "renew them"),
        (said(403, "UnrecognizedClientException", "It has expired"), "unavailable", "renew them"),
        (said(400, "KMSInvalidStateException", away), "unavailable", "transient"),
        (Answer::throttled(), "throttled", "asks for fewer calls"),
        (said(400, "LimitExceededException", ""), "throttled", ""),
        (said(503, "RequestLimitExceeded", ""), "throttled", ""),
        (said(429, "TooManyRequestsException", ""), "throttled", ""),
        (Answer::raw(429, "text/plain", "slow down"), "throttled", ""),
        (Answer::key_unavailable(), "unavailable", "KeyUnavailableException"),
        (said(500, "KMSInternalException", ""), "unavailable", "for now"),
        (said(503, "DependencyTimeoutException", ""), "unavailable", "for now"),
        (said(500, "SomethingNewException", ""), "unavailable", "for now"),
        (Answer::bad_gateway(), "unavailable", "is not AWS KMS (HTTP status 502)"),
        (Answer::raw(403, "text/html", "<h1>Blocked</h1>"), "unavailable", "proxies"),
        (Answer::raw(404, "application/json", "{}"), "unavailable", "proxies"),
        (Answer::raw(200, "text/html", "<h1>Sign in</h1>"), "unavailable", "proxies"),
        (Answer::Close, "unavailable", "cannot be reached"),
    ])
    .await;
}

#[tokio::test]
async fn when_to_come_again_is_passed_on() {
    for (value, wait) in [("7", Some(Duration::from_secs(7))), ("-1", None), ("soon", None)] {
        for refused in refused(Answer::throttled().with_header("Retry-After", value)).await {
            let RootError::Throttled { retry_after, .. } = refused else { panic!("{refused}") };
            assert_eq!(retry_after, wait, "{value}");
        }
    }
    let busy = said(503, "ServiceUnavailable", "").with_header("Retry-After", "2");
    for refused in refused(busy).await {
        let RootError::Unavailable { retry_after, .. } = refused else { panic!("{refused}") };
        assert_eq!(retry_after, Some(Duration::from_secs(2)));
    }
}

#[tokio::test]
async fn a_kms_that_hangs_or_is_slow_is_given_up_after_the_time_for_an_attempt() {
    let moto = MotoServer::shared();
    let stand_in = KmsStandIn::before(moto);
    let settings = settings(&moto.create_key(REGION), &stand_in.endpoint());
    let soon = Duration::from_millis(200);
    let hurried = AwsKmsRoot::with_chain(&settings, &chain(credentials()), soon, &arena()).unwrap();
    stand_in.answer(Answer::Hang);
    let hangs = hurried.wrap(&secret(), binding()).await.unwrap_err();
    stand_in.answer(Answer::PassOn);
    stand_in.set_latency(Duration::from_secs(20));
    let slow = hurried.wrap(&secret(), binding()).await.unwrap_err();
    for refused in [hangs, slow] {
        assert_eq!(kind(&refused), "unavailable");
        assert!(refused.to_string().contains("within 200ms"), "{refused}");
    }
    stand_in.set_latency(Duration::from_millis(10));
    wraps_and_unwraps(&root_of(&settings)).await;
}

#[tokio::test]
async fn a_key_that_is_not_in_this_region_is_said_with_the_region() {
    let moto = MotoServer::shared();
    let there = moto.create_key("us-west-2");
    let id = there.rsplit('/').next().unwrap();
    for key in [id, "alias/nobody-made-this"] {
        let refused = root(key, &moto.endpoint()).check("test").await.unwrap_err();
        assert_eq!(kind(&refused), "gone", "{refused}");
        let region = "in another region than eu-central-1, set root.aws_kms.region";
        assert!(refused.to_string().contains(region), "{refused}");
    }
}

#[tokio::test]
async fn no_credential_is_ever_in_an_error() {
    let echo = format!(
        "{ACCESS_KEY} {SECRET_KEY} {SESSION_TOKEN} token={SESSION_TOKEN}, 'k:{SECRET_KEY}'"
    );
    let mut answers = vec![
        Answer::invalid_signature(&echo),
        Answer::raw(502, "text/html", &echo),
        Answer::raw(200, "text/html", &echo),
        Answer::Close,
    ];
    for code in [
        "AccessDeniedException",
        "NotFoundException",
        "KMSInvalidStateException",
        "KMSInternalException",
        "UnrecognizedClientException",
        "ExpiredTokenException",
        "ValidationException",
        "IncompleteSignature",
        SECRET_KEY,
    ] {
        answers.push(said(400, code, &echo));
    }
    for answer in answers {
        for refused in refused(answer).await {
            let mut text = format!("{refused} {refused:?}");
            let mut source = refused.source();
            while let Some(cause) = source {
                text.push_str(&format!("{cause} {cause:?}"));
                source = cause.source();
            }
            for canary in ["AKIACANARY", "canarySecret", "canarySession", "0101010101", "AQID"] {
                assert!(!text.contains(canary), "{text}");
            }
        }
    }
    let root = root("alias/keypod", "http://127.0.0.1:1");
    assert!(!format!("{root:?}").contains("anary"), "{root:?}");
}

#[test]
fn what_names_a_key_or_a_caller_is_shown_and_what_could_be_a_credential_is_not() {
    let arn = "arn:aws:sts::111122223333:assumed-role/a-role-with-quite-a-long-name-of-its-own/pod";
    let key = "1234abcd-12ab-34cd-56ef-1234567890ab";
    let multi = "mrk-1234abcd12ab34cd56ef1234567890ab";
    for kept in [arn, &format!("'{arn}'"), key, &format!("key/{key}."), multi, "kms:Decrypt"] {
        assert_eq!(redacted(&format!("User: {kept} may not")), format!("User: {kept} may not"));
    }
    for taken in [
        SECRET_KEY,
        SESSION_TOKEN,
        ACCESS_KEY,
        "https://user:word@proxy.example:8080",
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        "x-amz-security-token:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert_eq!(redacted(&format!("it is {taken}\nhere")), "it is [redacted] here");
    }
    assert_eq!(redacted(&"word ".repeat(1000)).len(), 403);
}
