//! The reserved key of the audit log's hashes: what it hashes, and that it seals and opens nothing, however it is asked.

use keypod_tests::{Answer, Client, Sidecar, SidecarBuilder};
use serde_json::{Value, json};

const RESERVED: &str = "names that begin with keypod. are reserved";

async fn hashes(client: &Client, question: Value) -> Vec<String> {
    let answer = client.post_json("/v1/audit/hash", &question).await;
    assert_eq!(answer.status, 200, "{}", answer.code());
    let hashes = answer.json()["hashes"].as_array().unwrap().clone();
    hashes.iter().map(|hash| hash.as_str().unwrap().to_owned()).collect()
}

fn subject() -> Value {
    json!({ "subject": "patient-4711" })
}

/// The same ciphertext, as if this key had sealed it.
fn forged(mut sealed: Vec<u8>, id: &str) -> Vec<u8> {
    let id = u64::from_str_radix(id, 16).unwrap();
    sealed[3..11].copy_from_slice(&id.to_be_bytes());
    sealed
}

#[tokio::test]
async fn a_subject_has_one_hash_of_each_version_and_the_newest_comes_first() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let first = hashes(&client, subject()).await;
    assert_eq!(first.len(), 1);
    assert!(first[0].starts_with("1:") && first[0].len() == 2 + 22, "{first:?}");
    client.post_json("/v1/rotate", &json!({ "key": "keypod.audit" })).await;
    let both = hashes(&client, subject()).await;
    assert_eq!((both.len(), &both[1]), (2, &first[0]));
    assert!(both[0].starts_with("2:"), "{both:?}");
    // Another subject, and the context of that subject alone, hash otherwise.
    let other = hashes(&client, json!({ "subject": "patient-4712" })).await;
    let context = hashes(&client, json!({ "context": { "subject": "patient-4711" } })).await;
    assert!(other[0] != both[0] && context[0] != both[0] && context[0] != other[0]);
    let again = hashes(&client, json!({ "context": { "subject": "patient-4711" } })).await;
    assert_eq!(context, again);
}

#[tokio::test]
async fn a_destroyed_version_answers_no_more_and_a_disabled_one_is_named() {
    let builder = SidecarBuilder::new().variable("KEYPOD_KEYS__DESTROY_DELAY", "0s");
    let sidecar = builder.start().await;
    let client = sidecar.client();
    hashes(&client, subject()).await;
    for _ in 0..2 {
        client.post_json("/v1/rotate", &json!({ "key": "keypod.audit" })).await;
    }
    let path = "/v1/keys/keypod.audit/versions/1/destroy";
    let destroyed = client.post_json(path, &json!({ "confirm": "keypod.audit/1" })).await;
    assert_eq!(destroyed.status, 200, "{}", destroyed.code());
    let path = "/v1/keys/keypod.audit/versions/2/state";
    let disabled = client.post_json(path, &json!({ "state": "disabled" })).await;
    assert_eq!(disabled.status, 200, "{}", disabled.code());
    let answer = client.post_json("/v1/audit/hash", &subject()).await.json();
    assert_eq!(answer["disabled"], json!([2]));
    let hashes = answer["hashes"].as_array().unwrap();
    assert!(hashes.len() == 1 && hashes[0].as_str().unwrap().starts_with("3:"), "{answer}");
}

#[tokio::test]
async fn what_is_asked_about_is_one_thing_and_is_in_no_answer_and_no_log() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let long = "canary-".repeat(200);
    for body in [
        json!({}),
        json!({ "subject": "canary-1", "context": {} }),
        json!({ "subject": 4711 }),
        json!({ "subject": null }),
        json!({ "context": null }),
        json!({ "subject": long }),
        json!({ "context": { "A": "canary-2" } }),
        json!({ "subjet": "canary-3" }),
    ] {
        let answer = client.post_json("/v1/audit/hash", &body).await;
        answer.assert_problem(400, "invalid_request");
        assert!(!String::from_utf8_lossy(&answer.body).contains("canary"), "{body}");
    }
    hashes(&client, json!({ "subject": "canary-4" })).await;
    assert!(!sidecar.log().contains("canary"), "{}", sidecar.log());
}

