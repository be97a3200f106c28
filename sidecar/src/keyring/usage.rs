//! Counts messages and bytes against a version's limits.
//!
//! Depends on [`crate::store`]. Use is reserved in the store in blocks before it is handed out: a crash loses
//! what was reserved and not used, so the count in the store is never below what was sealed. The hot path takes
//! from the block with two atomic operations and asks the store only when the block is spent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::CachedKey;
use super::{Keyring, KeyringError, Shared};
use crate::names::KeyRef;
use crate::store::{KeyRecord, StoreError, Usage};

/// Messages reserved at once, at most: what a crash can over-count.
const BLOCK_MESSAGES_MAX: u64 = 1 << 17;
/// Bytes reserved at once, at most, unless one request is larger.
const BLOCK_BYTES_MAX: u64 = 1 << 33;
/// A block is at most this part of the limit, so that a small limit is not spent by one crash.
const BLOCK_PART: u64 = 256;

/// What is left of the reserved blocks of one version.
#[derive(Debug)]
pub(super) struct Meter {
    key_ref: KeyRef,
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Held while a block is being reserved.
    refill: tokio::sync::Mutex<()>,
}

impl Meter {
    fn new(key_ref: KeyRef) -> Self {
        Self {
            key_ref,
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            refill: tokio::sync::Mutex::default(),
        }
    }

    /// Takes both or neither.
    fn take(&self, messages: u64, bytes: u64) -> bool {
        if !subtract(&self.messages, messages) {
            return false;
        }
        if subtract(&self.bytes, bytes) {
            return true;
        }
        self.messages.fetch_add(messages, Ordering::Relaxed);
        false
    }

    fn add(&self, usage: Usage) {
        self.messages.fetch_add(usage.messages, Ordering::Relaxed);
        self.bytes.fetch_add(usage.bytes, Ordering::Relaxed);
    }

    fn left(&self) -> Usage {
        Usage {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn take_all(&self) -> Usage {
        Usage {
            messages: self.messages.swap(0, Ordering::Relaxed),
            bytes: self.bytes.swap(0, Ordering::Relaxed),
        }
    }
}

fn subtract(left: &AtomicU64, amount: u64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount)).is_ok()
}

/// The meters of all versions. They outlive the cache's entries, so that eviction loses no reservation.
#[derive(Debug, Default)]
pub(super) struct Meters(Mutex<HashMap<KeyRef, Arc<Meter>>>);

impl Meters {
    pub(super) fn of(&self, key_ref: KeyRef) -> Arc<Meter> {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(meters.entry(key_ref).or_insert_with(|| Arc::new(Meter::new(key_ref))))
    }

    fn all(&self) -> Vec<Arc<Meter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Keyring {
    /// Counts a use of the key's version that `meter` belongs to. `false` once its limits are used up.
    pub(super) async fn charge(
        &self,
        key: &CachedKey,
        meter: &Meter,
        messages: u64,
        bytes: u64,
    ) -> Result<bool, KeyringError> {
        if meter.take(messages, bytes) {
            return Ok(true);
        }
        self.refill(&key.record, meter, messages, bytes).await
    }

    async fn refill(
        &self,
        key: &KeyRecord,
        meter: &Meter,
        messages: u64,
        bytes: u64,
    ) -> Result<bool, KeyringError> {
        // Who waits for the lock finds what the one before reserved.
        let _held = meter.refill.lock().await;
        let limit = Usage { messages: key.settings.messages_max, bytes: key.settings.bytes_max };
        loop {
            if meter.take(messages, bytes) {
                return Ok(true);
            }
            let left = meter.left();
            let block = Usage {
                messages: block_size(limit.messages, BLOCK_MESSAGES_MAX, left.messages, messages),
                bytes: block_size(limit.bytes, BLOCK_BYTES_MAX, left.bytes, bytes),
            };
            let granted = self.0.store.reserve_usage(meter.key_ref, block, limit).await?;
            meter.add(granted);
            if granted != block {
                // The limit is near: what is left of it is enough, or nothing is.
                return Ok(meter.take(messages, bytes));
            }
            // Those who need no block do not wait for the lock, and may have taken from this one: once more.
        }
    }

    /// Gives what was reserved and not used back to the store: at an orderly shutdown.
    pub(super) async fn return_unused(&self) {
        for meter in self.0.meters.all() {
            let key_ref = meter.key_ref;
            let unused = meter.take_all();
            if unused == (Usage { messages: 0, bytes: 0 }) {
                continue;
            }
            if let Err(error) = self.0.store.return_usage(key_ref, unused).await {
                // They stay counted: more than was used, never less.
                tracing::warn!(key_id = %key_ref.id, error = %error, "unused reservations stay counted");
                if matches!(error, StoreError::Unavailable { .. }) {
                    return;
                }
            }
        }
    }
}

impl Shared {
    /// What of the stored usage is reserved here and not yet used.
    pub(super) fn unused(&self, key_ref: KeyRef) -> Usage {
        self.meters.of(key_ref).left()
    }
}

/// What to reserve of one counter: nothing while enough is `left`, or the counter that runs out seldom would
/// pile up blocks with each refill of the other.
fn block_size(limit: u64, block_max: u64, left: u64, wanted: u64) -> u64 {
    if left >= wanted {
        return 0;
    }
    (limit / BLOCK_PART).clamp(1, block_max).max(wanted - left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{KeyId, KeyVersion};

    #[test]
    fn a_meter_takes_both_counters_or_neither() {
        let key_ref = KeyRef { id: KeyId::from_bytes([1; 8]), version: KeyVersion::FIRST };
        let meter = Meter::new(key_ref);
        meter.add(Usage { messages: 2, bytes: 10 });
        assert!(!meter.take(1, 11));
        assert!(meter.take(1, 10));
        assert!(!meter.take(2, 0));
        assert_eq!(meter.take_all(), Usage { messages: 1, bytes: 0 });
    }

    #[test]
    fn a_block_is_a_small_part_of_a_small_limit_and_never_less_than_what_is_wanted() {
        assert_eq!(block_size(100, BLOCK_MESSAGES_MAX, 0, 1), 1);
        assert_eq!(block_size(1 << 32, BLOCK_MESSAGES_MAX, 0, 1), BLOCK_MESSAGES_MAX);
        assert_eq!(block_size(1000, BLOCK_BYTES_MAX, 0, 900), 900);
        assert_eq!(block_size(1000, BLOCK_BYTES_MAX, 899, 900), 3);
    }

    #[test]
    fn a_counter_that_has_enough_left_reserves_nothing() {
        assert_eq!(block_size(1 << 32, BLOCK_MESSAGES_MAX, 1, 1), 0);
        assert_eq!(block_size(1 << 32, BLOCK_MESSAGES_MAX, 0, 0), 0);
    }
}
