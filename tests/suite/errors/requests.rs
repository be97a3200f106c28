//! Refusals that only the request itself is the reason for.

use keypod_tests::{Client, Sidecar};
use serde_json::json;

/// A client on each transport.
fn transports(sidecar: &Sidecar) -> [Client; 2] {
    let token = std::fs::read_to_string(sidecar.token_file("admin")).unwrap();
    [sidecar.client(), Client::unix(&sidecar.socket(), Some(&token))]
}

#[tokio::test]
async fn a_request_that_is_not_valid_is_refused() {
    let sidecar = Sidecar::start().await;
    for client in transports(&sidecar) {
        for body in [
            "",
            "{",
            "[]",
            "null",
            r#"{"plaintext":""}"#,
            r#"{"key":"demo"}"#,
            r#"{"key":"demo","plaintext":null}"#,
            r#"{"key":"demo","plaintext":1}"#,
            r#"{"key":"demo","plaintext":"YQ"}"#,
            r#"{"key":"demo","plaintext":"Y Q="}"#,
            r#"{"key":"demo","plaintext":"YR=="}"#,
            r#"{"key":"demo","plaintext":"_w=="}"#,
            r#"{"key":"Demo","plaintext":""}"#,
            r#"{"key":"demo","plaintext":"","context":null}"#,
            r#"{"key":"demo","plaintext":"","plaintext":""}"#,
            r#"{"key":"demo","plaintext":""} x"#,
            "{\"key\":\"demo\",\"plaintext\":\"\u{0}\"}",
        ] {
            let request = client.request("POST", "/v1/encrypt").body(body);
            let answer = client.send(request.header("content-type", "application/json")).await;
            answer.assert_problem(400, "invalid_request");
        }
        let not_utf8 = client.request("POST", "/v1/encrypt").body(b"{\"key\":\"\xff\"}".to_vec());
        let answer = client.send(not_utf8.header("content-type", "application/json")).await;
        answer.assert_problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn what_is_no_ciphertext_and_what_does_not_open_are_told_apart() {
    let sidecar = Sidecar::start().await;
    let context = json!({ "tenant": "clinic-7" });
    for client in transports(&sidecar) {
        for text in ["", "kp1.", "kp1.AAAA", "kp2.AQEA", "hello", "kp1.====", "kp1.\u{e9}"] {
            let answer = client.try_decrypt(text, &json!({})).await;
            answer.assert_problem(400, "invalid_ciphertext");
        }
        let text = client.encrypt("demo", b"hello", &context).await;
        for wrong in [json!({}), json!({ "tenant": "clinic-8" })] {
            client.try_decrypt(&text, &wrong).await.assert_problem(400, "decryption_failed");
        }
        let octets = client.post_octets("/v1/decrypt", &json!({}), b"hello".to_vec()).await;
        octets.assert_problem(400, "invalid_ciphertext");
    }
}

#[tokio::test]
async fn a_proxied_request_is_refused() {
    let sidecar = Sidecar::start().await;
    for client in transports(&sidecar) {
        let request = client.request("GET", "/v1/status").header("x-forwarded-for", "10.0.0.1");
        client.send(request).await.assert_problem(400, "proxied_request");
    }
}

#[tokio::test]
async fn a_caller_who_is_not_known_is_refused_and_told_how_to_be() {
    let sidecar = Sidecar::start().await;
    for token in [None, Some("wrong-token-0123456789abcdefghij"), Some("")] {
        for client in [Client::tcp(sidecar.tcp(), token), Client::unix(&sidecar.socket(), token)] {
            client.get("/v1/keys").await.assert_problem(401, "unauthenticated");
        }
    }
}

#[tokio::test]
async fn a_route_or_method_that_is_not_there_is_said_so() {
    let sidecar = Sidecar::start().await;
    for client in transports(&sidecar) {
        for path in ["/", "/v2/encrypt", "/v1/encrypt/", "/v1//encrypt", "/v1/keys/a/b", "/livez"] {
            client.get(path).await.assert_problem(404, "route_not_found");
        }
        for (method, path, allow) in [
            ("GET", "/v1/encrypt", "POST"),
            ("PUT", "/v1/encrypt/batch", "POST"),
            ("DELETE", "/v1/keys", "POST, GET"),
            ("POST", "/v1/keys/demo", "GET"),
            ("PATCH", "/openapi.json", "GET"),
        ] {
            let answer = client.send(client.request(method, path)).await;
            answer.assert_problem(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), allow, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_media_type_that_the_route_does_not_take_is_refused() {
    let sidecar = Sidecar::start().await;
    let body = json!({ "key": "demo", "plaintext": "" }).to_string();
    for client in transports(&sidecar) {
        for media in ["", "text/plain", "application/json; charset=latin1", "application/xml"] {
            let mut request = client.request("POST", "/v1/encrypt").body(body.clone());
            if !media.is_empty() {
                request = request.header("content-type", media);
            }
            client.send(request).await.assert_problem(415, "unsupported_media_type");
        }
        let coded = client.request("POST", "/v1/encrypt").header("content-encoding", "gzip");
        let coded = coded.header("content-type", "application/json").body(body.clone());
        client.send(coded).await.assert_problem(415, "unsupported_media_type");
        for path in ["/v1/encrypt/batch", "/v1/rotate", "/v1/keys"] {
            let octets = client.post_octets(path, &json!({}), body.clone().into()).await;
            octets.assert_problem(415, "unsupported_media_type");
        }
    }
}
