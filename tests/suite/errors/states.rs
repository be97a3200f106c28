//! Refusals for what keys are there, in which state, and who may use them.

use keypod_tests::{Client, Sidecar, SidecarBuilder};
use serde_json::{Value, json};

async fn set_state(client: &Client, version: u32, state: &str) {
    let path = format!("/v1/keys/demo/versions/{version}/state");
    let set = client.post_json(&path, &json!({ "state": state })).await;
    assert_eq!(set.status, 200, "{state}");
}

async fn destroy(client: &Client, confirm: &str) -> keypod_tests::Answer {
    let path = format!("/v1/keys/{}/destroy", confirm.replace('/', "/versions/"));
    client.post_json(&path, &json!({ "confirm": confirm })).await
}

fn encrypt_body(key: &str) -> Value {
    json!({ "key": key, "plaintext": "" })
}

#[tokio::test]
async fn what_no_rule_allows_is_forbidden() {
    let sidecar = SidecarBuilder::new()
        .caller("orders", r#""encrypt""#, r#""orders-*""#)
        .key("demo")
        .start()
        .await;
    let orders = sidecar.client_of("orders");
    for key in ["demo", "not-there"] {
        let answer = orders.post_json("/v1/encrypt", &encrypt_body(key)).await;
        answer.assert_problem(403, "forbidden");
    }
    let socket = Client::unix(&sidecar.socket(), Some("orders-token-0123456789abcdefghij"));
    let answer = socket.post_json("/v1/encrypt", &encrypt_body("demo")).await;
    answer.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn a_key_or_version_that_is_not_there_is_not_found_and_not_made() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let state = json!({ "state": "disabled" });
    for answer in [
        client.post_json("/v1/encrypt", &encrypt_body("nothing")).await,
        client.post_octets("/v1/encrypt?key=nothing", &json!({}), Vec::new()).await,
        client.post_chunked("/v1/encrypt?key=nothing", &json!({}), Vec::new()).await,
        client.post_json("/v1/rotate", &json!({ "key": "nothing" })).await,
        client.get("/v1/keys/nothing").await,
        client.post_json("/v1/keys/nothing/versions/1/state", &state).await,
        client.post_json("/v1/keys/demo/versions/2/state", &state).await,
        destroy(&client, "demo/2").await,
        client.send(client.request("POST", &format!("/v1/approvals/{}", "0".repeat(32)))).await,
    ] {
        answer.assert_problem(404, "key_not_found");
    }
    let listed = client.keys().await;
    let names: Vec<_> = listed.iter().map(|key| &key["name"]).collect();
    assert_eq!(names, ["demo"]);
}

#[tokio::test]
async fn a_key_is_made_once() {
    let sidecar = Sidecar::start().await;
    let again = sidecar.client().post_json("/v1/keys", &json!({ "name": "demo" })).await;
    again.assert_problem(409, "key_exists");
}

#[tokio::test]
async fn a_version_does_what_its_state_allows() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let text = client.encrypt("demo", b"hello", &json!({})).await;
    set_state(&client, 1, "decrypt_only").await;
    assert_eq!(client.decrypt(&text, &json!({})).await, b"hello");
    let sealed = client.post_json("/v1/encrypt", &encrypt_body("demo")).await;
    sealed.assert_problem(409, "version_disabled");
    set_state(&client, 1, "disabled").await;
    client.try_decrypt(&text, &json!({})).await.assert_problem(409, "version_disabled");
    set_state(&client, 1, "enabled").await;
    assert_eq!(client.decrypt(&text, &json!({})).await, b"hello");
}

#[tokio::test]
async fn a_change_that_does_not_fit_the_state_is_a_conflict() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let cancel = "/v1/keys/demo/versions/1/destroy/cancel";
    client.send(client.request("POST", cancel)).await.assert_problem(409, "conflict");
    assert_eq!(destroy(&client, "demo/1").await.status, 200);
    destroy(&client, "demo/1").await.assert_problem(409, "conflict");
    let state = json!({ "state": "enabled" });
    let set = client.post_json("/v1/keys/demo/versions/1/state", &state).await;
    set.assert_problem(409, "conflict");
}

#[tokio::test]
async fn a_message_larger_than_a_version_may_seal_is_a_conflict() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let made = client.post_json("/v1/keys", &json!({ "name": "small", "bytes_max": 10 })).await;
    assert_eq!(made.status, 201);
    let body = json!({ "key": "small", "plaintext": "AAAAAAAAAAAAAAAA" });
    client.post_json("/v1/encrypt", &body).await.assert_problem(409, "conflict");
}

#[tokio::test]
async fn what_a_destroyed_version_sealed_is_gone() {
    let keys = "[keys]\ndestroy_delay = \"0s\"";
    let sidecar = SidecarBuilder::new().config(keys).key("demo").start().await;
    let client = sidecar.client();
    let text = client.encrypt("demo", b"hello", &json!({})).await;
    let bytes = client.post_chunked("/v1/encrypt?key=demo", &json!({}), vec![7; 100]).await.body;
    assert_eq!(destroy(&client, "demo/1").await.json()["versions"][0]["state"], "destroyed");
    client.try_decrypt(&text, &json!({})).await.assert_problem(410, "version_destroyed");
    let opened = client.post_octets("/v1/decrypt", &json!({}), bytes).await;
    opened.assert_problem(410, "version_destroyed");
    let sealed = client.post_json("/v1/encrypt", &encrypt_body("demo")).await;
    sealed.assert_problem(410, "version_destroyed");
    let state = json!({ "state": "enabled" });
    let set = client.post_json("/v1/keys/demo/versions/1/state", &state).await;
    set.assert_problem(410, "version_destroyed");
    destroy(&client, "demo/1").await.assert_problem(410, "version_destroyed");
}
