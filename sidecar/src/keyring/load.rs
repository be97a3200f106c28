//! Finds a key or a version in the cache, or loads it: the store first, then the root, one flight each.
//!
//! A cached copy serves within its bound, however the last refresh ended; past it, whoever asks waits for a
//! load and gets its error. Plaintext never comes near this branch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::{CachedKey, CachedVersion, Counters, Due, LastUse, Purpose};
use super::maintenance::MAINTAIN_EVERY;
use super::{KeyLookup, Keyring, KeyringError, Shared, check_state};
use crate::clock::Now;
use crate::envelope;
use crate::error_chain::error_chain;
use crate::names::{KeyRef, KeyVersion};
use crate::root::Binding;
use crate::secret::KeyVersionSecret;
use crate::store::{StoreError, VersionRecord, VersionState};

/// A version that is not in a cached row is looked for in the store again at most this often, and whoever asks waits
/// for that look: another pod may have just made it, and a forged header must not turn into load on the store.
const UNKNOWN_VERSION_LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Keyring {
    /// The key's row, at most as old as `purpose` allows.
    pub(super) async fn key(
        &self,
        lookup: &KeyLookup,
        purpose: Purpose,
        now: Now,
    ) -> Result<Arc<CachedKey>, KeyringError> {
        let bound = self.0.stale_max(purpose);
        if let Some(key) = self.0.cache.key(lookup)
            && now.since(key.looked_at) <= bound
        {
            key.used.touch(now);
            return Ok(key);
        }
        self.look_up(lookup.clone(), not_before(now, bound), now).await
    }

    /// The key's row, looked for again if the cached one does not know this version.
    pub(super) async fn key_with_version(
        &self,
        key_ref: KeyRef,
        now: Now,
    ) -> Result<Arc<CachedKey>, KeyringError> {
        let lookup = KeyLookup::Id(key_ref.id);
        let key = self.key(&lookup, Purpose::Decrypt, now).await?;
        if key.record.version(key_ref.version).is_some() {
            return Ok(key);
        }
        let wait = UNKNOWN_VERSION_LOOK_AGAIN.saturating_sub(now.since(key.looked_at));
        tokio::time::sleep(wait).await;
        let now = now.later(wait);
        self.look_up(lookup, now.monotonic, now).await
    }

    /// The unwrapped version, at most as old as `purpose` allows.
    pub(super) async fn version(
        &self,
        key: &CachedKey,
        version: KeyVersion,
        purpose: Purpose,
        now: Now,
    ) -> Result<Arc<CachedVersion>, KeyringError> {
        let record = key.record.version(version).ok_or(KeyringError::NoSuchVersion)?;
        check_state(record.state, purpose)?;
        let key_ref = KeyRef { id: key.record.id, version };
        if let Some(cached) = self.fresh(key_ref, purpose, now) {
            return Ok(self.hit(cached, now));
        }
        Counters::count(&self.0.cache.counters.misses);
        match self.0.setbacks.of(key_ref, record, now) {
            Some(refusal) if refusal.ends_the_key() => return Err(refusal),
            _ => {}
        }
        let bound = self.0.stale_max(purpose);
        self.unwrap_version(key_ref, record, not_before(now, bound), now).await
    }

    /// The version that seals: the primary one, or where `another_may_do`, while that is not in memory, the one before.
    pub(super) async fn sealing_version(
        &self,
        key: &CachedKey,
        another_may_do: bool,
        now: Now,
    ) -> Result<Arc<CachedVersion>, KeyringError> {
        let primary = key.record.primary;
        let record = key.record.version(primary).ok_or(KeyringError::NoSuchVersion)?;
        check_state(record.state, Purpose::Encrypt)?;
        let primary_ref = KeyRef { id: key.record.id, version: primary };
        let in_memory = self.fresh(primary_ref, Purpose::Encrypt, now);
        let in_place = || {
            if another_may_do { self.in_place_of_the_primary(key, record, now) } else { None }
        };
        match in_memory.or_else(in_place) {
            Some(version) => Ok(self.hit(version, now)),
            None => self.version(key, primary, Purpose::Encrypt, now).await,
        }
    }

    /// The newest version that is in memory and may still seal. The unwrap of the primary one begins beside, and nobody
    /// waits for it: after a rotation elsewhere a root that hangs holds up no traffic. `None` if the primary one was
    /// refused: it stays so until a root gives it, and nothing seals in its place.
    fn in_place_of_the_primary(
        &self,
        key: &CachedKey,
        primary: &VersionRecord,
        now: Now,
    ) -> Option<Arc<CachedVersion>> {
        let of = |record: &VersionRecord| KeyRef { id: key.record.id, version: record.version };
        let enabled = key.record.versions.iter().rev();
        let mut enabled = enabled.filter(|version| version.state == VersionState::Enabled);
        let older = enabled.find_map(|record| self.fresh(of(record), Purpose::Encrypt, now))?;
        if self.0.setbacks.last_was_refusal(of(primary), primary) {
            return None;
        }
        if self.0.setbacks.of(of(primary), primary, now).is_none() {
            self.begin_unwrap(of(primary), primary, now);
        }
        Some(older)
    }

    /// A version in memory, within the bound of `purpose`.
    pub(super) fn fresh(
        &self,
        key_ref: KeyRef,
        purpose: Purpose,
        now: Now,
    ) -> Option<Arc<CachedVersion>> {
        let cached = self.0.cache.version(key_ref)?;
        (now.since(cached.unwrapped_at) <= self.0.stale_max(purpose)).then_some(cached)
    }

    /// Counts the use of a version that was in memory.
    fn hit(&self, version: Arc<CachedVersion>, now: Now) -> Arc<CachedVersion> {
        Counters::count(&self.0.cache.counters.hits);
        version.used.touch(now);
        version
    }

    /// Has a version unwrapped with nobody waiting for it.
    pub(super) fn begin_unwrap(&self, key_ref: KeyRef, record: &VersionRecord, now: Now) {
        let (shared, record) = (Arc::clone(&self.0), record.clone());
        self.0
            .unwraps
            .begin(key_ref, move || shared.unwrap_since(key_ref, record, now.monotonic, now));
    }

    /// Reads the key's row from the store, unless a row looked at since `not_before` is there by then.
    pub(super) async fn look_up(
        &self,
        lookup: KeyLookup,
        not_before: Instant,
        now: Now,
    ) -> Result<Arc<CachedKey>, KeyringError> {
        let key = self.look_up_once(lookup.clone(), not_before, now).await?;
        if key.looked_at >= not_before {
            return Ok(key);
        }
        // It was the flight of somebody who asked earlier: what it read may be older than what is wanted. The
        // next one begins now.
        self.look_up_once(lookup, not_before, now).await
    }

    async fn look_up_once(
        &self,
        lookup: KeyLookup,
        not_before: Instant,
        now: Now,
    ) -> Result<Arc<CachedKey>, KeyringError> {
        let shared = Arc::clone(&self.0);
        let wanted = lookup.clone();
        let flight = self.0.lookups.join(lookup, move || async move {
            match shared.cache.key(&wanted) {
                Some(key) if key.looked_at >= not_before => Ok(key),
                _ => shared.look_up_now(&wanted, now).await,
            }
        });
        flight.await.unwrap_or(Err(KeyringError::Panicked))
    }

    /// Unwraps a version at the root, unless one unwrapped since `not_before` is there by then.
    pub(super) async fn unwrap_version(
        &self,
        key_ref: KeyRef,
        record: &VersionRecord,
        not_before: Instant,
        now: Now,
    ) -> Result<Arc<CachedVersion>, KeyringError> {
        let (shared, record) = (Arc::clone(&self.0), record.clone());
        let unwrap = move || shared.unwrap_since(key_ref, record, not_before, now);
        let flight = self.0.unwraps.join(key_ref, unwrap);
        flight.await.unwrap_or(Err(KeyringError::Panicked))
    }
}

