//! Many messages in one request: each item by itself, in order.

use keypod_tests::{Client, Sidecar, SidecarBuilder};
use serde_json::{Value, json};

async fn post(client: &Client, path: &str, body: &Value) -> Vec<Value> {
    let answer = client.post_json(path, body).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["items"].as_array().unwrap().clone()
}

/// The code of an item's error, or nothing.
fn code(item: &Value) -> &str {
    let error = &item["error"];
    if error.is_object() {
        assert!(!error["title"].as_str().unwrap().is_empty(), "{item}");
        assert!(!error["detail"].as_str().unwrap().is_empty(), "{item}");
        assert!(item.get("ciphertext").is_none() && item.get("plaintext").is_none(), "{item}");
    }
    error["code"].as_str().unwrap_or("")
}

fn reference(item: &Value) -> Option<&str> {
    item.get("reference").map(|reference| reference.as_str().unwrap())
}

#[tokio::test]
async fn items_come_back_in_order_with_their_references_where_others_failed() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let body = json!({ "key": "demo", "context": { "tenant": "clinic-7" }, "items": [
        { "plaintext": "MQ==", "reference": "one" },
        { "plaintext": "not base64", "reference": "two" },
        { "plaintext": "Mw==" },
        { "plaintext": "NA==", "context": { "tenant": "clinic-7" }, "reference": "four" },
        { "plaintext": "NQ==", "context": { "record": "5" }, "reference": "" },
    ]});
    let sealed = post(&client, "/v1/encrypt/batch", &body).await;
    let codes: Vec<_> = sealed.iter().map(code).collect();
    assert_eq!(codes, ["", "invalid_request", "", "invalid_request", ""]);
    let references: Vec<_> = sealed.iter().map(reference).collect();
    assert_eq!(references, [Some("one"), Some("two"), None, Some("four"), Some("")]);
    let (one, five) = (&sealed[0]["ciphertext"], &sealed[4]["ciphertext"]);
    assert_eq!(sealed[0]["key_version"], 1);
    let body = json!({ "context": { "tenant": "clinic-7" }, "items": [
        { "ciphertext": five, "context": { "record": "5" }, "reference": "a" },
        { "ciphertext": five, "context": { "record": "6" }, "reference": "b" },
        { "ciphertext": "kp1.AAAA", "reference": "c" },
        { "ciphertext": one, "context": { "tenant": "clinic-7" }, "reference": "d" },
        { "ciphertext": one },
    ]});
    let opened = post(&client, "/v1/decrypt/batch", &body).await;
    let codes: Vec<_> = opened.iter().map(code).collect();
    let expected = ["", "decryption_failed", "invalid_ciphertext", "invalid_request", ""];
    assert_eq!(codes, expected);
    let references: Vec<_> = opened.iter().map(reference).collect();
    assert_eq!(references, [Some("a"), Some("b"), Some("c"), Some("d"), None]);
    let whole = json!({
        "plaintext": "MQ==", "key": "demo", "key_version": 1, "rewrap_recommended": false,
    });
    assert_eq!((&opened[0]["plaintext"], &opened[4]), (&json!("NQ=="), &whole));
}

#[tokio::test]
async fn the_context_of_an_item_adds_to_that_of_its_batch() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let body = json!({ "key": "demo", "context": { "tenant": "clinic-7" },
        "items": [{ "plaintext": "MQ==", "context": { "record": "1" } }, { "plaintext": "Mg==" }] });
    let sealed = post(&client, "/v1/encrypt/batch", &body).await;
    let text = |index: usize| sealed[index]["ciphertext"].as_str().unwrap();
    let both = json!({ "record": "1", "tenant": "clinic-7" });
    assert_eq!(client.decrypt(text(0), &both).await, b"1");
    assert_eq!(client.decrypt(text(1), &json!({ "tenant": "clinic-7" })).await, b"2");
}

