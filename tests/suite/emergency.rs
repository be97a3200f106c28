//! Breaking the glass, over both transports: what it opens, for whom, until when, and what the log says of it.

use keypod_tests::{Answer, Client, Sidecar, SidecarBuilder, until};
use serde_json::{Value, json};

const REASON: &str = "the patient is unconscious";

/// As the pack `emergency`, without the second factor that no token file can prove.
const ON_CALL: &str = r#"
permit (principal in Role::"emergency", action == Action::"break_glass", resource);
permit (principal in Role::"emergency", action == Action::"decrypt", resource in KeyGroup::"phi")
when { context.emergency };
"#;

fn entities(on_call: &[&str]) -> String {
    format!("[key_groups.phi]\nkeys = [\"patients\"]\n[roles.emergency]\nmembers = {on_call:?}\n")
}

/// A sidecar where `grey` and `bailey` are on call, `viewer` is not, and the pack `phi` holds.
async fn hospital() -> Sidecar {
    hospital_of(SidecarBuilder::new()).await
}

async fn hospital_of(builder: SidecarBuilder) -> Sidecar {
    let builder = builder.key("patients");
    let folder = builder.folder().join("policies");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("on-call.cedar"), ON_CALL).unwrap();
    std::fs::write(folder.join("entities.toml"), entities(&["grey", "bailey"])).unwrap();
    let section = format!("[policy]\nfolder = {:?}\npacks = [\"phi\"]", folder.to_str().unwrap());
    let builder = builder.config(&section).config("[emergency]\nmax_minutes = 30");
    let viewer = builder.caller("viewer", r#""decrypt""#, r#""patients""#);
    let callers = ["grey", "bailey"];
    callers.into_iter().fold(viewer, |builder, name| builder.caller(name, "", "")).start().await
}

fn both_ways(sidecar: &Sidecar, caller: &str) -> [Client; 2] {
    let token = std::fs::read_to_string(sidecar.token_file(caller)).unwrap();
    let token = Some(token.trim());
    [Client::tcp(sidecar.tcp(), token), Client::unix(&sidecar.socket(), token)]
}

async fn begin(client: &Client, minutes: u32) -> Answer {
    client.post_json("/v1/emergency", &json!({ "reason": REASON, "minutes": minutes })).await
}

async fn end(client: &Client) -> Answer {
    client.send(client.request("POST", "/v1/emergency/end")).await
}

async fn listed(client: &Client) -> Vec<Value> {
    client.get("/v1/emergency").await.json()["emergencies"].as_array().unwrap().clone()
}

fn tenant() -> Value {
    json!({ "tenant": "clinic-7" })
}

/// The lines of the log that have all of this.
fn lines(sidecar: &Sidecar, level: &str, fields: &[(&str, &str)]) -> usize {
    let log = sidecar.log();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let fits = |event: &Value| {
        event["level"] == level && fields.iter().all(|(name, value)| event[*name] == **value)
    };
    events.filter(fits).count()
}

#[tokio::test]
async fn a_broken_glass_opens_records_on_both_transports_until_it_is_ended() {
    let sidecar = hospital().await;
    let record = sidecar.client().encrypt("patients", b"allergies", &tenant()).await;
    // One who comes over TCP and one over the socket: nobody breaks the glass twice without a pause.
    for who in ["grey", "bailey"] {
        let [tcp, unix] = both_ways(&sidecar, who);
        let (here, there) = if who == "grey" { (&tcp, &unix) } else { (&unix, &tcp) };
        for client in [here, there] {
            client.try_decrypt(&record, &tenant()).await.assert_problem(403, "forbidden");
        }
        let begun = begin(here, 30).await;
        assert_eq!(begun.status, 201, "{}", String::from_utf8_lossy(&begun.body));
        assert_eq!((begun.text("caller"), begun.text("reason")), (who.into(), REASON.into()));
        assert!(begun.text("until") > begun.text("since"));
        // A caller is one caller, whichever way they come.
        for client in [here, there, here] {
            assert_eq!(client.decrypt(&record, &tenant()).await, b"allergies");
            client.try_decrypt(&record, &json!({})).await.assert_problem(403, "forbidden");
        }
        let other = if who == "grey" { "bailey" } else { "grey" };
        for other in [other, "viewer"] {
            for client in both_ways(&sidecar, other) {
                client.try_decrypt(&record, &tenant()).await.assert_problem(403, "forbidden");
            }
        }
        let body = json!({ "key": "patients", "plaintext": "", "context": tenant() });
        here.post_json("/v1/encrypt", &body).await.assert_problem(403, "forbidden");
        assert_eq!(end(there).await.json(), begun.json());
        for client in [here, there] {
            client.try_decrypt(&record, &tenant()).await.assert_problem(403, "forbidden");
        }
    }
}

