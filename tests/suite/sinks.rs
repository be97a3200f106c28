//! Copies of the audit log arrive at real collectors, whole and in order, and a target that does not take them holds
//! nothing up.

mod stuck;

use keypod_test_servers::{OtlpCollector, Rsyslog};
use keypod_tests::{Sidecar, SidecarBuilder, until};
use serde_json::{Value, json};

/// Does something that goes well, something that is denied and something that fails.
pub(crate) async fn use_it(sidecar: &Sidecar) {
    let client = sidecar.client();
    let sealed = client.encrypt("demo", b"x", &json!({ "id": "1" })).await;
    assert_eq!(client.decrypt(&sealed, &json!({ "id": "1" })).await, b"x");
    assert_eq!(
        client.try_decrypt(&sealed, &json!({ "id": "2" })).await.code(),
        "decryption_failed"
    );
    let body = json!({ "key": "demo", "plaintext": "eA==" });
    let reader = sidecar.client_of("reader");
    assert_eq!(reader.post_json("/v1/encrypt", &body).await.code(), "forbidden");
}

pub(crate) fn builder() -> SidecarBuilder {
    SidecarBuilder::new().key("demo").caller("reader", r#""decrypt""#, r#""*""#)
}

/// These lines are one whole log: entries from the first to the last without a gap, and at the end the checkpoint that
/// covers them.
pub(crate) fn assert_whole(lines: &[Value]) {
    let entries: Vec<_> = lines.iter().filter(|line| line["index"].is_u64()).collect();
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!(
            (&entry["index"], &entry["log"]),
            (&json!(index), &entries[0]["log"]),
            "{lines:#?}"
        );
    }
    let ends = [entries[0], entries[entries.len() - 1]].map(|entry| entry["operation"].clone());
    assert_eq!(ends, ["start", "close"]);
    let last = lines.last().unwrap();
    let note = last["checkpoint"].as_str().unwrap_or_else(|| panic!("{last}"));
    let (log, size) = (entries[0]["log"].as_str().unwrap(), entries.len());
    assert_eq!(last["size"], size);
    assert!(note.starts_with(&format!("{log}\n{size}\n")), "{note}");
    for operation in ["create_key", "encrypt", "decrypt"] {
        assert!(entries.iter().any(|entry| entry["operation"] == operation), "{lines:#?}");
    }
}

fn texts(messages: &[Value]) -> Vec<Value> {
    let text = |message: &Value| serde_json::from_str(message["text"].as_str().unwrap()).unwrap();
    messages.iter().map(text).collect()
}

#[tokio::test]
async fn rsyslog_understands_every_message_over_each_transport() {
    let rsyslog = tokio::task::spawn_blocking(Rsyslog::start).await.unwrap();
    let mut before = 0;
    for address in [
        format!("unix:{}", rsyslog.socket().display()),
        format!("tcp://127.0.0.1:{}", rsyslog.port()),
        format!("udp://127.0.0.1:{}", rsyslog.port()),
    ] {
        let table = format!("[audit.syslog]\naddress = \"{address}\"\nenterprise_number = 99999");
        let mut sidecar = builder().config(&table).start().await;
        use_it(&sidecar).await;
        let process = sidecar.pid().to_string();
        assert!(sidecar.stop().await.success(), "{}", sidecar.log());
        let came = || rsyslog.messages().split_off(before);
        until("the last checkpoint has come", async || {
            let all = texts(&came());
            let last = all.iter().rposition(|text| text["operation"] == "close");
            last.is_some_and(|close| all[close..].iter().any(|text| text["checkpoint"].is_string()))
        })
        .await;
        let messages = came();
        before += messages.len();
        assert_whole(&texts(&messages));
        for (number, message) in (1..).zip(&messages) {
            assert_eq!((&message["version"], &message["process"]), (&json!("1"), &json!(process)));
            let data = message["data"].as_str().unwrap();
            assert!(data.contains(&format!("[meta sequenceId=\"{number}\"]")), "{address}: {data}");
            assert!(data.contains("[keypod@99999 log=\""), "{data}");
        }
        for (message, text) in messages.iter().zip(texts(&messages)) {
            let (priority, operation) = match text["outcome"].as_str() {
                Some("denied" | "failed") => ("108", &text["operation"]),
                Some(_) => ("110", &text["operation"]),
                None => ("110", &json!("checkpoint")),
            };
            assert_eq!((&message["priority"], &message["msgid"]), (&json!(priority), operation));
            assert!(text["time"].is_null() || text["time"] == message["time"], "{message}");
        }
        assert!(messages.iter().any(|message| message["priority"] == "108"));
    }
}

