//! The one thread that writes: takes all that waits, commits it with one flush, and tells those who wait.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::chain::Chain;
use super::error::{DiskError, LogError};
use super::open_log::{Beginning, OpenLog, Signed};
use super::queue::{Command, Queue};
use super::receipt::{AppendError, Durability};
use super::retention;
use super::subscription::{Event, Subscribers};
use crate::clock::Clock;

/// The longest the thread sleeps with nothing to do.
const IDLE: Duration = Duration::from_secs(3_600);

/// What the writer shares with those who append.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Arc<Queue>,
    pub(super) subscribers: Subscribers,
    /// Entries that nobody waited for and that are not in the log.
    pub(super) lost: AtomicU64,
    progress: Mutex<Progress>,
}

/// How far the writer has come.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) origin: Arc<str>,
    pub(super) number: u64,
    pub(super) size: u64,
    pub(super) bytes: u64,
    pub(super) checkpoint_size: u64,
    pub(super) begun: Instant,
    /// Why the last entries were not taken.
    pub(super) refused: Option<Arc<str>>,
    /// Why the last checkpoint was not written.
    pub(super) unsigned: Option<Arc<str>>,
}

impl Shared {
    pub(super) fn new(queue_max: usize, log: &OpenLog, begun: Instant) -> Self {
        Self {
            queue: Arc::new(Queue::new(queue_max)),
            subscribers: Subscribers::default(),
            lost: AtomicU64::new(0),
            progress: Mutex::new(Progress {
                origin: Arc::clone(log.origin()),
                number: log.number(),
                size: log.size(),
                bytes: log.bytes(),
                checkpoint_size: log.signed().map_or(0, |signed| signed.size),
                begun,
                refused: None,
                unsigned: None,
            }),
        }
    }

    fn progress_mut(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress_mut().clone()
    }

    /// Counts entries that are lost.
    pub(super) fn lose(&self, entries: u64) {
        self.lost.fetch_add(entries, Ordering::Relaxed);
    }
}

/// The writer.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) chain: Chain,
    pub(super) log: OpenLog,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) durability: Durability,
    pub(super) checkpoint_every: Duration,
    /// When the last checkpoint was signed, or tried.
    pub(super) checkpointed: Instant,
}

