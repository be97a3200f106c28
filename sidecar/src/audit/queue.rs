//! What waits for the writer: entries, and commands.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tlog_tiles::Hash;
use tokio::sync::oneshot;

use super::error::LogError;
use super::open_log::Beginning;
use super::receipt::{AppendError, Receipt};

/// Bytes of entries that wait. With less than that on its way a disk is slow, with more it is stuck.
const QUEUE_BYTES_MAX: usize = 32 << 20;

/// An entry that waits.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) entry: Vec<u8>,
    pub(super) leaf: Hash,
    pub(super) waiter: Waiter,
}

/// Who waits for an entry.
#[derive(Debug)]
pub(super) enum Waiter {
    /// Nobody: if it is lost it is counted.
    Nobody,
    /// Whoever waits for the last of the entries that came along with it.
    OfTheLast,
    /// The other end of this.
    One(oneshot::Sender<Result<Receipt, AppendError>>),
}

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
    Switch { last: Item, next: Box<Beginning>, done: oneshot::Sender<Result<(), LogError>> },
    /// Closes the log and ends.
    Close { last: Item, done: oneshot::Sender<Result<(), AppendError>> },
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    items_max: usize,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    commands: VecDeque<Command>,
    /// Entries wait until a switch is over.
    held: bool,
    /// Nothing comes in any more.
    closed: bool,
    /// The writer is to end without closing the log.
    stop: bool,
}

impl State {
    fn takes_entries(&self) -> bool {
        !self.held || self.closed
    }

    fn has_work(&self) -> bool {
        let entries = self.takes_entries() && !self.items.is_empty();
        entries || !self.commands.is_empty() || self.stop
    }
}

impl Queue {
    pub(super) fn new(items_max: usize) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), items_max }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries wait.
    pub(super) fn len(&self) -> usize {
        self.state().items.len()
    }

    /// Adds all of `items`, or none.
    pub(super) fn push(
        &self,
        items: impl ExactSizeIterator<Item = Item>,
        bytes: usize,
    ) -> Result<(), AppendError> {
        let mut state = self.state();
        if state.closed {
            return Err(AppendError::Closed);
        }
        if state.items.len() + items.len() > self.items_max || state.bytes + bytes > QUEUE_BYTES_MAX
        {
            return Err(AppendError::QueueFull);
        }
        state.bytes += bytes;
        state.items.extend(items);
        drop(state);
        self.wake.notify_one();
        Ok(())
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
        let left = (std::mem::take(&mut state.items), std::mem::take(&mut state.commands));
        drop(state);
        drop(left);
    }

    /// Waits for something to do, at most `wait`, and takes all of it. `true` if the writer is to end after that.
    pub(super) fn take(
        &self,
        items: &mut VecDeque<Item>,
        commands: &mut VecDeque<Command>,
        wait: Duration,
    ) -> bool {
        let mut state = self.state();
        loop {
            if state.has_work() {
                if state.takes_entries() {
                    std::mem::swap(items, &mut state.items);
                    state.bytes = 0;
                }
                std::mem::swap(commands, &mut state.commands);
                return state.stop;
            }
            let waited = self.wake.wait_timeout(state, wait);
            let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            if timeout.timed_out() && !state.has_work() {
                return false;
            }
        }
    }
}
