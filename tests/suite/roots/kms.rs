//! A sidecar whose root key is in AWS KMS.

use keypod_test_servers::{Answer, MotoServer};
use keypod_tests::{SidecarBuilder, until};
use serde_json::json;

use super::{PATIENCE, REGION, in_kms, kms, with_credentials};

#[tokio::test]
async fn what_was_sealed_opens_after_a_restart_and_the_root_was_told_nothing_personal() {
    let (builder, stand_in, _) = in_kms("");
    let mut sidecar = builder.key("patients").start().await;
    let context = json!({ "tenant": "clinic-7", "subject": "Ada" });
    let sealed = sidecar.client().encrypt("patients", b"hello", &context).await;
    assert!(sidecar.stop().await.success());
    sidecar.restart().await;
    assert_eq!(sidecar.client().decrypt(&sealed, &context).await, b"hello");
    let shown = sidecar.client().get("/v1/keys/patients").await.json();
    assert_eq!(shown["versions"][0]["wrapped_by"], json!(["frankfurt"]));
    let seen = stand_in.seen();
    assert!(seen.iter().any(|seen| seen.operation == "Decrypt"));
    for seen in &seen {
        let text = seen.parameters.to_string();
        for personal in ["patients", "clinic", "Ada", "hello"] {
            assert!(!text.contains(personal), "{text}");
        }
        if let Some(context) = seen.parameters["EncryptionContext"].as_object() {
            let mut names: Vec<_> = context.keys().map(String::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, ["keypod:domain", "keypod:key", "keypod:version"], "{text}");
        }
    }
}

#[tokio::test]
async fn a_version_wrapped_in_two_regions_opens_when_either_is_away() {
    let moto = MotoServer::shared();
    let near = keypod_test_servers::KmsStandIn::before(moto);
    let far = keypod_test_servers::KmsStandIn::before(moto);
    let roots = [
        kms("near", &moto.create_key(REGION), REGION, &near.endpoint()),
        kms("far", &moto.create_key("eu-west-1"), "eu-west-1", &far.endpoint()),
    ];
    let builder = SidecarBuilder::new().root(&format!("{PATIENCE}{}", roots.concat()));
    let mut sidecar = with_credentials(builder).key("demo").start().await;
    let sealed = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
    for away in [&near, &far] {
        assert!(sidecar.stop().await.success());
        away.answer(Answer::bad_gateway());
        sidecar.restart().await;
        assert_eq!(sidecar.client().decrypt(&sealed, &json!({})).await, b"hello");
        let made = sidecar.client().post_json("/v1/rotate", &json!({ "key": "demo" })).await;
        made.assert_problem(503, "root_unavailable");
        let status = sidecar.client().get("/v1/status").await.json();
        let healthy: Vec<_> =
            status["roots"].as_array().unwrap().iter().map(|root| &root["healthy"]).collect();
        assert_eq!(healthy.iter().filter(|healthy| **healthy == true).count(), 1, "{status}");
        away.answer(Answer::PassOn);
    }
    until("both serve again", async || {
        let made = sidecar.client().post_json("/v1/rotate", &json!({ "key": "demo" })).await;
        made.status == 200
    })
    .await;
}
