//! What waits for the writer: entries, and commands.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tlog_tiles::Hash;
use tokio::sync::{Notify, oneshot};

use super::batch::{Batch, TICKS, Verdict, Waiting};
use super::bundle::LENGTH_BYTES;
use super::error::LogError;
use super::open_log::Beginning;
use super::receipt::AppendError;

/// Bytes of entries that wait. With less than that on its way a disk is slow, with more it is stuck.
const QUEUE_BYTES_MAX: usize = 32 << 20;

/// What else the writer does.
#[derive(Debug)]
pub(super) enum Command {
    /// Signs a checkpoint now.
    Checkpoint(oneshot::Sender<Result<(), LogError>>),
    /// Adds a witness's signature.
    Cosign {
        origin: String,
        size: u64,
        line: String,
        done: oneshot::Sender<Result<bool, LogError>>,
    },
    /// Takes no more entries, and says the size and the root hash that the log would have with this leaf.
    Hold { leaf: Hash, done: oneshot::Sender<(u64, Hash)> },
    /// Takes entries again.
    Resume,
    /// Closes this log and begins the next one.
    Switch { last: Batch, next: Box<Beginning>, done: oneshot::Sender<Result<(), LogError>> },
    /// Closes the log and ends.
    Close { last: Batch, done: oneshot::Sender<Result<(), AppendError>> },
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// For [`watch`].
    watch: Arc<Notify>,
    items_max: usize,
}

#[derive(Debug, Default)]
struct State {
    batch: Batch,
    /// Of the batch that the writer works on.
    taken: Option<Arc<Verdict>>,
    commands: VecDeque<Command>,
    /// The writer sleeps: to wake it costs a call of the system, so nobody does that who need not.
    asleep: bool,
    /// Nobody counts the time of those who wait.
    unwatched: bool,
    /// Entries wait until a switch is over.
    held: bool,
    /// Nothing comes in any more.
    closed: bool,
    /// The writer is to end without closing the log.
    stop: bool,
    /// It has.
    ended: bool,
}

impl State {
    fn takes_entries(&self) -> bool {
        !self.held || self.closed
    }

    fn has_work(&self) -> bool {
        let entries = self.takes_entries() && !self.batch.is_empty();
        entries || !self.commands.is_empty() || self.stop
    }
}

