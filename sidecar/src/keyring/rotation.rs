//! Makes new key versions.
//!
//! A new version is drawn in protected memory, wrapped by every root, unwrapped again and compared before its row is
//! written: a root that cannot give it back loses nothing, and once the row is there every pod can decrypt with it,
//! whichever of the roots it reaches. Compare-and-swap on the primary version makes two rotations
//! at once into one, across sidecars; within this one they share a flight, so that a thousand requests which
//! find a version used up ask the root once.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::cache::{CachedKey, Purpose};
use super::own_changes::{Cause, OwnChange};
use super::{KeyLookup, Keyring, KeyringError, Shared, permitted_key};
use crate::clock::Now;
use crate::error_chain::error_chain;
use crate::names::{KeyRef, KeyVersion};
use crate::policy::{Action, Permit};
use crate::root::Binding;
use crate::secret::{FillError, KeyVersionSecret};
use crate::store::{KeyRecord, StoreError, VersionRecord, VersionState};

/// Rotations of one key by several sidecars within this time count as one.
const ROTATED_TOGETHER: Duration = Duration::from_secs(30);

impl Keyring {
    /// Makes version n+1 of the key that `permit` names and returns the key with it. If another rotation of the
    /// same version wins, or another sidecar has rotated the key within [`ROTATED_TOGETHER`], its new version is
    /// returned: a schedule that runs in every pod makes one version.
    ///
    /// Somebody wanted a key whose newest version is disabled or destroyed to encrypt nothing, so this refuses it;
    /// [`Keyring::rotate_in_any_state`] does not.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, [`KeyringError::NewestDisabled`], [`KeyringError::NewestDestroyed`], or store or
    /// root cannot be reached.
    pub async fn rotate(&self, permit: &Permit<'_>, now: Now) -> Result<KeyRecord, KeyringError> {
        let name = permitted_key(permit, &[Action::Rotate])?;
        let key = self.look_up(KeyLookup::Name(name.clone()), now.monotonic, now).await?;
        match key.record.version(key.record.primary).map(|primary| primary.state) {
            Some(VersionState::Enabled | VersionState::DecryptOnly) => {}
            Some(VersionState::Disabled) => return Err(KeyringError::NewestDisabled),
            Some(VersionState::Destroyed) | None => return Err(KeyringError::NewestDestroyed),
        }
        self.rotate_as_asked(key, now).await
    }

    /// The same for a key whose newest version is in any state: what was disabled or destroyed stays so, and the key
    /// encrypts again, with a version of its own.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, or store or root cannot be reached.
    pub async fn rotate_in_any_state(
        &self,
        permit: &Permit<'_>,
        now: Now,
    ) -> Result<KeyRecord, KeyringError> {
        let name = permitted_key(permit, &[Action::Rotate])?;
        let key = self.look_up(KeyLookup::Name(name.clone()), now.monotonic, now).await?;
        self.rotate_as_asked(key, now).await
    }

    async fn rotate_as_asked(
        &self,
        current: Arc<CachedKey>,
        now: Now,
    ) -> Result<KeyRecord, KeyringError> {
        let name = &current.record.name;
        if self.has_just_been_rotated(&current.record, now) {
            tracing::info!(key = %name, version = %current.record.primary, "another sidecar has just rotated");
        } else {
            self.rotate_from(&current.record, None, now).await?;
        }
        let rotated = self.key_after_change(&KeyLookup::Id(current.record.id), now).await?;
        // Who made it or not: whoever asked here and then seals here seals with it, if a root answers.
        let _ = self.version(&rotated, rotated.record.primary, Purpose::Encrypt, now).await;
        Ok(rotated.record.clone())
    }

    /// Whether another sidecar made the primary version a moment ago. The wall clocks of two machines may differ.
    fn has_just_been_rotated(&self, record: &KeyRecord, now: Now) -> bool {
        let made_here = self.0.made_here.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.store.is_shared()
            && record.primary > KeyVersion::FIRST
            && made_here.get(&record.id) != Some(&record.primary)
            && record.version(record.primary).is_some_and(|primary| {
                let age_s = primary.created_at.0.abs_diff(now.wall.0);
                primary.state == VersionState::Enabled && age_s < ROTATED_TOGETHER.as_secs()
            })
    }