#[tokio::test]
async fn no_key_of_a_reserved_name_is_made_and_none_seals() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    hashes(&client, subject()).await;
    for name in ["keypod.audit", "keypod.mine"] {
        let refused = |answer: Answer| {
            answer.assert_problem(400, "invalid_request");
            assert_eq!(answer.json()["detail"], RESERVED, "{name}");
        };
        refused(client.post_json("/v1/keys", &json!({ "name": name })).await);
        let body = json!({ "key": name, "plaintext": "AAAA" });
        refused(client.post_json("/v1/encrypt", &body).await);
        let path = format!("/v1/encrypt?key={name}");
        refused(client.post_octets(&path, &json!({}), vec![1]).await);
        refused(client.post_octets(&path, &json!({}), vec![1; 70_000]).await);
        let body =
            json!({ "key": name, "items": [{ "plaintext": "AAAA" }, { "plaintext": "AA==" }] });
        let batch = client.post_json("/v1/encrypt/batch", &body).await;
        match batch.status {
            200 => {
                for item in batch.json()["items"].as_array().unwrap() {
                    assert_eq!(item["error"]["code"], "invalid_request", "{item}");
                }
            }
            _ => refused(batch),
        }
    }
}

#[tokio::test]
async fn what_names_the_reserved_key_as_its_own_opens_in_no_way() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    hashes(&client, subject()).await;
    let key = client.get("/v1/keys/keypod.audit").await.json();
    let id = key["id"].as_str().unwrap();
    for bytes in [10, 70_000] {
        let sealed =
            client.post_octets("/v1/encrypt?key=demo", &json!({}), vec![7; bytes]).await.body;
        let forged = forged(sealed, id);
        for path in ["/v1/decrypt", "/v1/rewrap"] {
            let answer = client.post_octets(path, &json!({}), forged.clone()).await;
            answer.assert_problem(400, "decryption_failed");
        }
        if bytes > 10 {
            continue;
        }
        let text = keypod::envelope::encode_text(&forged);
        for path in ["/v1/decrypt", "/v1/rewrap"] {
            let answer = client.post_json(path, &json!({ "ciphertext": text })).await;
            answer.assert_problem(400, "decryption_failed");
            let items = json!({ "items": [{ "ciphertext": text }] });
            let batch = client.post_json(&format!("{path}/batch"), &items).await.json();
            assert_eq!(batch["items"][0]["error"]["code"], "decryption_failed", "{batch}");
        }
    }
}

#[tokio::test]
async fn the_reserved_key_is_looked_after_by_whom_policy_lets() {
    let sidecar = SidecarBuilder::new()
        .caller("keeper", r#""read_key", "rotate""#, r#""keypod.*""#)
        .caller("stranger", r#""read_key", "rotate", "audit_hash""#, r#""demo""#)
        .key("demo")
        .start()
        .await;
    let stranger = sidecar.client_of("stranger");
    hashes(&stranger, subject()).await;
    let rotate = json!({ "key": "keypod.audit" });
    stranger.post_json("/v1/rotate", &rotate).await.assert_problem(403, "forbidden");
    stranger.get("/v1/keys/keypod.audit").await.assert_problem(403, "forbidden");
    assert_eq!(stranger.get("/v1/keys").await.json()["keys"].as_array().unwrap().len(), 1);
    let keeper = sidecar.client_of("keeper");
    assert_eq!(keeper.post_json("/v1/rotate", &rotate).await.json()["key_version"], 2);
    let listed = keeper.get("/v1/keys").await.json();
    assert_eq!(listed["keys"][0]["name"], "keypod.audit");
    let asked = keeper.post_json("/v1/audit/hash", &subject()).await;
    asked.assert_problem(403, "forbidden");
}
