//! Keeps the rows in one SQLite file, for one sidecar: the embedded default.
//!
//! Depends on [`super::KeyStore`], [`crate::names`] and [`crate::clock::UnixSeconds`]; never sees a key or a
//! plaintext. A write is on the disk when it returns (write-ahead log, `synchronous=FULL`); one connection
//! writes and each change is one `BEGIN IMMEDIATE` transaction, so a change sees nobody else's half. Beside
//! `keys.db` there are `keys.db-wal` and `keys.db-shm` (SQLite's: part of the database while it is open) and
//! `keys.db.lock` (says that a sidecar runs; may be deleted when none does). All have mode 0600.
//!
//! # What deletion promises here
//!
//! When [`KeyStore::update_version`] returns from a destruction, the wrapped secret is in no row, and its bytes
//! are in neither the file nor the log (`nothing_of_a_destroyed_wrapping_stays_in_the_files`). If that scrubbing
//! fails (a reader that does not end, a full disk), the destruction stands, a warning is logged, and the scrub is
//! repeated at the next [`KeyStore::check`], at closing and at the next start. Wrappings that were replaced are
//! scrubbed at those same moments. What SQL cannot promise: the blocks that the file system or an SSD has
//! remapped or freed, snapshots of the volume, and backups may still hold the bytes. They are wrapped: without
//! the root key they stay closed. To be rid of them for good, let the old backups expire or retire the root key.
//!
//! # A file that is not as it should be
//!
//! A database of another program or of a newer Keypod, and a damaged one, are refused and not changed. One that
//! every user may write is refused; one that its group may open is taken back to mode 0600 with a warning,
//! because Kubernetes opens every file of a volume to the pod's `fsGroup` at each start.

mod approvals;
mod error;
mod file;
mod keys;
mod schema;
mod scrub;
mod usage;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sqlx::{Sqlite, SqlitePool, Transaction};

use super::fault::Fault;
use super::{Approval, KeyRecord, KeyStore, StoreError, Usage, VersionChange, VersionRecord, rows};
use crate::clock::UnixSeconds;
use crate::names::{KeyId, KeyName, KeyRef, KeyVersion};

/// A key store in one SQLite file. See the module's page for its promises.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    /// Whether deleted wrappings may still be in the files: the mark in the table `health`, kept at hand.
    scrub_due: AtomicBool,
    /// Given back by `close`, or at drop.
    lock: Mutex<Option<file::Lock>>,
}

impl SqliteStore {
    /// Opens the database at `path`, or makes an empty one. The folder must exist.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another sidecar has it open, [`StoreError::Corrupt`] for a damaged file or one
    /// that is not Keypod's, [`StoreError::Unavailable`] if it cannot be opened or is of a newer version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = file::resolve(path)?;
        let lock = file::Lock::take(&path)?;
        if file::is_there(&path)? {
            schema::verify(&path).await?;
            file::restrict(&path);
        } else {
            schema::create(&path).await?;
        }
        let writer = schema::writer(&path).await?;
        schema::upgrade(&writer, &path).await?;
        let store = Self {
            readers: schema::readers(&path),
            writer,
            path,
            scrub_due: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        };
        let due = async { scrub::is_due(&mut *store.writer.acquire().await?).await };
        store.scrub_due.store(due.await.map_err(|fault| store.failed(fault))?, Ordering::Relaxed);
        store.scrub().await;
        Ok(store)
    }

    fn failed(&self, fault: impl Into<Fault>) -> StoreError {
        fault.into().at(&self.path)
    }

    /// Begins a transaction that may write: it has the write lock from the start. Dropped, it rolls back.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(|error| self.failed(error))
    }

    /// Ends a transaction: what it did is on disk, or an error is returned and nothing is.
    async fn commit<T>(
        &self,
        tx: Transaction<'static, Sqlite>,
        done: Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let value = done.map_err(|fault| self.failed(fault))?;
        tx.commit().await.map_err(|error| self.failed(error))?;
        Ok(value)
    }

    /// Scrubs deleted wrappings, if there are any. The deletion itself stands already, so a failure is no
    /// error: it is logged and tried again later.
    async fn scrub(&self) {
        if !self.scrub_due.load(Ordering::Relaxed) {
            return;
        }
        let scrubbed = async {
            let mut connection = self.writer.acquire().await?;
            scrub::run(&mut connection).await?;
            self.scrub_due.store(false, Ordering::Relaxed);
            Ok::<_, Fault>(())
        };
        if let Err(fault) = scrubbed.await {
            let error = self.failed(fault);
            tracing::warn!(%error, "destroyed wrappings may still be legible in the file: trying again later");
        }
    }
}

