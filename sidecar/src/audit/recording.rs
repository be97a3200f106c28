//! An audit log in a folder of its own, and what was written to it: for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Audit, AuditHashKey, Durability, Log, LogSettings, OnFailure, Outcome, own_entry};
use crate::clock::{Clock, SystemClock};
use crate::envelope::data_key;
use crate::names::{KeyId, KeyRef, KeyVersion};
use crate::root::authority::Authority;
use crate::secret::{Arena, KeyVersionSecret, Protection};

/// A key of the hashes, the same in every test.
pub(super) fn hash_key() -> Arc<AuditHashKey> {
    let arena = Arena::with_protection_at_most(Protection::Heap).unwrap();
    let key = KeyRef { id: KeyId::from_bytes([9; 8]), version: KeyVersion::FIRST };
    let secret = KeyVersionSecret::fill(&arena, |bytes| {
        bytes.fill(7);
        Ok::<_, std::convert::Infallible>(())
    });
    let data_key = data_key(&arena, key, &secret.unwrap(), None).unwrap();
    Arc::new(AuditHashKey::derive(&arena, &data_key).unwrap())
}

/// An audit log in a temporary folder.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) audit: Audit,
    folder: tempfile::TempDir,
}

impl Recorded {
    pub(crate) async fn start() -> Self {
        Self::with_clock(Arc::new(SystemClock)).await
    }

    pub(crate) async fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = LogSettings {
            folder: folder.path().join("audit"),
            origin: "keypod/test".parse().unwrap(),
            durability: Durability::Async,
            commit_timeout: Duration::from_secs(10),
            checkpoint_every: Duration::from_secs(1),
            queue_max: 1024,
            rotate_bytes: 1 << 30,
            rotate_after: Duration::from_secs(1 << 30),
            retention: Duration::from_secs(1 << 30),
        };
        let first = |_: &_| own_entry(&*clock, "start", Outcome::Ok, &Value::Null);
        let authorities: Vec<Arc<dyn Authority>> = vec![super::testing::Root::new()];
        let log = Log::open(settings, authorities, Arc::clone(&clock), first).await.unwrap();
        let audit = Audit::new(log, hash_key(), OnFailure::Refuse, clock);
        Self { audit, folder }
    }

    /// The entries after the first, as bytes: of a log that is not longer than a bundle.
    pub(crate) fn raw_entries(&self) -> Vec<Vec<u8>> {
        let logs = std::fs::read_dir(self.folder.path().join("audit")).unwrap();
        let logs = logs.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
        let logs: Vec<PathBuf> = logs.collect();
        let [log] = &logs[..] else { panic!("{logs:?}") };
        read_tail(&log.join("tail")).split_off(1)
    }

    /// The same as JSON.
    pub(crate) fn entries(&self) -> Vec<Value> {
        self.raw_entries().iter().map(|entry| serde_json::from_slice(entry).unwrap()).collect()
    }

    /// The same, once there are so many: for entries that nobody has waited for.
    pub(crate) async fn entries_of(&self, count: usize) -> Vec<Value> {
        while self.entries().len() < count {
            tokio::task::yield_now().await;
        }
        self.entries()
    }
}

fn read_tail(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut entries = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        entries.push(entry.to_vec());
        rest = after;
    }
    entries
}
