//! Rotations and states across sidecars. The refresh is minutes away: what is seen here was told by the database.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use keypod_tests::{Sidecar, until};
use serde_json::{Value, json};

use super::{sidecars, store};

async fn rotate(sidecar: &Sidecar) -> u64 {
    let rotated = sidecar.client().post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    assert_eq!(rotated.status, 200, "{}", rotated.code());
    rotated.json()["key_version"].as_u64().unwrap()
}

async fn encrypt(sidecar: &Sidecar) -> Value {
    let body = json!({ "key": "demo", "plaintext": "AAAA" });
    let sealed = sidecar.client().post_json("/v1/encrypt", &body).await;
    assert_eq!(sealed.status, 200, "{}", sealed.code());
    sealed.json()
}

async fn seals_with(sidecar: &Sidecar, version: u64) -> bool {
    encrypt(sidecar).await["key_version"] == version
}

#[tokio::test]
async fn a_key_serves_every_sidecar_and_a_rotation_is_seen_at_once() {
    let store = store();
    let sidecars = sidecars(&store, 3).await;
    for sidecar in &sidecars {
        assert!(seals_with(sidecar, 1).await);
    }
    assert_eq!(rotate(&sidecars[0]).await, 2);
    let sealed = encrypt(&sidecars[0]).await;
    let ciphertext = sealed["ciphertext"].as_str().unwrap();
    for sidecar in &sidecars {
        // Whether or not it has heard of it.
        assert_eq!(sidecar.client().decrypt(ciphertext, &json!({})).await, [0, 0, 0]);
        until("it seals with the new version", async || seals_with(sidecar, 2).await).await;
    }
}

#[tokio::test]
async fn rotations_through_many_sidecars_at_once_make_one_version_and_no_call_fails() {
    let store = store();
    let sidecars = sidecars(&store, 6).await;
    for sidecar in &sidecars {
        encrypt(sidecar).await;
    }
    let (done, opened) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Each seals, and its neighbour opens: always what it may just not have heard of yet.
    let load = async |at: usize| {
        let (here, next) = (&sidecars[at], &sidecars[(at + 1) % sidecars.len()]);
        while !done.load(Ordering::Relaxed) {
            let sealed = encrypt(here).await;
            let ciphertext = sealed["ciphertext"].as_str().unwrap();
            assert_eq!(next.client().decrypt(ciphertext, &json!({})).await, [0, 0, 0]);
            opened.fetch_add(1, Ordering::Relaxed);
        }
    };
    let rotations = async {
        until("there is load", async || opened.load(Ordering::Relaxed) > 20).await;
        let made = join_all(sidecars.iter().map(rotate)).await;
        assert_eq!(made, [2; 6]);
        for sidecar in &sidecars {
            until("it seals with the new version", async || seals_with(sidecar, 2).await).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(rotations, join_all((0..sidecars.len()).map(load)));
    let shown = sidecars[3].client().get("/v1/keys/demo").await.json();
    assert_eq!(shown["versions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_version_that_is_disabled_through_one_sidecar_stops_on_all() {
    let store = store();
    let sidecars = sidecars(&store, 3).await;
    let sealed = encrypt(&sidecars[1]).await;
    let ciphertext = sealed["ciphertext"].as_str().unwrap().to_owned();
    for sidecar in &sidecars {
        sidecar.client().decrypt(&ciphertext, &json!({})).await;
    }
    let body = json!({ "state": "disabled" });
    let path = "/v1/keys/demo/versions/1/state";
    assert_eq!(sidecars[0].client().post_json(path, &body).await.status, 200);
    for sidecar in &sidecars {
        until("it opens no more", async || {
            let opened = sidecar.client().try_decrypt(&ciphertext, &json!({})).await;
            opened.code() == "version_disabled"
        })
        .await;
        let status = sidecar.client().get("/v1/status").await.json();
        let mut cached = status["cache"]["versions"].as_array().unwrap().iter();
        assert!(cached.all(|version| version["key"] != "demo"), "it is wiped: {status}");
    }
}

#[tokio::test]
async fn a_change_by_hand_in_the_database_is_seen_as_well() {
    let store = store();
    let sidecars = sidecars(&store, 2).await;
    let sealed = encrypt(&sidecars[1]).await;
    let ciphertext = sealed["ciphertext"].as_str().unwrap().to_owned();
    let server = keypod_test_servers::PostgresServer::shared();
    server.sql(
        store.database(),
        "UPDATE keypod.versions SET state = 'disabled', revision = revision + 1 \
         WHERE key_id = (SELECT id FROM keypod.keys WHERE name = 'demo')",
    );
    for sidecar in &sidecars {
        until("it opens no more", async || {
            sidecar.client().try_decrypt(&ciphertext, &json!({})).await.code() == "version_disabled"
        })
        .await;
    }
}