/// Tells everybody that nothing comes any more, however the thread ends.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.queue.end();
        self.0.subscribers.end();
    }
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(self) -> io::Result<std::thread::JoinHandle<()>> {
        std::thread::Builder::new().name("keypod-audit".to_owned()).spawn(move || self.run())
    }

    fn run(mut self) {
        let ending = Ending(Arc::clone(&self.shared));
        let (mut batch, mut commands) = (Batch::default(), VecDeque::new());
        loop {
            let wait = self.wait();
            let stop = self.shared.queue.take(&mut batch, &mut commands, wait);
            self.commit(&batch);
            batch.clear();
            while let Some(command) = commands.pop_front() {
                if let Command::Close { last, done } = command {
                    let closed = self.close(&last);
                    // The lock goes before the answer: whoever hears it may open the folder.
                    drop(self);
                    drop(ending);
                    let _ = done.send(closed);
                    return;
                }
                self.obey(command);
            }
            self.checkpoint_if_due();
            if stop {
                return;
            }
        }
    }

    /// How long until a checkpoint is due.
    fn wait(&self) -> Duration {
        if self.log.signed().is_some_and(|signed| signed.size == self.log.size()) {
            return IDLE;
        }
        self.checkpoint_every
            .saturating_sub(self.clock.now().since(self.checkpointed))
            .max(Duration::from_millis(1))
    }

    /// Commits `batch`, as much at once as a bundle has room for. The first that is refused takes all after it along.
    fn commit(&mut self, batch: &Batch) {
        let mut done = 0;
        while done < batch.len() {
            let committed = self.log.ready().and_then(|()| {
                let one = self.durability == Durability::Sync;
                let most = if one { 1 } else { self.log.room() };
                let next = done..batch.len().min(done + most);
                self.log.commit(batch.bytes(next.clone()), batch.leaves(next.clone()))?;
                Ok(next)
            });
            match committed {
                Ok(next) => {
                    done = next.end;
                    self.committed(batch, next);
                }
                Err(error) => return self.refuse(batch, done..batch.len(), &error),
            }
        }
        // A bundle that is full is put away while nobody waits for it.
        if let Err(error) = self.log.ready() {
            tracing::warn!(error = %error.text(), "a bundle of the audit log cannot be put away yet");
        }
    }

    /// `entries` of `batch` are the last of the log.
    fn committed(&self, batch: &Batch, entries: Range<usize>) {
        let first = self.log.size() - entries.end as u64;
        metrics::counter!("keypod_audit_entries_total").increment(entries.len() as u64);
        let healed = {
            let mut progress = self.shared.progress_mut();
            progress.size = self.log.size();
            progress.bytes = self.log.bytes();
            progress.refused.take().is_some()
        };
        if healed {
            tracing::info!("the audit log can be written again");
        }
        let log = self.log.origin();
        batch.verdict().commit(log, first, entries.end);
        if !self.shared.subscribers.are_none() {
            for entry in entries {
                let (log, index) = (Arc::clone(log), first + entry as u64);
                let entry = batch.entry(entry).into();
                self.shared.subscribers.send(&Event::Entry { log, index, entry });
            }
        }
    }

    fn refuse(&self, batch: &Batch, entries: Range<usize>, error: &DiskError) {
        let reason = error.text();
        let before = self.shared.progress_mut().refused.replace(Arc::clone(&reason));
        if before.as_ref() != Some(&reason) {
            tracing::error!(alert = "audit_refused", error = %reason, "the audit log cannot be written");
        }
        self.shared.lose(batch.untold(entries.clone()) as u64);
        metrics::counter!("keypod_audit_failures_total", "reason" => error.reason())
            .increment(entries.len() as u64);
        // Last: who is told may look at what was counted.
        batch.verdict().fail(AppendError::Refused { reason });
    }

    fn checkpoint_if_due(&mut self) {
        let now = self.clock.now();
        if now.since(self.checkpointed) >= self.checkpoint_every {
            self.checkpointed = now.monotonic;
            // What failed is in the status, and is tried again when the next one is due.
            let _ = self.checkpoint();
        }
    }

    fn checkpoint(&mut self) -> Result<(), DiskError> {
        let signed = self.log.checkpoint();
        self.signed(signed)
    }

    fn signed(&self, signed: Result<Option<Signed>, DiskError>) -> Result<(), DiskError> {
        match signed {
            Ok(signed) => {
                self.shared.progress_mut().unsigned = None;
                if let Some(Signed { size, note }) = signed {
                    self.shared.progress_mut().checkpoint_size = size;
                    let log = Arc::clone(self.log.origin());
                    self.shared.subscribers.send(&Event::Checkpoint { log, size, note });
                }
                Ok(())
            }
            Err(error) => {
                let reason = error.text();
                metrics::counter!("keypod_audit_failures_total", "reason" => "checkpoint")
                    .increment(1);
                let before = self.shared.progress_mut().unsigned.replace(Arc::clone(&reason));
                if before.as_ref() != Some(&reason) {
                    tracing::error!(error = %reason, "no checkpoint of the audit log can be written");
                }
                Err(error)
            }
        }
    }

    /// Commits one entry of the sidecar itself.
    fn commit_one(&mut self, batch: &Batch) -> Result<(), DiskError> {
        self.log.commit(batch.bytes(0..1), batch.leaves(0..1))?;
        self.committed(batch, 0..1);
        Ok(())
    }

    fn close(&mut self, last: &Batch) -> Result<(), AppendError> {
        let closed = self.commit_one(last).and_then(|()| {
            let signed = self.log.finish();
            self.signed(signed)
        });
        closed.map_err(|error| AppendError::Refused { reason: error.text() })
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Checkpoint(done) => {
                self.checkpointed = self.clock.now().monotonic;
                let _ = done.send(self.checkpoint().map_err(LogError::Disk));
            }
            Command::Cosign { origin, size, line, done } => {
                let cosigned = if **self.log.origin() == *origin {
                    self.log.cosign(size, &line)
                } else {
                    retention::cosign(&self.chain.disk, &self.chain.top, &origin, size, &line)
                };
                let _ = done.send(cosigned.map_err(LogError::Disk));
            }
            Command::Hold { leaf, done } => {
                self.shared.queue.hold();
                if done.send(self.log.with_one_more(leaf)).is_err() {
                    self.shared.queue.resume();
                }
            }
            Command::Resume => self.shared.queue.resume(),
            Command::Switch { last, next, done } => {
                let switched = self.switch(&last, *next);
                self.shared.queue.resume();
                let _ = done.send(switched.map_err(LogError::Disk));
            }
            // `run` takes it.
            Command::Close { .. } => {}
        }
    }

    /// Closes this log and goes on with `next`. After an error this log goes on, unless its last entry is in.
    fn switch(&mut self, last: &Batch, next: Beginning) -> Result<(), DiskError> {
        let first: Arc<[u8]> = next.first.as_slice().into();
        let next = OpenLog::begin(&self.chain.disk, &self.chain.top, self.durability, next)?;
        if let Err(error) = self.commit_one(last) {
            if let Err(left) = next.discard() {
                tracing::warn!(error = %left.text(), "a log that did not begin is left behind");
            }
            return Err(error);
        }
        // The old log has its end. Whatever fails now, the next certificate vouches for all of it.
        let finished = self.log.finish();
        let _ = self.signed(finished);
        self.log = next;
        let now = self.clock.now();
        self.checkpointed = now.monotonic;
        let born = self.log.bear();
        {
            let mut progress = self.shared.progress_mut();
            progress.origin = Arc::clone(self.log.origin());
            progress.number = self.log.number();
            progress.size = self.log.size();
            progress.bytes = self.log.bytes();
            progress.checkpoint_size = 0;
            progress.begun = now.monotonic;
        }
        metrics::counter!("keypod_audit_entries_total").increment(1);
        let log = Arc::clone(self.log.origin());
        self.shared.subscribers.send(&Event::Entry { log, index: 0, entry: first });
        self.signed(Ok(self.log.signed().cloned()))?;
        born
    }
}
