//! Keys over the API: made, shown, rotated, restricted, destroyed, and counted.

mod destruction;
mod due;

use keypod_tests::{Answer, Client, Sidecar, SidecarBuilder};
use serde_json::{Value, json};

async fn create(client: &Client, body: Value) -> Answer {
    client.post_json("/v1/keys", &body).await
}

#[tokio::test]
async fn a_key_is_shown_as_it_was_made_and_never_with_its_bytes() {
    let sidecar = SidecarBuilder::new().start().await;
    let client = sidecar.client();
    let body = json!({ "name": "patients", "erasable": false, "rotation_period_s": 86_400,
        "messages_max": 1_000, "bytes_max": 1_000_000 });
    let made = create(&client, body).await;
    assert_eq!(made.status, 201);
    let key = made.json();
    assert_eq!(client.get("/v1/keys/patients").await.json(), key);
    assert_eq!(client.keys().await, std::slice::from_ref(&key));
    let id = key["id"].as_str().unwrap();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert!(key["created_at"].as_str().unwrap().ends_with('Z'));
    let expected = json!({
        "name": "patients", "id": id, "created_at": key["created_at"], "erasable": false,
        "primary_version": 1, "rotation_period_s": 86_400, "messages_max": 1_000,
        "bytes_max": 1_000_000, "versions": [{
            "version": 1, "state": "enabled", "created_at": key["created_at"], "destroy_at": null,
            "wrapped_by": ["local"], "messages_used": 0, "bytes_used": 0,
        }],
    });
    assert_eq!(key, expected, "and nothing else");
    // The id is what every ciphertext's header names.
    let sealed = client.post_octets("/v1/encrypt?key=patients", &json!({}), vec![]).await.body;
    let header: String = sealed[3..11].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(header, id);
}

#[tokio::test]
async fn what_a_key_cannot_be_like_is_refused() {
    let sidecar = SidecarBuilder::new().start().await;
    let client = sidecar.client();
    let long = "a".repeat(65);
    for name in ["", "A", "-a", "a-", ".", "a/b", "a b", "ä", "a\n", &long] {
        create(&client, json!({ "name": name })).await.assert_problem(400, "invalid_request");
    }
    for (field, value) in [
        ("erasable", json!(true)),
        ("rotation_period_s", json!(59)),
        ("rotation_period_s", json!(3_155_760_001_u64)),
        ("messages_max", json!(0)),
        ("messages_max", json!((1_u64 << 32) + 1)),
        ("bytes_max", json!(0)),
        ("bytes_max", json!((1_u64 << 50) + 1)),
        ("bytes_max", json!(-1)),
        ("bytes_max", json!(1.5)),
        ("bytes_max", json!("10")),
    ] {
        let answer = create(&client, json!({ "name": "a", field: value })).await;
        answer.assert_problem(400, "invalid_request");
    }
    assert_eq!(client.keys().await, [Value::Null; 0]);
    for name in ["a", "0", "a-b.c_d", &long[..64]] {
        assert_eq!(create(&client, json!({ "name": name })).await.status, 201, "{name}");
        assert_eq!(client.get(&format!("/v1/keys/{name}")).await.status, 200);
    }
}

#[tokio::test]
async fn a_number_is_what_it_is_however_it_is_written() {
    let sidecar = SidecarBuilder::new().start().await;
    let client = sidecar.client();
    let body = r#"{"name":"a","rotation_period_s":60.0,"messages_max":1e3,"bytes_max":null}"#;
    let request = client.request("POST", "/v1/keys").header("content-type", "application/json");
    let key = client.send(request.body(body)).await.json();
    assert_eq!((&key["rotation_period_s"], &key["messages_max"]), (&json!(60), &json!(1_000)));
}

