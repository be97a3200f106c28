//! The log as the rest of the sidecar has it.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tlog_tiles::record_hash;
use tokio::sync::oneshot;

use super::batch::{Batch, Waiting};
use super::bundle;
use super::certificate::Before;
use super::compression::{Compressed, Compression};
use super::disk::Disk;
use super::error::LogError;
use super::open_log::OpenLog;
use super::plan::{Plan, checked, look};
use super::queue::{self, Command};
use super::receipt::{AppendError, Receipt};
use super::retention::{self, OldLog, Retention};
use super::settings::LogSettings;
use super::start::{LogStart, Previous};
use super::subscription::{Event, Subscription};
use super::writer::{Shared, Writer};
use crate::clock::{Clock, Now};
use crate::root::authority::Authority;

/// The audit log: takes entries, and answers when they are committed.
#[derive(Debug)]
pub struct Log {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: LogSettings,
    pub(super) disk: Disk,
    pub(super) authorities: Vec<Arc<dyn Authority>>,
    /// The first entry of the log that was opened.
    opened: Event,
    opened_number: u64,
    pub(super) retention: Arc<Mutex<Retention>>,
    compression: Arc<Mutex<Compression>>,
    /// One rotation at a time.
    pub(super) rotation: tokio::sync::Mutex<()>,
    #[cfg(test)]
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// How the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// The origin of the log that is written now.
    pub origin: Arc<str>,
    /// Its number in the chain.
    pub number: u64,
    /// Its entries.
    pub size: u64,
    /// Their bytes on the disk.
    pub bytes: u64,
    /// How many of them its newest checkpoint covers.
    pub checkpoint_size: u64,
    /// Why entries are refused, or else why no checkpoint can be written.
    pub failing: Option<Arc<str>>,
    /// Whether it is entries that are refused.
    pub refuses: bool,
    /// Entries that were counted because they did not get into the log, since the start.
    pub lost: u64,
    /// Entries that wait.
    pub queued: usize,
}

impl Log {
    /// Takes the folder, finishes what the sidecar before left, has the next log certified by the first of
    /// `authorities` that does, and begins it with the entry that `first` makes of its facts.
    ///
    /// # Errors
    /// [`LogError`]: somebody else writes there, the folder is not fit, no authority signs, or the disk refuses.
    pub async fn open(
        settings: LogSettings,
        authorities: Vec<Arc<dyn Authority>>,
        clock: Arc<dyn Clock>,
        first: impl FnOnce(&LogStart) -> Vec<u8>,
    ) -> Result<Self, LogError> {
        Self::open_on(Disk::default(), settings, authorities, clock, first).await
    }

