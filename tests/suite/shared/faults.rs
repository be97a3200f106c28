//! A database that restarts, hangs or is out of reach, and rows that somebody has changed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use keypod_test_servers::{Fault, FaultProxy, PostgresServer};
use keypod_tests::{SharedStore, Sidecar, until};
use serde_json::json;

use super::{sidecars, store};

async fn seals_and_opens(sidecar: &Sidecar) -> bool {
    let body = json!({ "key": "demo", "plaintext": "AAAA" });
    let sealed = sidecar.client().post_json("/v1/encrypt", &body).await;
    if sealed.status != 200 {
        return false;
    }
    let opened = sidecar.client().try_decrypt(&sealed.text("ciphertext"), &json!({})).await;
    opened.status == 200
}

async fn makes_a_key(sidecar: &Sidecar, name: &str) -> u16 {
    sidecar.client().post_json("/v1/keys", &json!({ "name": name })).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_restarts_under_load_fails_no_call_on_warm_keys() {
    let server = PostgresServer::start();
    let store = SharedStore::set_up(&server);
    let sidecars = sidecars(&store, 2).await;
    for sidecar in &sidecars {
        assert!(seals_and_opens(sidecar).await);
    }
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async {
        while !done.load(Ordering::Relaxed) {
            for sidecar in &sidecars {
                assert!(seals_and_opens(sidecar).await);
                served.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let restart = async {
        tokio::task::block_in_place(|| server.stop());
        let before = served.load(Ordering::Relaxed);
        until("it serves without a database", async || {
            served.load(Ordering::Relaxed) > before + 50
        })
        .await;
        assert_eq!(makes_a_key(&sidecars[0], "early").await, 503);
        tokio::task::block_in_place(|| server.start_again());
        until("it is used again", async || makes_a_key(&sidecars[0], "late").await == 201).await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, restart);
    // Changes are told again.
    let rotated = sidecars[0].client().post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    assert_eq!(rotated.status, 200);
    until("the other one has heard of it", async || {
        let body = json!({ "key": "demo", "plaintext": "AAAA" });
        let sealed = sidecars[1].client().post_json("/v1/encrypt", &body).await.json();
        sealed["key_version"] == 2
    })
    .await;
}

#[tokio::test]
async fn whatever_the_network_does_warm_keys_serve_and_the_rest_is_said_to_be_unavailable() {
    let store = store();
    let server = PostgresServer::shared();
    let upstream = ([127, 0, 0, 1], server.port()).into();
    let proxy = FaultProxy::start(upstream).unwrap();
    let builder = store.sidecar_at(proxy.address().port());
    // The time of a statement, which a test can wait for.
    let sidecar =
        builder.variable("KEYPOD_STORE__POSTGRES__TIMEOUT", "700ms").key("demo").start().await;
    assert!(seals_and_opens(&sidecar).await);
    let faults = [
        Fault::Refuse,
        Fault::Reset,
        Fault::Half(10),
        Fault::BlackHole,
        Fault::Delay(Duration::from_secs(60)),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        proxy.set(fault);
        assert!(seals_and_opens(&sidecar).await, "{fault:?}");
        let refused = sidecar.client().post_json("/v1/keys", &json!({ "name": "no" })).await;
        refused.assert_problem(503, "store_unavailable");
        assert!(seals_and_opens(&sidecar).await, "{fault:?}");
        proxy.set(Fault::None);
        proxy.cut();
        let name = format!("key-{number}");
        until("it is used again", async || matches!(makes_a_key(&sidecar, &name).await, 201 | 409))
            .await;
    }
    let refused = sidecar.client().get("/v1/keys/no").await;
    assert_eq!(refused.status, 404, "what was refused has not happened: {}", refused.status);
}

#[tokio::test]
async fn rows_that_were_swapped_edited_or_brought_from_another_domain_open_nothing() {
    let store = store();
    let server = PostgresServer::shared();
    let sql = |statement: &str| {
        server.sql(store.database(), &format!("SET search_path = keypod; {statement}"))
    };
    let mut sidecar = store.sidecar().key("one").key("two").key("demo").start().await;
    let texts = [
        sidecar.client().encrypt("one", b"1", &json!({})).await,
        sidecar.client().encrypt("two", b"2", &json!({})).await,
    ];
    assert!(sidecar.stop().await.success());
    let of = |name: &str| format!("(SELECT id FROM keys WHERE name = '{name}')");
    sql(&format!(
        "CREATE TEMP TABLE kept AS SELECT * FROM wrappings; \
         UPDATE wrappings SET wrapped = (SELECT wrapped FROM kept WHERE key_id = {two}) WHERE key_id = {one}; \
         UPDATE wrappings SET wrapped = (SELECT wrapped FROM kept WHERE key_id = {one}) WHERE key_id = {two}",
        one = of("one"),
        two = of("two"),
    ));
    sidecar.restart().await;
    for text in &texts {
        let opened = sidecar.client().try_decrypt(text, &json!({})).await;
        opened.assert_problem(500, "internal");
    }
    assert!(sidecar.log().contains("altered or moved"), "{}", sidecar.log());
    assert!(seals_and_opens(&sidecar).await, "and harm no other key");
    assert!(sidecar.stop().await.success());
    let (status, text) =
        store.sidecar().variable("KEYPOD_ROOT__DOMAIN", "elsewhere").fail_to_start();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("root.domain") && text.contains(store.database()), "{text}");
}
