//! Makes new key versions.
//!
//! A new version is drawn in protected memory, wrapped, unwrapped again and compared before its row is written:
//! a root that cannot give it back loses nothing. Compare-and-swap on the primary version makes two rotations
//! at once into one.

use subtle::ConstantTimeEq;

use super::cache::CachedKey;
use super::{KeyLookup, Keyring, KeyringError, Shared, permitted_key};
use crate::clock::Now;
use crate::names::KeyRef;
use crate::policy::{Action, Permit};
use crate::root::Binding;
use crate::secret::{FillError, KeyVersionSecret};
use crate::store::{KeyRecord, StoreError, VersionRecord, VersionState, Wrapping};

impl Keyring {
    /// Makes version n+1 of the key that `permit` names and returns the key with it. If another rotation of the
    /// same version wins, its new version is returned.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, or store or root cannot be reached.
    pub async fn rotate(&self, permit: &Permit, now: Now) -> Result<KeyRecord, KeyringError> {
        let name = permitted_key(permit, &[Action::Rotate])?;
        let lookup = KeyLookup::Name(name.clone());
        let current = self.look_up(lookup.clone(), now.monotonic, now).await?;
        self.rotate_from(&current.record, now).await?;
        let rotated = self.key_after_change(&lookup, now).await?;
        Ok(rotated.record.clone())
    }

    /// Makes the version after `record`'s primary, unless somebody else has. All who ask at once share one
    /// rotation: a usage limit is reached by many requests together.
    pub(super) async fn rotate_from(
        &self,
        record: &KeyRecord,
        now: Now,
    ) -> Result<(), KeyringError> {
        let (keyring, record) = (self.clone(), record.clone());
        let from = KeyRef { id: record.id, version: record.primary };
        let flight = self
            .0
            .rotations
            .join(from, move || async move { keyring.rotate_now(&record, now).await });
        flight.await.unwrap_or(Err(KeyringError::Panicked))
    }

    async fn rotate_now(&self, record: &KeyRecord, now: Now) -> Result<(), KeyringError> {
        let next = record.primary.next().ok_or(KeyringError::VersionsExhausted)?;
        let key_ref = KeyRef { id: record.id, version: next };
        let (version, secret) = self.0.make_version(key_ref, now).await?;
        match self.0.store.insert_version(record.id, record.primary, &version).await {
            Ok(()) => {
                self.0.keep(key_ref, &secret, now)?;
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
    ) -> Result<std::sync::Arc<CachedKey>, KeyringError> {
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
        let wrapped = self.root.wrap(&secret, binding).await?;
        let version = VersionRecord {
            version: key_ref.version,
            state: VersionState::Enabled,
            created_at: now.wall,
            destroy_at: None,
            wrappings: vec![Wrapping { root: self.root.describe().name, wrapped }],
            messages_used: 0,
            bytes_used: 0,
            revision: 1,
        };
        let given_back = self.unwrap_secret(key_ref, &version).await?;
        if bool::from(given_back.expose_bytes().ct_eq(secret.expose_bytes())) {
            Ok((version, secret))
        } else {
            Err(KeyringError::RootLies)
        }
    }
}
