//! Bodies of octets: their forms, their edges, their headers.

mod damage;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keypod_tests::{Client, Raw, Sidecar};
use serde_json::{Value, json};

/// Bytes of a segment of suite 0x02, and of a sealed one that is not the last (FORMAT.md).
const SEGMENT: usize = 65_536;
const SEALED_SEGMENT: usize = 65_552;
const HEADER: usize = 71;
const TAG: usize = 16;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn context() -> Value {
    json!({ "tenant": "clinic-7", "record": "r-1029" })
}

async fn seal(client: &Client, plaintext: Vec<u8>) -> Vec<u8> {
    let sealed = client.post_chunked("/v1/encrypt?key=demo", &context(), plaintext).await;
    assert_eq!(sealed.status, 200, "{}", String::from_utf8_lossy(&sealed.body));
    sealed.body
}

#[tokio::test]
async fn a_body_takes_the_form_that_its_length_asks_for_and_comes_back() {
    let sidecar = Sidecar::start().await;
    let token = std::fs::read_to_string(sidecar.token_file("admin")).unwrap();
    let clients = [
        sidecar.client(),
        Client::http2(sidecar.tcp(), Some(&token)),
        Client::unix(&sidecar.socket(), Some(&token)),
        Client::unix_http2(&sidecar.socket(), Some(&token)),
    ];
    for client in &clients {
        for len in [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 200_000] {
            let path = "/v1/encrypt?key=demo";
            let known = client.post_octets(path, &context(), bytes(len)).await;
            let unknown = client.post_chunked(path, &context(), bytes(len)).await;
            let suite_of_known = if len <= SEGMENT { 1 } else { 2 };
            for (sealed, suite) in [(known, suite_of_known), (unknown, 2)] {
                assert_eq!(sealed.body[..3], [1, suite, 0], "{len}");
                let segments = if suite == 1 { 1 } else { len.div_ceil(SEGMENT).max(1) };
                assert_eq!(sealed.body.len(), HEADER + len + segments * TAG, "{len}");
                let content = sealed.header("content-type");
                assert_eq!((sealed.status, content), (200, "application/octet-stream"));
                for opened in [
                    client.post_octets("/v1/decrypt", &context(), sealed.body.clone()).await,
                    client.post_chunked("/v1/decrypt", &context(), sealed.body.clone()).await,
                ] {
                    assert!(opened.status == 200 && opened.body == bytes(len), "{len}");
                }
            }
        }
    }
}

#[tokio::test]
async fn key_and_version_come_back_in_headers() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let mut sealed = Vec::new();
    for (version, len) in [("1", 10), ("2", 100_000)] {
        let answer = client.post_octets("/v1/encrypt?key=demo", &context(), bytes(len)).await;
        let headers = (answer.header("keypod-key"), answer.header("keypod-key-version"));
        assert_eq!(headers, ("demo", version));
        assert_eq!(answer.header("cache-control"), "no-store");
        sealed.push((version, answer.body));
        client.post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    }
    for (version, sealed) in sealed {
        let answer = client.post_octets("/v1/decrypt", &context(), sealed.clone()).await;
        let headers = (answer.header("keypod-key"), answer.header("keypod-key-version"));
        assert_eq!(headers, ("demo", version));
        let answer = client.post_octets("/v1/rewrap", &context(), sealed).await;
        assert_eq!(answer.header("keypod-key-version"), "3");
    }
}

#[tokio::test]
async fn text_and_binary_form_are_one_ciphertext() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let text = client.encrypt("demo", b"hello", &context()).await;
    let binary = URL_SAFE_NO_PAD.decode(text.trim_start_matches("kp1.")).unwrap();
    let opened = client.post_octets("/v1/decrypt", &context(), binary).await;
    assert_eq!(opened.body, b"hello");
    for len in [0, 5, SEGMENT, SEGMENT + 1, 200_000] {
        let sealed = seal(&client, bytes(len)).await;
        let text = format!("kp1.{}", URL_SAFE_NO_PAD.encode(sealed));
        assert!(client.decrypt(&text, &context()).await == bytes(len), "{len}");
    }
}

#[tokio::test]
async fn a_stream_is_moved_to_the_newest_version_and_to_another_context() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let new = json!({ "tenant": "clinic-8" });
    let whole = client.post_octets("/v1/encrypt?key=demo", &context(), bytes(9)).await.body;
    let sealed = [
        (9, whole),
        (9, seal(&client, bytes(9)).await),
        (200_000, seal(&client, bytes(200_000)).await),
    ];
    client.post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    for (len, sealed) in sealed {
        let request = client.octets("/v1/rewrap", &context()).body(sealed.clone());
        let request = request.header("keypod-new-context", URL_SAFE_NO_PAD.encode(new.to_string()));
        let moved = client.send(request).await;
        assert_eq!((moved.status, moved.header("keypod-key-version")), (200, "2"));
        assert_eq!((moved.body.len(), moved.body[1]), (sealed.len(), sealed[1]));
        let opened = client.post_octets("/v1/decrypt", &new, moved.body.clone()).await;
        assert!(opened.status == 200 && opened.body == bytes(len), "{len}");
        let opened = client.post_octets("/v1/decrypt", &context(), moved.body).await;
        opened.assert_problem(400, "decryption_failed");
        let opened = client.post_octets("/v1/decrypt", &context(), sealed).await;
        assert!(opened.body == bytes(len), "the old one stays as it was");
    }
}

#[tokio::test]
async fn a_context_header_that_cannot_be_read_is_refused() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    for bad in ["", "e30=", "{}", "bm90IGpzb24", "W10", "e30\u{e9}"] {
        let request = client.request("POST", "/v1/encrypt?key=demo").body("x");
        let request = request.header("content-type", "application/octet-stream");
        let answer = client.send(request.header("keypod-context", bad)).await;
        answer.assert_problem(400, "invalid_request");
    }
    let twice = client.octets("/v1/encrypt?key=demo", &json!({})).header("keypod-context", "e30");
    client.send(twice.body("x")).await.assert_problem(400, "invalid_request");
    for path in
        ["/v1/encrypt", "/v1/encrypt?key=", "/v1/encrypt?key=Demo", "/v1/encrypt?key=demo&x=1"]
    {
        let answer = client.post_octets(path, &json!({}), vec![1]).await;
        answer.assert_problem(400, "invalid_request");
    }
}

/// The answer's first bytes come while the request's last ones are not sent yet.
#[tokio::test]
async fn an_answer_flows_while_the_body_still_comes() {
    let sidecar = Sidecar::start().await;
    let token = std::fs::read_to_string(sidecar.token_file("admin")).unwrap();
    let mut raw = Raw::tcp(sidecar.tcp()).await;
    let head = format!(
        "POST /v1/encrypt?key=demo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    raw.send(head).await;
    for _ in 0..3 {
        raw.send(b"10000\r\n").await;
        raw.send(bytes(SEGMENT)).await;
        raw.send(b"\r\n").await;
    }
    let received = raw.received_of_body(HEADER + SEALED_SEGMENT).await;
    assert_eq!(received[..3], [1, 2, 0]);
    raw.send(b"0\r\n\r\n").await;
}
