//! Every operation has an entry by the time that its answer is there: these tests wait for nothing in between.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keypod_tests::{Answer, Client, Raw, Sidecar, SidecarBuilder, until};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

/// The 64 KiB of a segment, and a half: a stream.
const STREAMED: usize = 96 << 10;

/// A client whose requests are named, and the log that they are looked up in.
struct Audited<'a> {
    sidecar: &'a Sidecar,
    client: Client,
    seen: BTreeSet<String>,
}

impl<'a> Audited<'a> {
    fn new(sidecar: &'a Sidecar, client: Client) -> Self {
        Self { sidecar, client, seen: BTreeSet::new() }
    }

    /// Sends it under a name of its own; the answer, and the entries that it has by then.
    async fn send(&mut self, name: &str, request: RequestBuilder) -> (Answer, Vec<Value>) {
        let answer = self.client.send(request.header("x-request-id", name)).await;
        let entries = self.sidecar.audited(name);
        for entry in &entries {
            self.seen.insert(entry["operation"].as_str().unwrap().to_owned());
        }
        (answer, entries)
    }

    /// The one entry of a request that must succeed.
    async fn one(&mut self, name: &str, request: RequestBuilder) -> (Answer, Value) {
        let (answer, mut entries) = self.send(name, request).await;
        assert!(answer.status < 300, "{name}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(entries.len(), 1, "{name}: {entries:?}");
        let entry = entries.remove(0);
        assert_eq!(entry["outcome"], "ok", "{name}: {entry}");
        (answer, entry)
    }

    /// The last entry of a request that must succeed and that had one before it began.
    async fn change(&mut self, name: &str, request: RequestBuilder) -> (Answer, Value) {
        let (answer, mut entries) = self.send(name, request).await;
        assert!(answer.status < 300, "{name}: {}", String::from_utf8_lossy(&answer.body));
        let outcomes: Vec<_> = entries.iter().map(|entry| entry["outcome"].clone()).collect();
        assert_eq!(outcomes, ["begun", "ok"], "{name}: {entries:?}");
        (answer, entries.remove(1))
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.request("POST", path).json(body)
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.request("GET", path)
    }
}

fn context() -> Value {
    json!({ "subject": "patient-4711", "purpose": "care" })
}

async fn start() -> Sidecar {
    SidecarBuilder::new()
        .key("demo")
        .caller("writer", r#""encrypt""#, r#""demo""#)
        .config("[policy]\npacks = [\"emergency\"]")
        .start()
        .await
}

async fn go_through_messages(audited: &mut Audited<'_>) {
    let plaintext = STANDARD.encode("hello");
    let body = json!({ "key": "demo", "plaintext": plaintext, "context": context() });
    let (answer, sealed) = audited.one("encrypt", audited.post("/v1/encrypt", &body)).await;
    let ciphertext = answer.text("ciphertext");
    assert_eq!(
        (&sealed["key"], &sealed["version"], &sealed["bytes"]),
        (&json!("demo"), &json!(1), &json!(5))
    );
    assert_eq!((&sealed["caller"], &sealed["proof"]), (&json!("admin"), &json!("token")));

    let body = json!({ "ciphertext": ciphertext, "context": context() });
    let (_, opened) = audited.one("decrypt", audited.post("/v1/decrypt", &body)).await;
    for same in ["subject", "context", "ciphertext", "key", "version"] {
        assert_eq!(opened[same], sealed[same], "{same}");
    }
    let (_, moved) = audited.one("rewrap", audited.post("/v1/rewrap", &body)).await;
    assert_eq!(moved["from"]["ciphertext"], sealed["ciphertext"]);
    assert_ne!(moved["ciphertext"], sealed["ciphertext"]);

    let items = json!([{ "plaintext": plaintext, "context": context() }, { "plaintext": "?" }]);
    let body = json!({ "key": "demo", "items": items });
    let (_, batch) = audited.one("b1", audited.post("/v1/encrypt/batch", &body)).await;
    assert_eq!(batch["counts"], json!({ "ok": 1, "failed": 1 }), "{batch}");
    assert_eq!(batch["items"][1]["code"], "invalid_request");
    let items =
        json!([{ "ciphertext": ciphertext, "context": context() }, { "ciphertext": ciphertext }]);
    let body = json!({ "items": items });
    let (_, batch) = audited.one("b2", audited.post("/v1/decrypt/batch", &body)).await;
    assert_eq!(batch["items"][0]["subject"], sealed["subject"]);
    assert_eq!(batch["items"][1]["code"], "decryption_failed");
    audited.one("b3", audited.post("/v1/rewrap/batch", &body)).await;
}

async fn go_through_octets(audited: &mut Audited<'_>) {
    for bytes in [5, STREAMED] {
        let request =
            audited.client.octets("/v1/encrypt?key=demo", &context()).body(vec![7; bytes]);
        let name = format!("octets-{bytes}");
        let (sealed, entries) = audited.send(&name, request).await;
        assert_eq!(sealed.status, 200);
        let last = entries.last().unwrap();
        assert_eq!(
            (&last["outcome"], &last["bytes"]),
            (&json!("ok"), &json!(bytes)),
            "{entries:?}"
        );
        assert_eq!(entries.len(), if bytes == 5 { 1 } else { 2 });
        for path in ["/v1/decrypt", "/v1/rewrap"] {
            let request = audited.client.octets(path, &context()).body(sealed.body.to_vec());
            let (answer, entries) =
                audited.send(&format!("{name}{}", path.replace('/', "-")), request).await;
            assert_eq!(answer.status, 200);
            assert_eq!(entries.last().unwrap()["outcome"], "ok", "{entries:?}");
        }
    }
}

async fn go_through_keys(audited: &mut Audited<'_>) {
    audited.change("create", audited.post("/v1/keys", &json!({ "name": "second" }))).await;
    audited.one("list", audited.get("/v1/keys")).await;
    audited.one("show", audited.get("/v1/keys/second")).await;
    let (_, rotated) =
        audited.change("rotate", audited.post("/v1/rotate", &json!({ "key": "second" }))).await;
    assert_eq!((&rotated["key"], &rotated["version"]), (&json!("second"), &json!(2)));
    let due = audited.client.request("POST", "/v1/rotate/due");
    let (_, looked) = audited.change("rotate_due", due).await;
    assert_eq!(looked["detail"]["rotated"], 0);
    let version = "/v1/keys/second/versions/1";
    let state = audited.post(&format!("{version}/state"), &json!({ "state": "disabled" }));
    let (_, set) = audited.change("state", state).await;
    assert_eq!((&set["detail"]["state"], &set["version"]), (&json!("disabled"), &json!(1)));
    let destroy = audited.post(&format!("{version}/destroy"), &json!({ "confirm": "second/1" }));
    audited.change("destroy", destroy).await;
    let cancel = audited.client.request("POST", &format!("{version}/destroy/cancel"));
    audited.change("cancel", cancel).await;
    audited.one("approvals", audited.get("/v1/approvals")).await;
    audited.one("status", audited.get("/v1/status")).await;
    audited.one("openapi", audited.get("/openapi.json")).await;
    audited.one("emergencies", audited.get("/v1/emergency")).await;
}

#[tokio::test]
async fn every_operation_has_its_entry_when_its_answer_comes() {
    let sidecar = start().await;
    let mut audited = Audited::new(&sidecar, sidecar.client());
    go_through_messages(&mut audited).await;
    go_through_octets(&mut audited).await;
    go_through_keys(&mut audited).await;
    // These fail here, and that is an entry as well.
    let body = json!({ "reason": "the patient is unconscious", "minutes": 5 });
    audited.send("begin", audited.post("/v1/emergency", &body)).await;
    audited.send("end", audited.client.request("POST", "/v1/emergency/end")).await;
    audited.send("approve", audited.client.request("POST", "/v1/approvals/none")).await;
    audited
        .send("hash", audited.post("/v1/audit/hash", &json!({ "subject": "patient-4711" })))
        .await;

    let described = sidecar.client().get("/openapi.json").await.json();
    let paths = described["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    for operation in operations.map(|operation| operation["operationId"].as_str().unwrap()) {
        assert!(audited.seen.contains(operation), "{operation} was not tried, or has no entry");
    }
}

#[tokio::test]
async fn what_is_denied_and_what_fails_has_its_entry_too() {
    let sidecar = start().await;
    let admin = sidecar.client();
    let ciphertext = admin.encrypt("demo", b"x", &context()).await;
    let body = json!({ "ciphertext": ciphertext, "context": context() });
    let mut writer = Audited::new(&sidecar, sidecar.client_of("writer"));
    let (answer, entries) = writer.send("no", writer.post("/v1/decrypt", &body)).await;
    answer.assert_problem(403, "forbidden");
    let [denied] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((&denied["outcome"], &denied["code"]), (&json!("denied"), &json!("forbidden")));
    assert_eq!((&denied["caller"], &denied["key"]), (&json!("writer"), &json!("demo")));
    assert!(denied["subject"].is_string(), "whom they wanted to read about is on record");

    let mut admin = Audited::new(&sidecar, admin);
    let wrong = json!({ "ciphertext": ciphertext, "context": {} });
    for (name, request, code) in [
        ("wrong-context", admin.post("/v1/decrypt", &wrong), "decryption_failed"),
        (
            "no-json",
            admin.client.request("POST", "/v1/decrypt").body("{"),
            "unsupported_media_type",
        ),
        ("no-key", admin.get("/v1/keys/none"), "key_not_found"),
        ("no-field", admin.post("/v1/encrypt", &json!({})), "invalid_request"),
    ] {
        let (answer, entries) = admin.send(name, request).await;
        assert_eq!(answer.code(), code);
        let [failed] = &entries[..] else { panic!("{name}: {entries:?}") };
        assert_eq!((&failed["outcome"], &failed["code"]), (&json!("failed"), &json!(code)));
    }
}

#[tokio::test]
async fn who_is_not_known_is_counted_with_where_they_came_from() {
    let sidecar = start().await;
    for _ in 0..3 {
        let answer = Client::unix(&sidecar.socket(), Some("wrong-token-0123456789abcdef"))
            .get("/v1/status")
            .await;
        answer.assert_problem(401, "unauthenticated");
    }
    sidecar.client().get("/v1/no_such_route").await.assert_problem(404, "route_not_found");
    let uid = format!("uid {}", rustix::process::getuid().as_raw());
    let count = || {
        let refused = sidecar.audit_entries().into_iter().map(|entry| entry.said);
        let refused = refused.filter(|said| said["operation"] == "refused");
        let counts = refused.map(|said| said["detail"]["unauthenticated"][&uid].as_u64());
        counts.flatten().sum::<u64>()
    };
    until("all are counted", async || count() == 3).await;
    sidecar
        .until_audited("a wrong route is counted", |said| {
            said["detail"].get("route_not_found").is_some()
        })
        .await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_an_entry() {
    let sidecar = start().await;
    let mut raw = Raw::tcp(sidecar.tcp()).await;
    raw.send(
        "POST /v1/encrypt?key=demo HTTP/1.1\r\nhost: localhost\r\nx-request-id: gone\r\n\
         authorization: Bearer admin-token-0123456789abcdefghij\r\n\
         content-type: application/octet-stream\r\ncontent-length: 1000\r\n\r\nhalf",
    )
    .await;
    until("it has arrived", async || sidecar.metric("keypod_requests_in_flight").await > 0.0).await;
    drop(raw);
    let left = sidecar.until_audited("that it went away", |said| said["request"] == "gone").await;
    assert!(["cancelled", "failed"].contains(&left["outcome"].as_str().unwrap()), "{left}");
}

#[tokio::test]
async fn a_log_begins_with_a_start_and_ends_with_a_close() {
    let mut sidecar = Sidecar::start().await;
    assert!(sidecar.stop().await.success());
    sidecar.restart().await;
    let entries = sidecar.audit_entries();
    let of_first: Vec<_> = entries.iter().filter(|entry| entry.log == 1).collect();
    let (first, last) = (of_first.first().unwrap(), of_first.last().unwrap());
    assert_eq!(
        (&first.said["operation"], &first.said["detail"]["reason"]),
        (&json!("start"), &json!("boot"))
    );
    assert_eq!(
        (&last.said["operation"], &last.said["detail"]["reason"]),
        (&json!("close"), &json!("stop"))
    );
    let second = entries.iter().find(|entry| entry.log == 2).unwrap();
    assert_eq!(second.said["detail"]["previous"]["ended"], "clean");
    assert_eq!(second.said["detail"]["previous"]["entries"], of_first.len());
    assert_eq!(second.said["detail"]["configuration"], first.said["detail"]["configuration"]);
}

#[tokio::test]
async fn changed_policies_are_recorded_and_refused_ones_as_well() {
    let builder = SidecarBuilder::new();
    let policies = builder.folder().join("policies");
    std::fs::create_dir(&policies).unwrap();
    let write = |text: &str| std::fs::write(policies.join("a.cedar"), text).unwrap();
    write("permit (principal == Caller::\"nobody\", action, resource);");
    let config = format!("[policy]\nfolder = \"{}\"", policies.display());
    let sidecar = builder.config(&config).start().await;
    write("permit (principal == Caller::\"somebody\", action, resource);");
    let of_policies = |outcome: &'static str| {
        move |said: &Value| said["operation"] == "policies" && said["outcome"] == outcome
    };
    let taken = sidecar.until_audited("the new set is taken", of_policies("ok")).await;
    assert_ne!(taken["detail"]["policy_set"], taken["detail"]["before"]);
    write("permit (principal == ");
    let refused = sidecar.until_audited("the broken set is not", of_policies("failed")).await;
    assert_eq!(refused["detail"]["policy_set"], taken["detail"]["policy_set"]);
}
