//! Refusals for how much, how long and how often.

use keypod_tests::{Raw, Sidecar, SidecarBuilder, in_chunks, until};
use serde_json::json;

/// The head of a `POST` by the administrator, with these lines more.
fn head(sidecar: &Sidecar, path: &str, lines: &str) -> String {
    let token = std::fs::read_to_string(sidecar.token_file("admin")).unwrap();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{lines}\r\n\r\n"
    )
}

const JSON: &str = "Content-Type: application/json";

#[tokio::test]
async fn a_body_that_makes_no_progress_is_given_up() {
    let limits = "[limits]\nbody_timeout = \"100ms\"";
    let sidecar = SidecarBuilder::new().config(limits).key("demo").start().await;
    for lines in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        for mut raw in [Raw::tcp(sidecar.tcp()).await, Raw::unix(&sidecar.socket()).await] {
            raw.send(head(&sidecar, "/v1/encrypt", &format!("{JSON}\r\n{lines}"))).await;
            let (answer, whole) = raw.answer().await;
            answer.assert_problem(408, "request_timeout");
            assert!(whole, "{lines}");
        }
    }
}

#[tokio::test]
async fn a_body_past_its_limit_is_refused_even_while_it_is_being_sent() {
    let sidecar = Sidecar::start().await;
    let mut chunk = b"10000\r\n".to_vec();
    chunk.extend([b' '; 0x10000]);
    chunk.extend(b"\r\n");
    for (lines, piece) in [
        ("Content-Length: 5000000", vec![b' '; 5_000_000]),
        ("Content-Length: 99999999999", vec![b' '; 100_000]),
        ("Transfer-Encoding: chunked", chunk),
    ] {
        for mut raw in [Raw::tcp(sidecar.tcp()).await, Raw::unix(&sidecar.socket()).await] {
            raw.send(head(&sidecar, "/v1/encrypt", &format!("{JSON}\r\n{lines}"))).await;
            raw.send_without_end(piece.clone());
            let (answer, whole) = raw.answer().await;
            answer.assert_problem(413, "payload_too_large");
            assert!(whole, "{lines}");
        }
    }
}

#[tokio::test]
async fn a_client_that_reads_only_after_it_has_sent_sees_the_refusal_too() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let body = vec![b' '; 8 << 20];
    for body in [reqwest::Body::from(body.clone()), in_chunks(body.clone())] {
        let request = client.request("POST", "/v1/encrypt").body(body);
        let answer = client.send(request.header("content-type", "application/json")).await;
        answer.assert_problem(413, "payload_too_large");
    }
    let mut raw = Raw::tcp(sidecar.tcp()).await;
    let lines = format!("{JSON}\r\nContent-Length: {}", body.len());
    raw.send(head(&sidecar, "/v1/encrypt", &lines)).await;
    raw.send(&body).await;
    raw.answer().await.0.assert_problem(413, "payload_too_large");
}

#[tokio::test]
async fn the_largest_body_that_is_taken_is_taken() {
    let sidecar = SidecarBuilder::new()
        .config("[limits]\njson_body_bytes_max = 1000")
        .key("demo")
        .start()
        .await;
    let client = sidecar.client();
    for (len, status) in [(1000, 200), (1001, 413)] {
        let mut body = json!({ "key": "demo", "plaintext": "" }).to_string();
        body.push_str(&" ".repeat(len - body.len()));
        for body in [reqwest::Body::from(body.clone()), in_chunks(body.into())] {
            let request = client.request("POST", "/v1/encrypt").body(body);
            let answer = client.send(request.header("content-type", "application/json")).await;
            assert_eq!(answer.status, status, "{len}");
        }
    }
}

#[tokio::test]
async fn a_caller_past_its_rate_is_told_when_to_come_again_and_harms_no_other() {
    let sidecar = SidecarBuilder::new()
        .config("[limits]\nrequests_per_second = 1\nbatch_items_max = 3")
        .caller("greedy", r#""encrypt""#, r#""demo""#)
        .key("demo")
        .start()
        .await;
    let greedy = sidecar.client_of("greedy");
    let item = json!({ "plaintext": "" });
    let batch = json!({ "key": "demo", "items": [item, item, item] });
    assert_eq!(greedy.post_json("/v1/encrypt/batch", &batch).await.status, 200);
    let refused = greedy.post_json("/v1/encrypt/batch", &batch).await;
    refused.assert_problem(429, "rate_limited");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=3).contains(&seconds), "{seconds}");
    sidecar.client().encrypt("demo", b"", &json!({})).await;
}

/// A request that is in flight until its body ends: its answer has begun, so its place is taken.
async fn hold(sidecar: &Sidecar) -> Raw {
    let mut holder = Raw::unix(&sidecar.socket()).await;
    let lines = "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked";
    holder.send(head(sidecar, "/v1/encrypt?key=demo", lines)).await;
    assert_eq!(holder.received_of_body(71).await[..2], [1, 2]);
    holder
}

#[tokio::test]
async fn a_request_for_which_there_is_no_place_is_told_to_come_again() {
    let limits = "[limits]\nin_flight_max = 1";
    let sidecar = SidecarBuilder::new().config(limits).key("demo").start().await;
    let client = sidecar.client();
    let mut holder = hold(&sidecar).await;
    for path in ["/openapi.json", "/v1/keys/demo"] {
        client.get(path).await.assert_problem(503, "overloaded");
    }
    holder.send("0\r\n\r\n").await;
    assert_eq!(holder.received_of_chunks(16).await.len(), 16, "the empty segment's tag");
    assert_eq!(client.get("/openapi.json").await.status, 200);
}

#[tokio::test]
async fn bodies_for_which_there_is_no_memory_are_told_to_come_again() {
    let limits = "[limits]\njson_body_bytes_max = 100000\nbody_memory_bytes_max = 300000";
    let builder = SidecarBuilder::new().config(limits).key("demo");
    let sidecar = builder.caller("other", r#""encrypt""#, r#""demo""#).start().await;
    let client = sidecar.client_of("other");
    let large = json!({ "key": "demo", "plaintext": "A".repeat(80_000) });
    let mut holder = hold(&sidecar).await;
    client.post_json("/v1/encrypt", &large).await.assert_problem(503, "overloaded");
    client.encrypt("demo", b"small", &json!({})).await;
    holder.send("0\r\n\r\n").await;
    holder.received_of_chunks(16).await;
    until("its memory is there for others", async || {
        client.post_json("/v1/encrypt", &large).await.status == 200
    })
    .await;
}
