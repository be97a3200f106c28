//! The JSON of the API: what comes in and goes out, and its schemas. One set of types serves and describes.
//!
//! Every request type refuses unknown fields. Texts that may hold plaintext borrow from the body where they can
//! and wipe themselves where they cannot.

mod audit;
mod emergency;
mod fields;

pub(super) use audit::{AuditHashRequest, AuditHashesView};
pub(super) use emergency::{EmergencyList, EmergencyRequest, EmergencyView};
pub(super) use fields::{
    Base64Text, CiphertextText, Items, OWN_KEY_NAME, Object, SecretText, is_own_text,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ItemError;
use crate::envelope::Context;
use crate::keyring::NewKey;
use crate::names::{KeyName, KeyVersion};
use crate::store::{Approval, KeyRecord, Usage, VersionRecord, VersionState};

/// `POST /v1/encrypt`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EncryptRequest<'a> {
    /// The name of the key.
    #[serde(deserialize_with = "fields::key_name")]
    #[schema(schema_with = fields::own_key_name_schema)]
    pub(super) key: KeyName,
    /// The plaintext, in standard base64 with padding.
    #[serde(borrow)]
    #[schema(schema_with = fields::base64_schema)]
    pub(super) plaintext: SecretText<'a>,
    /// What the ciphertext is bound to: who decrypts must give the same.
    #[serde(default)]
    #[schema(schema_with = fields::context_schema)]
    pub(super) context: Context,
}

/// The answer to `POST /v1/encrypt` and `POST /v1/rewrap`.
#[derive(Serialize, ToSchema)]
pub(super) struct Encrypted<'a> {
    /// The ciphertext in text form.
    #[schema(schema_with = fields::ciphertext_schema)]
    pub(super) ciphertext: CiphertextText<'a>,
    /// The name of the key.
    pub(super) key: &'a str,
    /// The version that sealed it.
    pub(super) key_version: u32,
}

/// `POST /v1/decrypt`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DecryptRequest<'a> {
    /// The ciphertext in text form.
    #[serde(borrow)]
    #[schema(schema_with = fields::ciphertext_schema)]
    pub(super) ciphertext: SecretText<'a>,
    /// The context that it was encrypted with.
    #[serde(default)]
    #[schema(schema_with = fields::context_schema)]
    pub(super) context: Context,
}

/// The answer to `POST /v1/decrypt`.
#[derive(Serialize, ToSchema)]
pub(super) struct Decrypted<'a> {
    /// The plaintext, in standard base64 with padding.
    #[schema(schema_with = fields::base64_schema)]
    pub(super) plaintext: Base64Text<'a>,
    /// The name of the key.
    pub(super) key: &'a str,
    /// The version that opened it.
    pub(super) key_version: u32,
    /// Whether a newer version would seal it today.
    pub(super) rewrap_recommended: bool,
}

/// `POST /v1/rewrap`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RewrapRequest<'a> {
    /// The ciphertext in text form.
    #[serde(borrow)]
    #[schema(schema_with = fields::ciphertext_schema)]
    pub(super) ciphertext: SecretText<'a>,
    /// The context that it was encrypted with.
    #[serde(default)]
    #[schema(schema_with = fields::context_schema)]
    pub(super) context: Context,
    /// The context to bind it to from now on; left out, the same again.
    #[serde(default, deserialize_with = "fields::present_context")]
    #[schema(schema_with = fields::context_schema, required = false)]
    pub(super) new_context: Option<Context>,
}

/// `POST /v1/encrypt/batch`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EncryptBatchRequest<'a> {
    /// The name of the key.
    #[serde(deserialize_with = "fields::key_name")]
    #[schema(schema_with = fields::own_key_name_schema)]
    pub(super) key: KeyName,
    /// What every item is bound to.
    #[serde(default)]
    #[schema(schema_with = fields::context_schema)]
    pub(super) context: Context,
    /// The items.
    #[serde(borrow)]
    #[schema(value_type = Vec<EncryptBatchItem<'a>>)]
    pub(super) items: Items<EncryptBatchItem<'a>>,
}

