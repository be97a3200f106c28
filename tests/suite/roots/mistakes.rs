//! What an operator can get wrong about a root: each mistake is said at start, with the mend, and no secret.

use std::process::ExitStatus;

use keypod_test_servers::{Answer, MotoServer};
use keypod_tests::SidecarBuilder;
use serde_json::json;

use super::{PATIENCE, REGION, SECRET_KEY, SESSION_TOKEN, in_kms, kms, with_credentials};

/// Panics unless it ended with this code and a last line that holds all of `words`, and no secret anywhere.
#[track_caller]
fn assert_says((status, text): (ExitStatus, String), code: i32, words: &[&str]) {
    assert_eq!(status.code(), Some(code), "{text}");
    let last = text.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "{word:?} is not in: {last}\nall of it: {text}");
    }
    assert!(!text.contains(SECRET_KEY) && !text.contains(SESSION_TOKEN), "{text}");
}

fn with_root(root: &str) -> SidecarBuilder {
    with_credentials(SidecarBuilder::new().root(&format!("{PATIENCE}{root}")))
}

#[tokio::test]
async fn mistakes_about_a_kms_key_are_said_at_start_with_the_mend() {
    let moto = MotoServer::shared();
    let (key, endpoint) = (moto.create_key(REGION), moto.endpoint());
    let id = key.rsplit('/').next().unwrap();
    let wrong_region = with_root(&kms("frankfurt", id, "us-east-1", &endpoint));
    assert_says(wrong_region.fail_to_start(), 78, &["frankfurt", "us-east-1", "region"]);
    let unknown = with_root(&kms("frankfurt", "alias/nobody", REGION, &endpoint));
    assert_says(unknown.fail_to_start(), 78, &["frankfurt", "alias/nobody"]);
    let no_region = format!("[[root.aws_kms]]\nkey = \"{id}\"\nendpoint = \"{endpoint}\"\n");
    assert_says(with_root(&no_region).fail_to_start(), 78, &["root.aws_kms.region"]);
    let signing = moto
        .create_key_with(REGION, &json!({ "KeyUsage": "SIGN_VERIFY", "KeySpec": "ECC_NIST_P256" }));
    let signing = with_root(&kms("frankfurt", &signing, REGION, &endpoint));
    let (status, text) = signing.fail_to_start();
    assert!(!status.success() && text.contains("frankfurt"), "{text}");
}

#[tokio::test]
async fn a_missing_grant_and_lapsed_credentials_are_said_at_start_and_show_no_secret() {
    let (builder, stand_in, _) = in_kms("");
    stand_in.answer(Answer::access_denied());
    assert_says(builder.fail_to_start(), 78, &["frankfurt", "kms:"]);
    stand_in.answer(Answer::expired_token());
    assert_says(builder.fail_to_start(), 1, &["frankfurt", "credentials"]);
    stand_in.answer(Answer::invalid_signature(SESSION_TOKEN));
    assert_says(builder.fail_to_start(), 78, &["frankfurt"]);
}

#[tokio::test]
async fn a_cold_start_in_an_outage_fails_and_names_the_root() {
    let (builder, stand_in, _) = in_kms("");
    let mut sidecar = builder.key("demo").start().await;
    assert!(sidecar.stop().await.success());
    stand_in.answer(Answer::bad_gateway());
    let failed = sidecar.fail_to_start_another(&[]);
    assert_says(failed, 1, &["frankfurt", "cannot be reached"]);
    stand_in.answer(Answer::PassOn);
    sidecar.restart().await;
}

#[tokio::test]
async fn a_pod_that_may_only_unwrap_starts_and_says_that_it_cannot_rotate() {
    let (builder, stand_in, _) = in_kms("");
    let mut sidecar = builder.key("demo").start().await;
    let sealed = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
    assert!(sidecar.stop().await.success());
    stand_in.answer_only("Encrypt", Answer::access_denied());
    sidecar.restart().await;
    assert!(sidecar.log().contains("a root cannot be used"), "{}", sidecar.log());
    assert_eq!(sidecar.client().decrypt(&sealed, &json!({})).await, b"hello");
    let rotated = sidecar.client().post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    rotated.assert_problem(503, "root_unavailable");
}

#[tokio::test]
async fn the_check_says_of_each_part_whether_it_can_be_reached() {
    let (builder, stand_in, key) = in_kms("[root.local]\nkey_file = \"/nowhere/root.key\"\n");
    builder.write();
    assert_says(builder.run_serve(&["--check"]), 78, &["/nowhere/root.key"]);
    let (builder, other, _) = in_kms("");
    builder.write();
    let well = builder.run_serve(&["--check"]);
    assert!(well.0.success(), "{}", well.1);
    other.answer(Answer::access_denied());
    let (status, text) = builder.run_serve(&["--check"]);
    assert_eq!(status.code(), Some(78), "{text}");
    drop((stand_in, key));
}

#[tokio::test]
async fn what_a_credential_process_writes_is_in_no_log() {
    let (builder, stand_in, _) = in_kms("");
    let config = builder.folder().join("aws-config");
    let process = "sh -c 'echo canary-of-the-process >&2; exit 1'";
    std::fs::write(&config, format!("[default]\ncredential_process = {process}\n")).unwrap();
    let nothing = builder.folder().join("nothing").display().to_string();
    let builder = builder
        .config("")
        .variable("AWS_CONFIG_FILE", &config.display().to_string())
        .variable("AWS_SHARED_CREDENTIALS_FILE", &nothing)
        .variable("KEYPOD_LOG__FILTER", "trace");
    let (status, text) = builder.fail_to_start();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("credentials"), "{text}");
    assert!(!text.contains("canary-of-the-process"), "{text}");
    assert_eq!(stand_in.count("Encrypt"), 0);
}

#[tokio::test]
async fn tokens_are_not_sent_to_an_endpoint_in_the_clear() {
    let (builder, _stand_in, _) = in_kms("");
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"] {
        let builder = SidecarBuilder::new().root(
            &std::fs::read_to_string({
                builder.write();
                builder.folder().join("keypod.toml")
            })
            .map(|config| root_of(&config))
            .unwrap(),
        );
        let builder = with_credentials(builder).variable(name, "http://sts.example");
        assert_says(builder.fail_to_start(), 78, &["http://sts.example", "https://"]);
    }
}

/// The tables of the roots in a configuration.
fn root_of(config: &str) -> String {
    let (_, after) = config.split_once("[root]").unwrap();
    format!("[root]{}", after.split_once("[store]").unwrap().0)
}
