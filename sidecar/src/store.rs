//! Keeps the rows: keys, their versions, wrapped secrets, usage counters, approvals.
//!
//! Depends on [`crate::names`], [`crate::secret::WrappedKey`] and [`crate::clock::UnixSeconds`]. Rows are
//! useless without the root. Every change is insert-if-absent or compare-and-swap on a revision, so that two
//! writers never overwrite each other unseen. One conformance suite (`store/conformance.rs`) runs over every
//! store.

pub mod copy;
mod fault;
pub mod postgres;
mod rows;
mod rules;
pub mod sqlite;

#[cfg(test)]
pub(crate) mod conformance;

use std::fmt;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::clock::UnixSeconds;
use crate::names::{CallerName, KeyId, KeyName, KeyRef, KeyVersion, RootName};
use crate::secret::WrappedKey;

/// The four states of a key version (NIST SP 800-57 part 1, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Encrypts, if it is the primary version, and decrypts.
    Enabled,
    /// Decrypts only.
    DecryptOnly,
    /// Does neither, until it is enabled again.
    Disabled,
    /// Its wrapped secret is gone, for good.
    Destroyed,
}

impl VersionState {
    /// `enabled`, `decrypt_only`, `disabled` or `destroyed`: as in API.md and in the rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::DecryptOnly => "decrypt_only",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        }
    }

    /// The state with this spelling.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Enabled, Self::DecryptOnly, Self::Disabled, Self::Destroyed]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A version's secret under one root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapping {
    /// Which root wrapped it.
    pub root: RootName,
    /// The wrapped bytes.
    pub wrapped: WrappedKey,
}

/// One key version as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRecord {
    /// Its number.
    pub version: KeyVersion,
    /// What it may be used for.
    pub state: VersionState,
    /// When it was made.
    pub created_at: UnixSeconds,
    /// When a requested destruction becomes final; `None` if none is under way.
    pub destroy_at: Option<UnixSeconds>,
    /// Its secret under each root; empty once destroyed.
    pub wrappings: Vec<Wrapping>,
    /// Messages handed out for sealing so far: never fewer than were sealed.
    pub messages_used: u64,
    /// Plaintext bytes handed out for sealing so far: never fewer than were sealed.
    pub bytes_used: u64,
    /// Grows with every change of state or wrappings: what compare-and-swap compares. Usage does not move it.
    pub revision: u64,
}

/// A key's settings, chosen when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// How long a version stays primary before the sidecar makes the next, in seconds; `None`: by request only.
    pub rotation_period_s: Option<u64>,
    /// Messages that one version may seal.
    pub messages_max: u64,
    /// Plaintext bytes that one version may seal.
    pub bytes_max: u64,
}

/// One key with all its versions, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its random id.
    pub id: KeyId,
    /// Its name: unique.
    pub name: KeyName,
    /// When it was made.
    pub created_at: UnixSeconds,
    /// Its settings.
    pub settings: KeySettings,
    /// The version that encrypts: the highest one.
    pub primary: KeyVersion,
    /// All versions, ascending.
    pub versions: Vec<VersionRecord>,
}

impl KeyRecord {
    /// The record of one version.
    #[must_use]
    pub fn version(&self, version: KeyVersion) -> Option<&VersionRecord> {
        self.versions.iter().find(|record| record.version == version)
    }
}

/// A change to one version, applied whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionChange {
    /// Sets the state and clears nothing else. Never to [`VersionState::Destroyed`]: that is
    /// [`StoreError::Invalid`].
    State(VersionState),
    /// Disables the version and notes when its destruction becomes final.
    ScheduleDestroy(UnixSeconds),
    /// Takes the destruction back; the version stays disabled.
    CancelDestroy,
    /// Destroys it now: state destroyed, every wrapping deleted, no destruction under way any more.
    Destroy,
    /// Replaces its wrappings, by at least one.
    Wrappings(Vec<Wrapping>),
}

/// How much use was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Messages.
    pub messages: u64,
    /// Plaintext bytes.
    pub bytes: u64,
}

/// A request to destroy a key version that waits for a second person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Its random id, 32 hexadecimal digits.
    pub id: String,
    /// What is to be destroyed.
    pub key: KeyRef,
    /// Who asked.
    pub requested_by: CallerName,
    /// When they asked.
    pub requested_at: UnixSeconds,
    /// Until when a second person may approve.
    pub expires_at: UnixSeconds,
}

/// What another writer did to the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreEvent {
    /// This key is new, or its primary version, a state or a wrapping changed.
    Changed(KeyId),
    /// The watch began, or was broken and began again: what happened before is not known, so every row that is
    /// kept in memory is to be read again.
    Resumed,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be reached, is locked by somebody else for too long, or its disk is full.
    #[error("the key store cannot be used: {reason}")]
    Unavailable {
        /// What went wrong, in words for an operator.
        reason: String,
    },
    /// There is a key or row of that name already.
    #[error("there is one already")]
    Exists,
    /// There is no such row.
    #[error("there is no such row")]
    Missing,
    /// Somebody else changed the row since it was read.
    #[error("the row has changed since it was read")]
    Conflict,
    /// The row breaks a rule of the contract, so it was not stored: a mistake of the caller, not of the store.
    #[error("the row cannot be stored: {what}")]
    Invalid {
        /// Which rule.
        what: &'static str,
    },
    /// What it holds is damaged, or not Keypod's.
    #[error("the key store is damaged or is not Keypod's: {reason}")]
    Corrupt {
        /// What was found, and what to do.
        reason: String,
    },
    /// Another sidecar has it open.
    #[error("{reason}")]
    InUse {
        /// Who has it, and what to do.
        reason: String,
    },
}