/// One plaintext of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EncryptBatchItem<'a> {
    /// The plaintext, in standard base64 with padding.
    #[serde(borrow)]
    #[schema(schema_with = fields::item_base64_schema)]
    pub(super) plaintext: SecretText<'a>,
    /// Adds to the batch's; a name in both is refused.
    #[serde(default)]
    #[schema(schema_with = fields::context_schema)]
    pub(super) context: Context,
    /// Comes back with the item.
    #[serde(default, deserialize_with = "fields::present_text")]
    #[schema(required = false, nullable = false)]
    pub(super) reference: Option<String>,
}

/// `POST /v1/decrypt/batch`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DecryptBatchRequest<'a> {
    /// What every item was encrypted with.
    #[serde(default)]
    #[schema(schema_with = fields::context_schema)]
    pub(super) context: Context,
    /// The items.
    #[serde(borrow)]
    #[schema(value_type = Vec<DecryptBatchItem<'a>>)]
    pub(super) items: Items<DecryptBatchItem<'a>>,
}

/// One ciphertext of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DecryptBatchItem<'a> {
    /// The ciphertext in text form.
    #[serde(borrow)]
    #[schema(schema_with = fields::item_ciphertext_schema)]
    pub(super) ciphertext: SecretText<'a>,
    /// Adds to the batch's; a name in both is refused.
    #[serde(default)]
    #[schema(schema_with = fields::context_schema)]
    pub(super) context: Context,
    /// Comes back with the item.
    #[serde(default, deserialize_with = "fields::present_text")]
    #[schema(required = false, nullable = false)]
    pub(super) reference: Option<String>,
}

/// `POST /v1/rewrap/batch`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RewrapBatchRequest<'a> {
    /// What every item was encrypted with.
    #[serde(default)]
    #[schema(schema_with = fields::context_schema)]
    pub(super) context: Context,
    /// The items.
    #[serde(borrow)]
    #[schema(value_type = Vec<RewrapBatchItem<'a>>)]
    pub(super) items: Items<RewrapBatchItem<'a>>,
}

/// One ciphertext of a batch to rewrap.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RewrapBatchItem<'a> {
    /// The ciphertext in text form.
    #[serde(borrow)]
    #[schema(schema_with = fields::item_ciphertext_schema)]
    pub(super) ciphertext: SecretText<'a>,
    /// Adds to the batch's; a name in both is refused.
    #[serde(default)]
    #[schema(schema_with = fields::context_schema)]
    pub(super) context: Context,
    /// The whole context to bind it to from now on; left out, the same again.
    #[serde(default, deserialize_with = "fields::present_context")]
    #[schema(schema_with = fields::context_schema, required = false)]
    pub(super) new_context: Option<Context>,
    /// Comes back with the item.
    #[serde(default, deserialize_with = "fields::present_text")]
    #[schema(required = false, nullable = false)]
    pub(super) reference: Option<String>,
}

/// The answer to `POST /v1/encrypt/batch` and `POST /v1/rewrap/batch`: in the order of the request.
#[derive(Serialize, ToSchema)]
pub(super) struct EncryptedBatch<'a> {
    pub(super) items: Vec<EncryptedItem<'a>>,
}

/// The answer to `POST /v1/decrypt/batch`: in the order of the request.
#[derive(Serialize, ToSchema)]
pub(super) struct DecryptedBatch<'a> {
    pub(super) items: Vec<DecryptedItem<'a>>,
}

/// One item of an answer: the ciphertext, or what is wrong.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum EncryptedItem<'a> {
    Sealed {
        /// The ciphertext in text form.
        #[schema(schema_with = fields::ciphertext_schema)]
        ciphertext: CiphertextText<'a>,
        /// The version that sealed it.
        key_version: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        reference: Option<String>,
    },
    Failed {
        error: ItemError,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        reference: Option<String>,
    },
}