#[tokio::test]
async fn every_emergency_is_an_alarm_and_everything_read_in_one_is_in_the_log() {
    let sidecar = hospital().await;
    let admin = sidecar.client();
    let record = admin.encrypt("patients", b"allergies", &tenant()).await;
    let path = "/v1/encrypt?key=patients";
    let scan = admin.post_octets(path, &tenant(), vec![7; 70_000]).await.body;
    let grey = sidecar.client_of("grey");
    let alarm = [("alert", "break_glass"), ("caller", "grey"), ("reason", REASON)];
    begin(&sidecar.client_of("viewer"), 5).await.assert_problem(403, "forbidden");
    assert_eq!(lines(&sidecar, "ERROR", &[("alert", "break_glass")]), 0, "nothing has begun");
    let begun = begin(&grey, 5).await.json();
    let until_field = ("until", begun["until"].as_str().unwrap());
    assert_eq!(lines(&sidecar, "ERROR", &[alarm.as_slice(), &[until_field]].concat()), 1);
    let status = admin.get("/v1/status").await.json();
    assert_eq!(status["emergencies_active"], 1);

    // A second beginning is refused, and was nothing that was permitted.
    begin(&grey, 5).await.assert_problem(409, "conflict");
    grey.decrypt(&record, &tenant()).await;
    let items = json!({ "items": [{ "ciphertext": record }, { "ciphertext": record }], "context": tenant() });
    assert_eq!(grey.post_json("/v1/decrypt/batch", &items).await.status, 200);
    assert_eq!(grey.post_octets("/v1/decrypt", &tenant(), scan).await.body, vec![7; 70_000]);
    let read = [
        ("message", "permitted in an emergency"),
        ("caller", "grey"),
        ("action", "decrypt"),
        ("key", "patients"),
    ];
    assert_eq!(lines(&sidecar, "INFO", &read), 4);
    let metric = async |name: &str| sidecar.metric(name).await;
    assert!((metric("keypod_emergencies_active").await - 1.0).abs() < 0.1);
    assert!((metric("keypod_emergency_decisions_total").await - 4.0).abs() < 0.1);

    end(&grey).await;
    assert_eq!(lines(&sidecar, "WARN", &alarm), 1);
    let broken = ("message", "permitted in an emergency");
    assert_eq!(lines(&sidecar, "INFO", &[broken, ("action", "break_glass")]), 0);
    assert!(metric("keypod_emergencies_active").await < 0.1);
    assert!((metric("keypod_emergencies_total").await - 1.0).abs() < 0.1);
    assert_eq!(admin.get("/v1/status").await.json()["emergencies_active"], 0);
    admin.encrypt("patients", b"more", &tenant()).await;
    assert!((metric("keypod_emergency_decisions_total").await - 4.0).abs() < 0.1);
}

