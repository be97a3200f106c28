//! Input that is cut, oversized or garbled.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{Target, exchange, head, read_until};
use crate::pieces::{begin_stream, pieces, rest_of};

#[tokio::test]
async fn a_request_that_is_cut_anywhere_harms_nobody() {
    let target = Target::start("").await;
    let body = json!({ "key": "demo", "plaintext": STANDARD.encode([7; 300]) }).to_string();
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let whole = head("POST", "/v1/encrypt", &headers) + &body;
    for length in (0..whole.len()).step_by(7) {
        let answer = exchange(&target, &whole.as_bytes()[..length]).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{length}: {answer}");
    }
    let mut connection = target.connect().await;
    connection.write_all(whole.as_bytes()).await.unwrap();
    let answer = read_until(&mut connection, "key_version").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    target.assert_unharmed().await;
}

#[tokio::test]
async fn a_stream_whose_client_goes_away_in_the_middle_is_given_up() {
    let target = Target::start("").await;
    for _ in 0..50 {
        let (pieces, answer) = begin_stream(&target.client(), vec![1; 150_000]).await;
        drop(answer);
        drop(pieces);
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let target = Target::start("").await;
    for path in ["/v1/encrypt", "/v1/decrypt", "/v1/encrypt/batch", "/v1/keys", "/v1/rotate"] {
        let announced = "Content-Type: application/json\r\nContent-Length: 1000000000000\r\n";
        let mut connection = target.connect().await;
        connection.write_all(head("POST", path, announced).as_bytes()).await.unwrap();
        let answer = read_until(&mut connection, "request_id").await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
        assert!(answer.contains("payload_too_large"), "{path}: {answer}");
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn an_endless_body_to_a_json_route_ends_at_the_limit() {
    let target = Target::start("").await;
    for path in ["/v1/encrypt", "/v1/keys", "/v1/decrypt/batch"] {
        let (sender, body) = pieces();
        let request = target.client().request("POST", path).body(body);
        let request = request.header("content-type", "application/json");
        let sending = tokio::spawn(async move {
            let mut pieces: u64 = 0;
            // Ends when the sidecar has had enough and nobody takes the pieces any more.
            while sender.send(vec![b' '; 64 << 10]).await.is_ok() {
                pieces += 1;
            }
            pieces
        });
        if let Ok(answer) = request.send().await {
            assert_eq!(answer.status(), 413, "{path}");
        }
        let sent = sending.await.unwrap() * (64 << 10);
        assert!(sent < 64 << 20, "{path}: {sent} bytes were taken of an endless body");
        target.assert_memory_bounded(64 << 20);
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn heads_that_are_too_long_or_no_http_are_refused() {
    let target = Target::start("").await;
    let many = (0..5000).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    let garbage: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    for bytes in [
        head("GET", "/v1/status", &format!("x: {}\r\n", "y".repeat(500_000))).into_bytes(),
        head("GET", &format!("/v1/{}", "y".repeat(500_000)), "").into_bytes(),
        head("GET", "/v1/status", &many).into_bytes(),
        garbage,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"\r\n\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage instead of frames, of any length".to_vec(),
    ] {
        let answer = exchange(&target, &bytes).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn requests_whose_length_can_be_read_in_two_ways_are_refused() {
    let target = Target::start("").await;
    let smuggled = head("GET", "/v1/status", "");
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length: +5\r\n",
    ] {
        let media = format!("Content-Type: application/json\r\n{framing}");
        let bytes = format!("{}0\r\n\r\n{smuggled}", head("POST", "/v1/encrypt", &media));
        let answer = exchange(&target, bytes.as_bytes()).await;
        assert!(!answer.contains("HTTP/1.1 200"), "{framing}: {answer}");
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn garbage_after_pipelined_requests_costs_nothing_but_its_own_connection() {
    let target = Target::start("").await;
    let status = head("GET", "/v1/status", "");
    for _ in 0..20 {
        let bytes = format!("{}\0\x01garbage\r\n\r\n{status}", status.repeat(50));
        let answer = exchange(&target, bytes.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 50, "{answer}");
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn a_sealed_stream_that_is_cut_anywhere_never_ends_as_if_it_were_whole() {
    let target = Target::start("").await;
    let client = target.client();
    let (pieces, answer) = begin_stream(&client, vec![1; 200_000]).await;
    drop(pieces);
    let sealed = rest_of(answer).await.unwrap();
    for length in [0, 1, 40, 107, 108, 65_000, 65_644, 65_700, 131_180, sealed.len() - 1] {
        let request = client.request("POST", "/v1/decrypt");
        let request = request.header("content-type", "application/octet-stream");
        // An answer that breaks off early enough is none at all.
        let Ok(answer) = request.body(sealed[..length].to_vec()).send().await else { continue };
        let refused = answer.status().is_client_error();
        assert!(refused || rest_of(answer).await.is_err(), "cut at {length}");
    }
    target.assert_unharmed().await;
}
