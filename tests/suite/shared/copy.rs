//! `keypod store copy`: from one machine's SQLite file to a database that many share.

use std::process::{Command, Output};

use keypod_tests::{SidecarBuilder, keypod};
use serde_json::{Value, json};

use super::store;

fn copy(from: &std::path::Path, to: &std::path::Path) -> Output {
    let mut command = Command::new(keypod());
    command.args(["store", "copy", "--json", "--from"]).arg(from).arg("--to").arg(to);
    command.output().unwrap()
}

#[tokio::test]
async fn everything_moves_from_sqlite_to_postgresql_and_opens_there() {
    let store = store();
    let mut sidecar = SidecarBuilder::new().root(&store.root()).key("a").key("b").start().await;
    let mut sealed = Vec::new();
    for key in ["a", "b", "a"] {
        sealed.push(sidecar.client().encrypt(key, b"hello", &json!({})).await);
        sidecar.client().post_json("/v1/rotate", &json!({ "key": key })).await;
    }
    let (old, new) = (sidecar.folder().join("keypod.toml"), sidecar.folder().join("new.toml"));
    let config = std::fs::read_to_string(&old).unwrap();
    let (before, after) = config.split_once("[store]").unwrap();
    let after = after.split_once("[log]").unwrap().1;
    std::fs::write(&new, format!("{before}{}[log]{after}", store.store())).unwrap();

    let refused = copy(&old, &new);
    assert_eq!(refused.status.code(), Some(1), "its sidecar runs: {refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use"), "{refused:?}");
    assert!(sidecar.stop().await.success());
    let copied = copy(&old, &new);
    assert!(copied.status.success(), "{copied:?}");
    let told: Value = serde_json::from_slice(&copied.stdout).unwrap();
    // With `keypod.audit`, so that subjects are found in what the sidecar has recorded before it moved.
    assert_eq!(told, json!({ "keys": 3, "versions": 6, "skipped": 0 }));
    let again: Value = serde_json::from_slice(&copy(&old, &new).stdout).unwrap();
    assert_eq!(again, json!({ "keys": 0, "versions": 0, "skipped": 3 }));
    assert_eq!(copy(&old, &old).status.code(), Some(78), "a store is not copied into itself");

    let moved = store.sidecar().start().await;
    for ciphertext in &sealed {
        assert_eq!(moved.client().decrypt(ciphertext, &json!({})).await, b"hello");
    }
    let refused = copy(&new, &old);
    assert!(refused.status.success(), "and nothing has changed: {refused:?}");
}

#[tokio::test]
async fn a_store_on_which_a_sidecar_has_started_keeps_its_audit_key_and_the_copy_says_what_to_do() {
    let mut first = SidecarBuilder::new().key("a").start().await;
    let ciphertext = first.client().encrypt("a", b"hello", &json!({})).await;
    let mut second = SidecarBuilder::new().start().await;
    assert!(first.stop().await.success() && second.stop().await.success());
    let configs = [&first, &second].map(|sidecar| sidecar.folder().join("keypod.toml"));
    let refused = copy(&configs[0], &configs[1]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for what in ["nothing was copied", "keypod.audit", "before the first sidecar starts"] {
        assert!(said.contains(what), "{said}");
    }
    // Both go on as they were: the target with its key, and the source with all that it has.
    second.restart().await;
    assert_eq!(second.client().get("/v1/keys/a").await.status, 404);
    first.restart().await;
    assert_eq!(first.client().decrypt(&ciphertext, &json!({})).await, b"hello");

    // As it says: an empty store, and no sidecar on it before.
    assert!(first.stop().await.success() && second.stop().await.success());
    for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        let _ = std::fs::remove_file(second.folder().join(name));
    }
    let copied = copy(&configs[0], &configs[1]);
    assert!(copied.status.success(), "{copied:?}");

    let help = Command::new(keypod()).args(["store", "copy", "--help"]).output().unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("keypod.audit"), "{help:?}");
}