#[tokio::test]
async fn a_collector_of_opentelemetry_understands_every_record() {
    let collector = tokio::task::spawn_blocking(OtlpCollector::start).await.unwrap();
    let builder = builder();
    let headers = builder.folder().join("headers");
    std::fs::write(&headers, "X-Scope: keypod-test\n").unwrap();
    let (address, headers) = (collector.address(), headers.display());
    let table = format!("[audit.otlp]\naddress = \"{address}\"\nheaders_file = \"{headers}\"");
    let mut sidecar = builder.config(&table).start().await;
    use_it(&sidecar).await;
    until("some were counted", async || {
        sidecar.metric("keypod_audit_sink_entries_total").await >= 4.0
    })
    .await;
    assert!(sidecar.stop().await.success(), "{}", sidecar.log());
    // What was acknowledged is written: nothing has to be waited for.
    let records = collector.records();
    let lines: Vec<_> = records.iter().map(as_line).collect();
    assert_whole(&lines);
    for record in &records {
        assert_eq!(
            (&record["resource"]["service.name"], &record["compressed"]),
            (&json!("keypod"), &json!(true))
        );
        let origin = record["resource"]["service.instance.id"].as_str().unwrap();
        let log = record["attributes"]["keypod.audit.log"].as_str().unwrap();
        assert!(log.starts_with(&format!("{origin}/")), "{record}");
    }
    let denied =
        records.iter().find(|record| record["attributes"]["keypod.audit.outcome"] == "denied");
    assert_eq!(denied.unwrap()["severity"], 13);
    assert!(!sidecar.log().contains("keypod-test"), "headers stand in no log");
}

/// A record as the line that other sinks make of the same.
fn as_line(record: &Value) -> Value {
    let attributes = &record["attributes"];
    let body = record["body"].as_str().unwrap();
    if record["event"] == "keypod.audit.checkpoint" {
        return json!({ "log": attributes["keypod.audit.log"], "size": attributes["keypod.audit.size"], "checkpoint": body });
    }
    let mut line: Value = serde_json::from_str(body).unwrap();
    line["log"] = attributes["keypod.audit.log"].clone();
    line["index"] = attributes["keypod.audit.index"].clone();
    line
}

#[tokio::test]
async fn a_check_says_of_each_sink_whether_it_can_be_reached() {
    let (rsyslog, collector) =
        tokio::task::spawn_blocking(|| (Rsyslog::start(), OtlpCollector::start())).await.unwrap();
    let address = collector.address();
    let table = |port: u16| {
        format!(
            "[audit.syslog]\naddress = \"tcp://127.0.0.1:{port}\"\n[audit.otlp]\naddress = \"{address}\""
        )
    };
    let check = |port| {
        let builder = builder().config(&table(port));
        builder.write();
        let config = builder.folder().join("keypod.toml");
        let checked = std::process::Command::new(keypod_tests::keypod())
            .args(["serve", "--check", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        (checked.status.success(), String::from_utf8(checked.stdout).unwrap())
    };
    let (well, said) = check(rsyslog.port());
    assert!(
        said.contains(&format!(
            "ok     audit sink syslog: tcp://127.0.0.1:{}, answers",
            rsyslog.port()
        )),
        "{said}"
    );
    // It wants a header that nobody sends.
    assert!(!well && said.contains("WRONG  audit sink otlp: ") && said.contains("401"), "{said}");
    let port = rsyslog.port();
    drop(rsyslog);
    let (_, said) = check(port);
    assert!(said.contains("WRONG  audit sink syslog: "), "{said}");
}
