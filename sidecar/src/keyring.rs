//! Gives out data keys: for sealing the newest enabled version, for opening the one that a header names.
//!
//! Depends on [`crate::policy::Permit`], [`crate::root`], [`crate::store`], [`crate::envelope`] for the
//! derivation, and [`crate::clock`] for the type of time, which is always an argument. It never sees a
//! plaintext, and looks into no context. Every function that gives or changes a key wants a [`Permit`] for that key
//! and action, and a key lends itself to a message together with the context of its permit: to skip the check is a
//! compile error.
//!
//! Invariants, each with the test that holds it (`keyring/tests.rs`):
//! - one unwrap in flight per key version, whoever waits: `three_thousand_cold_requests_make_one_unwrap`;
//! - a failed refresh never extends a bound: `a_failed_refresh_never_extends_a_bound`;
//! - usage is reserved in the store before it is used: `a_crash_over_counts_and_never_under_counts`;
//! - a version that is disabled or destroyed leaves memory at the next look: `a_disabled_version_is_wiped`;
//! - a key whose name is reserved seals and opens nothing: `a_reserved_key_seals_and_opens_nothing`.

mod audit_key;
mod cache;
mod due;
mod error;
mod follow;
mod lifecycle;
mod load;
mod maintenance;
mod news;
mod own_changes;
mod probe;
mod root_change;
mod roots;
mod rotation;
mod schedule;
mod setbacks;
mod status;
mod usage;

pub use audit_key::AuditHashKeys;
pub use due::RotationDue;
pub use error::KeyringError;
pub use lifecycle::NewKey;
pub use maintenance::MAINTAIN_EVERY;
pub use probe::Probed;
pub use root_change::{RootChange, RootChanger, RootSurvey, RootsChanged};
pub use roots::{RootStatus, Roots};
pub use status::{CachedKeyStatus, KeyringStatus};

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use audit_key::HeldHashKey;
use cache::{Cache, CachedKey, CachedVersion, Purpose};
use news::News;
use own_changes::Cause;
use schedule::Schedule;
use setbacks::Setbacks;
use usage::{Meter, Meters};

use crate::audit::Audit;
use crate::clock::Now;
use crate::envelope::Context;
use crate::flight::Flights;
use crate::names::{KeyId, KeyName, KeyRef, KeyVersion};
use crate::policy::{Action, Permit};
use crate::secret::{Arena, DataKey};
use crate::store::{KeyStore, VersionState};

/// A request that finds a version used up by others after it was made for it tries the next, this often.
const USED_UP_MAX: u32 = 1000;

/// How long unused reservations may take to be given back at the end.
const RETURN_MAX: Duration = Duration::from_secs(3);

/// How the keyring caches, limits and destroys (KEYS.md, cache and outage contract).
#[derive(Clone, Debug)]
pub struct KeyringSettings {
    /// What keeps two installations on one root apart: part of every wrapping's binding.
    pub domain: String,
    /// Look at the store's row again after this long, jittered.
    pub refresh_after: Duration,
    /// Unwrap again at the root after this long, jittered.
    pub root_recheck: Duration,
    /// How long a cached version encrypts while store or root cannot be reached.
    pub encrypt_stale_max: Duration,
    /// How long it decrypts.
    pub decrypt_stale_max: Duration,
    /// Unused versions leave memory after this long.
    pub idle_evict: Duration,
    /// What failed or was refused at store or root is tried again after this long at the earliest, jittered.
    pub retry_interval: Duration,
    /// Messages that a version may seal, where its key does not say.
    pub messages_max: u64,
    /// Plaintext bytes that a version may seal, where its key does not say.
    pub bytes_max: u64,
    /// How long a requested destruction can be taken back.
    pub destroy_delay: Duration,
    /// How long a destruction waits for a second person, where policy wants one.
    pub approval_expiry: Duration,
}

