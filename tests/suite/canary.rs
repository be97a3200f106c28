//! No secret leaves: canaries go through every path, and are then looked for wherever they must not be.

mod core_file;
mod needle;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keypod_tests::{Answer, Client, Sidecar, SidecarBuilder};
use serde_json::{Value, json};

use needle::Needle;

const PLAINTEXT: &str = "canary-plaintext: Erika Mustermann, F32.1, 1964-08-12";
const CONTEXT_VALUE: &str = "canary-context-value-patient-4711";
const CONTEXT_NAME: &str = "canary_context_name";
const SUBJECT: &str = "canary-subject-erika-mustermann";
const WRONG_TOKEN: &str = "canary-wrong-token-0123456789abcdef";
const ADMIN_TOKEN: &str = "admin-token-0123456789abcdefghij";

/// Everything that a client was answered, in successes and in failures.
#[derive(Default)]
struct Heard {
    failures: Vec<(String, Vec<u8>)>,
}

impl Heard {
    /// Takes in an answer that must be a failure with this code.
    fn failed(&mut self, answer: Answer, code: &str) {
        assert_eq!(answer.code(), code, "{}", String::from_utf8_lossy(&answer.body));
        let mut text = format!("{:?}", answer.headers).into_bytes();
        text.extend(answer.body);
        self.failures.push((code.to_owned(), text));
    }
}

fn context() -> Value {
    json!({ CONTEXT_NAME: CONTEXT_VALUE, "subject": SUBJECT })
}

fn token_file_of(caller: &str) -> String {
    format!("{caller}-token-0123456789abcdefghij")
}

