//! Reads rows again as the store tells of changes by other sidecars, so that a rotation or a disabled version is seen at
//! once and not at the next refresh. A store that tells of nothing, or is away, costs no more than that refresh.

use futures_util::{StreamExt, stream};

use super::cache::Purpose;
use super::maintenance::CONCURRENT_MAX;
use super::{KeyLookup, Keyring};
use crate::clock::{Clock, Now};
use crate::names::KeyId;
use crate::store::StoreEvent;

impl Keyring {
    /// Heeds what the store tells of, until the store is closed.
    pub async fn follow(&self, clock: &dyn Clock) {
        let events = self.0.store.watch();
        events
            .for_each_concurrent(CONCURRENT_MAX, |event| async move {
                match event {
                    StoreEvent::Changed(id) => self.read_again(id, clock.now()).await,
                    StoreEvent::Resumed => self.read_all_again(clock.now()).await,
                }
            })
            .await;
    }

    /// Reads a key's row, if it is in memory, and has a new primary version in memory before it is asked for.
    async fn read_again(&self, id: KeyId, now: Now) {
        let lookup = KeyLookup::Id(id);
        let Some(known) = self.0.cache.key(&lookup) else { return };
        // What goes wrong is in the log, and the refresh comes all the same.
        let Ok(key) = self.look_up(lookup, now.monotonic, now).await else { return };
        if key.record.primary > known.record.primary {
            let _ = self.version(&key, key.record.primary, Purpose::Encrypt, now).await;
        }
    }

    async fn read_all_again(&self, now: Now) {
        let ids = self.0.cache.keys().into_iter().map(|key| key.record.id);
        stream::iter(ids).for_each_concurrent(CONCURRENT_MAX, |id| self.read_again(id, now)).await;
    }
}