#[tokio::test]
async fn what_is_no_reason_and_no_time_is_refused() {
    let sidecar = hospital().await;
    let grey = sidecar.client_of("grey");
    let long = "a".repeat(501);
    for (name, bad) in [
        ("reason", json!("")),
        ("reason", json!("too short")),
        ("reason", json!("         nine     ")),
        ("reason", json!(long)),
        ("reason", json!("two lines\nof a reason")),
        ("reason", json!("an escape \u{1b}[2J of a terminal")),
        ("reason", json!(7)),
        ("reason", Value::Null),
        ("minutes", json!(0)),
        ("minutes", json!(31)),
        ("minutes", json!(4_294_967_297_u64)),
        ("minutes", json!(-1)),
        ("minutes", json!(1.5)),
        ("minutes", json!("5")),
        ("minutes", Value::Null),
        ("caller", json!("bailey")),
    ] {
        let mut body = json!({ "reason": REASON, "minutes": 5 });
        body[name] = bad;
        let refused = grey.post_json("/v1/emergency", &body).await;
        refused.assert_problem(400, "invalid_request");
        assert!(!String::from_utf8_lossy(&refused.body).contains("terminal"), "{name}");
    }
    for missing in [json!({ "reason": REASON }), json!({ "minutes": 5 }), json!({})] {
        let refused = grey.post_json("/v1/emergency", &missing).await;
        refused.assert_problem(400, "invalid_request");
    }
    assert_eq!(listed(&grey).await, [] as [Value; 0]);
    assert_eq!(begin(&grey, 30).await.status, 201, "as long as the configuration says");
}

#[tokio::test]
async fn each_sees_their_own_and_who_reads_the_status_sees_all() {
    let sidecar = hospital().await;
    let (grey, bailey) = (sidecar.client_of("grey"), sidecar.client_of("bailey"));
    end(&grey).await.assert_problem(409, "conflict");
    let first = [begin(&grey, 5).await.json()];
    begin(&grey, 30).await.assert_problem(409, "conflict");
    let second = [begin(&bailey, 6).await.json()];
    assert_eq!(listed(&grey).await, first, "and not replaced by the second attempt");
    assert_eq!(listed(&bailey).await, second);
    assert_eq!(listed(&sidecar.client_of("viewer")).await, [] as [Value; 0]);
    assert_eq!(listed(&sidecar.client()).await, [&second[..], &first[..]].concat());
    // Not even who sees it can end another's.
    end(&sidecar.client()).await.assert_problem(409, "conflict");
    assert_eq!(end(&grey).await.status, 200);
    assert_eq!(listed(&sidecar.client()).await, second);
}

#[tokio::test]
async fn no_filter_of_the_log_turns_the_alarm_off() {
    // The harness waits for the line that says "ready": the unit tests of the log have the bare "off".
    for filter in ["off", "error", "off,keypod::emergency=off", "off,[{alert}]=off"] {
        let filter = format!("{filter},keypod::cli=info");
        let sidecar =
            hospital_of(SidecarBuilder::new().variable("KEYPOD_LOG__FILTER", &filter)).await;
        let record = sidecar.client().encrypt("patients", b"allergies", &tenant()).await;
        let grey = sidecar.client_of("grey");
        assert_eq!(begin(&grey, 5).await.status, 201);
        assert_eq!(grey.decrypt(&record, &tenant()).await, b"allergies");
        assert_eq!(end(&grey).await.status, 200);
        let count = |level: &str, name: &str, value: &str| lines(&sidecar, level, &[(name, value)]);
        assert_eq!(count("ERROR", "alert", "break_glass"), 1, "{filter}");
        assert_eq!(count("INFO", "message", "permitted in an emergency"), 1, "{filter}");
        assert_eq!(count("WARN", "alert", "break_glass"), 1, "{filter}");
        assert!(!sidecar.log().contains("key made"), "{filter} holds for everything else");
    }
}

#[tokio::test]
async fn beginning_and_ending_in_a_loop_does_not_fill_the_log_with_alarms() {
    let sidecar = hospital().await;
    let grey = sidecar.client_of("grey");
    assert_eq!(begin(&grey, 5).await.status, 201);
    assert_eq!(end(&grey).await.status, 200);
    for _ in 0..100 {
        let refused = begin(&grey, 5).await;
        refused.assert_problem(429, "rate_limited");
        let after: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=10).contains(&after), "{after}");
        end(&grey).await.assert_problem(409, "conflict");
    }
    let alarms = [("alert", "break_glass"), ("caller", "grey")];
    assert_eq!((lines(&sidecar, "ERROR", &alarms), lines(&sidecar, "WARN", &alarms)), (1, 1));
    assert_eq!(begin(&sidecar.client_of("bailey"), 5).await.status, 201, "nobody else waits");
}

