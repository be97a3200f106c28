//! The audit log: who did what, when, how, with which outcome and by which policy, committed before the answer leaves.
//!
//! The format on disk is `docs/audit-log.md`. Depends on [`crate::policy`] for who asks and what was decided, on
//! [`crate::envelope`] for contexts, and on [`crate::clock`]; a root's signature comes in through a trait. It knows
//! nothing of HTTP, of keys that encrypt, or of a store. What it writes holds no plaintext, no value of a context and no
//! token (`no_canary_leaves_in_logs_or_metrics_or_errors_or_files`).

mod attempt;
mod batch;
mod bundle;
mod certificate;
mod chain;
mod compression;
mod counts;
mod disk;
mod entry;
mod error;
mod facts;
#[cfg(test)]
mod faults;
mod hash;
mod layout;
mod log;
mod note;
mod open_log;
mod plan;
pub mod prove;
pub mod query;
mod queue;
pub mod reader;
mod receipt;
#[cfg(test)]
pub(crate) mod recording;
mod recover;
mod refusals;
pub mod report;
mod retention;
mod rotation;
mod settings;
mod start;
mod subscription;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tree;
pub mod verify;
mod writer;

pub use attempt::Attempt;
pub use chain::origin_in;
pub use compression::Compressed;
pub use entry::Outcome;
pub use error::{DiskError, LogError};
pub use hash::{AuditHash, AuditHashKey, HASH_BYTES, ciphertext_hash};
pub use log::{Log, LogStatus};
pub use receipt::{AppendError, Durability, Receipt};
pub use retention::OldLog;
pub use rotation::Rotated;
pub use settings::{LogSettings, Origin, OriginError};
pub use start::{Damage, Ended, LogStart, Previous};
pub use subscription::{Event, Subscription};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::clock::Clock;
use crate::names::{KeyName, KeyVersion};
use crate::policy::Caller;
use counts::Counts;
use entry::{Entry, Millis};
use facts::Facts;

/// What becomes of an operation that cannot be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It fails, with 503 `audit_unavailable`.
    #[default]
    Refuse,
    /// It goes on without a record; how many did is recorded as soon as that can be.
    Continue,
}

/// The audit log of this sidecar. A clone is another handle to the same log.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    log: Log,
    hash_key: ArcSwap<AuditHashKey>,
    on_failure: OnFailure,
    clock: Arc<dyn Clock>,
    counts: Counts,
    /// Entries wait, and none is committed: a disk that hangs says nothing.
    hangs: AtomicBool,
}

impl Audit {
    /// An audit log over these parts.
    #[must_use]
    pub fn new(
        log: Log,
        hash_key: Arc<AuditHashKey>,
        on_failure: OnFailure,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let hash_key = ArcSwap::new(hash_key);
        let (counts, hangs) = (Counts::default(), AtomicBool::new(false));
        Self(Arc::new(Shared { log, hash_key, on_failure, clock, counts, hangs }))
    }