    /// Makes the version after `record`'s primary, unless somebody else has. All who ask at once share one
    /// rotation: a usage limit is reached by many requests together. It goes on to its end, also when nobody
    /// waits for it any more. Without a `cause` a caller asked for it, who has it recorded.
    pub(super) async fn rotate_from(
        &self,
        record: &KeyRecord,
        cause: Option<Cause>,
        now: Now,
    ) -> Result<(), KeyringError> {
        let (keyring, record) = (self.clone(), record.clone());
        let from = KeyRef { id: record.id, version: record.primary };
        let flight = self.0.rotations.join(from, move || async move {
            match keyring.0.cache.key(&KeyLookup::Id(from.id)) {
                Some(key) if key.record.primary > from.version => Ok(()),
                _ => keyring.rotate_now(&record, cause, now).await,
            }
        });
        flight.await.unwrap_or(Err(KeyringError::Panicked))
    }

    async fn rotate_now(
        &self,
        record: &KeyRecord,
        cause: Option<Cause>,
        now: Now,
    ) -> Result<(), KeyringError> {
        let next = record.primary.next().ok_or(KeyringError::VersionsExhausted)?;
        let rotated = self.rotate_to(next, record, now);
        let Some(cause) = cause else { return rotated.await };
        let (key, id) = (&record.name, record.id);
        self.recorded(OwnChange { cause, key, id, version: next }, rotated).await
    }

    async fn rotate_to(
        &self,
        next: KeyVersion,
        record: &KeyRecord,
        now: Now,
    ) -> Result<(), KeyringError> {
        let key_ref = KeyRef { id: record.id, version: next };
        let (version, secret) = self.0.make_version(key_ref, now).await?;
        match self.0.store.insert_version(record.id, record.primary, &version).await {
            Ok(()) => {
                let mut made_here = self.0.made_here.lock().unwrap_or_else(PoisonError::into_inner);
                made_here.insert(record.id, next);
                drop(made_here);
                // The row is there: whatever becomes of this copy, the rotation has happened.
                if let Err(error) = self.0.keep(key_ref, &secret, now) {
                    let error = error_chain(&error);
                    tracing::warn!(key = %record.name, error, "a new version is not in memory");
                }
                tracing::info!(key = %record.name, version = %next, "rotated");
            }
            Err(StoreError::Conflict) => {
                tracing::info!(key = %record.name, "another rotation came first");
            }
            Err(StoreError::Missing) => return Err(KeyringError::NoSuchKey),
            Err(error) => return Err(error.into()),
        }
        self.key_after_change(&KeyLookup::Id(record.id), now).await.map(drop)
    }

    /// The key's row as the store has it after a change, with the cache brought up to it.
    pub(super) async fn key_after_change(
        &self,
        lookup: &KeyLookup,
        now: Now,
    ) -> Result<Arc<CachedKey>, KeyringError> {
        self.0.look_up_now(lookup, now).await
    }
}

impl Shared {
    /// A new version's row and its secret: random, wrapped, and proven to unwrap.
    pub(super) async fn make_version(
        &self,
        key_ref: KeyRef,
        now: Now,
    ) -> Result<(VersionRecord, KeyVersionSecret), KeyringError> {
        let filled = KeyVersionSecret::fill(&self.arena, |bytes| getrandom::fill(bytes));
        let secret = filled.map_err(|error| match error {
            FillError::Arena(error) => error.into(),
            FillError::Fill(_) => KeyringError::Random,
        })?;
        let binding = Binding { key: key_ref, domain: &self.settings.domain };
        let wrappings = self.roots.wrap(&secret, binding).await?;
        let version = VersionRecord {
            version: key_ref.version,
            state: VersionState::Enabled,
            created_at: now.wall,
            destroy_at: None,
            wrappings,
            messages_used: 0,
            bytes_used: 0,
            revision: 1,
        };
        Ok((version, secret))
    }
}
