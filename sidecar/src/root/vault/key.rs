//! How the transit key is set up, and whether it can be a root key.

use std::collections::BTreeMap;

use rustify::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vaultrs::api::transit::requests::ReadKeyRequest;

use super::failure::{CallError, Failure, KeyPlace, Purpose, Refusal};

/// The kinds of transit keys that seal with associated data. The last is OpenBao's.
const AEAD_KINDS: [&str; 4] =
    ["aes256-gcm96", "aes128-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];

/// Those that sign as authorities do.
pub(super) const SIGNING_KINDS: [&str; 2] = ["ed25519", "ecdsa-p256"];

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
    /// By version: of a key that signs, an object with its public key; of any other, a time.
    #[serde(default)]
    keys: BTreeMap<String, Value>,
}

impl KeyProperties {
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// The public key of a version, as Vault spells it.
    pub(super) fn public_key(&self, version: &str) -> Option<&str> {
        self.keys.get(version)?.get("public_key")?.as_str()
    }
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
    /// Where it is asked what may be done by wrapping, or by signing.
    pub(super) fn capabilities_body(&self) -> CapabilitiesBody {
        let does = match self.purpose {
            Purpose::Wraps => "encrypt",
            Purpose::Signs => "sign",
        };
        CapabilitiesBody { paths: [format!("{}/{does}/{}", self.mount, self.key)] }
    }

    /// What an operator should know of a token that may do this.
    pub(super) fn judge_capabilities(&self, found: &Capabilities) -> Option<String> {
        let key = &self.key;
        let too_much = ["create", "root", "sudo"];
        let more = found.capabilities.iter().any(|found| too_much.contains(&found.as_str()));
        more.then(|| {
            let policy = self.policy();
            match self.purpose {
                Purpose::Wraps => format!(
                    "the token may do more than it needs: if {key} were deleted, wrapping would make another key of that name; leave {policy} and nothing else"
                ),
                Purpose::Signs => {
                    format!("the token may do more than it needs to sign with {key}: {policy}")
                }
            }
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
        let (kinds, unfit) = match self.purpose {
            Purpose::Wraps => (&AEAD_KINDS[..], "is of a kind that takes no associated data"),
            Purpose::Signs => (&SIGNING_KINDS[..], self.unfit()),
        };
        if !kinds.contains(&key.kind.as_str()) {
            return unusable(unfit);
        }
        if key.derived {
            return unusable("is derived");
        }
        if key.exportable {
            return exposed("is exportable, so it can leave Vault");
        }
        if key.allow_plaintext_backup {
            return exposed("allows plaintext backups, so it can leave Vault");
        }
        let Self { mount, key: name, .. } = self;
        let mut notes = Vec::new();
        if key.deletion_allowed && self.purpose == Purpose::Wraps {
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
