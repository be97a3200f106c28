//! A sidecar whose root key is in the transit engine of Vault, by the policy of the documentation.

use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use keypod_test_servers::{VaultServer, VaultTls};
use keypod_tests::{SidecarBuilder, until};
use serde_json::json;

use super::{PATIENCE, vault};

/// A transit key of its own, and a policy of that name.
pub(super) fn key(server: &VaultServer) -> String {
    let key = server.name("suite");
    server.make_key(&key, &json!({ "type": "aes256-gcm96" })).unwrap();
    allow(server, &key);
    key
}

fn allow(server: &VaultServer, key: &str) {
    let rules = format!(
        "path \"transit/encrypt/{key}\" {{ capabilities = [\"update\"] }}\n\
         path \"transit/decrypt/{key}\" {{ capabilities = [\"update\"] }}\n\
         path \"transit/keys/{key}\" {{ capabilities = [\"read\"] }}"
    );
    server.make_policy(key, &rules).unwrap();
}

fn secret_file(folder: &Path, name: &str, text: &str) -> String {
    use std::io::Write as _;
    let path = folder.join(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0);
    path.display().to_string()
}

pub(super) fn token_auth(server: &VaultServer, folder: &Path, key: &str) -> String {
    let token = server.make_token(&json!({ "policies": [key], "ttl": "1h" })).unwrap();
    format!("token_file = \"{}\"", secret_file(folder, "vault-token", &token))
}

fn approle_auth(server: &VaultServer, folder: &Path, key: &str) -> String {
    let role = json!({ "token_policies": [key], "token_ttl": "1h" });
    let (role_id, secret_id) = server.make_approle(key, &role).unwrap();
    let file = secret_file(folder, "vault-secret-id", &secret_id);
    format!("[root.vault.approle]\nrole_id = \"{role_id}\"\nsecret_id_file = \"{file}\"")
}

fn kubernetes_auth(server: &VaultServer, folder: &Path, key: &str) -> String {
    let mount = server.name("kubernetes");
    server.enable_kubernetes(&mount, "keypod", key).unwrap();
    // What the stand-in for the API server takes for the service account `keypod` of the namespace `default`.
    let file = secret_file(folder, "service-account", JWT);
    format!(
        "[root.vault.kubernetes]\nmount = \"{mount}\"\nrole = \"keypod\"\ntoken_file = \"{file}\""
    )
}

/// A service account's token: its signature is the API server's business, which is a stand-in here.
const JWT: &str = "eyJhbGciOiAiUlMyNTYiLCAidHlwIjogIkpXVCJ9.eyJpc3MiOiAia3ViZXJuZXRlcy9zZXJ2aWNlYWNjb3VudCIsICJrdWJlcm5ldGVzLmlvL3NlcnZpY2VhY2NvdW50L25hbWVzcGFjZSI6ICJkZWZhdWx0IiwgImt1YmVybmV0ZXMuaW8vc2VydmljZWFjY291bnQvc2VydmljZS1hY2NvdW50Lm5hbWUiOiAia2V5cG9kIiwgImt1YmVybmV0ZXMuaW8vc2VydmljZWFjY291bnQvc2VydmljZS1hY2NvdW50LnVpZCI6ICJrZXlwb2QtdGVzdCIsICJzdWIiOiAic3lzdGVtOnNlcnZpY2VhY2NvdW50OmRlZmF1bHQ6a2V5cG9kIn0.Z2VudWluZQ";

#[tokio::test]
async fn what_was_sealed_opens_after_a_restart_however_it_logs_in() {
    let server = VaultServer::shared().unwrap();
    for auth in [token_auth, approle_auth] {
        let key = key(server);
        let builder = SidecarBuilder::new();
        let auth = auth(server, builder.folder(), &key);
        let root = format!("{PATIENCE}{}", vault("vault", &key, server.address(), &auth));
        let mut sidecar = builder.root(&root).key("demo").start().await;
        let sealed = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
        assert!(sidecar.stop().await.success());
        sidecar.restart().await;
        assert_eq!(sidecar.client().decrypt(&sealed, &json!({})).await, b"hello");
        let status = sidecar.client().get("/v1/status").await.json();
        assert_eq!(status["roots"][0]["kind"], "vault", "{status}");
        assert_eq!(status["roots"][0]["healthy"], true, "{status}");
    }
}

