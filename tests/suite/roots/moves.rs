//! `keypod root`: key versions move from root to root, and nothing is lost on the way.

use std::path::Path;
use std::process::{Command, Output};

use keypod_test_servers::{Answer, KmsStandIn, MotoServer, VaultServer};
use keypod_tests::{Sidecar, SidecarBuilder, keypod};
use serde_json::{Value, json};

use super::vault::{key, token_auth};
use super::{PATIENCE, REGION, in_kms, kms, vault, with_credentials};

/// Versions in the store of [`local_and_kms`]: two of each of its three keys, and one of `keypod.audit`, which the
/// sidecar made for itself and without which it does not start again.
const VERSIONS: usize = 7;

/// A stopped sidecar with keys under the local root, whose configuration has a root in KMS as well.
async fn local_and_kms() -> (Sidecar, Vec<String>, KmsStandIn) {
    let moto = MotoServer::shared();
    let stand_in = KmsStandIn::before(moto);
    let builder = SidecarBuilder::new();
    let folder = builder.folder().display().to_string();
    let local = format!("[root.local]\nkey_file = \"{folder}/root.key\"\n");
    let first = builder.root(&format!("{PATIENCE}{local}")).key("a").key("b").key("c");
    let mut sidecar = with_credentials(first).start().await;
    let mut sealed = Vec::new();
    for key in ["a", "b", "c"] {
        sealed.push(sidecar.client().encrypt(key, b"hello", &json!({})).await);
        sidecar.client().post_json("/v1/rotate", &json!({ "key": key })).await;
        sealed.push(sidecar.client().encrypt(key, b"hello", &json!({})).await);
    }
    assert!(sidecar.stop().await.success());
    let root = kms("frankfurt", &moto.create_key(REGION), REGION, &stand_in.endpoint());
    let config = std::fs::read_to_string(sidecar.folder().join("keypod.toml")).unwrap();
    let both = config.replace("[root.local]", &format!("{root}[root.local]"));
    std::fs::write(sidecar.folder().join("keypod.toml"), both).unwrap();
    (sidecar, sealed, stand_in)
}

fn root(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(keypod())
        .arg("root")
        .args(arguments)
        .arg("--json")
        .arg("--config")
        .arg(folder.join("keypod.toml"))
        .env("AWS_SHARED_CREDENTIALS_FILE", folder.join("aws-credentials"))
        .env("AWS_CONFIG_FILE", folder.join("no-aws-config"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .unwrap()
}

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"))
}

async fn assert_all_open(sidecar: &Sidecar, sealed: &[String]) {
    for ciphertext in sealed {
        assert_eq!(sidecar.client().decrypt(ciphertext, &json!({})).await, b"hello");
    }
}

#[tokio::test]
async fn every_version_moves_from_the_local_root_to_kms() {
    let (mut sidecar, sealed, _stand_in) = local_and_kms().await;
    let folder = sidecar.folder().to_owned();
    let listed = json_of(&root(&folder, &["list"]));
    assert_eq!(listed["versions"], VERSIONS);
    let wrapped: Vec<_> =
        listed["roots"].as_array().unwrap().iter().map(|r| (&r["name"], &r["wrapped"])).collect();
    assert_eq!(wrapped, [(&json!("frankfurt"), &json!(0)), (&json!("local"), &json!(VERSIONS))]);
    let dry = root(&folder, &["rewrap", "--from", "local", "--to", "frankfurt", "--dry-run"]);
    assert_eq!(json_of(&dry)["changed"], VERSIONS);
    let moved = root(&folder, &["rewrap", "--from", "local", "--to", "frankfurt"]);
    assert!(moved.status.success(), "{moved:?}");
    assert_eq!(json_of(&moved)["changed"], VERSIONS);
    let again = root(&folder, &["rewrap", "--from", "local", "--to", "frankfurt"]);
    assert_eq!(
        (&json_of(&again)["changed"], &json_of(&again)["as_they_were"]),
        (&json!(0), &json!(VERSIONS))
    );
    // The local root is gone for good.
    std::fs::remove_file(folder.join("root.key")).unwrap();
    let config = std::fs::read_to_string(folder.join("keypod.toml")).unwrap();
    let (before, after) = config.split_once("[root.local]").unwrap();
    let after = after.split_once("[store]").unwrap().1;
    std::fs::write(folder.join("keypod.toml"), format!("{before}[store]{after}")).unwrap();
    sidecar.restart().await;
    assert_all_open(&sidecar, &sealed).await;
}

#[tokio::test]
async fn a_move_in_which_the_new_root_goes_away_loses_nothing_and_is_run_again() {
    let (mut sidecar, sealed, stand_in) = local_and_kms().await;
    let folder = sidecar.folder().to_owned();
    stand_in.answer_only("Decrypt", Answer::access_denied());
    let failed = root(&folder, &["rewrap", "--from", "local", "--to", "frankfurt"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let told = json_of(&failed);
    let failed = told["failed"].as_array().unwrap();
    assert_eq!((&told["changed"], failed.len()), (&json!(0), VERSIONS));
    assert!(failed[0]["problem"].as_str().unwrap().contains("frankfurt"), "{told}");
    let removed = root(&folder, &["remove", "local"]);
    assert_eq!(removed.status.code(), Some(1), "the only root stays: {removed:?}");
    stand_in.answer(Answer::PassOn);
    assert!(root(&folder, &["add", "frankfurt"]).status.success());
    assert!(root(&folder, &["remove", "local"]).status.success());
    sidecar.restart().await;
    assert_all_open(&sidecar, &sealed).await;
}

#[tokio::test]
async fn an_unknown_root_is_wrong_and_those_that_there_are_named() {
    let (sidecar, _, _stand_in) = local_and_kms().await;
    let wrong = root(sidecar.folder(), &["add", "frankfort"]);
    assert_eq!(wrong.status.code(), Some(78));
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("frankfort") && told.contains("frankfurt, local"), "{told}");
}

#[tokio::test]
async fn every_version_moves_from_kms_to_vault() {
    let (builder, _stand_in, _) = in_kms("");
    let mut sidecar = builder.key("a").key("b").start().await;
    let mut sealed = Vec::new();
    for key in ["a", "b"] {
        sealed.push(sidecar.client().encrypt(key, b"hello", &json!({})).await);
    }
    assert!(sidecar.stop().await.success());
    let folder = sidecar.folder().to_owned();
    let server = VaultServer::shared().unwrap();
    let key = key(server);
    let auth = token_auth(server, &folder, &key);
    let new = vault("vault", &key, server.address(), &auth);
    let config = std::fs::read_to_string(folder.join("keypod.toml")).unwrap();
    let (before, rest) = config.split_once("[[root.aws_kms]]").unwrap();
    let (old, after) = rest.split_once("[store]").unwrap();
    let with = |roots: String| format!("{before}{roots}[store]{after}");
    let both = with(format!("[[root.aws_kms]]{old}{new}"));
    std::fs::write(folder.join("keypod.toml"), both).unwrap();
    let moved = root(&folder, &["rewrap", "--from", "frankfurt", "--to", "vault"]);
    assert!(moved.status.success(), "{moved:?}");
    assert_eq!(json_of(&moved)["changed"], 3, "a, b and keypod.audit");
    std::fs::write(folder.join("keypod.toml"), with(new)).unwrap();
    sidecar.restart().await;
    assert_all_open(&sidecar, &sealed).await;
}
