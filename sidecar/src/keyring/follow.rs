//! Reads rows again as the store tells of changes by other sidecars, so that a rotation or a disabled version is seen at
//! once and not at the next refresh. A store that tells of nothing, or is away, costs no more than that refresh.

use futures_util::StreamExt;

use super::cache::CachedKey;
use super::maintenance::CONCURRENT_MAX;
use super::{KeyLookup, Keyring};
use crate::clock::{Clock, Now};
use crate::names::{KeyId, KeyRef};
use crate::store::{StoreEvent, VersionState};

impl Keyring {
    /// Heeds what the store tells of, until the store is closed.
    pub async fn follow(&self, clock: &dyn Clock) {
        let events = self.0.store.watch();
        events
            .for_each_concurrent(CONCURRENT_MAX, |event| async move {
                match event {
                    StoreEvent::Changed(id) => {
                        self.0.news.of_key(id);
                        self.read_again(id, clock.now()).await;
                    }
                    StoreEvent::Resumed => {
                        self.0.news.of_all();
                        self.read_all_soon(clock.now());
                    }
                }
            })
            .await;
    }

    /// Reads a key's row, if it is in memory, and has a new primary version in memory before it is asked for.
    async fn read_again(&self, id: KeyId, now: Now) {
        let lookup = KeyLookup::Id(id);
        let again = lookup.clone();
        let Some(known) = self.0.cache.key(&lookup) else { return };
        match self.look_up(lookup, now.monotonic, now).await {
            Ok(key) => self.warm_new_primary(&known, &key, now),
            // The next tick tries again.
            Err(_) => self.0.cache.key(&again).unwrap_or(known).refresh.put_off(now.monotonic),
        }
    }

    /// Begins to unwrap a primary version that is new, if the one before is in memory: then it is in use here.
    pub(super) fn warm_new_primary(&self, known: &CachedKey, key: &CachedKey, now: Now) {
        let id = key.record.id;
        let before = KeyRef { id, version: known.record.primary };
        let primary = KeyRef { id, version: key.record.primary };
        if let Some(record) = key.record.version(primary.version)
            && primary.version > before.version
            && record.state == VersionState::Enabled
            && self.0.cache.version(before).is_some()
        {
            self.begin_unwrap(primary, record, now);
        }
    }

    /// Has every row read again at the next tick: however often this is told, once a second.
    fn read_all_soon(&self, now: Now) {
        self.0.cache.keys().iter().for_each(|key| key.refresh.put_off(now.monotonic));
    }
}