#[tokio::test]
async fn who_is_taken_off_call_reads_nothing_more_in_the_middle_of_an_emergency() {
    let sidecar = hospital().await;
    let record = sidecar.client().encrypt("patients", b"allergies", &tenant()).await;
    let (grey, bailey) = (sidecar.client_of("grey"), sidecar.client_of("bailey"));
    for client in [&grey, &bailey] {
        begin(client, 5).await;
        assert_eq!(client.decrypt(&record, &tenant()).await, b"allergies");
    }
    let path = sidecar.folder().join("policies/entities.toml");
    std::fs::write(path.with_extension("new"), entities(&["bailey"])).unwrap();
    std::fs::rename(path.with_extension("new"), path).unwrap();
    until("the new roles decide", async || {
        grey.try_decrypt(&record, &tenant()).await.status == 403
    })
    .await;
    assert_eq!(listed(&grey).await.len(), 1, "the emergency is still there, and opens nothing");
    assert_eq!(bailey.decrypt(&record, &tenant()).await, b"allergies");
    end(&grey).await;
    begin(&grey, 5).await.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn who_is_taken_off_call_and_may_read_as_well_needs_a_purpose_again() {
    let sidecar = hospital().await;
    let treatment = json!({ "tenant": "clinic-7", "purpose": "treatment" });
    let admin = sidecar.client();
    let record = admin.encrypt("patients", b"allergies", &tenant()).await;
    let with_purpose = admin.encrypt("patients", b"allergies", &treatment).await;
    // The viewer has rights of their own to decrypt: see `hospital`.
    let viewer = sidecar.client_of("viewer");
    let path = sidecar.folder().join("policies/entities.toml");
    let call = |on_call: &[&str]| {
        std::fs::write(path.with_extension("new"), entities(on_call)).unwrap();
        std::fs::rename(path.with_extension("new"), &path).unwrap();
    };
    viewer.try_decrypt(&record, &tenant()).await.assert_problem(403, "forbidden");
    call(&["viewer"]);
    until("the viewer is on call", async || begin(&viewer, 30).await.status == 201).await;
    assert_eq!(viewer.decrypt(&record, &tenant()).await, b"allergies");
    call(&["bailey"]);
    until("the purpose is asked for again", async || {
        viewer.try_decrypt(&record, &tenant()).await.status == 403
    })
    .await;
    assert_eq!(listed(&viewer).await.len(), 1, "in the middle of the emergency");
    assert_eq!(viewer.decrypt(&with_purpose, &treatment).await, b"allergies", "as ever");
}

#[tokio::test]
async fn no_emergency_outlives_its_sidecar() {
    let mut sidecar = hospital().await;
    let record = sidecar.client().encrypt("patients", b"allergies", &tenant()).await;
    begin(&sidecar.client_of("grey"), 30).await;
    assert!(sidecar.stop().await.success());
    assert_eq!(lines(&sidecar, "WARN", &[("alert", "break_glass"), ("caller", "grey")]), 1);
    sidecar.restart().await;
    let grey = sidecar.client_of("grey");
    grey.try_decrypt(&record, &tenant()).await.assert_problem(403, "forbidden");
    assert_eq!(listed(&grey).await, [] as [Value; 0]);
}

#[tokio::test]
async fn the_pack_that_is_shipped_wants_a_second_factor() {
    let builder = SidecarBuilder::new();
    let folder = builder.folder().join("policies");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("entities.toml"), entities(&["grey"])).unwrap();
    let section =
        format!("[policy]\nfolder = {:?}\npacks = [\"emergency\"]", folder.to_str().unwrap());
    let sidecar = builder.config(&section).caller("grey", "", "").start().await;
    for client in both_ways(&sidecar, "grey") {
        begin(&client, 5).await.assert_problem(403, "forbidden");
    }
}
