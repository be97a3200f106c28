use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

/// Opens a root as Keypod does, with the environment that this process has, and uses it once. The file `settings`
/// in the current folder holds the key and the endpoint. It runs in a process of its own: an environment cannot be
/// changed safely in one that has threads.
#[tokio::test]
#[ignore = "the tests below run it, each in a process with an environment of its own"]
async fn child() {
    let text = fs::read_to_string("settings").unwrap();
    let (key, endpoint) = text.split_once('\n').unwrap();
    let opened = AwsKmsRoot::open(&settings(key, endpoint), PATIENT, &arena()).await;
    match key {
        ALIAS_WITHOUT_REGION => assert_eq!(opened.unwrap_err(), AwsKmsRootError::NoRegion),
        _ => wraps_and_unwraps(&opened.unwrap()).await,
    }
}

const ALIAS_WITHOUT_REGION: &str = "alias/without-region";

/// Runs [`child`] with nothing but `environment` around it.
fn run_child(folder: &Path, key: &str, endpoint: &str, environment: &[(&str, &str)]) {
    fs::write(folder.join("settings"), format!("{key}\n{endpoint}")).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "root::aws_kms::tests::chain::child", "--ignored", "--nocapture"])
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("PATH", "/usr/bin:/bin")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    assert!(said.starts_with(b"\nrunning 1 test"), "the child is not where it was");
}

/// The ids of the access keys that KMS saw from a [`child`] with this environment.
fn access_keys(folder: &Path, environment: &[(&str, &str)]) -> Vec<String> {
    let moto = MotoServer::shared();
    let stand_in = KmsStandIn::before(moto);
    run_child(folder, &moto.create_key(REGION), &stand_in.endpoint(), environment);
    let seen = stand_in.seen();
    assert_eq!(seen.len(), 2);
    seen.into_iter().map(|seen| seen.access_key.unwrap()).collect()
}

#[test]
fn keys_in_the_environment_are_used_and_no_proxy_is_asked_for_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:1"),
    ];
    assert_eq!(access_keys(folder.path(), &environment), [ACCESS_KEY; 2]);
}

#[test]
fn a_profile_and_its_process_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let json = format!(
        r#"{{"Version":1,"AccessKeyId":"AKIAPROCESS000000001","SecretAccessKey":"{SECRET_KEY}"}}"#
    );
    fs::write(folder.path().join("credentials.json"), json).unwrap();
    let config = format!(
        "[profile keys]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n[profile process]\ncredential_process = cat credentials.json\n"
    );
    fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap();
    for (profile, access_key) in [("keys", ACCESS_KEY), ("process", "AKIAPROCESS000000001")] {
        let environment = [("AWS_CONFIG_FILE", file), ("AWS_PROFILE", profile)];
        assert_eq!(access_keys(folder.path(), &environment), [access_key; 2]);
    }
}

#[test]
fn a_service_account_s_token_is_exchanged_for_a_role() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "header.payload.signature").unwrap();
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        // The account in which moto makes keys.
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/clinic-sidecar"),
        ("AWS_ENDPOINT_URL_STS", &MotoServer::shared().endpoint()),
    ];
    let keys = access_keys(folder.path(), &environment);
    assert!(keys.iter().all(|key| key.starts_with("ASIA")), "{keys:?}");
}

#[test]
fn a_container_s_credentials_are_used_as_pod_identity_gives_them() {
    let folder = tempfile::tempdir().unwrap();
    let agent = json!({
        "AccessKeyId": "ASIACONTAINER0000001",
        "SecretAccessKey": SECRET_KEY,
        "Token": SESSION_TOKEN,
        "Expiration": "2999-01-01T00:00:00Z",
    });
    let agent = KmsStandIn::alone(Answer::raw(200, "application/json", &agent.to_string()));
    let token = folder.path().join("token");
    fs::write(&token, "header.payload.signature").unwrap();
    let uri = format!("{}/v1/credentials", agent.endpoint());
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap()),
    ];
    assert_eq!(access_keys(folder.path(), &environment), ["ASIACONTAINER0000001"; 2]);
}

#[test]
fn a_process_that_nobody_tells_a_region_says_how_to_set_one() {
    let folder = tempfile::tempdir().unwrap();
    run_child(folder.path(), ALIAS_WITHOUT_REGION, "http://127.0.0.1:1", &[]);
    let moto = MotoServer::shared();
    let id = moto.create_key(REGION).rsplit('/').next().unwrap().to_owned();
    let environment = [
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ];
    run_child(folder.path(), &id, &moto.endpoint(), &environment);
}
