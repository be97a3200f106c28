//! Usage counters are exact across an orderly end: what was reserved and not used goes back.

use keypod_tests::{Client, Sidecar};
use serde_json::{Value, json};

use crate::pieces::{begin_stream, rest_of};

async fn used(client: &Client) -> (u64, u64) {
    let key: Value = client.get("/v1/keys/demo").await.json();
    let version = &key["versions"][0];
    let count = |name: &str| version[name].as_u64().unwrap();
    (count("messages_used"), count("bytes_used"))
}

#[tokio::test]
async fn usage_is_exact_before_and_after_an_orderly_end() {
    let mut sidecar = Sidecar::start().await;
    let client = sidecar.client();
    assert_eq!(used(&client).await, (0, 0));
    for length in [0, 1, 1000] {
        client.encrypt("demo", &vec![0; length], &json!({})).await;
    }
    let items = json!([{ "plaintext": "AAAA" }, { "plaintext": "AAAAAAAA" }]);
    let batch = json!({ "key": "demo", "items": items });
    assert_eq!(client.post_json("/v1/encrypt/batch", &batch).await.status, 200);
    let (pieces, answer) = begin_stream(&client, vec![1; 200_000]).await;
    drop(pieces);
    rest_of(answer).await.unwrap();

    let expected = (6, 1001 + 9 + 200_000);
    assert_eq!(used(&client).await, expected);
    for _ in 0..2 {
        assert!(sidecar.stop().await.success());
        sidecar.restart().await;
        // Nothing is reserved by the new process yet: this is what the store says.
        assert_eq!(used(&sidecar.client()).await, expected);
    }
    sidecar.client().encrypt("demo", b"12345", &json!({})).await;
    assert_eq!(used(&sidecar.client()).await, (7, expected.1 + 5));
}

#[tokio::test]
async fn a_version_that_is_used_up_makes_way_for_the_next_across_a_restart() {
    let mut sidecar = Sidecar::start().await;
    let body = json!({ "name": "small", "messages_max": 5 });
    assert_eq!(sidecar.client().post_json("/v1/keys", &body).await.status, 201);
    let mut versions = Vec::new();
    for message in 0..12 {
        if message == 3 {
            assert!(sidecar.stop().await.success());
            sidecar.restart().await;
        }
        let body = json!({ "key": "small", "plaintext": "AAAA" });
        let answer = sidecar.client().post_json("/v1/encrypt", &body).await;
        versions.push(answer.json()["key_version"].as_u64().unwrap());
    }
    assert_eq!(versions, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3]);
}
