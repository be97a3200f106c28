//! What the keyring does by itself, with no request waiting: refreshes, rechecks, evictions, and what is due.
//!
//! Each function does whatever is due at the time it is given; `app.rs` calls them on timers, tests with a manual clock. A refresh that fails is tried again soon and changes no bound.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};

use super::load::jittered;
use super::{KeyLookup, Keyring};
use crate::clock::Now;
use crate::error_chain::error_chain;

/// Each part of the maintenance is called this often. A look that would fall due between two calls is due at the first
/// of them, so that it comes within its setting (`a_recheck_never_comes_later_than_its_setting_says`).
pub const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// Calls of the store or the root that run at once.
pub(super) const CONCURRENT_MAX: usize = 32;
/// Rechecks at the root are waited for this long.
const RECHECK_WAIT_MAX: Duration = Duration::from_secs(1);

impl Keyring {
    /// Does all that is due at `now`: what [`Keyring::refresh`], [`Keyring::recheck`] and [`Keyring::do_due`] do. A
    /// sidecar calls those three apart from each other, so that a root or a store that hangs in one holds up no other.
    pub async fn maintain(&self, now: Now) {
        self.refresh(now).await;
        self.recheck(now).await;
        self.do_due(now).await;
    }

    /// Reads the rows again whose time has come.
    pub async fn refresh(&self, now: Now) {
        let due = self.0.cache.keys().into_iter().filter(|key| key.refresh.is_now(now));
        stream::iter(due)
            .for_each_concurrent(CONCURRENT_MAX, |key| async move {
                let lookup = KeyLookup::Id(key.record.id);
                match self.look_up(lookup, now.monotonic, now).await {
                    Ok(read) => self.warm_new_primary(&key, &read, now),
                    Err(_) => key.refresh.put_off(self.retry_at(now)),
                }
            })
            .await;
    }

    /// Unwraps the versions again whose time has come, and evicts.
    pub async fn recheck(&self, now: Now) {
        // The unwraps go on by themselves: a root that does not answer must not keep the rest from its turn.
        let _ = tokio::time::timeout(RECHECK_WAIT_MAX, self.recheck_root(now)).await;
        let settings = &self.0.settings;
        let stale_max = settings.encrypt_stale_max.max(settings.decrypt_stale_max);
        let pinned = self.0.pinned.get_or_init(HashSet::new);
        self.0.cache.evict(settings.idle_evict, stale_max, pinned, now);
        self.0.setbacks.prune(now);
        self.forget_unusable_hash_key();
    }

    /// Rotates by period, destroys what is to be destroyed, and has the preloaded keys in memory.
    pub async fn do_due(&self, now: Now) {
        let due = self.0.schedule.tick(now, self.0.settings.root_recheck);
        if due.look_over {
            self.look_over(now).await;
            self.warm_pinned(now).await;
        }
        if due.ask_others {
            self.ask_other_roots().await;
        }
    }

    /// Rechecks end at the first root that opens; how the others are shows only when they are asked.
    async fn ask_other_roots(&self) {
        if self.0.roots.names().nth(1).is_none() {
            return;
        }
        let versions: Vec<_> = (self.0.cache.versions().into_iter())
            .filter_map(|(key_ref, _)| {
                let key = self.0.cache.key(&KeyLookup::Id(key_ref.id))?;
                Some((key_ref, key.record.version(key_ref.version)?.wrappings.clone()))
            })
            .collect();
        self.0.roots.ask_others(&versions, &self.0.settings.domain).await;
    }

    /// Has the newest versions of the pinned keys in memory again: after a rotation elsewhere, or an outage.
    async fn warm_pinned(&self, now: Now) {
        stream::iter(self.0.pinned.get().into_iter().flatten())
            .for_each_concurrent(CONCURRENT_MAX, |name| async move {
                if let Err(error) = self.warm(name, now).await {
                    let error = error_chain(&error);
                    tracing::warn!(key = %name, error, "a preloaded key is not in memory");
                }
            })
            .await;
    }

    async fn recheck_root(&self, now: Now) {
        let due = self.0.cache.versions().into_iter();
        let mut due: Vec<_> = due.filter(|(_, version)| version.recheck.is_now(now)).collect();
        due.sort_by_key(|(_, version)| version.recheck.time());
        stream::iter(due)
            .for_each_concurrent(CONCURRENT_MAX, |(key_ref, version)| async move {
                let key = self.0.cache.key(&KeyLookup::Id(key_ref.id));
                let record = key.as_ref().and_then(|key| key.record.version(key_ref.version));
                match record {
                    Some(record) => {
                        version.recheck.put_off(self.retry_at(now));
                        let _ = self.unwrap_version(key_ref, record, now.monotonic, now).await;
                    }
                    None => self.0.cache.drop_version(key_ref),
                }
            })
            .await;
    }

    /// When what failed at `now` is tried again.
    fn retry_at(&self, now: Now) -> Instant {
        now.monotonic + jittered(self.0.settings.retry_interval)
    }
}
