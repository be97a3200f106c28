//! No disk, no operation; and on it goes when the disk is back.

use keypod_tests::{Client, Sidecar, SidecarBuilder, until};
use serde_json::json;

async fn encrypts(client: &Client) -> u16 {
    let body = json!({ "key": "demo", "plaintext": "aGVsbG8=" });
    client.post_json("/v1/encrypt", &body).await.status
}

#[tokio::test]
async fn a_full_disk_stops_every_operation_and_they_go_on_by_themselves() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let ciphertext = client.encrypt("demo", b"before", &json!({})).await;
    let before = sidecar.audit_entries().len();
    sidecar.let_files_grow_to(Some(1));
    for _ in 0..3 {
        let refused = client.try_decrypt(&ciphertext, &json!({})).await;
        refused.assert_problem(503, "audit_unavailable");
    }
    let rotated = client.post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    rotated.assert_problem(503, "audit_unavailable");
    let denied = client.get("/v1/keys/none").await;
    denied.assert_problem(503, "audit_unavailable");
    assert_eq!(sidecar.observe("/readyz").await.status, 503);
    assert_eq!(sidecar.observe("/livez").await.status, 200);
    let report = String::from_utf8(sidecar.observe("/readyz?verbose").await.body.to_vec()).unwrap();
    assert!(report.contains("audit log: cannot be written"), "{report}");
    assert!(sidecar.metric("keypod_audit_failing").await > 0.0);

    sidecar.let_files_grow_to(None);
    // A pod that is not ready gets no requests: it finds out by itself.
    until("it is ready again", async || sidecar.observe("/readyz").await.status == 200).await;
    assert_eq!(encrypts(&client).await, 200);
    assert_eq!(client.decrypt(&ciphertext, &json!({})).await, b"before");
    assert!(sidecar.audit_entries().len() > before);
    let key = client.get("/v1/keys/demo").await.json();
    assert_eq!(key["primary_version"], 1, "nothing was changed that nobody knows of: {key}");
    let gap = sidecar.until_audited("the gap", |said| said["operation"] == "gap").await;
    assert_eq!(gap["detail"]["on_failure"], "refuse");
    // Three decryptions and a rotation, with the entry of each and the one that says that it was refused, and a denial.
    assert!(gap["detail"]["entries"].as_u64().unwrap() >= 9, "{gap}");
}

#[tokio::test]
async fn where_the_configuration_allows_it_operations_go_on_and_the_gap_is_counted() {
    let builder = SidecarBuilder::new().audit("on_failure = \"continue\"").key("demo");
    let sidecar = builder.start().await;
    let client = sidecar.client();
    // The store has counted a block of messages ahead, so it is not asked below.
    assert_eq!(encrypts(&client).await, 200);
    sidecar.let_files_grow_to(Some(1));
    for _ in 0..5 {
        assert_eq!(encrypts(&client).await, 200);
    }
    sidecar.let_files_grow_to(None);
    let gap = sidecar.until_audited("the gap", |said| said["operation"] == "gap").await;
    assert!(gap["detail"]["entries"].as_u64().unwrap() >= 5, "{gap}");
}

#[tokio::test]
async fn two_sidecars_do_not_write_to_one_folder() {
    let first = Sidecar::start().await;
    let folder = first.audit_folder();
    let second = SidecarBuilder::new();
    let variable = ("KEYPOD_AUDIT__FOLDER", folder.to_str().unwrap());
    let (status, said) = second.variable(variable.0, variable.1).fail_to_start();
    assert!(!status.success());
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("audit") && last.contains(folder.to_str().unwrap()), "{said}");
    first.client().encrypt("demo", b"the first goes on", &json!({})).await;
}

/// What `keypod audit verify` says of the sidecar's folder, which is trusted by the keys that came with it.
fn verdict(sidecar: &Sidecar) -> String {
    let verified = std::process::Command::new(keypod_tests::keypod())
        .args(["audit", "verify", "--json"])
        .arg(sidecar.audit_folder())
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    said["verdict"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_log_past_its_retention_is_deleted_with_a_record_and_the_chain_still_verifies() {
    let builder = SidecarBuilder::new().audit("retention = \"1s\"").key("demo");
    let mut sidecar = builder.start().await;
    sidecar.client().encrypt("demo", b"long ago", &json!({})).await;
    assert!(sidecar.stop().await.success());
    assert_eq!(verdict(&sidecar), "clean");
    sidecar.restart().await;
    let pruned = sidecar.until_audited("it is pruned", |said| said["operation"] == "prune").await;
    assert_eq!(pruned["detail"]["number"], 1, "{pruned}");
    until("it is deleted", async || sidecar.audit_entries_of(1).is_empty()).await;
    assert_eq!(verdict(&sidecar), "open");
    assert!(sidecar.stop().await.success());
    assert_eq!(verdict(&sidecar), "clean");
}

#[tokio::test]
async fn a_log_that_is_full_is_followed_by_another_with_a_key_of_its_own() {
    let builder = SidecarBuilder::new().audit("rotate_bytes = 1048576").key("demo");
    let mut sidecar = builder.start().await;
    let client = sidecar.client();
    let item = json!({ "plaintext": "eA==", "context": { "subject": "s" } });
    let batch = json!({ "key": "demo", "items": vec![item; 1000] });
    while sidecar.audit_entries_of(2).is_empty() {
        assert_eq!(client.post_json("/v1/encrypt/batch", &batch).await.status, 200);
    }
    let last = sidecar.audit_entries_of(1).pop().unwrap().said;
    let ended = (&last["operation"], &last["detail"]["reason"]);
    assert_eq!(ended, (&json!("close"), &json!("rotation")));
    let first = sidecar.audit_entries_of(2).remove(0).said;
    let begun = (&first["operation"], &first["detail"]["reason"]);
    assert_eq!(begun, (&json!("start"), &json!("rotation")));
    assert!(sidecar.stop().await.success());
    assert_eq!(verdict(&sidecar), "clean");
}

#[tokio::test]
async fn the_logs_of_a_folder_keep_their_name() {
    let builder = SidecarBuilder::new().audit("origin = \"clinic/orders\"").key("demo");
    let mut sidecar = builder.start().await;
    assert!(sidecar.stop().await.success());
    let other = [("KEYPOD_AUDIT__ORIGIN", "clinic/billing")];
    let (status, said) = sidecar.fail_to_start_another(&other);
    assert!(!status.success() && said.contains("clinic/orders"), "{said}");
    sidecar.restart().await;
    assert!(sidecar.stop().await.success());
    assert_eq!(verdict(&sidecar), "clean");
}
