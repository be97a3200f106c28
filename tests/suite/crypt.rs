//! Encrypt, decrypt and rewrap of one message in JSON, and what must be refused.

use keypod_tests::{Client, Sidecar, repository};
use serde_json::{Value, json};

fn vectors(file: &str) -> Value {
    let path = repository().join("tests/vectors/v1").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

async fn rewrap(client: &Client, body: Value) -> keypod_tests::Answer {
    client.post_json("/v1/rewrap", &body).await
}

#[tokio::test]
async fn an_answer_says_key_and_version_and_whether_to_rewrap() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let body = json!({ "key": "demo", "plaintext": "aGVsbG8=", "context": { "a": "b" } });
    let sealed = client.post_json("/v1/encrypt", &body).await.json();
    assert_eq!((&sealed["key"], &sealed["key_version"]), (&json!("demo"), &json!(1)));
    let text = sealed["ciphertext"].as_str().unwrap().to_owned();
    assert!(text.starts_with("kp1.AQEA"), "{text}");
    for (version, recommended) in [(1, false), (2, true)] {
        let opened = client.try_decrypt(&text, &json!({ "a": "b" })).await.json();
        let expected = json!({
            "plaintext": "aGVsbG8=", "key": "demo", "key_version": 1,
            "rewrap_recommended": recommended,
        });
        assert_eq!(opened, expected);
        let rotated = client.post_json("/v1/rotate", &json!({ "key": "demo" })).await.json();
        assert_eq!(rotated, json!({ "key": "demo", "key_version": version + 1 }));
    }
}

#[tokio::test]
async fn no_two_ciphertexts_of_one_message_are_the_same() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let one = client.encrypt("demo", b"hello", &json!({})).await;
    assert_ne!(client.encrypt("demo", b"hello", &json!({})).await, one);
    let body = json!({ "key": "demo", "items": [{ "plaintext": "" }, { "plaintext": "" }] });
    let items = client.post_json("/v1/encrypt/batch", &body).await.json()["items"].clone();
    assert_ne!(items[0]["ciphertext"], items[1]["ciphertext"]);
}

#[tokio::test]
async fn a_rewrapped_message_opens_with_its_new_context_and_the_old_one_stays_as_it_was() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let (old, new) = (json!({ "tenant": "clinic-7" }), json!({ "tenant": "clinic-8" }));
    let text = client.encrypt("demo", b"hello", &old).await;
    client.post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    for (new_context, expected) in
        [(None, &old), (Some(&new), &new), (Some(&json!({})), &json!({}))]
    {
        let mut body = json!({ "ciphertext": text, "context": old });
        if let Some(context) = new_context {
            body["new_context"] = context.clone();
        }
        let moved = rewrap(&client, body).await.json();
        assert_eq!((&moved["key"], &moved["key_version"]), (&json!("demo"), &json!(2)));
        let moved = moved["ciphertext"].as_str().unwrap();
        assert_eq!(client.decrypt(moved, expected).await, b"hello");
        let opened = client.try_decrypt(moved, &json!({ "tenant": "other" })).await;
        opened.assert_problem(400, "decryption_failed");
    }
    assert_eq!(client.decrypt(&text, &old).await, b"hello");
    for wrong in [json!({}), new] {
        let body = json!({ "ciphertext": text, "context": wrong, "new_context": old });
        rewrap(&client, body).await.assert_problem(400, "decryption_failed");
    }
    let null = json!({ "ciphertext": text, "context": old, "new_context": null });
    rewrap(&client, null).await.assert_problem(400, "invalid_request");
}