#[async_trait]
impl KeyStore for SqliteStore {
    async fn insert_key(&self, key: &KeyRecord) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let done = keys::insert(&mut tx, key).await;
        self.commit(tx, done).await
    }

    async fn key_by_name(&self, name: &KeyName) -> Result<Option<KeyRecord>, StoreError> {
        keys::by_name(&self.readers, name).await.map_err(|fault| self.failed(fault))
    }

    async fn key_by_id(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        keys::by_id(&self.readers, id).await.map_err(|fault| self.failed(fault))
    }

    async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let keys = keys::list(&self.readers).await.map_err(|fault| self.failed(fault))?;
        Ok(rows::sound(keys, "restore the file from a backup"))
    }

    async fn damaged_keys(&self) -> Result<Vec<String>, StoreError> {
        let keys = keys::list(&self.readers).await.map_err(|fault| self.failed(fault))?;
        Ok(rows::damaged(keys))
    }

    async fn insert_version(
        &self,
        key: KeyId,
        expected_primary: KeyVersion,
        version: &VersionRecord,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let done = keys::insert_version(&mut tx, key, expected_primary, version).await;
        self.commit(tx, done).await
    }

    async fn update_version(
        &self,
        key: KeyRef,
        expected_revision: u64,
        change: &VersionChange,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let done = keys::update_version(&mut tx, key, expected_revision, change).await;
        if matches!(change, VersionChange::Destroy | VersionChange::Wrappings(_)) && done.is_ok() {
            // Before the commit: whoever stops waiting for it must not lose the mark.
            self.scrub_due.store(true, Ordering::Relaxed);
        }
        self.commit(tx, done).await?;
        // Replaced wrappings can wait for the next check: a change of root replaces them by the thousand.
        if matches!(change, VersionChange::Destroy) {
            self.scrub().await;
        }
        Ok(())
    }

    async fn reserve_usage(
        &self,
        key: KeyRef,
        block: Usage,
        limit: Usage,
    ) -> Result<Usage, StoreError> {
        let mut tx = self.begin().await?;
        let done = usage::reserve(&mut tx, key, block, limit).await;
        self.commit(tx, done).await
    }

    async fn return_usage(&self, key: KeyRef, unused: Usage) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let done = usage::give_back(&mut tx, key, unused).await;
        self.commit(tx, done).await
    }

    async fn insert_approval(
        &self,
        approval: &Approval,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let done = approvals::insert(&mut tx, approval, now).await;
        self.commit(tx, done).await
    }

    async fn list_approvals(&self, now: UnixSeconds) -> Result<Vec<Approval>, StoreError> {
        approvals::list(&self.readers, now).await.map_err(|fault| self.failed(fault))
    }

    async fn take_approval(&self, id: &str) -> Result<Option<Approval>, StoreError> {
        let mut tx = self.begin().await?;
        let done = approvals::take(&mut tx, id).await;
        self.commit(tx, done).await
    }

    /// Looks for free space, then writes one row and commits it: only a write shows a read-only volume. The log that this grows is
    /// used again from its start every 1,000 pages, so the file does not grow.
    async fn check(&self) -> Result<(), StoreError> {
        file::has_room(&self.path)?;
        let mut tx = self.begin().await?;
        let flip = sqlx::query("UPDATE health SET probe = 1 - probe").execute(&mut *tx).await;
        let done = match flip {
            Ok(flip) if flip.rows_affected() == 1 => Ok(()),
            Ok(_) => Err(Fault::Damaged("the table health has no row".to_owned())),
            Err(error) => Err(error.into()),
        };
        self.commit(tx, done).await?;
        self.scrub().await;
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.scrub().await;
        let emptied = async { scrub::empty_log(&mut *self.writer.acquire().await?).await };
        if let Err(fault) = emptied.await
            && !self.writer.is_closed()
        {
            // Nothing is lost: the next start finds the log beside the file.
            let error = self.failed(fault);
            tracing::warn!(%error, "the log could not be moved into the database");
        }
        self.writer.close().await;
        drop(self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    }

    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}