impl Queue {
    pub(super) fn new(items_max: usize) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), watch: Arc::default(), items_max }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries wait.
    pub(super) fn len(&self) -> usize {
        self.state().batch.len()
    }

    /// Adds all of `entries`, each with the hash of its leaf, or none.
    pub(super) fn push(
        &self,
        entries: &[(&[u8], Hash)],
        is_told: bool,
    ) -> Result<Waiting, AppendError> {
        let bytes: usize = entries.iter().map(|(entry, _)| entry.len() + LENGTH_BYTES).sum();
        let mut state = self.state();
        if state.closed {
            return Err(AppendError::Closed);
        }
        if state.batch.len() + entries.len() > self.items_max
            || state.batch.bytes_len() + bytes > QUEUE_BYTES_MAX
        {
            return Err(AppendError::QueueFull);
        }
        for (entry, leaf) in entries {
            state.batch.put(entry, *leaf, is_told);
        }
        let waiting = state.batch.wait();
        let wakes = state.takes_entries() && std::mem::take(&mut state.asleep);
        let watches = std::mem::take(&mut state.unwatched);
        drop(state);
        if wakes {
            self.wake.notify_one();
        }
        if watches {
            self.watch.notify_one();
        }
        Ok(waiting)
    }

    /// Adds a command; it comes after the entries that wait. `false` if the writer has ended.
    pub(super) fn command(&self, command: Command) -> bool {
        let mut state = self.state();
        if state.closed {
            return false;
        }
        state.closed = matches!(command, Command::Close { .. });
        state.commands.push_back(command);
        drop(state);
        self.wake.notify_one();
        true
    }

    pub(super) fn hold(&self) {
        self.state().held = true;
    }

    #[cfg(test)]
    pub(super) fn is_held(&self) -> bool {
        self.state().held
    }

    pub(super) fn resume(&self) {
        self.state().held = false;
        self.wake.notify_one();
    }

    /// Ends the writer after what waits now; the log is left as a crash leaves it.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.closed = true;
        state.stop = true;
        drop(state);
        self.wake.notify_one();
    }

    /// The writer has ended: what is left is told so by being dropped.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.closed = true;
        state.ended = true;
        let left = (std::mem::take(&mut state.batch), std::mem::take(&mut state.commands));
        drop(state);
        drop(left);
        self.watch.notify_one();
    }

    /// Counts a part of `commit_timeout` for those who wait.
    fn tick(&self) -> Watch {
        let mut state = self.state();
        if state.ended {
            return Watch::Ended;
        }
        let gathered = (!state.batch.is_empty()).then(|| Arc::clone(state.batch.verdict()));
        let taken = state.taken.clone();
        state.unwatched = gathered.is_none() && taken.is_none();
        let unwatched = state.unwatched;
        drop(state);
        gathered.iter().chain(&taken).for_each(|verdict| verdict.tick());
        if unwatched { Watch::Nobody } else { Watch::Waiting }
    }

    /// Waits for something to do, at most `wait`, and takes all of it; `batch` is empty. `true` if the writer is to end after that.
    pub(super) fn take(
        &self,
        batch: &mut Batch,
        commands: &mut VecDeque<Command>,
        wait: Duration,
    ) -> bool {
        let mut state = self.state();
        state.taken = None;
        loop {
            if state.has_work() {
                if state.takes_entries() && !state.batch.is_empty() {
                    std::mem::swap(batch, &mut state.batch);
                    state.taken = Some(Arc::clone(batch.verdict()));
                }
                std::mem::swap(commands, &mut state.commands);
                return state.stop;
            }
            state.asleep = true;
            let waited = self.wake.wait_timeout(state, wait);
            let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.asleep = false;
            if timeout.timed_out() && !state.has_work() {
                return false;
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.watch.notify_one();
    }
}

/// Whether time has to be counted.
enum Watch {
    Nobody,
    Waiting,
    Ended,
}

/// Counts the time of those who wait, so that they need no timers of their own, whatever the writer hangs in. Ends with
/// the writer, or with the queue.
pub(super) async fn watch(queue: std::sync::Weak<Queue>, commit_timeout: Duration) {
    let tick = commit_timeout / TICKS;
    loop {
        let Some(strong) = queue.upgrade() else { return };
        let (watched, news) = (strong.tick(), Arc::clone(&strong.watch));
        drop(strong);
        match watched {
            Watch::Waiting => tokio::time::sleep(tick).await,
            Watch::Nobody => news.notified().await,
            Watch::Ended => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tlog_tiles::record_hash;

    use super::*;
    use crate::audit::receipt::Receipt;

    const PATIENCE: Duration = Duration::from_millis(16);

    /// The end of an entry, and that of the watch.
    type Ends =
        (tokio::task::JoinHandle<Result<Receipt, AppendError>>, tokio::task::JoinHandle<()>);

    /// An entry that waits in `queue`, and whose time is counted.
    fn wait(queue: &Arc<Queue>) -> Ends {
        let watch = tokio::spawn(watch(Arc::downgrade(queue), PATIENCE));
        let waiting = queue.push(&[(b"one", record_hash(b"one"))], true).unwrap();
        (tokio::spawn(waiting), watch)
    }

    #[tokio::test]
    async fn what_nobody_takes_is_too_slow_also_after_a_time_without_entries() {
        let queue = Arc::new(Queue::new(2));
        let (end, _watch) = wait(&queue);
        assert_eq!(end.await.unwrap(), Err(AppendError::TooSlow));
        let mut batch = Batch::default();
        queue.take(&mut batch, &mut VecDeque::new(), Duration::ZERO);
        assert_eq!((batch.len(), queue.len()), (1, 0));
        batch.clear();
        queue.take(&mut batch, &mut VecDeque::new(), Duration::ZERO);
        while !queue.state().unwatched {
            tokio::task::yield_now().await;
        }
        let waiting = queue.push(&[(b"two", record_hash(b"two"))], true).unwrap();
        assert!(!queue.state().unwatched);
        assert_eq!(waiting.await, Err(AppendError::TooSlow));
    }

    #[tokio::test]
    async fn the_watch_ends_with_the_writer_or_with_the_queue() {
        let queue = Arc::new(Queue::new(2));
        let (end, watch) = wait(&queue);
        queue.end();
        assert_eq!(end.await.unwrap(), Err(AppendError::Closed));
        watch.await.unwrap();
        let queue = Arc::new(Queue::new(2));
        let (end, watch) = wait(&queue);
        drop(queue);
        assert_eq!(end.await.unwrap(), Err(AppendError::Closed));
        watch.await.unwrap();
    }
}
