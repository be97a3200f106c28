//! Remembers for a moment which versions no root opens, so that a thousand requests for a revoked key do not become a
//! thousand calls to the root that revoked it. Does no I/O; the time is an argument.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::KeyringError;
use crate::clock::Now;
use crate::names::KeyRef;

/// The refusals that still count.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<KeyRef, (Instant, KeyringError)>>);

impl Refusals {
    /// Why this version was refused a moment ago, if it was.
    pub(super) fn of(&self, key_ref: KeyRef, now: Now) -> Option<KeyringError> {
        let refusals = self.lock();
        let (until, error) = refusals.get(&key_ref)?;
        (now.monotonic < *until).then(|| error.clone())
    }

    /// Answers with `error` for this version until then.
    pub(super) fn note(&self, key_ref: KeyRef, error: KeyringError, until: Instant) {
        self.lock().insert(key_ref, (until, error));
    }

    /// A root has opened it.
    pub(super) fn forget(&self, key_ref: KeyRef) {
        self.lock().remove(&key_ref);
    }

    /// Drops those that no longer count.
    pub(super) fn prune(&self, now: Now) {
        self.lock().retain(|_, (until, _)| now.monotonic < *until);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<KeyRef, (Instant, KeyringError)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
