//! What one operation, or one item of a batch, was about.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::hash::{AuditHash, CiphertextHash};
use crate::names::{KeyName, KeyVersion};

/// Policies that an entry names at most: there are more only in a set that nobody could read.
const POLICIES_MAX: usize = 16;
/// Bytes of a policy's id that an entry shows.
const POLICY_BYTES_MAX: usize = 128;

/// The ciphertext that a rewrap moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Moved {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_number")]
    pub(super) version: Option<KeyVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ciphertext: Option<CiphertextHash>,
}

/// What is known of an operation or an item. What is not known, or does not apply, is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Facts {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub(super) key: Option<KeyName>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_number")]
    pub(super) version: Option<KeyVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<AuditHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<AuditHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ciphertext: Option<CiphertextHash>,
    /// Of a rewrap: what was moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Moved>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new_subject: Option<AuditHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new_context: Option<AuditHash>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_ids")]
    pub(super) policies: Option<Arc<[Arc<str>]>>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) emergency: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) approved: bool,
}

impl Facts {
    /// Takes out of all `items` what is the same in each, so that an entry says it once.
    pub(super) fn in_common<'a>(items: impl Iterator<Item = &'a mut Self>) -> Self {
        let mut items: Vec<_> = items.collect();
        let Some(first) = items.first().map(|first| (**first).clone()) else {
            return Self::default();
        };
        let mut common = Self::default();
        macro_rules! hoist {
            ($($field:ident),*) => {$(
                if items.iter().all(|item| item.$field == first.$field) {
                    common.$field = first.$field.clone();
                    items.iter_mut().for_each(|item| item.$field = Default::default());
                }
            )*};
        }
        // Whoever looks for emergencies looks at the whole.
        common.emergency = items.iter().any(|item| item.emergency);
        hoist!(key, version, subject, context, new_subject, new_context, policies, approved);
        common
    }

    /// What it says, and where it says nothing, what `other` does.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            key: self.key.or(other.key),
            version: self.version.or(other.version),
            bytes: self.bytes.or(other.bytes),
            subject: self.subject.or(other.subject),
            context: self.context.or(other.context),
            ciphertext: self.ciphertext.or(other.ciphertext),
            from: self.from.or(other.from),
            new_subject: self.new_subject.or(other.new_subject),
            new_context: self.new_context.or(other.new_context),
            policies: self.policies.or(other.policies),
            emergency: self.emergency || other.emergency,
            approved: self.approved || other.approved,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::ref_option, reason = "as serde wants it")]
fn as_text<S: Serializer>(name: &Option<KeyName>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_ref().map_or("", KeyName::as_str))
}

#[allow(clippy::ref_option, reason = "as serde wants it")]
fn as_number<S: Serializer>(version: &Option<KeyVersion>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u32(version.map_or(0, KeyVersion::number))
}

#[allow(clippy::ref_option, reason = "as serde wants it")]
fn as_ids<S: Serializer>(ids: &Option<Arc<[Arc<str>]>>, serializer: S) -> Result<S::Ok, S::Error> {
    let ids = ids.as_deref().unwrap_or_default();
    let shown = ids.iter().take(POLICIES_MAX);
    serializer.collect_seq(shown.map(|id| id.get(..id.floor_char_boundary(POLICY_BYTES_MAX))))
}
