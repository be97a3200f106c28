//! Copies that wait for one sink, in bounded memory.
//!
//! Touches nothing outside. One task puts in and one takes out. When it is full, what comes is not taken in: so what
//! arrives is whole up to a place, and the numbers of the entries show where it goes on.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::audit::Event;

/// Of an event in memory, beside its bytes.
const EVENT_BYTES: usize = 128;
/// Checkpoints that wait; the oldest gives way, for a newer one says all that it said.
const CHECKPOINTS_MAX: usize = 16;

/// How much a target takes at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLimit {
    pub(super) events: usize,
    pub(super) bytes: usize,
    /// How long the first waits for others.
    pub(super) wait: Duration,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Backlog {
    held: Mutex<Held>,
    news: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Held {
    events: VecDeque<Event>,
    bytes: usize,
    checkpoints: usize,
    ended: bool,
}

impl Held {
    fn has(&self, limit: BatchLimit) -> bool {
        self.ended || self.events.len() >= limit.events || self.bytes >= limit.bytes
    }

    fn remove_checkpoint(&mut self) {
        let oldest = self.events.iter().position(is_checkpoint);
        if let Some(event) = oldest.and_then(|place| self.events.remove(place)) {
            self.bytes -= bytes(&event);
            self.checkpoints -= 1;
        }
    }
}

impl Backlog {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { held: Mutex::default(), news: Notify::new(), bytes_max }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `event` in, or gives it back if there is no room.
    pub(super) fn put(&self, event: Event) -> Result<(), Event> {
        let mut held = self.held();
        if is_checkpoint(&event) {
            if held.checkpoints >= CHECKPOINTS_MAX {
                held.remove_checkpoint();
            }
            held.checkpoints += 1;
        } else if held.bytes + bytes(&event) > self.bytes_max {
            return Err(event);
        }
        held.bytes += bytes(&event);
        held.events.push_back(event);
        drop(held);
        self.news.notify_one();
        Ok(())
    }

    /// Nothing comes any more.
    pub(super) fn end(&self) {
        self.held().ended = true;
        self.news.notify_one();
    }

    /// When nothing comes any more.
    pub(super) async fn ended(&self) {
        self.until(|held| held.ended).await;
    }

    /// The next events, as soon as there is one and others had their time to come; `None` once it has ended and is empty.
    pub(super) async fn take(&self, limit: BatchLimit) -> Option<VecDeque<Event>> {
        self.until(|held| held.ended || !held.events.is_empty()).await;
        if !limit.wait.is_zero() {
            let _ = tokio::time::timeout(limit.wait, self.until(|held| held.has(limit))).await;
        }
        let mut held = self.held();
        let mut batch = VecDeque::new();
        let mut batch_bytes = 0;
        while let Some(event) = held.events.front() {
            let bytes = bytes(event);
            let full = batch.len() >= limit.events || batch_bytes + bytes > limit.bytes;
            if full && !batch.is_empty() {
                break;
            }
            let checkpoint = is_checkpoint(event);
            batch_bytes += bytes;
            held.bytes -= bytes;
            held.checkpoints -= usize::from(checkpoint);
            batch.extend(held.events.pop_front());
        }
        (!batch.is_empty()).then_some(batch)
    }

    async fn until(&self, holds: impl Fn(&Held) -> bool) {
        loop {
            let news = self.news.notified();
            if holds(&self.held()) {
                return;
            }
            news.await;
        }
    }
}

fn is_checkpoint(event: &Event) -> bool {
    matches!(event, Event::Checkpoint { .. })
}

fn bytes(event: &Event) -> usize {
    EVENT_BYTES
        + match event {
            Event::Entry { entry, .. } => entry.len(),
            Event::Checkpoint { note, .. } => note.len(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::testing::{checkpoint, entry, usual};

    const AT_ONCE: BatchLimit = BatchLimit { events: 2, bytes: 1 << 20, wait: Duration::ZERO };

    #[tokio::test]
    async fn what_does_not_fit_is_given_back_and_what_waits_stays_in_order() {
        let backlog = Backlog::new(3 * (EVENT_BYTES + 10));
        for index in 0..3 {
            backlog.put(entry(index, "0123456789")).unwrap();
        }
        assert_eq!(backlog.put(entry(3, "0")), Err(entry(3, "0")));
        backlog.put(checkpoint(3, "note")).unwrap();
        let first = backlog.take(AT_ONCE).await.unwrap();
        assert_eq!(first, [entry(0, "0123456789"), entry(1, "0123456789")]);
        backlog.put(entry(4, "0")).unwrap();
        backlog.end();
        assert_eq!(backlog.take(AT_ONCE).await.unwrap().len(), 2);
        assert_eq!(backlog.take(AT_ONCE).await.unwrap(), [entry(4, "0")]);
        assert_eq!(backlog.take(AT_ONCE).await, None);
        assert_eq!(backlog.held().bytes, 0);
    }

    #[tokio::test]
    async fn of_many_checkpoints_the_newest_are_kept() {
        let backlog = Backlog::new(0);
        for size in 0..20 {
            backlog.put(checkpoint(size, "note")).unwrap();
        }
        let batch = backlog.take(BatchLimit { events: 100, ..AT_ONCE }).await.unwrap();
        assert_eq!(batch.len(), CHECKPOINTS_MAX);
        assert_eq!(batch.back(), Some(&checkpoint(19, "note")));
    }

    #[tokio::test]
    async fn an_entry_larger_than_a_batch_goes_alone() {
        let backlog = Backlog::new(1 << 20);
        backlog.put(entry(0, &"x".repeat(5000))).unwrap();
        backlog.put(usual(1)).unwrap();
        let batch = backlog.take(BatchLimit { events: 9, bytes: 100, wait: Duration::ZERO }).await;
        assert_eq!(batch.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_batch_waits_for_others_and_not_for_ever() {
        let backlog = Backlog::new(1 << 20);
        let waits = |wait| BatchLimit { wait, ..AT_ONCE };
        backlog.put(usual(0)).unwrap();
        let long = waits(Duration::from_secs(3600));
        let both = async { tokio::join!(backlog.take(long), async { backlog.put(usual(1)) }).0 };
        assert_eq!(both.await.unwrap().len(), 2, "as soon as it is full");
        backlog.put(usual(2)).unwrap();
        let batch = backlog.take(waits(Duration::from_millis(1))).await;
        assert_eq!(batch.unwrap().len(), 1, "after its time");
        backlog.put(usual(3)).unwrap();
        backlog.end();
        assert_eq!(backlog.take(long).await.unwrap().len(), 1, "at the end");
    }
}