    pub(super) async fn open_on(
        disk: Disk,
        settings: LogSettings,
        authorities: Vec<Arc<dyn Authority>>,
        clock: Arc<dyn Clock>,
        first: impl FnOnce(&LogStart) -> Vec<u8>,
    ) -> Result<Self, LogError> {
        let looked = {
            let (disk, settings) = (disk.clone(), settings.clone());
            blocking(move || look(disk, &settings)).await?
        };
        let (chain, found, number) = looked;
        let now = clock.now();
        let mut plan = Plan::new(&settings, number, now.wall)?;
        plan.statement.previous = found.as_ref().map(|found| Before {
            origin: found.origin.clone(),
            size: found.size,
            root: found.root,
        });
        let certificate = plan.statement.certify(&authorities).await?;
        let previous = found.map(|found| Previous {
            origin: found.origin,
            checkpoint_size: found.checkpoint_size,
            found_size: found.size,
            ended: found.ended,
        });
        let first = checked(first(&plan.start(&certificate, previous)))?;
        let opened = Event::Entry {
            log: Arc::clone(&plan.origin),
            index: 0,
            entry: first.as_slice().into(),
        };
        let (durability, keep) = (settings.durability, settings.retention);
        let (chain, log, retention) = blocking(move || {
            let known = chain.authorities().map_err(LogError::Disk)?;
            let mut retention = Retention::new(keep, now, &known);
            retention.trust(&certificate.authority);
            chain.write_authority(&certificate.authority).map_err(LogError::Disk)?;
            let beginning = plan.beginning(certificate, first);
            let begun = OpenLog::begin(&chain.disk, &chain.top, durability, beginning);
            let mut log = begun.map_err(LogError::Disk)?;
            log.bear().map_err(LogError::Disk)?;
            Ok((chain, log, retention))
        })
        .await?;
        let shared = Arc::new(Shared::new(settings.queue_max, &log, now.monotonic));
        tokio::spawn(queue::watch(Arc::downgrade(&shared.queue), settings.commit_timeout));
        let writer = Writer {
            shared: Arc::clone(&shared),
            chain,
            log,
            clock,
            durability,
            checkpoint_every: settings.checkpoint_every,
            checkpointed: now.monotonic,
        };
        let thread = writer.start().map_err(LogError::Thread)?;
        #[cfg(not(test))]
        drop(thread);
        Ok(Self {
            shared,
            settings,
            disk,
            authorities,
            opened,
            opened_number: number,
            retention: Arc::new(Mutex::new(retention)),
            compression: Arc::default(),
            rotation: tokio::sync::Mutex::new(()),
            #[cfg(test)]
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Commits `entry`. It is in the queue when this returns, whether or not anybody polls.
    ///
    /// # Errors
    /// [`AppendError`]; after [`AppendError::TooSlow`] the entry may be committed yet.
    pub fn append(
        &self,
        entry: Vec<u8>,
    ) -> impl Future<Output = Result<Receipt, AppendError>> + Send + use<> {
        self.append_all(vec![entry])
    }

    /// Commits `entries`, one after the other and nothing in between: all of them are taken into the queue, or none. The
    /// receipt is the last one's. If the disk refuses the last, some of those before it may be in.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_all(
        &self,
        entries: Vec<Vec<u8>>,
    ) -> impl Future<Output = Result<Receipt, AppendError>> + Send + use<> {
        let entries: Vec<_> = entries.iter().map(Vec::as_slice).collect();
        let queued = self.queue(&entries, true);
        async move { queued?.await }
    }

    /// As [`Self::append_all`], of copies: the caller keeps its memory. Each entry that does not get into the log is
    /// counted as lost, once, whether or not anybody still waits to hear that.
    pub(super) fn append_counted(
        &self,
        entries: &[&[u8]],
    ) -> impl Future<Output = Result<Receipt, AppendError>> + Send + use<> {
        let queued = self.queue(entries, false);
        if queued.is_err() {
            self.shared.lose(entries.len() as u64);
        }
        async move { queued?.await }
    }

    /// Has a copy of `entry` committed, and nobody waits for it. One that does not get into the log is counted as lost.
    pub fn enqueue(&self, entry: &[u8]) {
        drop(self.append_counted(&[entry]));
    }

    /// Has a copy of `entry` committed, for who must know in the end what became of it: after [`AppendError::TooSlow`] a
    /// clone can be asked again.
    pub(super) fn send(&self, entry: &[u8]) -> Result<Waiting, AppendError> {
        self.queue(&[entry], true)
    }

    /// Entries that were counted as lost.
    pub(super) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    fn queue(&self, entries: &[&[u8]], is_told: bool) -> Result<Waiting, AppendError> {
        if let Some(entry) = entries.iter().find(|entry| !bundle::fits(entry.len())) {
            return Err(AppendError::TooLong { bytes: entry.len() });
        }
        if let [entry] = entries {
            return self.shared.queue.push(&[(*entry, record_hash(entry))], is_told);
        }
        let hashed: Vec<_> = entries.iter().map(|entry| (*entry, record_hash(entry))).collect();
        self.shared.queue.push(&hashed, is_told)
    }

    /// Signs a checkpoint now, if there are entries that none covers.
    ///
    /// # Errors
    /// [`LogError`]; it is tried again when the next one is due.
    pub async fn checkpoint(&self) -> Result<(), LogError> {
        self.ask(Command::Checkpoint).await?
    }

    /// Adds the signature line of a witness to the checkpoint of the log `origin`, if its newest covers `size` entries.
    /// `false` if it does not.
    ///
    /// # Errors
    /// [`LogError`]: the line is no signature, or the disk refuses.
    pub async fn add_cosignature(
        &self,
        origin: &str,
        size: u64,
        line: &str,
    ) -> Result<bool, LogError> {
        let bare = line.strip_suffix('\n').unwrap_or(line);
        if signed_note::Signature::from_bytes(bare.as_bytes()).is_err() {
            return Err(LogError::Cosignature);
        }
        let (origin, line) = (origin.to_owned(), line.to_owned());
        self.ask(|done| Command::Cosign { origin, size, line, done }).await?
    }

    /// How the log is.
    #[must_use]
    pub fn status(&self) -> LogStatus {
        let progress = self.shared.progress();
        LogStatus {
            origin: progress.origin,
            number: progress.number,
            size: progress.size,
            bytes: progress.bytes,
            checkpoint_size: progress.checkpoint_size,
            refuses: progress.refused.is_some(),
            failing: progress.refused.or(progress.unsigned),
            lost: self.lost(),
            queued: self.shared.queue.len(),
        }
    }

    /// What is committed from now on, at most `queue_max` entries at a time. Whoever subscribes before anything is
    /// appended gets the first entry of the log too.
    #[must_use]
    pub fn subscribe(&self, queue_max: usize) -> Subscription {
        let subscription = self.shared.subscribers.subscribe(queue_max);
        let progress = self.shared.progress();
        if progress.number == self.opened_number && progress.size == 1 {
            subscription.send(self.opened.clone());
        }
        subscription
    }

    /// The oldest logs whose time is over, by certificates that an authority signed and by both clocks. Write an entry for
    /// each before it goes.
    ///
    /// # Errors
    /// [`LogError::Disk`].
    pub async fn due_for_pruning(&self, now: Now) -> Result<Vec<OldLog>, LogError> {
        let current = self.shared.progress().number;
        let (top, retention) = (self.settings.folder.clone(), Arc::clone(&self.retention));
        blocking(move || locked(&retention).due(&top, current, now)).await
    }

    /// Deletes the entries and tiles of a log; its certificate and its checkpoint stay.
    ///
    /// # Errors
    /// [`LogError::Disk`]; it stays due.
    pub async fn delete(&self, log: OldLog) -> Result<(), LogError> {
        let (disk, top) = (self.disk.clone(), self.settings.folder.clone());
        blocking(move || retention::delete(&disk, &top, &log).map_err(LogError::Disk)).await
    }

    /// Compresses the full bundles of all logs that are over.
    ///
    /// # Errors
    /// [`LogError::Disk`]; what is not compressed stays as it was.
    pub async fn compress(&self) -> Result<Compressed, LogError> {
        let current = self.shared.progress().number;
        let (disk, top) = (self.disk.clone(), self.settings.folder.clone());
        let compression = Arc::clone(&self.compression);
        blocking(move || locked(&compression).compress(&disk, &top, current)).await
    }

    /// Commits what waits and the entry `last`, signs the last checkpoint, and gives the folder free. What is appended
    /// later is refused.
    ///
    /// # Errors
    /// [`AppendError`]: the log is as a crash would leave it, and closed.
    pub async fn close(&self, last: Vec<u8>) -> Result<(), AppendError> {
        if !bundle::fits(last.len()) {
            return Err(AppendError::TooLong { bytes: last.len() });
        }
        let last = Batch::of(&last);
        let closed = self.ask(|done| Command::Close { last, done }).await;
        closed.map_err(|_| AppendError::Closed)?
    }

    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, LogError> {
        let (sender, receiver) = oneshot::channel();
        if !self.shared.queue.command(command(sender)) {
            return Err(LogError::Closed);
        }
        receiver.await.map_err(|_| LogError::Closed)
    }

    #[cfg(test)]
    pub(super) fn is_held(&self) -> bool {
        self.shared.queue.is_held()
    }

    /// Ends the writer as a kill does, and waits for its end.
    #[cfg(test)]
    pub(super) fn abandon(self) {
        self.shared.queue.stop();
        let thread = self.thread.lock().unwrap().take();
        thread.unwrap().join().unwrap();
    }
}

impl Drop for Log {
    /// The log ends as after a crash: only [`Log::close`] closes it.
    fn drop(&mut self) {
        self.shared.queue.stop();
    }
}

/// What upkeep remembers: nothing in it is half done when its holder panics.
pub(super) fn locked<T>(memory: &Mutex<T>) -> MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    // It cannot be cancelled, and a panic in it is a defect that ends the sidecar's start.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(LogError::Closed))
}
