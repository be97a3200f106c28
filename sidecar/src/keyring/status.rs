//! What the keyring says of itself, for `/v1/status`, `/readyz?verbose` and the metrics.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cache::Purpose;
use super::{KeyLookup, Keyring, RootStatus};
use crate::clock::Now;
use crate::names::{KeyName, KeyRef, KeyVersion};
use crate::secret::Protection;
use crate::store::{KeyRecord, StoreError, Usage};

/// The keyring at one moment.
#[derive(Clone, Debug)]
pub struct KeyringStatus {
    /// The roots, the preferred first.
    pub roots: Vec<RootStatus>,
    /// The kind of store.
    pub store: &'static str,
    /// Where the rows are.
    pub place: String,
    /// How key bytes are protected.
    pub protection: Protection,
    /// Every cached version.
    pub cached: Vec<CachedKeyStatus>,
    /// Requests that found their version in memory.
    pub hits: u64,
    /// Requests that did not.
    pub misses: u64,
    /// Unwraps asked of the roots.
    pub unwraps: u64,
    /// Of those, how many failed.
    pub unwrap_failures: u64,
    /// Rows asked of the store.
    pub lookups: u64,
    /// Of those, how many failed.
    pub lookup_failures: u64,
    /// Versions that left memory unasked.
    pub evictions: u64,
}

/// One cached version: how old it is and when it stops.
#[derive(Clone, Debug)]
pub struct CachedKeyStatus {
    /// The key.
    pub name: KeyName,
    /// The version.
    pub version: KeyVersion,
    /// Since the store last confirmed its row.
    pub row_age: Duration,
    /// Since the root last unwrapped it.
    pub unwrap_age: Duration,
    /// Until it stops encrypting, if nothing confirms it before; zero if it has.
    pub encrypts_for: Duration,
    /// Until it stops decrypting, likewise.
    pub decrypts_for: Duration,
}

impl Keyring {
    /// The keyring as it is at `now`.
    #[must_use]
    pub fn status(&self, now: Now) -> KeyringStatus {
        let counters = &self.0.cache.counters;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let mut cached: Vec<_> = self
            .0
            .cache
            .versions()
            .into_iter()
            .filter_map(|(key_ref, version)| {
                let key = self.0.cache.key(&KeyLookup::Id(key_ref.id))?;
                let (row_age, unwrap_age) =
                    (now.since(key.looked_at), now.since(version.unwrapped_at));
                let left =
                    |purpose| self.0.stale_max(purpose).saturating_sub(row_age.max(unwrap_age));
                Some(CachedKeyStatus {
                    name: key.record.name.clone(),
                    version: key_ref.version,
                    row_age,
                    unwrap_age,
                    encrypts_for: left(Purpose::Encrypt),
                    decrypts_for: left(Purpose::Decrypt),
                })
            })
            .collect();
        cached.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        KeyringStatus {
            roots: self.0.roots.status(),
            store: self.0.store.kind(),
            place: self.0.store.place(),
            protection: self.0.arena.protection(),
            cached,
            hits: read(&counters.hits),
            misses: read(&counters.misses),
            unwraps: read(&counters.unwraps),
            unwrap_failures: read(&counters.unwrap_failures),
            lookups: read(&counters.lookups),
            lookup_failures: read(&counters.lookup_failures),
            evictions: read(&counters.evictions),
        }
    }

    /// Asks whether the store answers and can be written, and remembers the answer.
    ///
    /// # Errors
    /// What it says instead.
    pub async fn check_store(&self) -> Result<(), StoreError> {
        let checked = self.0.store.check().await;
        let problem = checked.as_ref().err().map(ToString::to_string);
        let mut known = self.0.store_problem.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &problem) {
            (None, Some(problem)) => tracing::warn!(problem, "the store cannot be used"),
            (Some(_), None) => tracing::info!("the store can be used again"),
            _ => {}
        }
        *known = problem;
        checked
    }

    /// What the store said when it was last asked; `None` if it was well. It is not asked now: a probe from
    /// outside must not become a write.
    #[must_use]
    pub fn store_problem(&self) -> Option<String> {
        self.0.store_problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a version has really used, as far as this sidecar knows: the stored count, less what is reserved
    /// here and unused.
    #[must_use]
    pub fn used(&self, key: &KeyRecord, version: KeyVersion) -> Usage {
        let unused = self.0.unused(KeyRef { id: key.id, version });
        let stored = key.version(version);
        let (messages, bytes) =
            stored.map_or((0, 0), |stored| (stored.messages_used, stored.bytes_used));
        Usage {
            messages: messages.saturating_sub(unused.messages),
            bytes: bytes.saturating_sub(unused.bytes),
        }
    }
}
