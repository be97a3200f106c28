//! Which way a request may come, and what of it is looked at before it is served.

use std::net::SocketAddr;

use keypod_tests::{Answer, Client, Raw, Sidecar, SidecarBuilder};
use serde_json::json;

const TOKEN: &str = "admin-token-0123456789abcdefghij";

async fn get(raw: &mut Raw, target: &str, lines: &str) -> Answer {
    let head = format!("GET {target} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n{lines}\r\n");
    raw.send(head).await;
    raw.answer().await.0
}

#[tokio::test]
async fn over_tcp_one_host_of_this_machine_must_be_named() {
    let sidecar = Sidecar::start().await;
    let port = sidecar.tcp().port();
    for good in ["localhost", "LocalHost:1", &format!("127.0.0.1:{port}"), "[::1]", "[::1]:7480"] {
        let mut raw = Raw::tcp(sidecar.tcp()).await;
        let answer = get(&mut raw, "/v1/status", &format!("Host: {good}\r\n")).await;
        assert_eq!(answer.status, 200, "{good}");
    }
    for bad in [
        "",
        "Host:\r\n",
        "Host: evil.example\r\n",
        "Host: localhost.evil.example\r\n",
        "Host: 127.0.0.1.evil.example\r\n",
        "Host: 127.0.0.2\r\n",
        "Host: 10.0.0.1:7480\r\n",
        "Host: evil@localhost\r\n",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
    ] {
        let mut raw = Raw::tcp(sidecar.tcp()).await;
        let answer = get(&mut raw, "/v1/status", bad).await;
        answer.assert_problem(400, "proxied_request");
    }
}

#[tokio::test]
async fn a_target_with_a_host_of_its_own_must_be_of_this_machine_too() {
    let sidecar = Sidecar::start().await;
    let mut raw = Raw::tcp(sidecar.tcp()).await;
    let host = "Host: localhost\r\n";
    let answer = get(&mut raw, "http://localhost/v1/status", host).await;
    assert_eq!(answer.status, 200);
    for target in ["http://evil.example/v1/status", "https://evil.example/", "http://10.0.0.1/"] {
        let mut raw = Raw::tcp(sidecar.tcp()).await;
        get(&mut raw, target, host).await.assert_problem(400, "proxied_request");
    }
}

/// A name that leads here, as a page in a browser would use it.
#[tokio::test]
async fn a_foreign_name_that_resolves_to_this_machine_is_refused_in_both_versions() {
    let sidecar = Sidecar::start().await;
    let address: SocketAddr = sidecar.tcp();
    for two in [false, true] {
        let mut builder = reqwest::Client::builder().no_proxy().resolve("evil.example", address);
        if two {
            builder = builder.http2_prior_knowledge();
        }
        let url = format!("http://evil.example:{}/v1/status", address.port());
        let answer = builder.build().unwrap().get(url).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        assert!(answer.text().await.unwrap().contains("proxied_request"));
    }
}