    /// The log, for its health and its upkeep.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.0.log
    }

    /// Notes whether entries wait that the disk does not take.
    pub fn set_hangs(&self, hangs: bool) {
        self.0.hangs.store(hangs, Ordering::Relaxed);
    }

    /// Whether operations fail for want of a record.
    #[must_use]
    pub fn fails_operations(&self) -> bool {
        let cannot = self.0.log.status().refuses || self.0.hangs.load(Ordering::Relaxed);
        cannot && self.0.on_failure == OnFailure::Refuse
    }

    /// Has this key make the hashes from now on.
    pub fn set_hash_key(&self, hash_key: Arc<AuditHashKey>) {
        self.0.hash_key.store(hash_key);
    }

    /// An attempt of `caller` at `operation` that begins now.
    #[must_use]
    pub fn attempt(
        &self,
        caller: Caller,
        operation: &'static str,
        request: impl Into<Arc<str>>,
    ) -> Attempt {
        Attempt::new(self.clone(), caller, operation, request.into())
    }

    /// Commits an entry about the sidecar itself, for who tries again or leaves undone what has none.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn record(
        &self,
        operation: &str,
        outcome: Outcome,
        detail: Value,
    ) -> Result<Receipt, AppendError> {
        let entry = self.own_entry(operation, outcome, &detail);
        match self.0.on_failure {
            OnFailure::Refuse => self.0.log.append(entry).await,
            OnFailure::Continue => self.commit(&[&entry]).await,
        }
    }

    /// Commits an entry about what has happened to the sidecar itself. If it does not get into the log, a `gap` counts it.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn record_what_was(
        &self,
        operation: &str,
        outcome: Outcome,
        detail: Value,
    ) -> Result<Receipt, AppendError> {
        self.commit(&[&self.own_entry(operation, outcome, &detail)]).await
    }

    /// Commits an entry about a change of a key's version that no caller asked for.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn record_change(
        &self,
        operation: &str,
        outcome: Outcome,
        key: &KeyName,
        version: KeyVersion,
        detail: &Value,
    ) -> Result<Receipt, AppendError> {
        let facts = Facts { key: Some(key.clone()), version: Some(version), ..Facts::default() };
        self.commit(&[&nobodys_entry(&*self.0.clock, operation, outcome, &facts, detail)]).await
    }

    /// The bytes of an entry about the sidecar itself: for the first and the last of a log.
    #[must_use]
    pub fn own_entry(&self, operation: &str, outcome: Outcome, detail: &Value) -> Vec<u8> {
        own_entry(&*self.0.clock, operation, outcome, detail)
    }

    /// Counts a request that was turned away before anybody knew what it wanted. `who` is a caller, or where it came from.
    pub fn refused(&self, code: &'static str, who: &str) {
        self.0.counts.refusals.count(code, who);
    }

    /// Records what was counted since the last time: requests turned away, and entries that did not get into the log.
    ///
    /// # Errors
    /// [`AppendError`]; what was counted is kept for the next time.
    pub async fn record_counts(&self) -> Result<(), AppendError> {
        self.0.counts.record(self).await
    }

    fn unix_millis(&self) -> u64 {
        self.0.clock.unix_millis()
    }

    /// Commits entries that belong together. They are on their way when this returns; the future waits for them. A `gap`
    /// counts those that do not get into the log, whoever hears of it.
    fn commit(
        &self,
        entries: &[&[u8]],
    ) -> impl Future<Output = Result<Receipt, AppendError>> + use<> {
        let on_failure = self.0.on_failure;
        let appended = self.0.log.append_counted(entries);
        async move {
            match (appended.await, on_failure) {
                (Err(error), OnFailure::Continue) => {
                    tracing::error!(alert = "audit_gap", %error, "an operation goes on without a record");
                    Ok(Receipt::none())
                }
                (appended, _) => appended,
            }
        }
    }

    /// Has entries written that nobody waits for.
    fn enqueue(&self, entries: &[&[u8]]) {
        entries.iter().for_each(|entry| self.0.log.enqueue(entry));
    }
}

/// The bytes of an entry about the sidecar itself.
#[must_use]
pub fn own_entry(clock: &dyn Clock, operation: &str, outcome: Outcome, detail: &Value) -> Vec<u8> {
    nobodys_entry(clock, operation, outcome, &Facts::default(), detail)
}

/// The bytes of an entry about what no caller asked for.
fn nobodys_entry(
    clock: &dyn Clock,
    operation: &str,
    outcome: Outcome,
    facts: &Facts,
    detail: &Value,
) -> Vec<u8> {
    let entry = Entry {
        time: Millis(clock.unix_millis()),
        operation,
        outcome,
        code: None,
        request: None,
        asker: None,
        facts,
        policy_set: None,
        detail: Some(detail),
    };
    entry.to_bytes()
}