#[tokio::test]
async fn keys_are_listed_by_name() {
    let sidecar = SidecarBuilder::new().key("b").key("c").key("a").start().await;
    let listed = sidecar.client().keys().await;
    let names: Vec<_> = listed.iter().map(|key| &key["name"]).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_path_that_names_no_key_or_version_is_refused() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    for name in ["A", "%2e%2ea", "a%2Fb", "demo%00", "demo%20"] {
        let answer = client.get(&format!("/v1/keys/{name}")).await;
        answer.assert_problem(400, "invalid_request");
    }
    let state = json!({ "state": "enabled" });
    for version in ["0", "01", "-1", "x", "4294967296", "1%20"] {
        let path = format!("/v1/keys/demo/versions/{version}/state");
        client.post_json(&path, &state).await.assert_problem(400, "invalid_request");
    }
    for state in ["destroyed", "Enabled", "", "primary"] {
        let body = json!({ "state": state });
        let answer = client.post_json("/v1/keys/demo/versions/1/state", &body).await;
        answer.assert_problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_rotation_makes_the_next_version_and_leaves_the_old_one() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let mut texts = Vec::new();
    for version in 1..=5 {
        texts.push(client.encrypt("demo", &[version], &json!({})).await);
        let rotated = client.post_json("/v1/rotate", &json!({ "key": "demo" })).await;
        assert_eq!(rotated.json(), json!({ "key": "demo", "key_version": version + 1 }));
    }
    let key = client.get("/v1/keys/demo").await.json();
    assert_eq!(
        (&key["primary_version"], key["versions"].as_array().unwrap().len()),
        (&json!(6), 6)
    );
    for (version, text) in (1..).zip(texts) {
        assert_eq!(client.decrypt(&text, &json!({})).await, [version]);
    }
}

#[tokio::test]
async fn the_state_of_an_old_version_is_its_own() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let old = client.encrypt("demo", b"old", &json!({})).await;
    client.post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    let new = client.encrypt("demo", b"new", &json!({})).await;
    for (state, readable) in [("disabled", false), ("decrypt_only", true), ("enabled", true)] {
        let set = client
            .post_json("/v1/keys/demo/versions/1/state", &json!({ "state": state }))
            .await
            .json();
        let states = (&set["versions"][0]["state"], &set["versions"][1]["state"]);
        assert_eq!(states, (&json!(state), &json!("enabled")));
        assert_eq!(client.try_decrypt(&old, &json!({})).await.status == 200, readable, "{state}");
        assert_eq!(client.decrypt(&new, &json!({})).await, b"new");
        let moved = client.post_json("/v1/rewrap", &json!({ "ciphertext": old })).await;
        assert_eq!(moved.status == 200, readable, "{state}");
    }
}

#[tokio::test]
async fn a_version_that_has_sealed_its_messages_is_rotated_by_itself() {
    let sidecar = SidecarBuilder::new().start().await;
    let client = sidecar.client();
    create(&client, json!({ "name": "small", "messages_max": 3 })).await;
    create(&client, json!({ "name": "short", "bytes_max": 100 })).await;
    for key in ["small", "short"] {
        let mut texts = Vec::new();
        for number in 0..10_u8 {
            texts.push(client.encrypt(key, &[number; 33], &json!({})).await);
        }
        let shown = client.get(&format!("/v1/keys/{key}")).await.json();
        assert_eq!(shown["primary_version"], 4, "{shown}");
        let used: Vec<_> = shown["versions"].as_array().unwrap().iter().collect();
        assert_eq!((&used[0]["messages_used"], &used[0]["bytes_used"]), (&json!(3), &json!(99)));
        assert_eq!((&used[3]["messages_used"], &used[3]["bytes_used"]), (&json!(1), &json!(33)));
        for (number, text) in (0..).zip(texts) {
            assert_eq!(client.decrypt(&text, &json!({})).await, [number; 33]);
        }
        // Nobody asked for it, and it is on record.
        let entries = sidecar.audit_entries().into_iter().map(|entry| entry.said);
        let rotations = entries.filter(|said| said["operation"] == "rotate" && said["key"] == key);
        let rotations: Vec<_> = rotations
            .map(|said| json!([said["outcome"], said["version"], said["caller"]]))
            .collect();
        let expected = (2..=4_u32).flat_map(|version| {
            ["begun", "ok"].map(|outcome| json!([outcome, version, Value::Null]))
        });
        assert_eq!(rotations, expected.collect::<Vec<_>>(), "{key}");
    }
}

#[tokio::test]
async fn what_is_sealed_is_counted_exactly_across_a_restart_in_every_way() {
    let mut sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let text = client.encrypt("demo", &[0; 10], &json!({})).await;
    let item = json!({ "plaintext": "AAAA" });
    let batch = json!({ "key": "demo", "items": [item, item] });
    client.post_json("/v1/encrypt/batch", &batch).await;
    client.post_octets("/v1/encrypt?key=demo", &json!({}), vec![0; 100]).await;
    client.post_chunked("/v1/encrypt?key=demo", &json!({}), vec![0; 100_000]).await;
    client.post_json("/v1/rewrap", &json!({ "ciphertext": text })).await;
    client.decrypt(&text, &json!({})).await;
    let used = async |client: &Client| {
        let version = client.get("/v1/keys/demo").await.json()["versions"][0].clone();
        (version["messages_used"].clone(), version["bytes_used"].clone())
    };
    let expected = (json!(6), json!(10 + 6 + 100 + 100_000 + 10));
    assert_eq!(used(&client).await, expected);
    assert_eq!(client.keys().await[0]["versions"][0]["messages_used"], 6);
    assert!(sidecar.stop().await.success());
    sidecar.restart().await;
    assert_eq!(used(&sidecar.client()).await, expected);
}
