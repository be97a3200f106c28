//! `keypod keys`: for people in tables, for scripts in JSON.

use keypod_tests::{Sidecar, SidecarBuilder};
use serde_json::json;

use super::{command, end, run};

#[tokio::test]
async fn a_key_lives_its_life_on_the_command_line() {
    let sidecar = SidecarBuilder::new().start().await;
    let json = async |arguments: &[&str]| {
        let arguments = [&["keys", "--json"], arguments].concat();
        run(&sidecar, &arguments).await.succeeded().json()
    };
    let made =
        json(&["create", "patients", "--rotation-period", "90d", "--messages-max", "9"]).await;
    assert_eq!((&made["rotation_period_s"], &made["messages_max"]), (&json!(7_776_000), &json!(9)));
    let own = json(&["show", "keypod.audit"]).await;
    assert_eq!(json(&["list"]).await, json!({ "keys": [own, made] }));
    assert_eq!(json(&["show", "patients"]).await, made);
    let rotated = json(&["rotate", "patients"]).await;
    assert_eq!(rotated, json!({ "key": "patients", "key_version": 2 }));
    let restricted = json(&["state", "patients", "1", "decrypt-only"]).await;
    assert_eq!(restricted["versions"][0]["state"], "decrypt_only");
    let destroyed = json(&["destroy", "patients", "1", "--confirm", "patients/1"]).await;
    assert!(destroyed["versions"][0]["destroy_at"].is_string(), "{destroyed}");
    let back = json(&["destroy", "--cancel", "patients", "1"]).await;
    assert!(back["versions"][0]["destroy_at"].is_null(), "{back}");
    assert_eq!(json(&["rotate", "--due"]).await, json!({ "rotations": [] }));
    assert_eq!(json(&["approvals"]).await, json!({ "approvals": [] }));
}

#[tokio::test]
async fn people_are_shown_tables_and_told_what_is_wrong() {
    let sidecar = Sidecar::start().await;
    let listed = run(&sidecar, &["keys", "list"]).await.succeeded().text();
    assert!(listed.contains("NAME") && listed.contains("demo"), "{listed}");
    let shown = run(&sidecar, &["keys", "show", "demo"]).await.succeeded().text();
    assert!(shown.contains("enabled") && shown.contains("local"), "{shown}");
    let again = run(&sidecar, &["keys", "create", "demo"]).await;
    assert_eq!((again.code, again.stdout.len()), (1, 0), "{}", again.text());
    assert!(again.stderr.contains("key_exists") && again.stderr.contains("request "));
}

#[tokio::test]
async fn a_second_person_approves_on_the_command_line() {
    let sidecar = SidecarBuilder::new()
        .config("[keys]\nsecond_person = true")
        .caller("second", r#""destroy""#, r#""*""#)
        .key("demo")
        .start()
        .await;
    let asked = run(&sidecar, &["keys", "destroy", "demo", "1", "--confirm", "demo/1"]).await;
    let asked = asked.succeeded().text();
    let id = asked.split_whitespace().last().unwrap();
    assert!(asked.contains("second person") && id.len() == 32, "{asked}");
    let listed = run(&sidecar, &["keys", "approvals"]).await.succeeded().text();
    assert!(listed.contains(id) && listed.contains("admin"), "{listed}");
    assert_eq!(run(&sidecar, &["keys", "approve", id]).await.code, 1, "the same person");
    let mut second = command(&sidecar, &["keys", "approve", id]);
    second.env("KEYPOD_TOKEN_FILE", sidecar.token_file("second"));
    let approved = end(second, b"").await.succeeded().text();
    assert!(approved.contains("disabled"), "{approved}");
}