/// Every byte of a ciphertext counts: none can be changed, added or taken away.
#[tokio::test]
async fn a_changed_ciphertext_never_opens() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let text = client.encrypt("demo", b"hello", &json!({})).await;
    let whole = URL_SAFE_NO_PAD.decode(text.trim_start_matches("kp1.")).unwrap();
    let try_bytes = async |bytes: &[u8]| {
        let text = format!("kp1.{}", URL_SAFE_NO_PAD.encode(bytes));
        client.try_decrypt(&text, &json!({})).await
    };
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        // Format, suite and version cannot be zero; all else parses and means something else.
        let parses = !matches!(at, 0 | 1 | 14);
        let code = if parses { "decryption_failed" } else { "invalid_ciphertext" };
        try_bytes(&bytes).await.assert_problem(400, code);
    }
    for len in [0, 1, 70, 71, 86] {
        try_bytes(&whole[..len]).await.assert_problem(400, "invalid_ciphertext");
    }
    for len in 87..whole.len() {
        try_bytes(&whole[..len]).await.assert_problem(400, "decryption_failed");
    }
    try_bytes(&[&whole[..], &[0]].concat()).await.assert_problem(400, "decryption_failed");
}

/// The keys of the vectors are not in this store, so what parses is answered like any other that does not open.
#[tokio::test]
async fn the_vectors_that_must_be_refused_are() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let mut refused = 0;
    for vector in vectors("refuse.json")["refuse"].as_array().unwrap() {
        let code = match vector["class"].as_str().unwrap() {
            "not_ours" => "invalid_ciphertext",
            _ => "decryption_failed",
        };
        let text = match (vector["text"].as_str(), vector["ciphertext_hex"].as_str()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(hex)) => {
                let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                let bytes: Vec<_> = (0..hex.len()).step_by(2).map(byte).collect();
                let octets = client.post_octets("/v1/decrypt", &json!({}), bytes.clone()).await;
                octets.assert_problem(400, code);
                format!("kp1.{}", URL_SAFE_NO_PAD.encode(bytes))
            }
            _ => continue,
        };
        let answer = client.try_decrypt(&text, &json!({})).await;
        assert_eq!(answer.code(), code, "{}", vector["name"]);
        answer.assert_problem(400, code);
        rewrap(&client, json!({ "ciphertext": text })).await.assert_problem(400, code);
        refused += 1;
    }
    assert!(refused > 130, "{refused}");
}

#[tokio::test]
async fn contexts_that_the_format_refuses_are_refused_in_bodies_and_headers() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    for vector in vectors("context.json")["refuse"].as_array().unwrap() {
        let context = vector["json"].as_str().unwrap();
        let bodies = [
            ("/v1/encrypt", format!(r#"{{"key":"demo","plaintext":"","context":{context}}}"#)),
            ("/v1/decrypt", format!(r#"{{"ciphertext":"kp1.AA","context":{context}}}"#)),
            ("/v1/rewrap", format!(r#"{{"ciphertext":"kp1.AA","new_context":{context}}}"#)),
            ("/v1/encrypt/batch", format!(r#"{{"key":"demo","items":[],"context":{context}}}"#)),
        ];
        for (path, body) in bodies {
            let request = client.request("POST", path).header("content-type", "application/json");
            client.send(request.body(body)).await.assert_problem(400, "invalid_request");
        }
        let request = client.request("POST", "/v1/encrypt?key=demo");
        let request = request.header("content-type", "application/octet-stream");
        let request = request.header("keypod-context", URL_SAFE_NO_PAD.encode(context));
        client.send(request.body("x")).await.assert_problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn contexts_within_the_limits_come_through_in_bodies_and_headers() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let mut taken = 0;
    for vector in vectors("context.json")["encode"].as_array().unwrap() {
        if vector["within_api_limits"] == true {
            let context = &vector["context"];
            let sealed = client.post_octets("/v1/encrypt?key=demo", context, vec![7]).await;
            let opened = client.post_octets("/v1/decrypt", context, sealed.body).await;
            assert_eq!((opened.status, opened.body), (200, vec![7]), "{}", vector["name"]);
            let text = client.encrypt("demo", b"x", context).await;
            assert_eq!(client.decrypt(&text, context).await, b"x");
            taken += 1;
        }
    }
    assert!(taken > 5, "{taken}");
}
