//! An audit log in a folder of its own, and what was written to it: for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Audit, Durability, Hasher, Log, LogSettings, OnFailure, Outcome, Tag, own_entry};
use crate::clock::{Clock, SystemClock};
use crate::names::KeyVersion;
use crate::root::authority::Authority;

/// Hashes that tell two apart and hide nothing.
#[derive(Debug)]
struct KnownHasher;

impl Hasher for KnownHasher {
    fn subject(&self, subject: &str) -> Tag {
        let mut hash = [0; 16];
        hash[0] = subject.bytes().fold(0, u8::wrapping_add);
        Tag { version: KeyVersion::FIRST, hash }
    }

    fn context(&self, digest: &[u8; 32]) -> Tag {
        Tag { version: KeyVersion::FIRST, hash: *digest.first_chunk().unwrap() }
    }
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
        let audit = Audit::new(log, Box::new(KnownHasher), OnFailure::Refuse, clock);
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