#[tokio::test]
async fn a_policy_that_is_taken_away_ends_the_key_and_given_back_brings_it_back() {
    let server = VaultServer::shared().unwrap();
    let key = key(server);
    let builder = SidecarBuilder::new();
    let auth = token_auth(server, builder.folder(), &key);
    let root = format!("{PATIENCE}{}", vault("vault", &key, server.address(), &auth));
    let short =
        "[cache]\nrefresh_after = \"1s\"\nroot_recheck = \"1s\"\nencrypt_stale_max = \"1h\"\n";
    let sidecar = builder.root(&root).config(short).key("demo").start().await;
    let sealed = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
    server.make_policy(&key, "path \"nothing\" { capabilities = [\"deny\"] }").unwrap();
    until("it is refused", async || {
        sidecar.client().try_decrypt(&sealed, &json!({})).await.status == 503
    })
    .await;
    assert!(sidecar.log().contains(&format!("transit/decrypt/{key}")), "{}", sidecar.log());
    allow(server, &key);
    until("it opens again", async || {
        sidecar.client().try_decrypt(&sealed, &json!({})).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn the_check_fails_if_the_authority_does_not_sign() {
    let server = VaultServer::shared().unwrap();
    let key = key(server);
    let audit_key = server.name("suite-audit");
    let builder = SidecarBuilder::new();
    let auth = token_auth(server, builder.folder(), &key);
    let auth = format!("audit_key = \"{audit_key}\"\n{auth}");
    let root = format!("{PATIENCE}{}", vault("vault", &key, server.address(), &auth));
    let builder = builder.root(&root);
    builder.write();
    let (status, text) = builder.run_serve(&["--check"]);
    assert_eq!(status.code(), Some(78), "{text}");
    server.make_key(&audit_key, &json!({ "type": "ecdsa-p256" })).unwrap();
    let rules = format!(
        "path \"transit/encrypt/{key}\" {{ capabilities = [\"update\"] }}\n\
         path \"transit/decrypt/{key}\" {{ capabilities = [\"update\"] }}\n\
         path \"transit/keys/{key}\" {{ capabilities = [\"read\"] }}\n\
         path \"transit/sign/{audit_key}\" {{ capabilities = [\"update\"] }}\n\
         path \"transit/keys/{audit_key}\" {{ capabilities = [\"read\"] }}"
    );
    server.make_policy(&key, &rules).unwrap();
    let (status, text) = builder.run_serve(&["--check"]);
    assert!(status.success(), "{text}");
}

#[tokio::test]
async fn a_vault_that_is_sealed_is_served_through_and_said_at_a_cold_start() {
    let server = VaultServer::start(VaultTls::Server).unwrap();
    let key = key(&server);
    let builder = SidecarBuilder::new();
    let auth = token_auth(&server, builder.folder(), &key);
    let ca = server.certificates().unwrap().ca.display().to_string();
    let auth = format!("ca_file = \"{ca}\"\n{auth}");
    let root = format!("{PATIENCE}{}", vault("vault", &key, server.tls_address(), &auth));
    let mut sidecar = builder.root(&root).key("demo").start().await;
    let sealed = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
    server.seal().unwrap();
    assert_eq!(sidecar.client().decrypt(&sealed, &json!({})).await, b"hello");
    let made = sidecar.client().post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    made.assert_problem(503, "root_unavailable");
    assert!(sidecar.stop().await.success());
    let (status, text) = sidecar.fail_to_start_another(&[]);
    assert_eq!(status.code(), Some(1), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.contains("sealed") && last.contains("vault"), "{text}");
    server.unseal().unwrap();
    sidecar.restart().await;
    assert_eq!(sidecar.client().decrypt(&sealed, &json!({})).await, b"hello");
}

#[tokio::test]
async fn mistakes_about_a_transit_key_are_said_at_start_with_the_mend() {
    let server = VaultServer::shared().unwrap();
    let make = |properties: serde_json::Value| {
        let key = server.name("suite");
        server.make_key(&key, &properties).unwrap();
        allow(server, &key);
        key
    };
    let exportable = make(json!({ "type": "aes256-gcm96", "exportable": true }));
    let derived = make(json!({ "type": "aes256-gcm96", "derived": true }));
    let signing = make(json!({ "type": "ed25519" }));
    let right = key(server);
    let missing = server.name("suite");
    allow(server, &missing);
    let nobody = "path \"nothing\" { capabilities = [\"deny\"] }";
    let no_policy = key(server);
    server.make_policy(&no_policy, nobody).unwrap();
    let cases = [
        (exportable, "transit", "exportable"),
        (derived, "transit", "derived"),
        (signing, "transit", "associated data"),
        (missing, "transit", "no key"),
        (right, "nowhere", "nowhere"),
        (no_policy, "transit", "policy"),
    ];
    for (key, mount, word) in cases {
        let builder = SidecarBuilder::new();
        let auth = token_auth(server, builder.folder(), &key);
        let auth = format!("mount = \"{mount}\"\n{auth}");
        let root = format!("{PATIENCE}{}", vault("vault", &key, server.address(), &auth));
        let (status, text) = builder.root(&root).fail_to_start();
        assert_eq!(status.code(), Some(78), "{key} at {mount}: {text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(last.contains(word) && last.contains("vault"), "{word:?} is not in: {last}");
    }
}

#[tokio::test]
async fn a_service_account_of_kubernetes_logs_in() {
    let server = VaultServer::shared().unwrap();
    let key = key(server);
    let builder = SidecarBuilder::new();
    let auth = kubernetes_auth(server, builder.folder(), &key);
    let root = format!("{PATIENCE}{}", vault("vault", &key, server.address(), &auth));
    let sidecar = builder.root(&root).key("demo").start().await;
    let sealed = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
    assert_eq!(sidecar.client().decrypt(&sealed, &json!({})).await, b"hello");
}