async fn start() -> Sidecar {
    SidecarBuilder::new()
        .key("demo")
        .caller("reader", r#""decrypt""#, r#""*""#)
        .variable("KEYPOD_LOG__FILTER", "keypod=trace,debug")
        .variable("KEYPOD_LIMITS__BODY_TIMEOUT", "200ms")
        .start()
        .await
}

/// Sends the canaries through every path that succeeds; returns a ciphertext in text and one in segments.
async fn go_through_successes(client: &Client) -> (String, Vec<u8>) {
    let ciphertext = client.encrypt("demo", PLAINTEXT.as_bytes(), &context()).await;
    assert_eq!(client.decrypt(&ciphertext, &context()).await, PLAINTEXT.as_bytes());
    let rewrap =
        json!({ "ciphertext": ciphertext, "context": context(), "new_context": context() });
    assert_eq!(client.post_json("/v1/rewrap", &rewrap).await.status, 200);
    let item = json!({ "plaintext": STANDARD.encode(PLAINTEXT), "context": context(), "reference": "canary-reference" });
    let batch = json!({ "key": "demo", "items": [item] });
    assert_eq!(client.post_json("/v1/encrypt/batch", &batch).await.status, 200);
    let batch = json!({ "context": context(), "items": [{ "ciphertext": ciphertext }] });
    for path in ["/v1/decrypt/batch", "/v1/rewrap/batch"] {
        assert_eq!(client.post_json(path, &batch).await.status, 200);
    }
    let long = PLAINTEXT.repeat(4000).into_bytes();
    let sealed = client.post_octets("/v1/encrypt?key=demo", &context(), long.clone()).await;
    let opened = client.post_octets("/v1/decrypt", &context(), sealed.body.clone()).await;
    assert!(opened.body == long);
    assert_eq!(client.post_octets("/v1/rewrap", &context(), sealed.body.clone()).await.status, 200);
    let short = client.post_octets("/v1/encrypt?key=demo", &context(), PLAINTEXT.into()).await;
    assert_eq!(client.post_octets("/v1/decrypt", &context(), short.body).await.status, 200);
    for question in [json!({ "subject": SUBJECT }), json!({ "context": context() })] {
        assert_eq!(client.post_json("/v1/audit/hash", &question).await.status, 200);
    }
    (ciphertext, sealed.body)
}

/// Sends the canaries where they do not belong.
async fn go_through_failures(sidecar: &Sidecar, ciphertext: &str, sealed: &[u8]) -> Heard {
    let (client, mut heard) = (sidecar.client(), Heard::default());
    let other = json!({ CONTEXT_NAME: "canary-context-value-patient-4712" });
    heard.failed(client.try_decrypt(ciphertext, &other).await, "decryption_failed");
    heard.failed(client.try_decrypt(PLAINTEXT, &context()).await, "invalid_ciphertext");
    let encoded = STANDARD.encode(PLAINTEXT);
    let canary = encoded.as_str();
    for (body, code) in [
        (json!({ "key": "nowhere", "plaintext": canary, "context": context() }), "key_not_found"),
        (json!({ "key": "demo", "plaintext": PLAINTEXT, "context": context() }), "invalid_request"),
        (json!({ "key": "demo", "plaintext": [canary] }), "invalid_request"),
        (json!({ "key": "demo", "plaintext": { canary: 1 } }), "invalid_request"),
        (
            json!({ "key": "demo", "plaintext": canary, "context": CONTEXT_VALUE }),
            "invalid_request",
        ),
        (
            json!({ "key": "demo", "plaintext": canary, "context": { "a": [CONTEXT_VALUE] } }),
            "invalid_request",
        ),
        (
            json!({ "key": "demo", "plaintext": canary, "context": { CONTEXT_VALUE.to_uppercase(): "" } }),
            "invalid_request",
        ),
        (json!({ "key": [PLAINTEXT], "plaintext": canary }), "invalid_request"),
        (json!([canary, CONTEXT_VALUE]), "invalid_request"),
    ] {
        heard.failed(client.post_json("/v1/encrypt", &body).await, code);
    }
    let cut = format!("{{\"key\":\"demo\",\"plaintext\":\"{encoded}");
    for media in ["application/json", "text/plain"] {
        let request = client.request("POST", "/v1/encrypt").header("content-type", media);
        let answer = client.send(request.body(cut.clone())).await;
        let code = if media == "text/plain" { "unsupported_media_type" } else { "invalid_request" };
        heard.failed(answer, code);
    }
    go_through_failing_items(&client, &mut heard, canary, ciphertext).await;
    go_through_failing_heads(sidecar, &mut heard, canary).await;
    go_through_failing_streams(&client, &mut heard, sealed).await;
    heard
}

async fn go_through_failing_items(
    client: &Client,
    heard: &mut Heard,
    canary: &str,
    ciphertext: &str,
) {
    let twice = json!({ "key": "demo", "context": context(), "items": [{ "plaintext": canary, "context": context() }] });
    let answer = client.post_json("/v1/encrypt/batch", &twice).await;
    heard.failures.push(("batch item".to_owned(), answer.body));
    let not_ours = json!({ "context": context(), "items": [{ "ciphertext": PLAINTEXT }, { "ciphertext": ciphertext, "context": { "b": CONTEXT_VALUE } }] });
    let answer = client.post_json("/v1/decrypt/batch", &not_ours).await;
    heard.failures.push(("batch item".to_owned(), answer.body));
}

async fn go_through_failing_heads(sidecar: &Sidecar, heard: &mut Heard, canary: &str) {
    let client = sidecar.client();
    let header = client.request("POST", "/v1/encrypt?key=demo");
    let header = header.header("content-type", "application/octet-stream");
    let header = header.header("keypod-context", CONTEXT_VALUE).body(PLAINTEXT);
    heard.failed(client.send(header).await, "invalid_request");
    for path in ["/v1/encrypt?token=", "/v1/status?token=", "/v1/"] {
        let request = client.request(
            if path.contains("encrypt") { "POST" } else { "GET" },
            &format!("{path}{WRONG_TOKEN}"),
        );
        let request = request.header("content-type", "application/json").body("{}");
        let code = if path.contains('?') { "invalid_request" } else { "route_not_found" };
        heard.failed(client.send(request).await, code);
    }
    let stranger = Client::tcp(sidecar.tcp(), Some(WRONG_TOKEN));
    heard.failed(stranger.get("/v1/status").await, "unauthenticated");
    let proxied = client.request("GET", "/v1/status").header("x-forwarded-for", CONTEXT_VALUE);
    heard.failed(client.send(proxied).await, "proxied_request");
    let reader = sidecar.client_of("reader");
    let body = json!({ "key": "demo", "plaintext": canary, "context": context() });
    heard.failed(reader.post_json("/v1/encrypt", &body).await, "forbidden");
}

async fn go_through_failing_streams(client: &Client, heard: &mut Heard, sealed: &[u8]) {
    let mut flipped = sealed.to_vec();
    flipped[200] ^= 1;
    heard.failed(client.post_octets("/v1/decrypt", &context(), flipped).await, "decryption_failed");
    let mut late = sealed.to_vec();
    let last = late.len() - 1;
    late[last] ^= 1;
    let request =
        client.request("POST", "/v1/decrypt").header("content-type", "application/octet-stream");
    let request =
        request.header("keypod-context", URL_SAFE_NO_PAD.encode(context().to_string())).body(late);
    let broken = request.send().await.unwrap().bytes().await;
    assert!(broken.is_err(), "a stream that fails in the middle breaks off");
}

/// Every file below a folder, with its path.
fn files_below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        // The writer moves files while this looks.
        match (path.is_dir(), std::fs::read(&path)) {
            (true, _) => files.extend(files_below(&path)),
            (false, Ok(bytes)) => files.push((path.display().to_string(), bytes)),
            (false, Err(_)) => {}
        }
    }
    files
}

