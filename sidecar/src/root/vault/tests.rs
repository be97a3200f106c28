//! The root against a real Vault (`keypod_test_servers::VaultServer`), and against a stand-in for what a real one does
//! not say on demand.

mod auth;
mod authority;
mod refusals;
mod settings;
mod stand_in;
mod tls;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use keypod_test_servers::VaultServer;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::names::{KeyId, KeyRef, KeyVersion};
use crate::root::conformance::{Which, every_root_conforms};
use crate::secret::Protection;

const PATIENT: Duration = Duration::from_secs(30);

fn arena() -> Arena {
    Arena::new(Protection::Heap).unwrap()
}

fn vault() -> &'static VaultServer {
    VaultServer::shared().unwrap()
}

fn binding() -> Binding<'static> {
    let key = KeyRef { id: KeyId::from_bytes([7; 8]), version: KeyVersion::FIRST };
    Binding { key, domain: "default" }
}

fn secret() -> KeyVersionSecret {
    KeyVersionSecret::fill(&arena(), |bytes| {
        bytes.fill(0x5a);
        Ok::<_, RootError>(())
    })
    .unwrap()
}

fn private_file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn settings(address: &str, key: &str, auth: VaultAuth) -> VaultSettings {
    VaultSettings {
        name: "vault".parse().unwrap(),
        address: address.to_owned(),
        namespace: None,
        mount: "transit".to_owned(),
        key: key.to_owned(),
        audit_key: None,
        auth,
        ca_file: None,
        client_identity: None,
    }
}

fn open(settings: &VaultSettings) -> VaultRoot {
    VaultRoot::open(settings, PATIENT, &arena()).unwrap()
}

/// The policy of the documentation: what a root needs, and what `check` would like to read.
fn policy(key: &str) -> String {
    format!(
        r#"path "transit/encrypt/{key}" {{ capabilities = ["update"] }}
           path "transit/decrypt/{key}" {{ capabilities = ["update"] }}
           path "transit/keys/{key}" {{ capabilities = ["read"] }}"#
    )
}

/// A key of its own, a policy for it of the same name, and a folder for secrets.
struct Place {
    server: &'static VaultServer,
    key: String,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self::in_server(vault())
    }

    fn in_server(server: &'static VaultServer) -> Self {
        let place = Self::without_key(server);
        server.make_key(&place.key, &json!({"type": "aes256-gcm96"})).unwrap();
        place
    }

    fn without_key(server: &'static VaultServer) -> Self {
        let key = server.name("keypod");
        server.make_policy(&key, &policy(&key)).unwrap();
        Self { server, key, folder: tempfile::tempdir().unwrap() }
    }

    /// A token of the policy, in a file.
    fn token(&self) -> VaultAuth {
        let token = self.server.make_token(&json!({"policies": [self.key], "ttl": "1h"})).unwrap();
        VaultAuth::TokenFile(private_file(&self.folder, "token", &format!("{token}\n")))
    }

    /// An AppRole of the policy and of `more`, with its secret id in a file.
    fn approle(&self, more: &serde_json::Value) -> VaultAuth {
        let mut role = json!({"token_policies": [self.key], "token_ttl": "1h"});
        for (name, value) in more.as_object().unwrap() {
            role[name] = value.clone();
        }
        let (role_id, secret_id) = self.server.make_approle(&self.key, &role).unwrap();
        let secret_id_file = private_file(&self.folder, "secret-id", &secret_id);
        VaultAuth::AppRole { mount: "approle".to_owned(), role_id, secret_id_file }
    }

    fn settings(&self, auth: VaultAuth) -> VaultSettings {
        settings(self.server.address(), &self.key, auth)
    }

    fn open(&self, auth: VaultAuth) -> VaultRoot {
        open(&self.settings(auth))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_with_an_approle_conforms() {
    for server in VaultServer::all().unwrap() {
        let (this, another) = (Place::in_server(server), Place::in_server(server));
        let (auth, other_auth) = (this.approle(&json!({})), another.approle(&json!({})));
        every_root_conforms(async |which| match which {
            Which::This => Arc::new(this.open(auth.clone())) as Arc<dyn Root>,
            Which::Another => Arc::new(another.open(other_auth.clone())),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_with_a_token_file_conforms() {
    for server in VaultServer::all().unwrap() {
        let (this, another) = (Place::in_server(server), Place::in_server(server));
        let (auth, other_auth) = (this.token(), another.token());
        every_root_conforms(async |which| match which {
            Which::This => Arc::new(this.open(auth.clone())) as Arc<dyn Root>,
            Which::Another => Arc::new(another.open(other_auth.clone())),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_with_associated_data_is_taken_and_opens_after_it_was_rotated() {
    for kind in ["aes128-gcm96", "aes256-gcm96", "chacha20-poly1305"] {
        let place = Place::without_key(vault());
        place.server.make_key(&place.key, &json!({"type": kind})).unwrap();
        let root = place.open(place.token());
        assert_eq!(root.check("test").await.unwrap(), Vec::<String>::new(), "{kind}");
        let old = root.wrap(&secret(), binding()).await.unwrap();
        let rotate = format!("transit/keys/{}/rotate", place.key);
        place.server.write(&rotate, &json!({})).unwrap();
        let new = root.wrap(&secret(), binding()).await.unwrap();
        for (wrapped, version) in [(old, "vault:v1:"), (new, "vault:v2:")] {
            assert!(wrapped.as_bytes().starts_with(version.as_bytes()));
            let opened = root.unwrap_key(&wrapped, binding()).await.unwrap();
            assert_eq!(opened.expose_bytes(), &[0x5a; 32]);
        }
    }
}

#[test]
fn it_says_where_its_key_is_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let auth = VaultAuth::TokenFile(private_file(&folder, "token", "hvs.canary"));
    let mut settings = settings("https://vault.example:8200", "keypod", auth);
    settings.ca_file = None;
    settings.namespace = Some("team/eu".to_owned());
    settings.address = "http://127.0.0.1:8200".to_owned();
    let root = open(&settings);
    let place = "key keypod of transit/ at http://127.0.0.1:8200, namespace team/eu";
    let RootDescription { kind, place: found, fingerprint, .. } = root.describe();
    assert_eq!((kind, found.as_str(), fingerprint), ("vault", place, None));
    assert_eq!(format!("{root:?}"), format!("VaultRoot(vault: {place})"));
}
