//! What every user does first.

use keypod_tests::Sidecar;
use serde_json::json;

#[tokio::test]
async fn what_is_encrypted_comes_back_across_a_rotation_and_a_restart() {
    let mut sidecar = Sidecar::start().await;
    let context = json!({ "tenant": "clinic-7" });
    let ciphertext = sidecar.client().encrypt("demo", b"hello", &context).await;
    let rotated = sidecar.client().post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    assert_eq!(rotated.json()["key_version"], 2);
    assert_eq!(sidecar.client().decrypt(&ciphertext, &context).await, b"hello");
    assert!(sidecar.stop().await.success(), "{}", sidecar.log());
    sidecar.restart().await;
    assert_eq!(sidecar.client().decrypt(&ciphertext, &context).await, b"hello");
    let other = sidecar.client().try_decrypt(&ciphertext, &json!({ "tenant": "clinic-8" })).await;
    assert_eq!((other.status, other.code().as_str()), (400, "decryption_failed"));
}