#[tokio::test]
async fn a_batch_is_rewrapped_item_by_item() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let text = client.encrypt("demo", b"hello", &json!({ "a": "b" })).await;
    client.post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    let body = json!({ "context": { "a": "b" }, "items": [
        { "ciphertext": text, "reference": "same" },
        { "ciphertext": text, "new_context": { "c": "d" }, "reference": "other" },
        { "ciphertext": text, "context": { "e": "f" }, "reference": "wrong" },
    ]});
    let moved = post(&client, "/v1/rewrap/batch", &body).await;
    let codes: Vec<_> = moved.iter().map(code).collect();
    assert_eq!(codes, ["", "", "decryption_failed"]);
    assert_eq!((reference(&moved[2]), &moved[0]["key_version"]), (Some("wrong"), &json!(2)));
    for (index, context) in [(0, json!({ "a": "b" })), (1, json!({ "c": "d" }))] {
        let text = moved[index]["ciphertext"].as_str().unwrap();
        assert_eq!(client.decrypt(text, &context).await, b"hello");
    }
}

#[tokio::test]
async fn a_batch_has_as_many_items_as_the_limit_and_no_more() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let items = |len: usize| vec![json!({ "plaintext": "MQ==" }); len];
    for len in [0, 1, 1_024] {
        let body = json!({ "key": "demo", "items": items(len) });
        let sealed = post(&client, "/v1/encrypt/batch", &body).await;
        assert!(sealed.len() == len && sealed.iter().all(|item| code(item).is_empty()));
        let opened =
            post(&client, "/v1/decrypt/batch", &json!({ "items": sealed_only(&sealed) })).await;
        assert!(opened.iter().all(|item| item["plaintext"] == "MQ=="));
    }
    let text = client.encrypt("demo", b"", &json!({})).await;
    let texts = vec![json!({ "ciphertext": text }); 1_025];
    for (path, body) in [
        ("/v1/encrypt/batch", json!({ "key": "demo", "items": items(1_025) })),
        ("/v1/decrypt/batch", json!({ "items": texts })),
        ("/v1/rewrap/batch", json!({ "items": texts })),
    ] {
        let refused = client.post_json(path, &body).await;
        refused.assert_problem(400, "invalid_request");
        assert!(refused.json()["detail"].as_str().unwrap().contains("1024"));
    }
}

fn sealed_only(items: &[Value]) -> Vec<Value> {
    items.iter().map(|item| json!({ "ciphertext": item["ciphertext"] })).collect()
}

#[tokio::test]
async fn what_concerns_the_whole_batch_refuses_it_whole() {
    let sidecar = SidecarBuilder::new()
        .caller("reader", r#""decrypt""#, r#""demo""#)
        .key("demo")
        .key("other")
        .start()
        .await;
    let client = sidecar.client();
    for (body, status, code) in [
        (json!({ "key": "nothing", "items": [{ "plaintext": "" }] }), 404, "key_not_found"),
        (json!({ "key": "demo", "items": [{ "plaintxt": "" }] }), 400, "invalid_request"),
        (json!({ "key": "demo", "items": [{ "plaintext": 1 }] }), 400, "invalid_request"),
        (
            json!({ "key": "demo", "items": [{ "plaintext": "", "reference": null }] }),
            400,
            "invalid_request",
        ),
        (json!({ "key": "demo" }), 400, "invalid_request"),
    ] {
        client.post_json("/v1/encrypt/batch", &body).await.assert_problem(status, code);
    }
    let reader = sidecar.client_of("reader");
    for items in [json!([{ "plaintext": "" }]), json!([{ "plaintext": "?" }]), json!([])] {
        let body = json!({ "key": "demo", "items": items });
        reader.post_json("/v1/encrypt/batch", &body).await.assert_problem(403, "forbidden");
    }
    // Each ciphertext names its key, so who may read one gets that one.
    let mine = client.encrypt("demo", b"1", &json!({})).await;
    let theirs = client.encrypt("other", b"2", &json!({})).await;
    let body = json!({ "items": [{ "ciphertext": theirs }, { "ciphertext": mine }] });
    let opened = post(&reader, "/v1/decrypt/batch", &body).await;
    assert_eq!((code(&opened[0]), &opened[1]["plaintext"]), ("forbidden", &json!("MQ==")));
}
