//! What one caller or one key uses up is not taken from the others.

use keypod_tests::{Raw, Sidecar, SidecarBuilder, until};
use serde_json::{Value, json};

fn batch(key: &str, items: usize) -> Value {
    let item = json!({ "plaintext": "" });
    json!({ "key": key, "items": vec![item; items] })
}

fn message(key: &str, base64_len: usize) -> Value {
    json!({ "key": key, "plaintext": "A".repeat(base64_len) })
}

async fn start(limits: &str) -> Sidecar {
    SidecarBuilder::new()
        .config(&format!("[limits]\n{limits}"))
        .caller("greedy", r#""encrypt", "decrypt""#, r#""demo", "cold""#)
        .caller("stranger", "", "")
        .key("demo")
        .key("cold")
        .start()
        .await
}

/// How often a limit has bitten.
async fn bitten(sidecar: &Sidecar, limit: &str) -> f64 {
    let text = sidecar.observe("/metrics").await.body;
    let series = format!("keypod_limited_total{{limit=\"{limit}\"}} ");
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn limits_hold_for_each_caller_and_for_each_key() {
    let sidecar = start("key_requests_per_second = 1\nbatch_items_max = 1000").await;
    let (admin, greedy) = (sidecar.client(), sidecar.client_of("greedy"));
    let stranger = sidecar.client_of("stranger");
    for _ in 0..5 {
        let denied = stranger.post_json("/v1/encrypt/batch", &batch("cold", 900)).await;
        denied.assert_problem(403, "forbidden");
    }
    for (key, client) in [("demo", &greedy), ("cold", &greedy)] {
        let sealed = client.post_json("/v1/encrypt/batch", &batch(key, 900)).await;
        assert_eq!(sealed.status, 200, "who is denied uses up nothing of {key}");
    }
    for client in [&greedy, &admin] {
        let refused = client.post_json("/v1/encrypt/batch", &batch("demo", 900)).await;
        refused.assert_problem(429, "rate_limited");
        assert!(refused.text("detail").contains("key_requests"));
    }
    assert!(bitten(&sidecar, "key_requests").await >= 2.0);
    let disabled = json!({ "state": "disabled" });
    let disabled = admin.post_json("/v1/keys/demo/versions/1/state", &disabled).await;
    assert_eq!(disabled.status, 200, "nobody keeps an operator out by using up a key's rate");
    assert_eq!(admin.get("/openapi.json").await.status, 200);
}

#[tokio::test]
async fn an_item_whose_key_is_used_up_fails_by_itself() {
    let sidecar =
        start("batch_items_max = 1000\n[[limits.keys]]\nname = \"demo\"\nrequests_per_second = 1")
            .await;
    let admin = sidecar.client();
    let (hot, cold) = (
        admin.encrypt("demo", b"hot", &json!({})).await,
        admin.encrypt("cold", b"cold", &json!({})).await,
    );
    assert_eq!(admin.post_json("/v1/encrypt/batch", &batch("demo", 900)).await.status, 200);
    let mut items = vec![json!({ "ciphertext": hot }); 900];
    items.push(json!({ "ciphertext": cold }));
    let opened = admin.post_json("/v1/decrypt/batch", &json!({ "items": items })).await.json();
    let items = opened["items"].as_array().unwrap();
    assert_eq!(
        (&items[0]["plaintext"], &items[900]["plaintext"]),
        (&json!("aG90"), &json!("Y29sZA=="))
    );
    assert_eq!(items[899]["error"]["code"], "rate_limited");
}

#[tokio::test]
async fn bytes_are_counted_and_a_message_past_them_is_told_when_to_come_again() {
    let sidecar = start("bytes_per_second = 1000\njson_body_bytes_max = 100000").await;
    let greedy = sidecar.client_of("greedy");
    let sealed = greedy.post_json("/v1/encrypt", &message("demo", 92_000)).await;
    assert_eq!(sealed.status, 200);
    for path in ["/v1/encrypt", "/v1/decrypt"] {
        let body = match path {
            "/v1/encrypt" => message("demo", 80_000),
            _ => json!({ "ciphertext": sealed.text("ciphertext") }),
        };
        let refused = greedy.post_json(path, &body).await;
        refused.assert_problem(429, "rate_limited");
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((10..=70).contains(&seconds), "{seconds}");
    }
    assert_eq!(greedy.post_json("/v1/encrypt", &message("demo", 0)).await.status, 200);
    sidecar.client().encrypt("demo", &[0; 60_000], &json!({})).await;
    assert_eq!(bitten(&sidecar, "caller_bytes").await, 2.0);
}

#[tokio::test]
async fn a_stream_past_its_bytes_waits_and_loses_nothing() {
    let rates = "bytes_per_second = 2000000\nkey_bytes_per_second = 1500000";
    let sidecar = start(&format!("{rates}\njson_body_bytes_max = 1000")).await;
    let (client, context) = (sidecar.client(), json!({ "file": "1" }));
    let plaintext: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
    let path = "/v1/encrypt?key=demo";
    let sealed = client.post_chunked(path, &context, plaintext.clone()).await;
    assert_eq!(sealed.status, 200);
    let opened = client.post_chunked("/v1/decrypt", &context, sealed.body).await;
    assert!(opened.body == plaintext);
    let waits = bitten(&sidecar, "caller_bytes").await + bitten(&sidecar, "key_bytes").await;
    assert!(waits >= 1.0);
}

#[tokio::test]
async fn one_caller_cannot_take_every_place_in_flight() {
    let sidecar = start("in_flight_max = 4").await;
    let token = std::fs::read_to_string(sidecar.token_file("greedy")).unwrap();
    let head = format!(
        "POST /v1/encrypt?key=demo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::unix(&sidecar.socket()).await;
        raw.send(&head).await;
        raw.received_of_body(71).await;
        held.push(raw);
    }
    let refused = sidecar.client_of("greedy").get("/openapi.json").await;
    refused.assert_problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    sidecar.client().encrypt("demo", b"another's", &json!({})).await;
    assert_eq!(bitten(&sidecar, "caller_in_flight").await, 1.0);
    drop(held);
    until("its places come back", async || {
        sidecar.client_of("greedy").get("/openapi.json").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_caller_with_limits_of_its_own_has_those() {
    let own = "[[limits.callers]]\nname = \"greedy\"\nrequests_per_second = 1\nin_flight_max = 1";
    let sidecar = start(&format!("batch_items_max = 1000\n{own}")).await;
    let greedy = sidecar.client_of("greedy");
    assert_eq!(greedy.post_json("/v1/encrypt/batch", &batch("demo", 900)).await.status, 200);
    let refused = greedy.post_json("/v1/encrypt/batch", &batch("demo", 900)).await;
    refused.assert_problem(429, "rate_limited");
    for _ in 0..5 {
        let sealed = sidecar.client().post_json("/v1/encrypt/batch", &batch("demo", 900)).await;
        assert_eq!(sealed.status, 200);
    }
}

#[tokio::test]
async fn one_user_cannot_take_every_connection_of_the_socket() {
    let sidecar = start("connections_max = 4").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(Raw::unix(&sidecar.socket()).await);
    }
    let mut fourth = Raw::unix(&sidecar.socket()).await;
    assert!(fourth.is_closed().await);
    assert_eq!(bitten(&sidecar, "user_connections").await, 1.0);
    sidecar.client().encrypt("demo", b"over TCP", &json!({})).await;
}

#[tokio::test]
async fn one_caller_cannot_take_all_memory_for_bodies_whatever_its_rights_and_rates() {
    let sizes = "body_memory_bytes_max = 4000000\njson_body_bytes_max = 1000000";
    let own =
        "[[limits.callers]]\nname = \"stranger\"\nrequests_per_second = 1\nbytes_per_second = 1";
    let sidecar = start(&format!("{sizes}\n{own}")).await;
    let token = std::fs::read_to_string(sidecar.token_file("stranger")).unwrap();
    let head = format!(
        "POST /v1/encrypt HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
    );
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut raw = Raw::unix(&sidecar.socket()).await;
        raw.send(&head).await;
        raw.send(vec![b' '; 999_999]).await;
        held.push(raw);
    }
    until("its share is used up", async || bitten(&sidecar, "caller_body_memory").await >= 1.0)
        .await;
    let another = sidecar.client().post_json("/v1/encrypt", &message("demo", 600_000)).await;
    assert_eq!(another.status, 200, "the others have memory left");
    drop(held);
}