#[tokio::test]
async fn on_the_socket_the_host_says_nothing() {
    let sidecar = Sidecar::start().await;
    for host in ["", "Host: anything.example\r\n", "Host: localhost\r\n"] {
        let mut raw = Raw::unix(&sidecar.socket()).await;
        assert_eq!(get(&mut raw, "/v1/status", host).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn marks_of_a_proxy_are_refused_on_every_transport_whatever_they_say() {
    let sidecar = Sidecar::start().await;
    for client in [
        sidecar.client(),
        Client::unix(&sidecar.socket(), Some(TOKEN)),
        Client::http2(sidecar.tcp(), Some(TOKEN)),
        Client::unix_http2(&sidecar.socket(), Some(TOKEN)),
    ] {
        for mark in [
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded-host",
            "X-FORWARDED-PROTO",
            "X-Forwarded-",
        ] {
            for value in ["127.0.0.1", ""] {
                let request = client.request("GET", "/v1/status").header(mark, value);
                client.send(request).await.assert_problem(400, "proxied_request");
            }
        }
        assert_eq!(client.get("/v1/status").await.status, 200);
    }
}

#[tokio::test]
async fn http2_with_prior_knowledge_serves_every_transport() {
    let sidecar = Sidecar::start().await;
    for client in [
        Client::http2(sidecar.tcp(), Some(TOKEN)),
        Client::unix_http2(&sidecar.socket(), Some(TOKEN)),
    ] {
        let text = client.encrypt("demo", b"hello", &json!({ "a": "b" })).await;
        assert_eq!(client.decrypt(&text, &json!({ "a": "b" })).await, b"hello");
        client.get("/nowhere").await.assert_problem(404, "route_not_found");
        // Many requests at once, on one connection.
        let many = (0..50).map(|_| client.get("/v1/keys/demo"));
        let answers = futures_util::future::join_all(many).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
    }
}

#[tokio::test]
async fn a_sane_request_id_is_taken_over_and_any_other_replaced() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let longest = "x".repeat(64);
    let id_of = async |given: &[&str]| {
        let mut request = client.request("GET", "/v1/keys/nothing");
        for given in given {
            request = request.header("x-request-id", *given);
        }
        let answer = client.send(request).await;
        answer.assert_problem(404, "key_not_found");
        answer.header("x-request-id").to_owned()
    };
    for good in ["a", "A-Z.0_9", &longest] {
        assert_eq!(id_of(&[good]).await, good);
    }
    let too_long = "x".repeat(65);
    for bad in [&["a b"][..], &["a/b"], &["\u{e9}"], &[""], &[&too_long], &["one", "two"], &[]] {
        let made = id_of(bad).await;
        assert!(made.len() == 24 && !bad.contains(&made.as_str()), "{bad:?} {made}");
    }
    assert_ne!(id_of(&[]).await, id_of(&[]).await);
    let found = client.request("GET", "/v1/status").header("x-request-id", "mine");
    let found = client.send(found).await;
    assert_eq!((found.status, found.header("x-request-id")), (200, "mine"));
    assert_eq!(found.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_field_that_is_not_known_is_named() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let version = "/v1/keys/demo/versions/1";
    for (path, mut body) in [
        ("/v1/encrypt", json!({ "key": "demo", "plaintext": "" })),
        ("/v1/decrypt", json!({ "ciphertext": "kp1.AA" })),
        ("/v1/rewrap", json!({ "ciphertext": "kp1.AA" })),
        ("/v1/encrypt/batch", json!({ "key": "demo", "items": [] })),
        ("/v1/decrypt/batch", json!({ "items": [] })),
        ("/v1/rewrap/batch", json!({ "items": [] })),
        ("/v1/keys", json!({ "name": "other" })),
        ("/v1/rotate", json!({ "key": "demo" })),
        (&format!("{version}/state"), json!({ "state": "disabled" })),
        (&format!("{version}/destroy"), json!({ "confirm": "demo/1" })),
    ] {
        body["contxt"] = json!({ "tenant": "SECRET" });
        let answer = client.post_json(path, &body).await;
        answer.assert_problem(400, "invalid_request");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("`contxt`") && !detail.contains("SECRET"), "{path}: {detail}");
    }
    let item = json!({ "key": "demo", "items": [{ "plaintext": "", "contxt": {} }] });
    let answer = client.post_json("/v1/encrypt/batch", &item).await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("`contxt`"));
    let keys = client.keys().await;
    assert_eq!(keys.len(), 1, "nothing was done");
    assert_eq!(keys[0]["versions"][0]["state"], "enabled");
}

#[tokio::test]
async fn a_query_that_the_route_does_not_take_is_refused() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    for path in ["/v1/keys", "/v1/keys/demo", "/v1/status", "/v1/approvals", "/openapi.json"] {
        let answer = client.get(&format!("{path}?verbose=1")).await;
        answer.assert_problem(400, "invalid_request");
    }
    let body = json!({ "key": "demo", "plaintext": "" });
    for path in ["/v1/encrypt?key=demo", "/v1/encrypt?context=x", "/v1/rotate?key=demo"] {
        client.post_json(path, &body).await.assert_problem(400, "invalid_request");
    }
    for path in ["/v1/decrypt?key=demo", "/v1/rewrap?key=demo"] {
        let answer = client.post_octets(path, &json!({}), vec![1]).await;
        answer.assert_problem(400, "invalid_request");
    }
}

/// It would not be looked at, and the message would be bound to less than its sender believes.
#[tokio::test]
async fn a_context_in_a_header_that_does_not_go_with_the_body_is_refused() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let text = client.encrypt("demo", b"hello", &json!({})).await;
    for name in ["Keypod-Context", "Keypod-New-Context"] {
        for (path, body) in [
            ("/v1/encrypt", json!({ "key": "demo", "plaintext": "" })),
            ("/v1/decrypt", json!({ "ciphertext": text })),
            ("/v1/rewrap", json!({ "ciphertext": text })),
            ("/v1/encrypt/batch", json!({ "key": "demo", "items": [] })),
        ] {
            let request = client.request("POST", path).header(name, "e30").json(&body);
            client.send(request).await.assert_problem(400, "invalid_request");
        }
    }
    let sealed = client.post_octets("/v1/encrypt?key=demo", &json!({}), vec![1]).await.body;
    for (path, body) in [("/v1/encrypt?key=demo", vec![1]), ("/v1/decrypt", sealed)] {
        let request = client.octets(path, &json!({})).header("Keypod-New-Context", "e30");
        client.send(request.body(body)).await.assert_problem(400, "invalid_request");
    }
}

#[test]
fn the_data_plane_does_not_open_on_an_address_that_others_reach() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7480", "example.org:80"] {
        let builder = SidecarBuilder::new().variable("KEYPOD_LISTEN__TCP", address);
        let (status, text) = builder.fail_to_start();
        assert_eq!(status.code(), Some(78), "{address}: {text}");
        assert!(text.contains("listen.tcp"), "{address}: {text}");
    }
}