/// A place for the rows. Every method is one transaction; what it returns is on disk.
///
/// Times, counts and settings above 2^63 - 1, which SQL cannot hold, are [`StoreError::Invalid`].
#[async_trait]
pub trait KeyStore: Send + Sync + fmt::Debug {
    /// Adds a key with its first version. [`StoreError::Exists`] if the name or the id is taken;
    /// [`StoreError::Invalid`] unless its versions ascend and end with the primary one, and each has wrappings
    /// under distinct roots exactly if it is not destroyed.
    async fn insert_key(&self, key: &KeyRecord) -> Result<(), StoreError>;

    /// The key of this name.
    async fn key_by_name(&self, name: &KeyName) -> Result<Option<KeyRecord>, StoreError>;

    /// The key with this id.
    async fn key_by_id(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError>;

    /// All keys, by name, but those whose rows are damaged: they are logged, and in [`Self::damaged_keys`].
    async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError>;

    /// What [`Self::list_keys`] leaves out: for each damaged key, which it is and what is wrong with it. Empty for a
    /// sound store. Who copies the rows must ask, or would take a part for the whole.
    async fn damaged_keys(&self) -> Result<Vec<String>, StoreError>;

    /// Adds `version` and makes it primary, if `expected_primary` still is. Returns
    /// [`StoreError::Conflict`] if it is not, [`StoreError::Missing`] without the key, [`StoreError::Invalid`]
    /// unless `version` is the one after `expected_primary`.
    async fn insert_version(
        &self,
        key: KeyId,
        expected_primary: KeyVersion,
        version: &VersionRecord,
    ) -> Result<(), StoreError>;

    /// Applies `change` if the version's revision is still `expected_revision`, and raises the revision by one.
    /// [`StoreError::Conflict`] if it is not; also for every change to a destroyed version, whatever the
    /// revision: nothing brings one back. [`StoreError::Missing`] without the version.
    ///
    /// What [`VersionChange::Destroy`] deletes is gone from what the store itself keeps, as far as it can tell:
    /// each store's own page says how far that is. No store reaches backups and snapshots made before.
    async fn update_version(
        &self,
        key: KeyRef,
        expected_revision: u64,
        change: &VersionChange,
    ) -> Result<(), StoreError>;

    /// Adds `block` to the version's usage, in one step and capped at `limit`, and returns what was granted:
    /// per counter `min(block, limit - used)`, possibly zero. Looks at the counters only, not at the state.
    async fn reserve_usage(
        &self,
        key: KeyRef,
        block: Usage,
        limit: Usage,
    ) -> Result<Usage, StoreError>;

    /// Gives back what was reserved and never used: at an orderly shutdown. Never below zero.
    async fn return_usage(&self, key: KeyRef, unused: Usage) -> Result<(), StoreError>;

    /// Notes that `approval` waits. [`StoreError::Exists`] if one waits for that version already and has not
    /// expired at `now`, or the id is taken; an expired one is replaced. At `expires_at` it has expired.
    /// [`StoreError::Missing`] without the version.
    async fn insert_approval(
        &self,
        approval: &Approval,
        now: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// The approvals that wait and have not expired at `now`, oldest first.
    async fn list_approvals(&self, now: UnixSeconds) -> Result<Vec<Approval>, StoreError>;

    /// Removes the approval and returns it, if it is there: two that take it at once cannot both have it. It may
    /// have expired: the caller looks.
    async fn take_approval(&self, id: &str) -> Result<Option<Approval>, StoreError>;

    /// Whether several sidecars may have it open at once.
    fn is_shared(&self) -> bool {
        false
    }

    /// What other writers do from now on, for as long as the stream is held. A store with one writer has nothing to
    /// tell, and its stream ends at once. Events may come twice and never out of the blue; usage makes none. The
    /// stream mends itself when the store goes away, and ends when the store is closed.
    fn watch(&self) -> BoxStream<'static, StoreEvent> {
        futures_util::stream::empty().boxed()
    }

    /// Whether the store answers and can be written: for health.
    async fn check(&self) -> Result<(), StoreError>;

    /// What the store's server says the time is; `None` for a store that has no clock but this machine's.
    async fn time(&self) -> Result<Option<UnixSeconds>, StoreError> {
        Ok(None)
    }

    /// Flushes and closes; every later call fails with [`StoreError::Unavailable`].
    async fn close(&self);

    /// `sqlite` or `postgres`: for the log and `/v1/status`.
    fn kind(&self) -> &'static str;

    /// Where the rows are, in words for an operator: a file, a database at a host.
    fn place(&self) -> String;
}