/// The earliest good look that is still within `bound`.
fn not_before(now: Now, bound: Duration) -> Instant {
    now.monotonic.checked_sub(bound).unwrap_or(now.monotonic)
}

impl Shared {
    pub(super) fn stale_max(&self, purpose: Purpose) -> Duration {
        match purpose {
            Purpose::Encrypt => self.settings.encrypt_stale_max,
            Purpose::Decrypt => self.settings.decrypt_stale_max,
        }
    }

    pub(super) async fn look_up_now(
        &self,
        lookup: &KeyLookup,
        now: Now,
    ) -> Result<Arc<CachedKey>, KeyringError> {
        Counters::count(&self.cache.counters.lookups);
        let look = self.cache.next_look();
        let heard = self.news.last();
        let found = match lookup {
            KeyLookup::Name(name) => self.store.key_by_name(name).await,
            KeyLookup::Id(id) => self.store.key_by_id(*id).await,
        };
        let record = found.inspect_err(|error| {
            Counters::count(&self.cache.counters.lookup_failures);
            match error {
                // One line when the store goes away, and not one for each key: `check_store` says it.
                StoreError::Unavailable { .. } => {
                    tracing::debug!(?lookup, error = %error, "a key could not be looked up");
                }
                _ => tracing::warn!(?lookup, error = %error, "a key could not be looked up"),
            }
        })?;
        let Some(record) = record else {
            if let Some(known) = self.cache.key(lookup) {
                tracing::warn!(key = %known.record.name, "the store no longer has this key: it is wiped");
                self.cache.drop_key(known.record.id, look);
            }
            return Err(KeyringError::NoSuchKey);
        };
        let id = record.id;
        let key = self.cache.put_key(CachedKey {
            record,
            look,
            looked_at: now.monotonic,
            refresh: Due::at(now.monotonic + ahead(self.settings.refresh_after)),
            used: LastUse::at(now),
        });
        // Told of a change while this look was under way: it may have read what was before.
        if self.news.since(heard, id) {
            key.refresh.put_off(now.monotonic);
        }
        Ok(key)
    }

