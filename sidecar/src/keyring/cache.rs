//! What is in memory: looked-up keys and unwrapped versions, each with the time of its last good look.
//!
//! Depends on [`crate::store`] for the rows and [`crate::secret`] for the keys. It does no I/O and holds its
//! lock for look-ups alone. A failed refresh changes no time here, so it cannot extend a bound. Rows are put in
//! the order in which the store was asked: a look that began before another never undoes it
//! (`a_change_shows_in_its_own_answer_whatever_the_times_of_others`).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::KeyLookup;
use super::usage::Meter;
use crate::clock::Now;
use crate::names::{KeyId, KeyName, KeyRef, KeyVersion};
use crate::secret::DataKey;
use crate::store::{KeyRecord, VersionState};

/// What a key is wanted for: the bounds differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To seal.
    Encrypt,
    /// To open, or to look at.
    Decrypt,
}

/// A key's row as last seen in the store.
#[derive(Debug)]
pub(super) struct CachedKey {
    pub(super) record: KeyRecord,
    /// Which look at the store this came from: a later one began later, and so has seen at least as much.
    pub(super) look: u64,
    /// When the store last confirmed it.
    pub(super) looked_at: Instant,
    /// When to look again.
    pub(super) refresh: Due,
    pub(super) used: LastUse,
}

impl CachedKey {
    /// Whether this version may open, at least.
    fn may_use(&self, version: KeyVersion) -> bool {
        self.record.version(version).is_some_and(|version| {
            matches!(version.state, VersionState::Enabled | VersionState::DecryptOnly)
        })
    }
}

/// An unwrapped version.
#[derive(Debug)]
pub(super) struct CachedVersion {
    pub(super) data_key: Arc<DataKey>,
    /// When the root last unwrapped it.
    pub(super) unwrapped_at: Instant,
    /// When to unwrap it again.
    pub(super) recheck: Due,
    pub(super) used: LastUse,
    pub(super) meter: Arc<Meter>,
}

/// When something is to be done. Putting it off moves no bound: those count from the last success.
#[derive(Debug)]
pub(super) struct Due(Mutex<Instant>);

impl Due {
    pub(super) fn at(time: Instant) -> Self {
        Self(Mutex::new(time))
    }

    pub(super) fn is_now(&self, now: Now) -> bool {
        self.time() <= now.monotonic
    }

    pub(super) fn put_off(&self, until: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    pub(super) fn time(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When something was last used, in milliseconds after the time that it was made.
#[derive(Debug)]
pub(super) struct LastUse {
    since: Instant,
    millis: AtomicU64,
}

impl LastUse {
    pub(super) fn at(now: Now) -> Self {
        Self { since: now.monotonic, millis: AtomicU64::new(0) }
    }

    pub(super) fn touch(&self, now: Now) {
        let millis = u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX);
        // Relaxed, and a load first: the common case writes nothing, so cores do not fight over the line.
        if self.millis.load(Ordering::Relaxed) < millis {
            self.millis.store(millis, Ordering::Relaxed);
        }
    }

    fn last(&self) -> Instant {
        self.since + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }

    /// The same last use, for what replaces this one.
    pub(super) fn carry(&self) -> Self {
        Self { since: self.since, millis: AtomicU64::new(self.millis.load(Ordering::Relaxed)) }
    }
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    tables: RwLock<Tables>,
    looks: AtomicU64,
    pub(super) counters: Counters,
}

#[derive(Debug, Default)]
struct Tables {
    names: HashMap<KeyName, KeyId>,
    keys: HashMap<KeyId, Arc<CachedKey>>,
    versions: HashMap<KeyRef, Arc<CachedVersion>>,
}

/// How often what happened since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) unwraps: AtomicU64,
    pub(super) unwrap_failures: AtomicU64,
    pub(super) lookups: AtomicU64,
    pub(super) lookup_failures: AtomicU64,
    pub(super) evictions: AtomicU64,
}

impl Counters {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Cache {
    pub(super) fn key(&self, lookup: &KeyLookup) -> Option<Arc<CachedKey>> {
        let tables = self.read();
        let id = match lookup {
            KeyLookup::Name(name) => tables.names.get(name)?,
            KeyLookup::Id(id) => id,
        };
        tables.keys.get(id).cloned()
    }

