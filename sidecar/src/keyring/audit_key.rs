//! The key of the audit log's hashes: `keypod.audit`, which this module makes where there is none.
//!
//! Its newest enabled version is derived once and held in protected memory of its own: it serves for as long as the row
//! that was last read lets it, whatever store and root do, because an operation that failed for want of them is written
//! down too. A version that was disabled or destroyed is wiped when its row is read: by the store's news, or at the next
//! refresh. A rotation is followed as by any key, and while no root gives the new version, the one before serves on.
//!
//! Invariants, each with its test: many sidecars make one key (`many_sidecars_make_one_audit_key`); hashes are to be had
//! while store and root are away (`hashes_are_to_be_had_while_store_and_root_are_away`); a version that is taken away is
//! wiped (`a_hash_key_whose_version_is_taken_away_is_wiped`).

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::cache::{CachedKey, Purpose};
use super::maintenance::CONCURRENT_MAX;
use super::own_changes::Cause;
use super::{KeyLookup, Keyring, KeyringError, NewKey, check_state};
use crate::audit::AuditHashKey;
use crate::clock::Now;
use crate::names::{KeyName, KeyRef, KeyVersion};
use crate::store::{KeyRecord, VersionRecord, VersionState};

/// The hash key that is in use, and whose it is.
#[derive(Debug)]
pub(super) struct HeldHashKey {
    lookup: KeyLookup,
    held: Mutex<Option<(KeyRef, Arc<AuditHashKey>)>>,
    /// One at a time makes the key.
    making: tokio::sync::Mutex<()>,
}

impl Default for HeldHashKey {
    fn default() -> Self {
        let lookup = KeyLookup::Name(KeyName::audit());
        Self { lookup, held: Mutex::default(), making: tokio::sync::Mutex::default() }
    }
}

impl HeldHashKey {
    fn any(&self) -> Option<(KeyRef, Arc<AuditHashKey>)> {
        self.lock().clone()
    }

    fn of(&self, key_ref: KeyRef) -> Option<Arc<AuditHashKey>> {
        self.lock().as_ref().filter(|(held, _)| *held == key_ref).map(|(_, key)| Arc::clone(key))
    }

    fn hold(&self, key_ref: KeyRef, key: &Arc<AuditHashKey>) {
        *self.lock() = Some((key_ref, Arc::clone(key)));
    }

