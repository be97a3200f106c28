//! Rotations that are due, asked for: by whoever keeps a schedule of their own.

use keypod_tests::{Answer, Client, SidecarBuilder};
use serde_json::{Value, json};

use crate::faults::sql;

async fn rotate_due(client: &Client) -> Answer {
    client.send(client.request("POST", "/v1/rotate/due")).await
}

#[tokio::test]
async fn what_is_due_is_rotated_for_whoever_may_rotate_it_and_recorded() {
    let mut sidecar =
        SidecarBuilder::new().caller("night", r#""rotate""#, r#""hers""#).start().await;
    let client = sidecar.client();
    for name in ["hers", "others"] {
        let body = json!({ "name": name, "rotation_period_s": 3600 });
        assert_eq!(client.post_json("/v1/keys", &body).await.status, 201);
    }
    assert_eq!(rotate_due(&client).await.json(), json!({ "rotations": [] }));
    assert!(sidecar.stop().await.success());
    // As if the clock had been a year ahead when they were made: no sidecar rotates them by itself.
    let later = "UPDATE versions SET created_at = created_at + 31536000";
    sql(&sidecar.folder().join("keys.db"), later.to_owned()).await;
    sidecar.restart().await;
    let night = sidecar.client_of("night");
    let rotated = json!([{ "key": "hers", "key_version": 2, "due": "dated_in_future" }]);
    assert_eq!(rotate_due(&night).await.json()["rotations"], rotated);
    let rotated = rotate_due(&sidecar.client()).await.json();
    assert_eq!(rotated["rotations"][0]["key"], "others", "{rotated}");
    assert_eq!(rotate_due(&sidecar.client()).await.json(), json!({ "rotations": [] }));
    let entries: Vec<Value> = sidecar.audit_entries().into_iter().map(|entry| entry.said).collect();
    let of = |operation: &str, outcome: &str| -> Vec<&Value> {
        let is_it = |entry: &&Value| entry["operation"] == operation && entry["outcome"] == outcome;
        entries.iter().filter(is_it).collect()
    };
    let asked = of("rotate_due", "ok");
    assert_eq!((&asked[1]["caller"], &asked[1]["detail"]["rotated"]), (&json!("night"), &json!(1)));
    assert_eq!(of("rotate_due", "begun").len(), 4);
    let made = of("rotate", "ok");
    assert_eq!((&made[0]["key"], &made[0]["version"]), (&json!("hers"), &json!(2)));
    assert_eq!(made[0]["detail"]["cause"], "due_when_asked");
}

#[tokio::test]
async fn a_key_that_is_disabled_encrypts_again_only_when_that_is_said() {
    let sidecar = keypod_tests::Sidecar::start().await;
    let client = sidecar.client();
    let state = json!({ "state": "disabled" });
    assert_eq!(client.post_json("/v1/keys/demo/versions/1/state", &state).await.status, 200);
    let asked = client.post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    asked.assert_problem(409, "version_disabled");
    let advice = asked.json()["detail"].to_string();
    assert!(advice.contains("in_any_state"), "{advice}");
    let asked =
        client.post_json("/v1/rotate", &json!({ "key": "demo", "in_any_state": true })).await;
    assert_eq!(asked.json(), json!({ "key": "demo", "key_version": 2 }));
    client.encrypt("demo", b"again", &json!({})).await;
    let none =
        client.post_json("/v1/rotate", &json!({ "key": "nobody", "in_any_state": true })).await;
    none.assert_problem(404, "key_not_found");
}