    pub(super) fn version(&self, key_ref: KeyRef) -> Option<Arc<CachedVersion>> {
        self.read().versions.get(&key_ref).cloned()
    }

    /// The number of a look at the store, to be drawn before it begins.
    pub(super) fn next_look(&self) -> u64 {
        self.looks.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes in a key's row, and wipes those of its versions that may no longer be used.
    pub(super) fn put_key(&self, mut key: CachedKey) -> Arc<CachedKey> {
        let mut tables = self.write();
        let id = key.record.id;
        if let Some(known) = tables.keys.get(&id) {
            // An older look that comes late does not undo a newer one. Times would not do: the look after a
            // change carries the time at which its request began.
            if known.look > key.look {
                return Arc::clone(known);
            }
            // This look began after the other, whatever the time of the request that it is for.
            key.looked_at = key.looked_at.max(known.looked_at);
            key.refresh.put_off(key.refresh.time().max(known.refresh.time()));
            key.used = known.used.carry();
        }
        let key = Arc::new(key);
        tables.names.insert(key.record.name.clone(), id);
        tables.keys.insert(id, Arc::clone(&key));
        tables.versions.retain(|key_ref, _| key_ref.id != id || key.may_use(key_ref.version));
        key
    }

    /// Takes in an unwrapped version, unless its key's row says meanwhile that it may not be used.
    pub(super) fn put_version(
        &self,
        key_ref: KeyRef,
        version: CachedVersion,
    ) -> Arc<CachedVersion> {
        let version = Arc::new(version);
        let mut tables = self.write();
        let refused = tables.keys.get(&key_ref.id).is_some_and(|key| {
            key.record.version(key_ref.version).is_some() && !key.may_use(key_ref.version)
        });
        if !refused {
            tables.versions.insert(key_ref, Arc::clone(&version));
        }
        version
    }

    pub(super) fn drop_version(&self, key_ref: KeyRef) {
        if self.write().versions.remove(&key_ref).is_some() {
            Counters::count(&self.counters.evictions);
        }
    }

    /// Drops a key and all its versions, unless a look after this one has found it: the store no longer has it.
    pub(super) fn drop_key(&self, id: KeyId, look: u64) {
        let mut tables = self.write();
        if tables.keys.get(&id).is_some_and(|known| known.look > look) {
            return;
        }
        tables.names.retain(|_, known| *known != id);
        tables.keys.remove(&id);
        tables.versions.retain(|key_ref, _| key_ref.id != id);
    }

    /// Drops what was not used for `idle`, except the newest versions in memory of the keys that are `pinned`, and what is
    /// older than `stale_max` and so serves nobody.
    pub(super) fn evict(
        &self,
        idle: Duration,
        stale_max: Duration,
        pinned: &HashSet<KeyName>,
        now: Now,
    ) {
        let mut tables = self.write();
        let Tables { names, keys, versions } = &mut *tables;
        let before = versions.len();
        // Of a pinned key the newest version in memory: the primary one, or what seals in its place.
        let mut newest = HashMap::new();
        for key_ref in versions.keys() {
            let version = newest.entry(key_ref.id).or_insert(key_ref.version);
            *version = key_ref.version.max(*version);
        }
        let is_pinned = |key_ref: &KeyRef| {
            newest.get(&key_ref.id) == Some(&key_ref.version)
                && keys.get(&key_ref.id).is_some_and(|key| pinned.contains(&key.record.name))
        };
        versions.retain(|key_ref, version| {
            let in_use = now.since(version.used.last()) < idle || is_pinned(key_ref);
            in_use && now.since(version.unwrapped_at) <= stale_max
        });
        let evicted = before - versions.len();
        keys.retain(|id, key| {
            now.since(key.used.last()) < idle || versions.keys().any(|key_ref| key_ref.id == *id)
        });
        names.retain(|_, id| keys.contains_key(id));
        self.counters.evictions.fetch_add(evicted as u64, Ordering::Relaxed);
    }

    pub(super) fn keys(&self) -> Vec<Arc<CachedKey>> {
        self.read().keys.values().cloned().collect()
    }

    pub(super) fn versions(&self) -> Vec<(KeyRef, Arc<CachedVersion>)> {
        self.read()
            .versions
            .iter()
            .map(|(key_ref, version)| (*key_ref, Arc::clone(version)))
            .collect()
    }

    pub(super) fn clear(&self) {
        *self.write() = Tables::default();
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}