/// All keys of this sidecar. A clone is another handle to the same keyring.
#[derive(Clone, Debug)]
pub struct Keyring(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: KeyringSettings,
    roots: Roots,
    store: Arc<dyn KeyStore>,
    arena: Arena,
    cache: Cache,
    lookups: Flights<KeyLookup, Result<Arc<CachedKey>, KeyringError>>,
    unwraps: Flights<KeyRef, Result<Arc<CachedVersion>, KeyringError>>,
    /// Rotations, by the version that they leave behind.
    rotations: Flights<KeyRef, Result<(), KeyringError>>,
    /// The newest version of each key that this sidecar made.
    made_here: Mutex<HashMap<KeyId, KeyVersion>>,
    setbacks: Setbacks,
    news: News,
    meters: Meters,
    schedule: Schedule,
    /// What the store said when it was last asked.
    store_problem: Mutex<Option<String>>,
    /// Keys whose newest version stays in memory, used or not.
    pinned: OnceLock<HashSet<KeyName>>,
    /// What the audit log hashes with.
    audit: HeldHashKey,
    /// Where it is recorded what nobody asked for.
    recorded_in: OnceLock<Audit>,
}

/// How a key is looked up in the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum KeyLookup {
    Name(KeyName),
    Id(KeyId),
}

/// What a key seals for.
const SEALS: &[Action] = &[Action::Encrypt, Action::Rewrap];
/// What may be done to a key of Keypod's own: it is looked after like any other, and seals and opens nothing.
const CARES: &[Action] = &[Action::ReadKey, Action::Rotate, Action::SetState, Action::Destroy];
/// What a key opens for.
const OPENS: &[Action] = &[Action::Decrypt, Action::Rewrap];

/// A data key that may seal, and what it belongs to.
#[derive(Debug)]
pub struct SealingKey {
    data_key: Arc<DataKey>,
    key: Arc<CachedKey>,
    meter: Arc<Meter>,
}

/// A data key that may open, and what it belongs to.
#[derive(Debug)]
pub struct OpeningKey {
    data_key: Arc<DataKey>,
    name: KeyName,
    primary: KeyVersion,
}

impl SealingKey {
    /// The key and the context for one message, for [`crate::envelope::seal`]. Each message has its own permit: one
    /// for another key, another action or another context seals nothing.
    ///
    /// # Errors
    /// [`KeyringError::WrongPermit`].
    pub fn for_message<'a>(
        &'a self,
        permit: &Permit<'a>,
    ) -> Result<(&'a DataKey, &'a Context), KeyringError> {
        permitted_message(permit, SEALS, self.name()).map(|context| (&*self.data_key, context))
    }

    /// The name of the key.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.key.record.name
    }

    /// The version that seals.
    #[must_use]
    pub fn version(&self) -> KeyVersion {
        self.data_key.key().version
    }
}

impl OpeningKey {
    /// The key and the context for one message, for [`crate::envelope::open`].
    ///
    /// # Errors
    /// [`KeyringError::WrongPermit`].
    pub fn for_message<'a>(
        &'a self,
        permit: &Permit<'a>,
    ) -> Result<(&'a DataKey, &'a Context), KeyringError> {
        permitted_message(permit, OPENS, self.name()).map(|context| (&*self.data_key, context))
    }

    /// The name of the key.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The version that opens.
    #[must_use]
    pub fn version(&self) -> KeyVersion {
        self.data_key.key().version
    }

    /// Whether a newer version would seal today.
    #[must_use]
    pub fn rewrap_recommended(&self) -> bool {
        self.version() < self.primary
    }
}

impl Keyring {
    /// A keyring over `roots` and `store`, with nothing cached.
    #[must_use]
    pub fn new(
        settings: KeyringSettings,
        roots: Roots,
        store: Arc<dyn KeyStore>,
        arena: Arena,
    ) -> Self {
        Self(Arc::new(Shared {
            settings,
            roots,
            store,
            arena,
            cache: Cache::default(),
            lookups: Flights::default(),
            unwraps: Flights::default(),
            rotations: Flights::default(),
            made_here: Mutex::default(),
            setbacks: Setbacks::default(),
            news: News::default(),
            meters: Meters::default(),
            schedule: Schedule::default(),
            store_problem: Mutex::default(),
            pinned: OnceLock::new(),
            audit: HeldHashKey::default(),
            recorded_in: OnceLock::new(),
        }))
    }