    /// What a flight does: looks once more whether the version is there by now, and unwraps it.
    async fn unwrap_since(
        self: Arc<Self>,
        key_ref: KeyRef,
        record: VersionRecord,
        not_before: Instant,
        now: Now,
    ) -> Result<Arc<CachedVersion>, KeyringError> {
        match self.cache.version(key_ref) {
            Some(version) if version.unwrapped_at >= not_before => Ok(version),
            _ => self.unwrap_now(key_ref, &record, now).await,
        }
    }

    /// Unwraps a version as `record` has it. A refusal counts only for a row that is still so: one that was moved to
    /// another root since is tried as it is now.
    async fn unwrap_now(
        &self,
        key_ref: KeyRef,
        record: &VersionRecord,
        now: Now,
    ) -> Result<Arc<CachedVersion>, KeyringError> {
        let error = match self.unwrap_as(key_ref, record, now).await {
            Err(error) => error,
            done => return done,
        };
        let until = now.monotonic + jittered(self.settings.retry_interval);
        if !error.ends_the_key() {
            self.setbacks.note(key_ref, record, error.clone(), until);
            return Err(error);
        }
        let current = self.look_up_now(&KeyLookup::Id(key_ref.id), now).await;
        let current = current.ok().and_then(|key| key.record.version(key_ref.version).cloned());
        let (record, error) = match current.filter(|found| found.wrappings != record.wrappings) {
            None => (record.clone(), error),
            Some(found) => match self.unwrap_as(key_ref, &found, now).await {
                Err(error) if error.ends_the_key() => (found, error),
                done => return done,
            },
        };
        self.cache.drop_version(key_ref);
        tracing::warn!(
            key_id = %key_ref.id, version = %key_ref.version,
            error = error_chain(&error), "a key version was refused: it is wiped"
        );
        self.setbacks.note(key_ref, &record, error.clone(), until);
        Err(error)
    }

    async fn unwrap_as(
        &self,
        key_ref: KeyRef,
        record: &VersionRecord,
        now: Now,
    ) -> Result<Arc<CachedVersion>, KeyringError> {
        Counters::count(&self.cache.counters.unwraps);
        let unwrapped = self.unwrap_secret(key_ref, record).await;
        if unwrapped.is_err() {
            Counters::count(&self.cache.counters.unwrap_failures);
        }
        self.keep(key_ref, &unwrapped?, now)
    }

    /// Derives the data key from a version's secret and caches it.
    pub(super) fn keep(
        &self,
        key_ref: KeyRef,
        secret: &KeyVersionSecret,
        now: Now,
    ) -> Result<Arc<CachedVersion>, KeyringError> {
        let data_key = envelope::data_key(&self.arena, key_ref, secret, None)?;
        let used = match self.cache.version(key_ref) {
            Some(known) => known.used.carry(),
            None => LastUse::at(now),
        };
        self.setbacks.forget(key_ref);
        let version = CachedVersion {
            data_key: Arc::new(data_key),
            unwrapped_at: now.monotonic,
            recheck: Due::at(now.monotonic + ahead(self.settings.root_recheck)),
            used,
            meter: self.meters.of(key_ref),
        };
        Ok(self.cache.put_version(key_ref, version))
    }

    pub(super) async fn unwrap_secret(
        &self,
        key_ref: KeyRef,
        record: &VersionRecord,
    ) -> Result<KeyVersionSecret, KeyringError> {
        let binding = Binding { key: key_ref, domain: &self.settings.domain };
        self.roots.unwrap_key(&record.wrappings, binding).await
    }
}

/// When to look again so that the look comes within `bound`: jittered, and at the last maintenance before.
fn ahead(bound: Duration) -> Duration {
    jittered(bound).saturating_sub(MAINTAIN_EVERY)
}

/// `duration`, less up to a fifth of it: so that many pods, or many keys of one pod, do not all ask at once.
pub(super) fn jittered(duration: Duration) -> Duration {
    let mut byte = [0];
    // Without random bytes there is no jitter, which harms nobody.
    let share = match getrandom::fill(&mut byte) {
        Ok(()) => f64::from(byte[0]) / 255.0,
        Err(_) => 0.0,
    };
    duration.mul_f64(1.0 - share / 5.0)
}