/// One item of an answer: the plaintext, or what is wrong.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum DecryptedItem<'a> {
    Opened {
        /// The plaintext, in standard base64 with padding.
        #[schema(schema_with = fields::base64_schema)]
        plaintext: Base64Text<'a>,
        /// The name of the key.
        key: &'a str,
        /// The version that opened it.
        key_version: u32,
        /// Whether a newer version would seal it today.
        rewrap_recommended: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        reference: Option<String>,
    },
    Failed {
        error: ItemError,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        reference: Option<String>,
    },
}

/// `POST /v1/keys`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateKeyRequest {
    /// The name: unique.
    #[serde(deserialize_with = "fields::key_name")]
    #[schema(schema_with = fields::own_key_name_schema)]
    pub(super) name: KeyName,
    /// Whether subjects can be erased. Not served yet: only `false` is taken.
    #[serde(default)]
    #[schema(schema_with = fields::only_false_schema, required = false)]
    pub(super) erasable: bool,
    /// Seconds after which the next version is made by itself: at least 60.
    #[serde(default, deserialize_with = "fields::whole_number")]
    #[schema(minimum = 60, maximum = 3_155_760_000_u64)]
    pub(super) rotation_period_s: Option<u64>,
    /// Messages that one version may seal.
    #[serde(default, deserialize_with = "fields::whole_number")]
    #[schema(minimum = 1, maximum = 4_294_967_296_u64)]
    pub(super) messages_max: Option<u64>,
    /// Plaintext bytes that one version may seal.
    #[serde(default, deserialize_with = "fields::whole_number")]
    #[schema(minimum = 1, maximum = 1_125_899_906_842_624_u64)]
    pub(super) bytes_max: Option<u64>,
}

impl CreateKeyRequest {
    /// The settings, if they are within the limits.
    pub(super) fn settings(&self) -> Result<NewKey, &'static str> {
        let within = |value: Option<u64>, least: u64, most: u64| {
            value.is_none_or(|value| (least..=most).contains(&value))
        };
        if self.erasable {
            return Err("`erasable` keys are not served by this version: leave it out or false");
        }
        if !within(self.rotation_period_s, 60, 3_155_760_000) {
            return Err("`rotation_period_s` is from 60 seconds to a hundred years");
        }
        if !within(self.messages_max, 1, 1 << 32) {
            return Err("`messages_max` is from 1 to 4294967296");
        }
        if !within(self.bytes_max, 1, 1 << 50) {
            return Err("`bytes_max` is from 1 to 1125899906842624");
        }
        Ok(NewKey {
            rotation_period_s: self.rotation_period_s,
            messages_max: self.messages_max,
            bytes_max: self.bytes_max,
        })
    }
}

/// `POST /v1/rotate`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateRequest {
    /// The name of the key.
    #[serde(deserialize_with = "fields::key_name")]
    #[schema(schema_with = fields::key_name_schema)]
    pub(super) key: KeyName,
    /// Whether to rotate it too if its newest version is disabled or destroyed, so that the key encrypts again.
    #[serde(default)]
    pub(super) in_any_state: bool,
}

/// The answer to `POST /v1/rotate/due`.
#[derive(Serialize, ToSchema)]
pub(super) struct RotatedDue {
    /// Every key whose rotation was due, by name.
    pub(super) rotations: Vec<RotationView>,
}

/// What became of a key whose rotation was due.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum RotationView {
    Rotated {
        /// The name of the key.
        key: String,
        /// The new version.
        key_version: u32,
        /// Why it was due: `period`, or `dated_in_future` where the age of the version before is not known.
        due: &'static str,
    },
    Failed {
        /// The name of the key.
        key: String,
        error: ItemError,
    },
}

/// The answer to `POST /v1/rotate`.
#[derive(Serialize, ToSchema)]
pub(super) struct Rotated<'a> {
    /// The name of the key.
    pub(super) key: &'a str,
    /// The new version.
    pub(super) key_version: u32,
}

/// `POST /v1/keys/NAME/versions/N/state`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StateRequest {
    /// What the version may be used for from now on.
    #[serde(deserialize_with = "fields::state")]
    #[schema(schema_with = fields::state_schema)]
    pub(super) state: VersionState,
}