    /// The key that seals `messages` messages of `bytes` plaintext bytes together, counted against its limits.
    /// A version whose limits are used up is rotated first.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, its newest version is not enabled, or store or root cannot be reached and
    /// the bound has passed.
    pub async fn sealing_key(
        &self,
        permit: &Permit<'_>,
        messages: u64,
        bytes: u64,
        now: Now,
    ) -> Result<SealingKey, KeyringError> {
        let name = permitted_key(permit, SEALS)?;
        let lookup = KeyLookup::Name(name.clone());
        // A rewrap is for the newest version and no other: who has one done may destroy the old one next.
        let mut another_may_do = permit.action() == Action::Encrypt;
        for _ in 0..USED_UP_MAX {
            let key = self.key(&lookup, Purpose::Encrypt, now).await?;
            let version = self.sealing_version(&key, another_may_do, now).await?;
            let settings = &key.record.settings;
            if messages > settings.messages_max || bytes > settings.bytes_max {
                // Before it rotates: no version would do.
                return Err(KeyringError::LimitTooSmall);
            }
            if self.charge(&key, &version.meter, messages, bytes).await? {
                let (data_key, meter) = (Arc::clone(&version.data_key), Arc::clone(&version.meter));
                return Ok(SealingKey { data_key, key, meter });
            }
            if version.data_key.key().version != key.record.primary {
                another_may_do = false;
                continue;
            }
            tracing::info!(key = %name, version = %key.record.primary, "usage limit reached: rotating");
            self.rotate_from(&key.record, Some(Cause::UsageLimit), now).await?;
        }
        Err(KeyringError::Conflict(
            "others use up each version of this key as soon as it is made: give the key larger limits",
        ))
    }

    /// Counts `bytes` more plaintext bytes against a key that is sealing a stream. Whether the stream may go
    /// on: once the version's limit is used up it may not.
    ///
    /// # Errors
    /// [`KeyringError`] when the version may no longer seal, or when the store cannot be reached for a further
    /// block.
    pub async fn charge_stream(
        &self,
        key: &SealingKey,
        bytes: u64,
        now: Now,
    ) -> Result<bool, KeyringError> {
        self.confirm(key.data_key.key(), Purpose::Encrypt, now).await?;
        self.charge(&key.key, &key.meter, 0, bytes).await
    }

    /// Looks again whether a key that is opening a stream may go on: a stream is as long as its sender likes, and
    /// does not outlive a disabled version or a bound.
    ///
    /// # Errors
    /// [`KeyringError`] when the version may no longer open.
    pub async fn confirm_stream(&self, key: &OpeningKey, now: Now) -> Result<(), KeyringError> {
        self.confirm(key.data_key.key(), Purpose::Decrypt, now).await
    }

    async fn confirm(
        &self,
        key_ref: KeyRef,
        purpose: Purpose,
        now: Now,
    ) -> Result<(), KeyringError> {
        let key = self.key(&KeyLookup::Id(key_ref.id), purpose, now).await?;
        self.version(&key, key_ref.version, purpose, now).await.map(drop)
    }

