//! A person whom Vault's OpenID Connect provider signs tokens for.

use keypod_test_servers::VaultServer;
use serde_json::{Value, json};

/// Of Vault's: the tests of this process share it, and so its issuer.
pub(super) const PLACE: &str = "/v1/identity/oidc";
const OPERATORS: &str = "operators";

/// A person whom Vault knows, and what it signs for them.
pub(crate) struct Person {
    pub(super) vault: &'static VaultServer,
    /// The role and the key, of one name.
    role: String,
    entity: String,
    login: String,
}

impl Person {
    /// Somebody new, whose tokens are for `audience` and hold `claims` too; in the group `operators`.
    pub(crate) async fn new(audience: &str, claims: &str) -> Self {
        let vault = VaultServer::shared().unwrap();
        let role = vault.name("person");
        let name = |kind: &str| format!("identity/oidc/{kind}/{role}");
        vault.write("identity/oidc/config", &json!({"issuer": vault.address()})).unwrap();
        let key = json!({"allowed_client_ids": ["*"], "algorithm": "ES256"});
        vault.write(&name("key"), &key).unwrap();
        let template = format!("{{\"groups\": {{{{identity.entity.groups.names}}}}{claims}}}");
        let body = json!({"key": role, "ttl": "10m", "client_id": audience, "template": template});
        vault.write(&name("role"), &body).unwrap();
        let rules = format!("path \"{}\" {{ capabilities = [\"read\"] }}", name("token"));
        vault.make_policy(&role, &rules).unwrap();
        let (role_id, secret_id) =
            vault.make_approle(&role, &json!({"token_policies": [role]})).unwrap();
        let body = json!({"role_id": role_id, "secret_id": secret_id});
        let given = vault.write("auth/approle/login", &body).unwrap();
        let text = |pointer: &str| given.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let (entity, login) = (text("/auth/entity_id"), text("/auth/client_token"));
        let group = json!({"name": format!("{OPERATORS}-{role}"), "member_entity_ids": [entity]});
        vault.write("identity/group", &group).unwrap();
        Self { vault, role, entity, login }
    }

    /// A token that Vault signs now.
    pub(crate) async fn token(&self) -> String {
        let address = format!("{}{PLACE}/token/{}", self.vault.address(), self.role);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(address).header("x-vault-token", &self.login).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["data"]["token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    pub(crate) fn caller(&self) -> String {
        format!("staff:{}", self.entity)
    }

    pub(super) fn group(&self) -> String {
        format!("staff:{OPERATORS}-{}", self.role)
    }

    /// Has Vault forget the key, which then is no longer among those that it publishes.
    pub(super) fn revoke_key(&self) {
        for kind in ["role", "key"] {
            let path = format!("identity/oidc/{kind}/{}", self.role);
            let (status, answer) = self.vault.ask("DELETE", &path, None).unwrap();
            assert!((200..300).contains(&status), "{answer}");
        }
    }

    /// The section that has a sidecar believe this person's issuer.
    pub(crate) fn identity(&self) -> String {
        staff(&issuer(self.vault))
    }
}

/// Vault as the issuer of people `staff:...`.
pub(super) fn staff(issuer: &str) -> String {
    format!("[[identity.oidc]]\nname = \"staff\"\nissuer = \"{issuer}\"\naudience = \"keypod\"")
}

pub(super) fn issuer(vault: &VaultServer) -> String {
    format!("{}{PLACE}", vault.address())
}
