//! Remembers for a moment which versions no root gave, so that a thousand requests for a revoked key do not become a
//! thousand calls to the root that revoked it. What is remembered is of one revision of the row: a row that was mended
//! counts at once. Does no I/O; the time is an argument.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::KeyringError;
use crate::clock::Now;
use crate::names::KeyRef;
use crate::store::VersionRecord;

/// After this long a version that was refused is as any that is not in memory.
const REFUSALS_KEPT: Duration = Duration::from_secs(60 * 60);

/// The setbacks that still count.
#[derive(Debug, Default)]
pub(super) struct Setbacks(Mutex<HashMap<KeyRef, Setback>>);

#[derive(Clone, Debug)]
struct Setback {
    revision: u64,
    until: Instant,
    error: KeyringError,
}

impl Setbacks {
    /// Why this version could not be had a moment ago, if it could not.
    pub(super) fn of(
        &self,
        key_ref: KeyRef,
        record: &VersionRecord,
        now: Now,
    ) -> Option<KeyringError> {
        let setbacks = self.lock();
        let setback = setbacks.get(&key_ref)?;
        let counts = setback.revision == record.revision && now.monotonic < setback.until;
        counts.then(|| setback.error.clone())
    }

    /// Whether the last that is known of this version is that it was refused, however long ago.
    pub(super) fn last_was_refusal(&self, key_ref: KeyRef, record: &VersionRecord) -> bool {
        self.lock().get(&key_ref).is_some_and(|setback| {
            setback.revision == record.revision && setback.error.ends_the_key()
        })
    }

    /// Remembers `error` for this version until then.
    pub(super) fn note(
        &self,
        key_ref: KeyRef,
        record: &VersionRecord,
        error: KeyringError,
        until: Instant,
    ) {
        self.lock().insert(key_ref, Setback { revision: record.revision, until, error });
    }

    /// A root has given it.
    pub(super) fn forget(&self, key_ref: KeyRef) {
        self.lock().remove(&key_ref);
    }

    /// Drops those that no longer count; refusals are remembered for a while longer.
    pub(super) fn prune(&self, now: Now) {
        self.lock().retain(|_, setback| match setback.error.ends_the_key() {
            true => now.since(setback.until) < REFUSALS_KEPT,
            false => now.monotonic < setback.until,
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<KeyRef, Setback>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