    /// The name of the key with this id, so that policy can be asked about it; `None` if there is none.
    ///
    /// # Errors
    /// [`KeyringError::Store`] when the store cannot be reached and the bound has passed.
    pub async fn key_name(&self, id: KeyId, now: Now) -> Result<Option<KeyName>, KeyringError> {
        match self.key(&KeyLookup::Id(id), Purpose::Decrypt, now).await {
            Ok(key) => Ok(Some(key.record.name.clone())),
            Err(KeyringError::NoSuchKey) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The key that opens what `key_ref` sealed.
    ///
    /// # Errors
    /// [`KeyringError`]: no such version, it is disabled or destroyed, or store or root cannot be reached and
    /// the bound has passed.
    pub async fn opening_key(
        &self,
        permit: &Permit<'_>,
        key_ref: KeyRef,
        now: Now,
    ) -> Result<OpeningKey, KeyringError> {
        let name = permitted_key(permit, OPENS)?;
        let key = self.key_with_version(key_ref, now).await?;
        if key.record.name != *name {
            return Err(KeyringError::WrongPermit);
        }
        let version = self.version(&key, key_ref.version, Purpose::Decrypt, now).await?;
        Ok(OpeningKey {
            data_key: Arc::clone(&version.data_key),
            name: key.record.name.clone(),
            primary: key.record.primary,
        })
    }

    /// Unwraps the newest version of each of these keys, so that their first use does not wait, and keeps it in
    /// memory from now on, used or not.
    ///
    /// # Errors
    /// The first key that could not be had, with why.
    pub async fn preload(
        &self,
        names: &[KeyName],
        now: Now,
    ) -> Result<(), (KeyName, KeyringError)> {
        use futures_util::{TryStreamExt, stream};
        let pinned = self.0.pinned.get_or_init(|| names.iter().cloned().collect());
        stream::iter(pinned.iter().map(Ok))
            .try_for_each_concurrent(maintenance::CONCURRENT_MAX, |name| async move {
                self.warm(name, now).await.map_err(|error| (name.clone(), error))
            })
            .await
    }

    /// Has the newest version of a key in memory.
    async fn warm(&self, name: &KeyName, now: Now) -> Result<(), KeyringError> {
        let key = self.key(&KeyLookup::Name(name.clone()), Purpose::Encrypt, now).await?;
        self.version(&key, key.record.primary, Purpose::Encrypt, now).await.map(drop)
    }

    /// Gives unused reservations back and wipes every key. The store stays open for its owner to close.
    pub async fn close(&self) {
        self.0.cache.clear();
        self.0.audit.clear();
        // They stay counted otherwise: more than was used, never less.
        if tokio::time::timeout(RETURN_MAX, self.return_unused()).await.is_err() {
            tracing::warn!("unused reservations stay counted: the store does not answer");
        }
    }
}

/// The key that `permit` names, if it is for one of `actions`. Every use of a key and every change to one comes by here,
/// so what a reserved key is not for is impossible, whoever may do it (`a_reserved_key_seals_and_opens_nothing`).
fn permitted_key<'a>(
    permit: &'a Permit<'_>,
    actions: &[Action],
) -> Result<&'a KeyName, KeyringError> {
    match permit.key() {
        Some(name) if actions.contains(&permit.action()) => {
            match name.is_reserved() && !CARES.contains(&permit.action()) {
                true => Err(KeyringError::Reserved),
                false => Ok(name),
            }
        }
        _ => Err(KeyringError::WrongPermit),
    }
}

/// The context that `permit` was given for, if it is for one of `actions` on `key`.
fn permitted_message<'a>(
    permit: &Permit<'a>,
    actions: &[Action],
    key: &KeyName,
) -> Result<&'a Context, KeyringError> {
    match permit.context() {
        Some(context) if permitted_key(permit, actions)? == key => Ok(context),
        _ => Err(KeyringError::WrongPermit),
    }
}

/// Whether a version in `state` may serve `purpose`.
fn check_state(state: VersionState, purpose: Purpose) -> Result<(), KeyringError> {
    match (state, purpose) {
        (VersionState::Enabled, _) | (VersionState::DecryptOnly, Purpose::Decrypt) => Ok(()),
        (VersionState::DecryptOnly | VersionState::Disabled, _) => {
            Err(KeyringError::VersionDisabled)
        }
        (VersionState::Destroyed, _) => Err(KeyringError::VersionDestroyed),
    }
}

#[cfg(test)]
mod tests;
