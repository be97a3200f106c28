//! Hashes of the audit log in JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::{self, SecretText};
use crate::envelope::Context;
use crate::service::{AuditHashes, AuditQuestion};

/// `POST /v1/audit/hash`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AuditHashRequest<'a> {
    /// The `subject` of a context. This or `context`.
    #[serde(borrow, default, deserialize_with = "fields::present_secret")]
    #[schema(value_type = String, required = false, max_length = 1024)]
    subject: Option<SecretText<'a>>,
    /// A whole context. This or `subject`.
    #[serde(default, deserialize_with = "fields::present_context")]
    #[schema(schema_with = fields::context_schema, required = false)]
    context: Option<Context>,
}

impl AuditHashRequest<'_> {
    /// The one that is asked about.
    pub(in crate::http) fn question(&self) -> Result<AuditQuestion<'_>, &'static str> {
        match (&self.subject, &self.context) {
            (Some(subject), None) => Ok(AuditQuestion::Subject(subject.as_str())),
            (None, Some(context)) => Ok(AuditQuestion::Context(context)),
            _ => Err("give one of `subject` and `context`"),
        }
    }
}

/// The answer to `POST /v1/audit/hash`.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct AuditHashesView {
    /// As the log has them, `V:H`: one of each version of `keypod.audit` that may open, the newest first.
    hashes: Vec<String>,
    /// Versions that are disabled: what was hashed with them is not found. Left out if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    disabled: Option<Vec<u32>>,
}

impl AuditHashesView {
    pub(in crate::http) fn of(hashes: &AuditHashes) -> Self {
        let disabled: Vec<_> = hashes.disabled.iter().map(|version| version.number()).collect();
        Self {
            hashes: hashes.hashes.iter().map(ToString::to_string).collect(),
            disabled: (!disabled.is_empty()).then_some(disabled),
        }
    }
}