/// What an operator, or a thief of the log, can see.
async fn seen(sidecar: &Sidecar) -> Vec<(String, Vec<u8>)> {
    let mut seen = vec![("log".to_owned(), sidecar.log().into_bytes())];
    for path in ["/metrics", "/readyz?verbose", "/livez"] {
        seen.push((path.to_owned(), sidecar.observe(path).await.body));
    }
    for path in ["/v1/status", "/v1/keys", "/v1/keys/demo", "/v1/approvals", "/openapi.json"] {
        seen.push((path.to_owned(), sidecar.client().get(path).await.body));
    }
    for name in ["keys.db", "keys.db-wal", "keys.db-shm", "keys.db.lock"] {
        let file = std::fs::read(sidecar.folder().join(name)).unwrap_or_default();
        seen.push((name.to_owned(), file));
    }
    seen.extend(files_below(&sidecar.audit_folder()));
    for name in ["environ", "cmdline"] {
        // Root alone can read these of a process that is not dumpable; then nobody else can.
        let file = std::fs::read(format!("/proc/{}/{name}", sidecar.pid())).unwrap_or_default();
        seen.push((name.to_owned(), file));
    }
    seen
}

#[tokio::test]
async fn no_canary_leaves_in_logs_or_metrics_or_errors_or_files() {
    let mut sidecar = start().await;
    let (ciphertext, sealed) = go_through_successes(&sidecar.client()).await;
    let heard = go_through_failures(&sidecar, &ciphertext, &sealed).await;
    let mut places = seen(&sidecar).await;
    assert!(sidecar.stop().await.success());
    places.push(("log after the end".to_owned(), sidecar.log().into_bytes()));
    places.push((
        "keys.db after the end".to_owned(),
        std::fs::read(sidecar.folder().join("keys.db")).unwrap(),
    ));
    let audit = files_below(&sidecar.audit_folder());
    let whole: Vec<u8> = audit.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let hashed = String::from_utf8_lossy(&whole).contains("\"subject\":\"1:");
    assert!(hashed, "subjects are in the audit log, as hashes");
    places.extend(audit);
    places.extend(heard.failures);

    let root_key = std::fs::read(sidecar.folder().join("root.key")).unwrap();
    let needles = [
        Needle::new("plaintext", PLAINTEXT.as_bytes()),
        Needle::new("context value", CONTEXT_VALUE.as_bytes()),
        Needle::new("context value", b"canary-context-value-patient-4712"),
        Needle::new("context value in capitals", CONTEXT_VALUE.to_uppercase().as_bytes()),
        Needle::new("subject", SUBJECT.as_bytes()),
        Needle::new("context name", CONTEXT_NAME.as_bytes()),
        Needle::new("reference", b"canary-reference"),
        Needle::new("wrong token", WRONG_TOKEN.as_bytes()),
        Needle::new("token", ADMIN_TOKEN.as_bytes()),
        Needle::new("token", token_file_of("reader").as_bytes()),
        Needle::new("root key", &root_key),
    ];
    for (place, bytes) in &places {
        for needle in &needles {
            // The log of the tests' own client is not here: what is searched is the sidecar's alone.
            assert_eq!(needle.found_in(bytes), None, "the {} is in {place}", needle.what());
        }
    }
    // There was something to search: each place that must not be empty is not.
    for (place, bytes) in &places {
        let may_be_empty = place.starts_with("keys.db-")
            || place == "environ"
            || place == "cmdline"
            || place.ends_with("/lock")
            || place.ends_with("/tail");
        assert!(may_be_empty || !bytes.is_empty(), "{place} is empty");
    }
    assert!(sidecar.log().contains("TRACE") || sidecar.log().contains("DEBUG"));
}
