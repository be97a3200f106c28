//! Rows that somebody edited: the key that they belong to fails, and no other.

use keypod_tests::{Sidecar, SidecarBuilder};
use serde_json::json;

use super::{encrypts, sql};

/// Three keys, each with a message; the sidecar is stopped.
async fn three_keys() -> (Sidecar, Vec<(String, String)>) {
    let builder = SidecarBuilder::new().key("aa").key("bb").key("cc");
    let mut sidecar = builder.start().await;
    let mut sealed = Vec::new();
    for key in ["aa", "bb", "cc"] {
        let ciphertext = sidecar.client().encrypt(key, key.as_bytes(), &json!({})).await;
        sealed.push((key.to_owned(), ciphertext));
    }
    assert!(sidecar.stop().await.success());
    (sidecar, sealed)
}

/// SQL for the condition that a row belongs to this key.
fn of(key: &str) -> String {
    format!("key_id = (SELECT id FROM keys WHERE name = '{key}')")
}

/// Applies the edit, starts the sidecar, and panics unless exactly the keys of `broken` fail.
async fn assert_only_these_fail(edit: String, broken: &[&str]) {
    let (mut sidecar, sealed) = three_keys().await;
    sql(&sidecar.folder().join("keys.db"), edit.clone()).await;
    sidecar.restart().await;
    let client = sidecar.client();
    for (key, ciphertext) in &sealed {
        let opened = client.try_decrypt(ciphertext, &json!({})).await;
        let (status, code) = encrypts(&client, key).await;
        if broken.contains(&key.as_str()) {
            assert_eq!((opened.status, opened.code().as_str()), (500, "internal"), "{edit}: {key}");
            assert_eq!((status, code.as_str()), (500, "internal"), "{edit}: {key}");
        } else {
            assert_eq!((opened.status, status), (200, 200), "{edit}: {key}");
        }
    }
    let listed = client.get("/v1/keys").await;
    assert_eq!(listed.status, 200, "{edit}: the list must not fail for one row");
    assert!(encrypts(&client, "nowhere").await.0 == 404);
    let made = client.post_json("/v1/keys", &json!({ "name": "new" })).await;
    assert_eq!((made.status, encrypts(&client, "new").await.0), (201, 200), "{edit}");
    let log = sidecar.log();
    let told = log.lines().any(|line| {
        line.contains("WARN") && (line.contains("altered or moved") || line.contains("damaged"))
    });
    assert!(told, "{edit}: the log says what is wrong:\n{log}");
}

#[tokio::test]
async fn a_wrapped_row_that_was_altered_fails_its_key_alone() {
    let edit = format!(
        "UPDATE wrappings SET wrapped = CAST(substr(wrapped, 1, 30) || X'00' || substr(wrapped, 32) AS BLOB) \
         WHERE {}",
        of("aa")
    );
    assert_only_these_fail(edit, &["aa"]).await;
    let cut = format!("UPDATE wrappings SET wrapped = X'01' WHERE {}", of("bb"));
    assert_only_these_fail(cut, &["bb"]).await;
}

#[tokio::test]
async fn two_wrapped_rows_that_were_swapped_fail_both_keys_and_no_other() {
    let take = |key: &str| format!("(SELECT wrapped FROM temp.kept WHERE {})", of(key));
    let edit = format!(
        "CREATE TEMP TABLE kept AS SELECT key_id, wrapped FROM wrappings; \
         UPDATE wrappings SET wrapped = {} WHERE {}; UPDATE wrappings SET wrapped = {} WHERE {}",
        take("bb"),
        of("aa"),
        take("aa"),
        of("bb")
    );
    assert_only_these_fail(edit, &["aa", "bb"]).await;
}

#[tokio::test]
async fn a_wrapped_row_that_was_deleted_fails_its_key_alone() {
    let edit = format!("DELETE FROM wrappings WHERE {}", of("aa"));
    assert_only_these_fail(edit, &["aa"]).await;
}

#[tokio::test]
async fn a_state_that_is_none_fails_its_key_alone() {
    let edit = format!(
        "PRAGMA ignore_check_constraints = ON; UPDATE versions SET state = 'open' WHERE {}",
        of("cc")
    );
    assert_only_these_fail(edit, &["cc"]).await;
}

#[tokio::test]
async fn a_row_of_another_domain_does_not_unwrap_here() {
    let (mut sidecar, sealed) = three_keys().await;
    let builder = SidecarBuilder::new().key("dd").variable("KEYPOD_ROOT__DOMAIN", "elsewhere");
    let root = builder.folder().join("root.key");
    std::fs::copy(sidecar.folder().join("root.key"), root).unwrap();
    let mut other = builder.start().await;
    let foreign = other.client().encrypt("dd", b"dd", &json!({})).await;
    assert!(other.stop().await.success());

    let copy = |table: &str, id: &str| {
        let of_dd = "(SELECT id FROM other.keys WHERE name = 'dd')";
        format!("INSERT INTO {table} SELECT * FROM other.{table} WHERE {id} = {of_dd};")
    };
    let edit = format!(
        "ATTACH '{}' AS other; {}{}{}",
        other.folder().join("keys.db").display(),
        copy("keys", "id"),
        copy("versions", "key_id"),
        copy("wrappings", "key_id")
    );
    sql(&sidecar.folder().join("keys.db"), edit).await;
    sidecar.restart().await;
    let opened = sidecar.client().try_decrypt(&foreign, &json!({})).await;
    assert_eq!((opened.status, opened.code().as_str()), (500, "internal"));
    assert_eq!(encrypts(&sidecar.client(), "dd").await.0, 500);
    for (key, ciphertext) in sealed {
        assert_eq!(sidecar.client().decrypt(&ciphertext, &json!({})).await, key.as_bytes());
    }
}
