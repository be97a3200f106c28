use super::*;
use crate::root::authority::{Authority, SignatureAlgorithm};
use crate::root::conformance::every_authority_conforms;

/// The policy of the documentation for an audit key.
fn audit_policy(key: &str) -> String {
    format!(
        r#"path "transit/sign/{key}" {{ capabilities = ["update"] }}
           path "transit/keys/{key}" {{ capabilities = ["read"] }}"#
    )
}

/// A signing key of its own, with a policy for it and for nothing else.
struct Audit(Place);

impl Audit {
    fn of(server: &'static VaultServer, properties: &serde_json::Value) -> Self {
        let audit = Self::without_key(server);
        server.make_key(&audit.0.key, properties).unwrap();
        audit
    }

    fn without_key(server: &'static VaultServer) -> Self {
        let place = Place::without_key(server);
        server.make_policy(&place.key, &audit_policy(&place.key)).unwrap();
        Self(place)
    }

    fn authority(&self) -> VaultAuthority {
        let mut settings = settings(self.0.server.address(), "keypod", self.0.token());
        settings.audit_key = Some(self.0.key.clone());
        open(&settings).authority().unwrap()
    }

    fn write(&self, what: &str, body: &serde_json::Value) {
        self.0.server.write(&format!("transit/keys/{}/{what}", self.0.key), body).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_conforms_with_each_kind_of_key() {
    let kinds = [
        ("ed25519", SignatureAlgorithm::Ed25519),
        ("ecdsa-p256", SignatureAlgorithm::EcdsaP256Sha256),
    ];
    for server in VaultServer::all().unwrap() {
        for (kind, algorithm) in kinds {
            let properties = json!({ "type": kind });
            let (this, another) = (Audit::of(server, &properties), Audit::of(server, &properties));
            every_authority_conforms(algorithm, async |which| match which {
                Which::This => Arc::new(this.authority()) as Arc<dyn Authority>,
                Which::Another => Arc::new(another.authority()),
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_the_new_public_key_is_given() {
    for kind in ["ed25519", "ecdsa-p256"] {
        let audit = Audit::of(vault(), &json!({ "type": kind }));
        let authority = audit.authority();
        let before = authority.sign(b"m").await.unwrap();
        audit.write("rotate", &json!({}));
        let after = authority.sign(b"m").await.unwrap();
        assert_ne!(before.public_key, after.public_key);
        assert_eq!(before.name, after.name);
        assert!(before.verifies(b"m") && after.verifies(b"m"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_audit_key_is_gone_and_not_made() {
    let audit = Audit::without_key(vault());
    let authority = audit.authority();
    for refused in [authority.sign(b"m").await.unwrap_err(), authority.check().await.unwrap_err()] {
        assert!(matches!(refused, RootError::KeyGone { .. }), "{refused:?}");
        assert!(refused.to_string().contains("type=ed25519"), "{refused}");
    }
    let path = format!("transit/keys/{}", audit.0.key);
    assert_eq!(vault().ask("GET", &path, None).unwrap().0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_keys_of_other_kinds_are_unusable() {
    for properties in [
        json!({ "type": "aes256-gcm96" }),
        json!({ "type": "rsa-2048" }),
        json!({ "type": "ecdsa-p384" }),
        json!({ "type": "ed25519", "derived": true }),
    ] {
        let audit = Audit::of(vault(), &properties);
        let authority = audit.authority();
        for refused in
            [authority.sign(b"m").await.unwrap_err(), authority.check().await.unwrap_err()]
        {
            assert!(matches!(refused, RootError::Unusable { .. }), "{properties}: {refused:?}");
            assert!(refused.to_string().contains("set audit_key to it"), "{properties}: {refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_key_that_can_leave_vault_fails_the_check() {
    for properties in [json!({ "exportable": true }), json!({ "allow_plaintext_backup": true })] {
        let mut properties = properties;
        properties["type"] = json!("ed25519");
        let audit = Audit::of(vault(), &properties);
        let refused = audit.authority().check().await.unwrap_err();
        assert!(matches!(refused, RootError::Exposed { .. }), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_said_with_the_policy_to_write() {
    let audit = Audit::of(vault(), &json!({ "type": "ed25519" }));
    let key = audit.0.key.clone();
    let whole = audit_policy(&key);
    for rules in [whole.replace("update", "deny"), whole.replace("read", "deny")] {
        vault().make_policy(&key, &rules).unwrap();
        let refused = audit.authority().sign(b"m").await.unwrap_err();
        assert!(matches!(refused, RootError::Denied { .. }), "{refused:?}");
        let wanted = format!("`update` on transit/sign/{key} and `read` on transit/keys/{key}");
        assert!(refused.to_string().contains(&wanted), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_audit_key_is_gone() {
    let audit = Audit::of(vault(), &json!({ "type": "ed25519" }));
    let authority = audit.authority();
    authority.sign(b"m").await.unwrap();
    audit.write("config", &json!({ "deletion_allowed": true }));
    vault().ask("DELETE", &format!("transit/keys/{}", audit.0.key), None).unwrap();
    let refused = authority.sign(b"m").await.unwrap_err();
    assert!(matches!(refused, RootError::KeyGone { .. }), "{refused:?}");
}

#[test]
fn without_an_audit_key_there_is_no_authority_and_its_name_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let auth = VaultAuth::TokenFile(private_file(&folder, "token", "hvs.canary"));
    let mut settings = settings("http://127.0.0.1:8200", "keypod", auth);
    assert!(open(&settings).authority().is_none());
    settings.audit_key = Some("keypod-audit".to_owned());
    let described = open(&settings).authority().unwrap().describe();
    assert_eq!(described.name, "keypod-root/vault");
    assert_eq!(described.place, "key keypod-audit of transit/ at http://127.0.0.1:8200");
    settings.audit_key = Some("a/b".to_owned());
    let refused = VaultRoot::open(&settings, PATIENT, &arena()).unwrap_err();
    assert!(refused.to_string().contains("audit_key"), "{refused}");
}
