//! What a root that is away, throttles or refuses does to a sidecar that runs.

use std::time::Duration;

use keypod_test_servers::{Answer, Fault, FaultProxy, KmsStandIn, MotoServer, Seen};
use keypod_tests::{Sidecar, SidecarBuilder, until};
use serde_json::json;

use super::{PATIENCE, REGION, in_kms, kms, with_credentials};

/// Bounds that a test can wait for.
const SHORT: &str = "[cache]\nrefresh_after = \"1s\"\nroot_recheck = \"1s\"\nencrypt_stale_max = \"4s\"\ndecrypt_stale_max = \"1h\"\n";

/// How often the root was asked for a version of `demo`.
async fn unwraps(sidecar: &Sidecar, stand_in: &KmsStandIn) -> usize {
    let id = sidecar.client().get("/v1/keys/demo").await.text("id");
    let of_demo = |seen: &Seen| {
        seen.operation == "Decrypt" && seen.parameters["EncryptionContext"]["keypod:key"] == id
    };
    stand_in.seen().iter().filter(|seen| of_demo(seen)).count()
}

async fn encrypt(sidecar: &Sidecar) -> keypod_tests::Answer {
    let body = json!({ "key": "demo", "plaintext": "AAAA" });
    sidecar.client().post_json("/v1/encrypt", &body).await
}

#[tokio::test]
async fn an_outage_is_served_through_until_the_bound_and_ends_by_itself() {
    let (builder, stand_in, _) = in_kms("");
    let sidecar = builder.config(SHORT).key("demo").start().await;
    let sealed = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
    let before = unwraps(&sidecar, &stand_in).await;
    stand_in.answer(Answer::Close);
    let mut served = 0;
    let refused = loop {
        let answer = encrypt(&sidecar).await;
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(served > 10, "it served through for a while");
    refused.assert_problem(503, "root_unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(
        sidecar.client().decrypt(&sealed, &json!({})).await,
        b"hello",
        "its bound is longer"
    );
    let asked = unwraps(&sidecar, &stand_in).await - before;
    assert!((2..100).contains(&asked), "{asked} calls: it was tried, and not hammered");
    let ready = sidecar.observe("/readyz?verbose").await;
    let ready = String::from_utf8_lossy(&ready.body).into_owned();
    assert!(ready.contains("root frankfurt:") && ready.contains("encrypts for 0 s"), "{ready}");
    assert!(sidecar.metric("keypod_root_serves").await < 0.5);
    stand_in.answer(Answer::PassOn);
    until("it seals again", async || encrypt(&sidecar).await.status == 200).await;
    assert!(sidecar.metric("keypod_root_serves").await > 0.5);
}

#[tokio::test]
async fn a_revoked_grant_ends_the_key_by_the_next_recheck_and_a_new_grant_brings_it_back() {
    for refusal in [Answer::access_denied(), Answer::disabled(), Answer::pending_deletion()] {
        let (builder, stand_in, _) = in_kms("");
        let sidecar = builder.config(SHORT).key("demo").start().await;
        let sealed = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
        stand_in.answer(refusal);
        until("it is refused", async || {
            sidecar.client().try_decrypt(&sealed, &json!({})).await.status == 503
        })
        .await;
        let asked = unwraps(&sidecar, &stand_in).await;
        for _ in 0..50 {
            let refused = sidecar.client().try_decrypt(&sealed, &json!({})).await;
            refused.assert_problem(503, "root_unavailable");
        }
        let asked = unwraps(&sidecar, &stand_in).await - asked;
        assert!(asked < 10, "requests are not calls to the root");
        assert!(encrypt(&sidecar).await.status == 503);
        let status = sidecar.client().get("/v1/status").await.json();
        assert_eq!(status["cache"]["versions"], json!([]), "it is wiped: {status}");
        stand_in.answer(Answer::PassOn);
        until("it opens again", async || {
            sidecar.client().try_decrypt(&sealed, &json!({})).await.status == 200
        })
        .await;
    }
}

#[tokio::test]
async fn whatever_the_network_does_a_cold_key_is_refused_in_time_and_a_warm_one_serves() {
    let moto = MotoServer::shared();
    let proxy = FaultProxy::start(moto.address()).unwrap();
    let endpoint = format!("http://{}", proxy.address());
    let root = kms("frankfurt", &moto.create_key(REGION), REGION, &endpoint);
    let builder = SidecarBuilder::new().root(&format!("{PATIENCE}{root}"));
    let mut sidecar = with_credentials(builder).key("warm").key("cold").start().await;
    let cold = sidecar.client().encrypt("cold", b"hello", &json!({})).await;
    let faults = [
        Fault::Refuse,
        Fault::Reset,
        Fault::Half(20),
        Fault::BlackHole,
        Fault::Delay(Duration::from_secs(60)),
    ];
    for fault in faults {
        assert!(sidecar.stop().await.success());
        sidecar.restart().await;
        let warm = sidecar.client().encrypt("warm", b"hello", &json!({})).await;
        proxy.set(fault);
        let refused = sidecar.client().try_decrypt(&cold, &json!({})).await;
        refused.assert_problem(503, "root_unavailable");
        assert_eq!(sidecar.client().decrypt(&warm, &json!({})).await, b"hello", "{fault:?}");
        proxy.set(Fault::None);
        proxy.cut();
        until("the cold key opens", async || {
            sidecar.client().try_decrypt(&cold, &json!({})).await.status == 200
        })
        .await;
    }
}

#[tokio::test]
async fn a_root_that_throttles_is_served_through_and_asked_less() {
    let (builder, stand_in, _) = in_kms("");
    let sidecar = builder.config(SHORT).key("demo").start().await;
    encrypt(&sidecar).await;
    let before = unwraps(&sidecar, &stand_in).await;
    stand_in.answer(Answer::throttled().with_header("Retry-After", "3"));
    until("it has been asked", async || unwraps(&sidecar, &stand_in).await > before + 1).await;
    assert_eq!(encrypt(&sidecar).await.status, 200);
    assert!(unwraps(&sidecar, &stand_in).await - before < 50);
}
