//! The end of a version: confirmed, delayed, taken back, approved by a second person.

use keypod_tests::{Answer, Client, Sidecar, SidecarBuilder, WAIT_MAX};
use serde_json::{Value, json};

const DESTROY: &str = "/v1/keys/demo/versions/1/destroy";

async fn destroy(client: &Client) -> Answer {
    client.post_json(DESTROY, &json!({ "confirm": "demo/1" })).await
}

async fn approve(client: &Client, id: &str) -> Answer {
    client.send(client.request("POST", &format!("/v1/approvals/{id}"))).await
}

async fn waiting(client: &Client) -> Vec<Value> {
    client.get("/v1/approvals").await.json()["approvals"].as_array().unwrap().clone()
}

/// Two persons who may destroy, and one who may not.
async fn with_second_person(keys: &str) -> Sidecar {
    SidecarBuilder::new()
        .config(&format!("[keys]\nsecond_person = true\n{keys}"))
        .caller("second", r#""destroy""#, r#""demo""#)
        .caller("elsewhere", r#""destroy""#, r#""other""#)
        .key("demo")
        .start()
        .await
}

#[tokio::test]
async fn nothing_is_destroyed_that_was_not_named_twice() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    for confirm in ["", "demo", "demo/2", "demo/01", "demo/1 ", "DEMO/1", "other/1"] {
        let answer = client.post_json(DESTROY, &json!({ "confirm": confirm })).await;
        answer.assert_problem(400, "invalid_request");
    }
    client.post_json(DESTROY, &json!({})).await.assert_problem(400, "invalid_request");
    let key = client.get("/v1/keys/demo").await.json();
    assert_eq!(key["versions"][0]["destroy_at"], Value::Null);
    client.encrypt("demo", b"still here", &json!({})).await;
}

#[tokio::test]
async fn while_the_delay_runs_a_version_is_disabled_and_can_be_had_back() {
    let mut sidecar = Sidecar::start().await;
    let text = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
    let ordered = destroy(&sidecar.client()).await.json();
    let version = &ordered["versions"][0];
    assert_eq!(version["state"], "disabled");
    assert!(version["destroy_at"].as_str().unwrap() > version["created_at"].as_str().unwrap());
    assert_eq!(version["wrapped_by"], json!(["local"]), "nothing is gone yet");
    assert!(sidecar.stop().await.success());
    sidecar.restart().await;
    let client = sidecar.client();
    client.try_decrypt(&text, &json!({})).await.assert_problem(409, "version_disabled");
    let cancelled = client.send(client.request("POST", &format!("{DESTROY}/cancel"))).await.json();
    let version = &cancelled["versions"][0];
    assert_eq!((&version["state"], &version["destroy_at"]), (&json!("disabled"), &Value::Null));
    let state = json!({ "state": "enabled" });
    client.post_json("/v1/keys/demo/versions/1/state", &state).await;
    assert_eq!(client.decrypt(&text, &json!({})).await, b"hello");
}

#[tokio::test]
async fn a_destroyed_version_has_no_wrapping_left_in_the_answer_or_in_the_file() {
    let sidecar =
        SidecarBuilder::new().config("[keys]\ndestroy_delay = \"0s\"").key("demo").start().await;
    let client = sidecar.client();
    let destroyed = destroy(&client).await.json();
    let version = &destroyed["versions"][0];
    assert_eq!((&version["state"], &version["wrapped_by"]), (&json!("destroyed"), &json!([])));
    let mut store = sidecar.open_store().await;
    let wrappings = "SELECT count(*) FROM wrappings JOIN keys ON keys.id = key_id WHERE name = ?";
    let mut left = async |name: &str| {
        let left = sqlx::query_scalar::<_, i64>(wrappings).bind(name.to_owned());
        left.fetch_one(&mut store).await.unwrap()
    };
    assert_eq!(left("demo").await, 0);
    assert_eq!(left("keypod.audit").await, 1, "what is not destroyed is found");
    let rotated =
        client.post_json("/v1/rotate", &json!({ "key": "demo", "in_any_state": true })).await;
    assert_eq!(rotated.json()["key_version"], 2, "the key itself goes on");
    client.encrypt("demo", b"hello", &json!({})).await;
}

#[tokio::test]
async fn a_second_person_must_approve() {
    let sidecar = with_second_person("destroy_delay = \"0s\"").await;
    let (first, second) = (sidecar.client(), sidecar.client_of("second"));
    let text = first.encrypt("demo", b"hello", &json!({})).await;
    let asked = destroy(&first).await;
    assert_eq!(asked.status, 202);
    let asked = asked.json();
    let id = asked["approval"].as_str().unwrap();
    let listed = waiting(&second).await;
    let expected = json!([{
        "approval": id, "action": "destroy", "key": "demo", "key_version": 1,
        "requested_by": "admin", "requested_at": listed[0]["requested_at"],
        "expires_at": asked["expires_at"],
    }]);
    assert_eq!(Value::from(listed), expected);
    approve(&first, id).await.assert_problem(403, "forbidden");
    destroy(&second).await.assert_problem(409, "conflict");
    // Who may not see it is told what a stranger would be told.
    approve(&sidecar.client_of("elsewhere"), id).await.assert_problem(404, "key_not_found");
    assert_eq!(first.decrypt(&text, &json!({})).await, b"hello", "it waits");
    let approved = approve(&second, id).await.json();
    assert_eq!(approved["versions"][0]["state"], "destroyed");
    first.try_decrypt(&text, &json!({})).await.assert_problem(410, "version_destroyed");
    approve(&second, id).await.assert_problem(404, "key_not_found");
    assert_eq!(waiting(&second).await, [] as [Value; 0]);
}

#[tokio::test]
async fn who_could_ask_or_approve_withdraws_a_request_that_waits_and_nobody_else_does() {
    let sidecar = with_second_person("destroy_delay = \"0s\"").await;
    let (first, second) = (sidecar.client(), sidecar.client_of("second"));
    let text = first.encrypt("demo", b"hello", &json!({})).await;
    let cancel = async |client: &Client| {
        client.send(client.request("POST", &format!("{DESTROY}/cancel"))).await
    };
    cancel(&first).await.assert_problem(409, "conflict");
    for whoever in [&first, &second] {
        let id = destroy(&first).await.text("approval");
        cancel(&sidecar.client_of("elsewhere")).await.assert_problem(403, "forbidden");
        assert_eq!(waiting(&second).await.len(), 1);
        let withdrawn = cancel(whoever).await;
        assert_eq!(withdrawn.status, 200, "{}", String::from_utf8_lossy(&withdrawn.body));
        let version = &withdrawn.json()["versions"][0];
        assert_eq!((&version["state"], &version["destroy_at"]), (&json!("enabled"), &Value::Null));
        assert_eq!(waiting(&second).await, [] as [Value; 0]);
        approve(&second, &id).await.assert_problem(404, "key_not_found");
        cancel(whoever).await.assert_problem(409, "conflict");
    }
    assert_eq!(first.decrypt(&text, &json!({})).await, b"hello");
}

#[tokio::test]
async fn what_waits_survives_a_restart_and_ends_when_its_time_is_up() {
    let mut sidecar = with_second_person("").await;
    let asked = destroy(&sidecar.client()).await.json();
    assert!(sidecar.stop().await.success());
    sidecar.restart().await;
    let second = sidecar.client_of("second");
    assert_eq!(waiting(&second).await[0]["approval"], asked["approval"]);
    // As if its day were over.
    sidecar.change_store("UPDATE approvals SET requested_at = 1, expires_at = 2").await;
    let expired = async { while !waiting(&second).await.is_empty() {} };
    tokio::time::timeout(WAIT_MAX, expired).await.expect("it ends");
    let late = approve(&second, asked["approval"].as_str().unwrap()).await;
    late.assert_problem(404, "key_not_found");
    assert_eq!(destroy(&second).await.status, 202, "it can be asked for again");
}

/// Which destructions wait is for policies to say, and they can say it of some keys.
const PATIENTS_WAIT: &str = "
@id(\"two\")
forbid (principal, action == Action::\"destroy\", resource == Key::\"patients\") unless { context.approved };
@id(\"not-intern\")
forbid (principal == Caller::\"intern\", action == Action::\"destroy\", resource);
";

async fn with_policy() -> Sidecar {
    let builder = SidecarBuilder::new().key("demo").key("patients");
    let folder = builder.folder().join("policies");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("two.cedar"), PATIENTS_WAIT).unwrap();
    let section = format!("[policy]\nfolder = {:?}", folder.to_str().unwrap());
    let builder = builder.config(&section).config("[keys]\ndestroy_delay = \"1h\"");
    let builder = builder.caller("second", r#""destroy""#, r#""*""#);
    let builder = builder.caller("intern", r#""destroy""#, r#""*""#);
    builder.caller("reader", r#""read_key", "decrypt""#, r#""*""#).start().await
}

#[tokio::test]
async fn policy_says_which_destructions_wait_for_another_person() {
    let sidecar = with_policy().await;
    let (first, second) = (sidecar.client(), sidecar.client_of("second"));
    let (intern, reader) = (sidecar.client_of("intern"), sidecar.client_of("reader"));
    assert_eq!(destroy(&first).await.status, 200, "the policy says nothing of demo");
    let patients = "/v1/keys/patients/versions/1/destroy";
    let body = json!({ "confirm": "patients/1" });
    for stranger in [&intern, &reader] {
        stranger.post_json(patients, &body).await.assert_problem(403, "forbidden");
    }
    let asked = first.post_json(patients, &body).await;
    assert_eq!(asked.status, 202, "{}", String::from_utf8_lossy(&asked.body));
    let id = asked.text("approval");
    approve(&first, &id).await.assert_problem(403, "forbidden");
    for stranger in [&intern, &reader] {
        approve(stranger, &id).await.assert_problem(404, "key_not_found");
        assert_eq!(waiting(stranger).await, [] as [Value; 0]);
    }
    let version = async || first.get("/v1/keys/patients").await.json()["versions"][0].clone();
    assert_eq!(version().await["state"], "enabled", "it still waits");
    assert_eq!(approve(&second, &id).await.status, 200);
    assert!(version().await["destroy_at"].is_string());
    // The safe direction: one person is enough, if it is one who could approve.
    let cancel = async |client: &Client| {
        client.send(client.request("POST", &format!("{patients}/cancel"))).await
    };
    cancel(&intern).await.assert_problem(403, "forbidden");
    assert_eq!(cancel(&first).await.status, 200);
    let again = first.post_json(patients, &body).await.text("approval");
    sidecar.change_store("UPDATE approvals SET requested_at = 1, expires_at = 2").await;
    approve(&second, &again).await.assert_problem(404, "key_not_found");
    assert_eq!(version().await["destroy_at"], Value::Null, "what has expired is gone");
}