    pub(super) fn clear(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(KeyRef, Arc<AuditHashKey>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of every hash that can be in the log.
#[derive(Debug)]
pub struct AuditHashKeys {
    /// Of each version that may open, the newest first.
    pub keys: Vec<Arc<AuditHashKey>>,
    /// Versions that are disabled: what was hashed with them cannot be looked for until they are enabled again.
    pub disabled: Vec<KeyVersion>,
}

impl Keyring {
    /// What the audit log hashes with now: the newest enabled version of `keypod.audit`, which is made if it is not there,
    /// and followed by another one if none is enabled. In memory it is had at once, and from there without store or root.
    ///
    /// # Errors
    /// [`KeyringError`]: it was not in memory yet, and store or root cannot be reached; or its last version was disabled
    /// or destroyed, and no other can be made.
    pub async fn audit_hash_key(&self, now: Now) -> Result<Arc<AuditHashKey>, KeyringError> {
        let held = &self.0.audit;
        let key = match self.0.cache.key(&held.lookup) {
            Some(key) => {
                key.used.touch(now);
                key
            }
            None => match (self.audit_key(now).await, held.any()) {
                (Ok(key), _) => key,
                (Err(KeyringError::Store(_)), Some((_, in_memory))) => return Ok(in_memory),
                (Err(error), _) => return Err(error),
            },
        };
        if let Some(version) = newest_enabled(&key.record) {
            return self.hash_key_of(&key, version, now).await;
        }
        self.rotate_from(&key.record, Some(Cause::NoneEnabled), now).await?;
        let key = self.key_after_change(&held.lookup, now).await?;
        let version = newest_enabled(&key.record).ok_or(KeyringError::VersionDisabled)?;
        self.hash_key_of(&key, version, now).await
    }

    /// What hashes that are in the log may have been made with. Asks the store, and the root for what is not in memory.
    ///
    /// # Errors
    /// [`KeyringError`]: store or root cannot be reached.
    pub async fn audit_hash_keys(&self, now: Now) -> Result<AuditHashKeys, KeyringError> {
        let lookup = self.0.audit.lookup.clone();
        let key = match self.look_up(lookup, now.monotonic, now).await {
            Err(KeyringError::NoSuchKey) => self.audit_key(now).await?,
            other => other?,
        };
        let records = key.record.versions.iter().rev();
        let may_open = records
            .filter(|record| check_state(record.state, Purpose::Decrypt).is_ok())
            .map(|record| record.version);
        let may_open: Vec<_> = may_open.collect();
        let keys = stream::iter(may_open).map(|version| {
            let key = &key;
            async move {
                let version = self.version(key, version, Purpose::Decrypt, now).await?;
                let derived = AuditHashKey::derive(&self.0.arena, &version.data_key)?;
                Ok::<_, KeyringError>(Arc::new(derived))
            }
        });
        let keys = keys.buffered(CONCURRENT_MAX).try_collect().await?;
        let disabled = key.record.versions.iter();
        let disabled = disabled.filter(|record| record.state == VersionState::Disabled);
        Ok(AuditHashKeys { keys, disabled: disabled.map(|record| record.version).collect() })
    }

    /// The row of `keypod.audit`, which is made if there is none: of many that make it at once, one does.
    async fn audit_key(&self, now: Now) -> Result<Arc<CachedKey>, KeyringError> {
        let _one_at_a_time = self.0.audit.making.lock().await;
        let lookup = &self.0.audit.lookup;
        match self.look_up(lookup.clone(), now.monotonic, now).await {
            Err(KeyringError::NoSuchKey) => {}
            other => return other,
        }
        match self.make_key(&KeyName::audit(), NewKey::default(), now).await {
            // Another sidecar was first.
            Ok(_) | Err(KeyringError::KeyExists) => {}
            Err(error) => return Err(error),
        }
        self.key_after_change(lookup, now).await
    }

    /// The hash key of a version; while that is not in memory and an older one may still be used, the older one.
    async fn hash_key_of(
        &self,
        key: &CachedKey,
        record: &VersionRecord,
        now: Now,
    ) -> Result<Arc<AuditHashKey>, KeyringError> {
        let key_ref = KeyRef { id: key.record.id, version: record.version };
        if let Some(held) = self.0.audit.of(key_ref) {
            return Ok(held);
        }
        let in_memory = self.fresh(key_ref, Purpose::Decrypt, now);
        let version = match (in_memory, self.held_and_usable(&key.record)) {
            (Some(version), _) => version,
            (None, Some(older)) => {
                if self.0.setbacks.of(key_ref, record, now).is_none() {
                    self.begin_unwrap(key_ref, record, now);
                }
                return Ok(older);
            }
            (None, None) => self.version(key, record.version, Purpose::Encrypt, now).await?,
        };
        let derived = Arc::new(AuditHashKey::derive(&self.0.arena, &version.data_key)?);
        self.0.audit.hold(key_ref, &derived);
        Ok(derived)
    }

    /// The hash key in memory, if its version may still be used.
    fn held_and_usable(&self, record: &KeyRecord) -> Option<Arc<AuditHashKey>> {
        let (key_ref, key) = self.0.audit.any()?;
        may_use(record, key_ref).then_some(key)
    }

    /// Wipes the hash key in memory if its version may no longer be used.
    pub(super) fn forget_unusable_hash_key(&self) {
        let Some((key_ref, _)) = self.0.audit.any() else { return };
        let key = self.0.cache.key(&self.0.audit.lookup);
        if key.is_some_and(|key| !may_use(&key.record, key_ref)) {
            self.0.audit.clear();
        }
    }
}

fn newest_enabled(record: &KeyRecord) -> Option<&VersionRecord> {
    record.versions.iter().rev().find(|version| version.state == VersionState::Enabled)
}

fn may_use(record: &KeyRecord, key_ref: KeyRef) -> bool {
    let version = record.version(key_ref.version).filter(|_| record.id == key_ref.id);
    version.is_some_and(|version| check_state(version.state, Purpose::Decrypt).is_ok())
}
