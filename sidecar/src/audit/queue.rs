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
    commit_delay: Duration,
}

#[derive(Debug, Default)]
struct State {
    batch: Batch,
    /// Of the batch that the writer works on.
    taken: Option<Arc<Verdict>>,
    commands: VecDeque<Command>,
    /// The writer sleeps until so many entries wait: to wake it costs a call of the system, so nobody does that who need
    /// not.
    sleeps_until: Option<usize>,
    /// Entries of the batch that the writer took last.
    last: usize,
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

    /// Whether `entries` of them wait, or something that does not wait for them.
    fn has_work(&self, entries: usize) -> bool {
        let enough = self.takes_entries() && self.batch.len() >= entries;
        enough || !self.commands.is_empty() || self.stop
    }
}

impl Queue {
    /// A queue of at most `items_max` entries, in which the writer gives others up to `commit_delay` to come along.
    pub(super) fn new(items_max: usize, commit_delay: Duration) -> Self {
        let (state, wake, watch) = (Mutex::default(), Condvar::new(), Arc::default());
        Self { state, wake, watch, items_max, commit_delay }
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
        let waits = state.batch.len();
        let enough = state.sleeps_until.is_some_and(|entries| waits >= entries);
        let wakes = enough && state.takes_entries();
        if wakes {
            state.sleeps_until = None;
        }
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

    /// Waits for something to do, at most `wait`, and takes all of it; `batch` is empty. `true` if the writer is to end
    /// after that.
    ///
    /// Who appends together once will do so again, and one flush for all of them costs as much as one for each: so it waits
    /// at most `commit_delay` for as many as there were the last time. Nobody who is alone waits for others.
    pub(super) fn take(
        &self,
        batch: &mut Batch,
        commands: &mut VecDeque<Command>,
        wait: Duration,
    ) -> bool {
        let mut state = self.state();
        state.taken = None;
        let together = state.last + state.batch.len();
        state = self.sleep(state, 1, wait);
        if !self.commit_delay.is_zero() && !state.has_work(together) {
            state = self.sleep(state, together, self.commit_delay);
        }
        if state.takes_entries() && !state.batch.is_empty() {
            std::mem::swap(batch, &mut state.batch);
            state.taken = Some(Arc::clone(batch.verdict()));
        }
        state.last = batch.len();
        std::mem::swap(commands, &mut state.commands);
        state.stop
    }

    /// Until so many entries wait, or there is something else to do; at most `wait`.
    fn sleep<'state>(
        &self,
        mut state: MutexGuard<'state, State>,
        entries: usize,
        wait: Duration,
    ) -> MutexGuard<'state, State> {
        state.sleeps_until = Some(entries);
        let slept = self.wake.wait_timeout_while(state, wait, |state| !state.has_work(entries));
        let (mut state, _) = slept.unwrap_or_else(PoisonError::into_inner);
        state.sleeps_until = None;
        state
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
        let queue = Arc::new(Queue::new(2, Duration::ZERO));
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

    #[test]
    fn who_came_together_is_waited_for_and_who_is_alone_waits_for_nobody() {
        let queue = Arc::new(Queue::new(9, Duration::from_secs(3_600)));
        let push = || drop(queue.push(&[(b"x", record_hash(b"x"))], true).unwrap());
        let take = || {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                let mut batch = Batch::default();
                queue.take(&mut batch, &mut VecDeque::new(), Duration::from_secs(3_600));
                batch.len()
            })
        };
        let until_it_sleeps_for = |entries| {
            while queue.state().sleeps_until != Some(entries) {
                std::thread::yield_now();
            }
        };
        for _ in 0..3 {
            let alone = take();
            until_it_sleeps_for(1);
            push();
            assert_eq!(alone.join().unwrap(), 1);
        }
        push();
        let together = take();
        // One was written, and one came meanwhile.
        until_it_sleeps_for(2);
        push();
        assert_eq!(together.join().unwrap(), 2);
        let both = take();
        until_it_sleeps_for(1);
        push();
        until_it_sleeps_for(2);
        push();
        assert_eq!(both.join().unwrap(), 2);
    }

    #[test]
    fn a_command_does_not_wait_for_company() {
        let queue = Queue::new(9, Duration::from_secs(3_600));
        queue.push(&[(b"x", record_hash(b"x")), (b"y", record_hash(b"y"))], true).unwrap();
        let (mut batch, mut commands) = (Batch::default(), VecDeque::new());
        queue.take(&mut batch, &mut commands, Duration::ZERO);
        batch.clear();
        assert!(queue.command(Command::Resume));
        queue.take(&mut batch, &mut commands, Duration::ZERO);
        assert_eq!(commands.len(), 1);
    }

    #[tokio::test]
    async fn the_watch_ends_with_the_writer_or_with_the_queue() {
        let queue = Arc::new(Queue::new(2, Duration::ZERO));
        let (end, watch) = wait(&queue);
        queue.end();
        assert_eq!(end.await.unwrap(), Err(AppendError::Closed));
        watch.await.unwrap();
        let queue = Arc::new(Queue::new(2, Duration::ZERO));
        let (end, watch) = wait(&queue);
        drop(queue);
        assert_eq!(end.await.unwrap(), Err(AppendError::Closed));
        watch.await.unwrap();
    }
}
