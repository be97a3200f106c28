//! Clients that are slow, silent, or never read.

use std::time::Duration;

use keypod_tests::until;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{Target, head, read_to_end, write_until_it_stalls};

const QUICK: &str = "header_timeout = \"300ms\"\nbody_timeout = \"300ms\"";

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_cut() {
    let target = Target::start(QUICK).await;
    for start in ["", "P", "POST /v1/encrypt HTTP/1.1\r\nHost: loc", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut connection = target.connect().await;
        connection.write_all(start.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut connection).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{start:?}: {answer}");
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_for_ever_is_cut() {
    let target = Target::start(QUICK).await;
    let mut connection = target.connect().await;
    connection.write_all(b"GET /v1/status HTTP/1.1\r\nx: ").await.unwrap();
    until("it is cut", async || connection.write_all(b"y").await.is_err()).await;
    target.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_that_makes_no_progress_is_answered_with_408() {
    let target = Target::start(QUICK).await;
    for (path, media, code) in [
        ("/v1/encrypt", "application/json", "408"),
        ("/v1/encrypt?key=demo", "application/octet-stream", "408"),
        ("/v1/decrypt", "application/octet-stream", "408"),
    ] {
        let headers = format!("Content-Type: {media}\r\nContent-Length: 1000\r\n");
        let mut connection = target.connect().await;
        let start = head("POST", path, &headers) + "{";
        connection.write_all(start.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut connection).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{path}: {answer}");
        assert!(answer.contains("request_timeout"), "{path}: {answer}");
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn a_client_that_never_reads_its_stream_is_given_up_and_holds_no_place() {
    let target = Target::start("answer_timeout = \"300ms\"\nin_flight_max = 8").await;
    let mut connections = Vec::new();
    let headers = "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n";
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..8 {
        let mut connection = target.connect().await;
        let start = head("POST", "/v1/encrypt?key=demo", headers);
        connection.write_all(start.as_bytes()).await.unwrap();
        let pause = Duration::from_millis(50);
        let written = write_until_it_stalls(&mut connection, chunk.as_bytes(), pause).await;
        assert!(written < 256 << 20, "back-pressure: {written} bytes went in, none came out");
        connections.push(connection);
    }
    target.assert_memory_bounded(64 << 20);
    // The clients are still there and still do not read.
    target.assert_unharmed().await;
    drop(connections);
}

#[tokio::test]
async fn answers_that_nobody_reads_take_bounded_memory() {
    const CLIENTS: u64 = 12;
    const PLAINTEXT_BYTES: usize = 6 << 20;
    const BODY_MEMORY_BYTES: u64 = 16 << 20;
    let limits = format!(
        "answer_timeout = \"6s\"\nbody_memory_bytes_max = {BODY_MEMORY_BYTES}\n\
         json_body_bytes_max = {}",
        10 << 20
    );
    let target = Target::start(&limits).await;
    let client = target.client();
    let plaintext = vec![7; PLAINTEXT_BYTES];
    let ciphertext = client.encrypt("demo", &plaintext, &json!({})).await;
    let body = json!({ "ciphertext": ciphertext }).to_string();
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let request = head("POST", "/v1/decrypt", &headers) + &body;
    let resident = target.sidecar.resident_bytes();
    let before = target.sidecar.metric("keypod_operations_total").await;
    let mut connections = Vec::new();
    for number in 1..=CLIENTS {
        // What the kernel holds for a client that does not read is not the sidecar's.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut connection = socket.connect(target.sidecar.tcp()).await.unwrap();
        // One for which there is no memory may be ended in the middle.
        let _ = connection.write_all(request.as_bytes()).await;
        connections.push(connection);
        // One after the other: what piles up is answers, not requests.
        until("it was worked on", async || {
            target.sidecar.metric("keypod_operations_total").await >= before + number as f64
        })
        .await;
    }
    let now = target.sidecar.resident_bytes_max();
    // Beside what is counted, the request at work has its bytes once decoded. All answers would be twice that.
    assert!(now < resident + 4 * BODY_MEMORY_BYTES, "from {resident} to {now} bytes");
    // They are cut, and their memory is there for others, while the clients still hold on.
    until("there is memory again", async || {
        client.try_decrypt(&ciphertext, &json!({})).await.status == 200
    })
    .await;
    target.sidecar.until_idle().await;
    drop(connections);
}
