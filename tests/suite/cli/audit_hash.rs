//! `keypod audit hash`: what to look for in the log.

use keypod_tests::{Sidecar, SidecarBuilder};
use serde_json::json;

use super::{bare, command, end, run};

#[tokio::test]
async fn a_subject_on_standard_input_is_hashed_as_the_api_does() {
    let sidecar = Sidecar::start().await;
    let answer = sidecar.client().post_json("/v1/audit/hash", &json!({ "subject": "p-1" })).await;
    let expected = answer.json()["hashes"][0].as_str().unwrap().to_owned();
    let arguments = ["audit", "hash", "--subject-file", "-"];
    for input in [&b"p-1"[..], b"p-1\n"] {
        let ended = end(command(&sidecar, &arguments), input).await.succeeded();
        assert_eq!(ended.stdout, format!("{expected}\n").as_bytes(), "{}", ended.text());
    }
    let json = [&arguments[..], &["--json"]].concat();
    let ended = end(command(&sidecar, &json), b"p-1").await.succeeded();
    assert_eq!(ended.json()["hashes"], json!([expected]));
    std::fs::write(sidecar.folder().join("context.json"), r#"{"subject": "p-1"}"#).unwrap();
    let ended = run(&sidecar, &["audit", "hash", "--context-file", "context.json"]).await;
    assert!(ended.succeeded().text().contains(" 1:"));
}

#[tokio::test]
async fn who_may_not_ask_is_told_so() {
    let sidecar = SidecarBuilder::new().caller("app", r#""encrypt""#, r#""*""#).start().await;
    let mut command = command(&sidecar, &["audit", "hash", "--subject-file", "-"]);
    command.env("KEYPOD_TOKEN_FILE", sidecar.token_file("app"));
    let ended = end(command, b"p-1").await;
    assert_eq!(ended.code, 1, "{}", ended.text());
    assert!(
        ended.stderr.contains("forbidden") && !ended.stderr.contains("p-1"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn the_hash_of_a_ciphertext_needs_no_sidecar() {
    let sidecar = Sidecar::start().await;
    let text = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
    let binary = keypod::envelope::decode_text(&text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("text"), format!("{text}\n")).unwrap();
    std::fs::write(folder.path().join("binary"), binary.as_bytes()).unwrap();
    let mut hashes = Vec::new();
    for name in ["text", "binary"] {
        let ended = end(bare(folder.path(), &["audit", "hash", "--ciphertext", name]), b"").await;
        hashes.push(ended.succeeded().stdout);
    }
    let expected = keypod::audit::ciphertext_hash(binary.as_bytes()).unwrap();
    assert_eq!(hashes[0], format!("{expected}\n").as_bytes());
    assert_eq!(hashes[0], hashes[1]);
}