/// `POST /v1/keys/NAME/versions/N/destroy`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DestroyRequest {
    /// `NAME/N` again: what is to be destroyed.
    pub(super) confirm: String,
}

/// A key, without its bytes.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyView {
    pub(super) name: String,
    /// 16 hexadecimal digits, as in every ciphertext's header.
    pub(super) id: String,
    /// RFC 3339, UTC.
    pub(super) created_at: String,
    pub(super) erasable: bool,
    /// The version that encrypts.
    pub(super) primary_version: u32,
    pub(super) rotation_period_s: Option<u64>,
    pub(super) messages_max: u64,
    pub(super) bytes_max: u64,
    pub(super) versions: Vec<VersionView>,
}

/// A key version, without its bytes.
#[derive(Serialize, ToSchema)]
pub(super) struct VersionView {
    pub(super) version: u32,
    /// `enabled`, `decrypt_only`, `disabled` or `destroyed`.
    pub(super) state: &'static str,
    /// RFC 3339, UTC.
    pub(super) created_at: String,
    /// When a requested destruction becomes final.
    pub(super) destroy_at: Option<String>,
    /// The roots that can unwrap it.
    pub(super) wrapped_by: Vec<String>,
    /// Messages sealed: never fewer than were.
    pub(super) messages_used: u64,
    /// Plaintext bytes sealed: never fewer than were.
    pub(super) bytes_used: u64,
}

/// `GET /v1/keys`
#[derive(Serialize, ToSchema)]
pub(super) struct KeyList {
    pub(super) keys: Vec<KeyView>,
}

impl KeyView {
    /// `record` as the API shows it; `used` counts what a version has used.
    pub(super) fn of(record: &KeyRecord, used: impl Fn(&KeyRecord, KeyVersion) -> Usage) -> Self {
        let versions = record.versions.iter();
        let versions = versions
            .map(|version| VersionView::of(version, used(record, version.version)))
            .collect();
        Self {
            name: record.name.to_string(),
            id: record.id.to_string(),
            created_at: record.created_at.to_string(),
            erasable: false,
            primary_version: record.primary.number(),
            rotation_period_s: record.settings.rotation_period_s,
            messages_max: record.settings.messages_max,
            bytes_max: record.settings.bytes_max,
            versions,
        }
    }
}

impl VersionView {
    fn of(record: &VersionRecord, used: Usage) -> Self {
        Self {
            version: record.version.number(),
            state: record.state.as_str(),
            created_at: record.created_at.to_string(),
            destroy_at: record.destroy_at.map(|at| at.to_string()),
            wrapped_by: record.wrappings.iter().map(|wrapping| wrapping.root.to_string()).collect(),
            messages_used: used.messages,
            bytes_used: used.bytes,
        }
    }
}

/// 202: a second person must approve.
#[derive(Serialize, ToSchema)]
pub(super) struct Waits<'a> {
    /// For `POST /v1/approvals/ID`.
    pub(super) approval: &'a str,
    /// RFC 3339, UTC.
    pub(super) expires_at: String,
}

/// `GET /v1/approvals`
#[derive(Serialize, ToSchema)]
pub(super) struct ApprovalList {
    pub(super) approvals: Vec<ApprovalView>,
}

/// A destruction that waits for a second person.
#[derive(Serialize, ToSchema)]
pub(super) struct ApprovalView {
    /// For `POST /v1/approvals/ID`.
    pub(super) approval: String,
    pub(super) action: &'static str,
    pub(super) key: String,
    pub(super) key_version: u32,
    pub(super) requested_by: String,
    /// RFC 3339, UTC.
    pub(super) requested_at: String,
    /// RFC 3339, UTC.
    pub(super) expires_at: String,
}

impl ApprovalView {
    pub(super) fn of(approval: &Approval, key: &KeyName) -> Self {
        Self {
            approval: approval.id.clone(),
            action: "destroy",
            key: key.to_string(),
            key_version: approval.key.version.number(),
            requested_by: approval.requested_by.to_string(),
            requested_at: approval.requested_at.to_string(),
            expires_at: approval.expires_at.to_string(),
        }
    }
}
