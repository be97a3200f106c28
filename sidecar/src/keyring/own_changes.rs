//! What the keyring changes by itself, because a period, a limit or a delay says so: recorded before and after, as what a
//! caller asks for is.

use std::future::Future;

use serde_json::json;

use super::{Keyring, KeyringError};
use crate::audit::{Audit, Outcome};
use crate::error_chain::error_chain;
use crate::names::{KeyId, KeyName, KeyVersion};
use crate::store::VersionState;

/// Why it changes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The rotation period has passed.
    Period,
    /// A caller asked for the rotation of what is due, and this was.
    DueWhenAsked,
    /// A version has sealed as much as it may.
    UsageLimit,
    /// No version of the audit log's own key is enabled.
    NoneEnabled,
    /// `destroy_delay` has passed.
    DestroyDelay,
}

impl Cause {
    /// What it does to the key, as the audit log says it.
    const fn operation(self) -> &'static str {
        match self {
            Self::Period | Self::DueWhenAsked | Self::UsageLimit | Self::NoneEnabled => "rotate",
            Self::DestroyDelay => "destroy",
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Period => "period",
            Self::DueWhenAsked => "due_when_asked",
            Self::UsageLimit => "usage_limit",
            Self::NoneEnabled => "none_enabled",
            Self::DestroyDelay => "destroy_delay",
        }
    }
}

/// One change of one version.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnChange<'a> {
    pub(super) cause: Cause,
    pub(super) key: &'a KeyName,
    pub(super) id: KeyId,
    /// The version that is made or destroyed.
    pub(super) version: KeyVersion,
}

impl Keyring {
    /// Has what the keyring changes by itself recorded in `audit` from now on. The first is kept.
    pub fn record_in(&self, audit: Audit) {
        let _ = self.0.recorded_in.set(audit);
    }

    /// Makes `change` with an entry before it and one after. What cannot be recorded is not begun; before
    /// [`Self::record_in`] there is no log.
    pub(super) async fn recorded<T>(
        &self,
        own: OwnChange<'_>,
        change: impl Future<Output = Result<T, KeyringError>>,
    ) -> Result<T, KeyringError> {
        let Some(audit) = self.0.recorded_in.get() else { return change.await };
        let (operation, cause) = (own.cause.operation(), own.cause.as_str());
        let id = own.id.to_string();
        let detail = json!({ "cause": cause, "key_id": id });
        let begun = audit.record_change(operation, Outcome::Begun, own.key, own.version, &detail);
        begun.await.map_err(KeyringError::NotRecorded)?;
        let changed = change.await;
        let (outcome, detail) = match (&changed, own.cause) {
            (Ok(_), Cause::DestroyDelay) => {
                let state = VersionState::Destroyed.as_str();
                (Outcome::Ok, json!({ "cause": cause, "key_id": id, "state": state }))
            }
            (Ok(_), _) => (Outcome::Ok, detail),
            (Err(error), _) => {
                let error = error_chain(error);
                (Outcome::Failed, json!({ "cause": cause, "key_id": id, "error": error }))
            }
        };
        let ended = audit.record_change(operation, outcome, own.key, own.version, &detail);
        if let Err(error) = ended.await {
            let error = error_chain(&error);
            tracing::error!(key = %own.key, version = %own.version, error, "the audit log does not say how a change ended");
        }
        changed
    }
}
