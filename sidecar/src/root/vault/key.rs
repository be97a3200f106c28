//! How the transit key is set up, and whether it can be a root key.

use rustify::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use serde::{Deserialize, Serialize};
use vaultrs::api::transit::requests::ReadKeyRequest;

use super::failure::{CallError, Failure, KeyPlace, Refusal};

/// The kinds of transit keys that seal with associated data. The last is OpenBao's.
const AEAD_KINDS: [&str; 4] =
    ["aes256-gcm96", "aes128-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];

/// What `GET MOUNT/keys/KEY` says. Not the type of `vaultrs`, which takes no answer about a kind that it does not know.
#[derive(Debug, Deserialize)]
pub(super) struct KeyProperties {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    derived: bool,
    #[serde(default)]
    exportable: bool,
    #[serde(default)]
    allow_plaintext_backup: bool,
    #[serde(default)]
    deletion_allowed: bool,
    #[serde(default)]
    imported_key: bool,
}

/// The answer around them.
#[derive(Debug, Deserialize)]
pub(super) struct KeyAnswer {
    pub(super) data: KeyProperties,
}

/// What this process's token may do at some paths: `vaultrs` has no such endpoint. The default policy allows it.
pub(super) struct CapabilitiesSelf;

impl Endpoint for CapabilitiesSelf {
    type Response = Capabilities;
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        "sys/capabilities-self".to_owned()
    }

    fn method(&self) -> RequestMethod {
        RequestMethod::POST
    }
}

/// Which paths are asked about.
#[derive(Serialize)]
pub(super) struct CapabilitiesBody {
    pub(super) paths: [String; 1],
}

/// What is allowed at the one path.
#[derive(Debug, Deserialize)]
pub(super) struct Capabilities {
    capabilities: Vec<String>,
}

impl KeyPlace {
    /// Where it is asked what may be done by wrapping.
    pub(super) fn capabilities_body(&self) -> CapabilitiesBody {
        CapabilitiesBody { paths: [format!("{}/encrypt/{}", self.mount, self.key)] }
    }

    /// What an operator should know of a token that may do this.
    pub(super) fn judge_capabilities(&self, found: &Capabilities) -> Option<String> {
        let key = &self.key;
        let too_much = ["create", "root", "sudo"];
        let more = found.capabilities.iter().any(|found| too_much.contains(&found.as_str()));
        more.then(|| {
            format!(
                "the token may do more than it needs: if {key} were deleted, wrapping would make another key of that name; leave {} and nothing else",
                self.policy()
            )
        })
    }

    /// Where its properties are.
    pub(super) fn read_request(&self) -> ReadKeyRequest {
        ReadKeyRequest { mount: self.mount.clone(), name: self.key.clone() }
    }

    /// Why there are no properties: the key is not there, or the mount is not, or `None`: they may not be read.
    pub(super) fn unread(&self, error: CallError) -> Option<Failure> {
        match error {
            CallError::Failed(failure) => Some(failure),
            CallError::Refused(Refusal { status: 403, .. }) => None,
            CallError::Refused(Refusal { status: 404, said }) if !is_about_routes(&said) => {
                let said = "encryption key not found".to_owned();
                Some(self.judge(Refusal { status: 404, said }))
            }
            CallError::Refused(refusal) => Some(self.judge(refusal)),
        }
    }

    /// What an operator should know of a key with these properties.
    pub(super) fn judge_properties(&self, key: &KeyProperties) -> Result<Vec<String>, Failure> {
        let unusable = |is: &str| Err(Failure::Unusable { reason: self.new_key(is) });
        let exposed = |is: &str| Err(Failure::Exposed { reason: self.new_key(is) });
        if !AEAD_KINDS.contains(&key.kind.as_str()) {
            return unusable("is of a kind that takes no associated data");
        }
        if key.derived {
            return unusable("is derived");
        }
        if key.exportable {
            return exposed("is exportable, so the root key can leave Vault");
        }
        if key.allow_plaintext_backup {
            return exposed("allows plaintext backups, so the root key can leave Vault");
        }
        let Self { mount, key: name } = self;
        let mut notes = Vec::new();
        if key.deletion_allowed {
            notes.push(format!(
                "the key {name} may be deleted, and everything under it with it: vault write {mount}/keys/{name}/config deletion_allowed=false"
            ));
        }
        if key.imported_key {
            notes
                .push(format!("the key {name} was imported: there are copies of it outside Vault"));
        }
        Ok(notes)
    }
}

fn is_about_routes(said: &str) -> bool {
    ["no handler for route", "unsupported path", "route entry not found"]
        .iter()
        .any(|part| said.contains(part))
}
