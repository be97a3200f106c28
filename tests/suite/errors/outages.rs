//! Refusals for what is below the sidecar: its store, its root, damaged data.

use keypod_tests::{Sidecar, SidecarBuilder};
use serde_json::json;
use sqlx::Executor as _;

/// The wrappings of the key `demo`.
const OF_DEMO: &str = "WHERE key_id = (SELECT id FROM keys WHERE name = 'demo')";

/// A sidecar whose store was changed while it did not run. A second key stays as it was: where the root opens none,
/// the sidecar does not start.
async fn with_changed_store(statements: &str) -> (Sidecar, String) {
    let mut sidecar = SidecarBuilder::new().key("demo").key("spare").start().await;
    let text = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
    assert!(sidecar.stop().await.success());
    sidecar.change_store(statements).await;
    sidecar.restart().await;
    (sidecar, text)
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_said_to_be_unavailable() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let mut other = sidecar.open_store().await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let refused = client.post_json("/v1/keys", &json!({ "name": "other" })).await;
    refused.assert_problem(503, "store_unavailable");
    // What is cached goes on while the store cannot be had.
    let status = client.get("/v1/status").await.json();
    assert_eq!(status["store"]["healthy"], false, "{status}");
    assert!(status["store"]["problem"].as_str().unwrap().contains("keys.db"), "{status}");
    other.execute("ROLLBACK").await.unwrap();
    let made = client.post_json("/v1/keys", &json!({ "name": "other" })).await;
    assert_eq!(made.status, 201, "it recovers by itself");
}

#[tokio::test]
async fn what_another_root_wrapped_is_unavailable_at_this_one() {
    let (sidecar, text) =
        with_changed_store(&format!("UPDATE wrappings SET root = 'elsewhere' {OF_DEMO}")).await;
    let client = sidecar.client();
    client.try_decrypt(&text, &json!({})).await.assert_problem(503, "root_unavailable");
    let octets = client.post_octets("/v1/encrypt?key=demo", &json!({}), b"x".to_vec()).await;
    octets.assert_problem(503, "root_unavailable");
    assert!(sidecar.log().contains("no wrapping under local"), "{}", sidecar.log());
    client.encrypt("spare", b"the other key goes on", &json!({})).await;
}

#[tokio::test]
async fn damaged_data_is_an_internal_error_and_the_log_says_what_is_damaged() {
    let damage = format!("UPDATE wrappings SET wrapped = zeroblob(length(wrapped)) {OF_DEMO}");
    let (sidecar, text) = with_changed_store(&damage).await;
    let client = sidecar.client();
    let answer = client.try_decrypt(&text, &json!({})).await;
    answer.assert_problem(500, "internal");
    assert!(sidecar.log().contains("internal error"), "{}", sidecar.log());
    assert_eq!(client.get("/v1/keys/demo").await.status, 200, "the rest goes on");
}

#[tokio::test]
async fn a_version_moved_to_another_key_does_not_unwrap() {
    let mut sidecar = SidecarBuilder::new().key("one").key("two").start().await;
    let text = sidecar.client().encrypt("one", b"hello", &json!({})).await;
    assert!(sidecar.stop().await.success());
    // The secret of `two` under the name of `one`: the wrapping is bound to its key's id.
    let swap = "UPDATE wrappings SET wrapped = (SELECT wrapped FROM wrappings w JOIN keys k \
                ON w.key_id = k.id WHERE k.name = 'two') WHERE key_id = \
                (SELECT id FROM keys WHERE name = 'one')";
    sidecar.change_store(swap).await;
    sidecar.restart().await;
    let opened = sidecar.client().try_decrypt(&text, &json!({})).await;
    opened.assert_problem(500, "internal");
    sidecar.client().encrypt("two", b"hello", &json!({})).await;
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_done() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let text = client.encrypt("demo", b"hello", &json!({})).await;
    sidecar.let_files_grow_to(Some(1));
    client.try_decrypt(&text, &json!({})).await.assert_problem(503, "audit_unavailable");
    let octets = client.post_octets("/v1/encrypt?key=demo", &json!({}), b"x".to_vec()).await;
    octets.assert_problem(503, "audit_unavailable");
    sidecar.let_files_grow_to(None);
    assert_eq!(client.decrypt(&text, &json!({})).await, b"hello", "it recovers by itself");
}
