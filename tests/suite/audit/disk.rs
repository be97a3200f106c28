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
    until("operations go on", async || encrypts(&client).await == 200).await;
    assert_eq!(client.decrypt(&ciphertext, &json!({})).await, b"before");
    until("it is ready again", async || sidecar.observe("/readyz").await.status == 200).await;
    assert!(sidecar.audit_entries().len() > before);
    let key = client.get("/v1/keys/demo").await.json();
    assert_eq!(key["primary_version"], 1, "nothing was changed that nobody knows of: {key}");
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
