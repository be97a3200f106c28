//! One log closed and the next begun, without an entry lost in between.

use tlog_tiles::record_hash;

use super::batch::Batch;
use super::certificate::Before;
use super::chain;
use super::error::LogError;
use super::log::{Log, blocking, locked};
use super::plan::{Plan, checked};
use super::queue::Command;
use super::start::{Ended, LogStart, Previous};
use super::writer::Shared;
use crate::clock::Now;

/// A log was closed and the next one begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The log that was closed.
    pub closed: Previous,
    /// The one that goes on.
    pub begun: LogStart,
}

impl Log {
    /// Closes this log with the entry `last` and begins another with the entry that `first` makes, if this one is long
    /// or old enough. While the root is away this one goes on. Entries wait for as long as the root signs, at most half of
    /// `commit_timeout`: before that it is asked once while they do not.
    ///
    /// # Errors
    /// [`LogError`]; the log goes on all the same.
    pub async fn rotate_if_due(
        &self,
        now: Now,
        last: Vec<u8>,
        first: impl FnOnce(&LogStart) -> Vec<u8>,
    ) -> Result<Option<Rotated>, LogError> {
        let _one = self.rotation.lock().await;
        let progress = self.shared.progress();
        let old = now.since(progress.begun) >= self.settings.rotate_after;
        if !old && progress.bytes < self.settings.rotate_bytes {
            return Ok(None);
        }
        self.rotate(now, checked(last)?, first).await.map(Some)
    }

    async fn rotate(
        &self,
        now: Now,
        last: Vec<u8>,
        first: impl FnOnce(&LogStart) -> Vec<u8>,
    ) -> Result<Rotated, LogError> {
        let old = self.shared.progress();
        let mut plan = Plan::new(&self.settings, old.number + 1, now.wall)?;
        // A root that is away or slow is found out while entries are still committed.
        plan.statement.certify(&self.authorities).await?;
        let (leaf, last) = (record_hash(&last), Batch::of(&last));
        let mut held = Held(Some(&self.shared));
        let (size, root) = self.ask(|done| Command::Hold { leaf, done }).await?;
        let origin = old.origin.to_string();
        plan.statement.previous = Some(Before { origin: origin.clone(), size, root: root.0 });
        let patience = self.settings.commit_timeout / 2;
        let certified = plan.statement.certify(&self.authorities);
        let certificate = tokio::time::timeout(patience, certified).await;
        let certificate = certificate.map_err(|_| LogError::NotCertified {
            reasons: "the root took longer than half of audit.commit_timeout".to_owned(),
        })??;
        let closed =
            Previous { origin, checkpoint_size: size, found_size: size, ended: Ended::Clean };
        let begun = plan.start(&certificate, Some(closed.clone()));
        let first = checked(first(&begun))?;
        let (disk, top) = (self.disk.clone(), self.settings.folder.clone());
        let authority = certificate.authority.clone();
        locked(&self.retention).trust(&authority);
        blocking(move || chain::write_authority(&disk, &top, &authority).map_err(LogError::Disk))
            .await?;
        let next = Box::new(plan.beginning(certificate, first));
        // From here on the writer ends the hold.
        held.0 = None;
        self.ask(|done| Command::Switch { last, next, done }).await??;
        Ok(Rotated { closed, begun })
    }
}

/// Lets entries go on when a rotation is given up.
struct Held<'a>(Option<&'a Shared>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.queue.command(Command::Resume);
        }
    }
}
