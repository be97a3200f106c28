//! Committed entries and checkpoints, for who carries them elsewhere: sinks, a witness.
//!
//! Nobody who is slow holds the writer up: what does not fit is dropped and counted. Entries never displace a
//! checkpoint.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// Checkpoints that wait for a subscriber; the oldest gives way.
const CHECKPOINTS_MAX: usize = 16;

/// Something that is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An entry.
    Entry {
        /// The origin of its log.
        log: Arc<str>,
        /// Its number in that log.
        index: u64,
        /// Its bytes.
        entry: Arc<[u8]>,
    },
    /// A checkpoint.
    Checkpoint {
        /// The origin of its log.
        log: Arc<str>,
        /// Entries that it covers.
        size: u64,
        /// The whole note.
        note: Arc<[u8]>,
    },
}

/// What one subscriber has not taken yet.
#[derive(Debug)]
struct Channel {
    waiting: Mutex<Waiting>,
    news: Notify,
    entries_max: usize,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
    entries: usize,
    ended: bool,
}

impl Channel {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, event: Event) {
        let mut waiting = self.waiting();
        if matches!(event, Event::Entry { .. }) {
            if waiting.entries >= self.entries_max {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            waiting.entries += 1;
        } else if waiting.events.len() - waiting.entries >= CHECKPOINTS_MAX {
            let is_checkpoint = |event: &Event| matches!(event, Event::Checkpoint { .. });
            if let Some(oldest) = waiting.events.iter().position(is_checkpoint) {
                waiting.events.remove(oldest);
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.news.notify_one();
    }
}

/// What is committed from now on.
#[derive(Debug)]
pub struct Subscription(Arc<Channel>);

impl Subscription {
    /// The next event; `None` once the log is closed and all of them are taken.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let news = self.0.news.notified();
            {
                let mut waiting = self.0.waiting();
                if let Some(event) = waiting.events.pop_front() {
                    if matches!(event, Event::Entry { .. }) {
                        waiting.entries -= 1;
                    }
                    return Some(event);
                }
                if waiting.ended {
                    return None;
                }
            }
            news.await;
        }
    }

    pub(super) fn send(&self, event: Event) {
        self.0.send(event);
    }

    /// How many events were dropped since the last time this was asked, because too many waited.
    pub fn take_dropped(&self) -> u64 {
        self.0.dropped.swap(0, Ordering::Relaxed)
    }
}

/// All who have subscribed.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    channels: Mutex<Vec<Weak<Channel>>>,
    ended: AtomicBool,
}

impl Subscribers {
    fn channels(&self) -> MutexGuard<'_, Vec<Weak<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(&self, entries_max: usize) -> Subscription {
        let channel = Arc::new(Channel {
            waiting: Mutex::default(),
            news: Notify::new(),
            entries_max,
            dropped: AtomicU64::new(0),
        });
        let mut channels = self.channels();
        channel.waiting().ended = self.ended.load(Ordering::Relaxed);
        channels.push(Arc::downgrade(&channel));
        drop(channels);
        Subscription(channel)
    }

    pub(super) fn are_none(&self) -> bool {
        self.channels().is_empty()
    }

    pub(super) fn send(&self, event: &Event) {
        self.channels().retain(|channel| {
            let channel = channel.upgrade();
            if let Some(channel) = &channel {
                channel.send(event.clone());
            }
            channel.is_some()
        });
    }

    /// Nothing comes any more.
    pub(super) fn end(&self) {
        let mut channels = self.channels();
        self.ended.store(true, Ordering::Relaxed);
        for channel in channels.drain(..).filter_map(|channel| channel.upgrade()) {
            channel.waiting().ended = true;
            channel.news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64) -> Event {
        Event::Entry { log: "a".into(), index, entry: b"x".as_slice().into() }
    }

    fn checkpoint(size: u64) -> Event {
        Event::Checkpoint { log: "a".into(), size, note: b"x".as_slice().into() }
    }

    #[tokio::test]
    async fn a_slow_subscriber_loses_entries_is_told_and_keeps_the_newest_checkpoints() {
        let subscribers = Subscribers::default();
        let mut subscription = subscribers.subscribe(2);
        for index in 0..5 {
            subscribers.send(&entry(index));
        }
        for size in 0..18 {
            subscribers.send(&checkpoint(size));
        }
        assert_eq!(subscription.take_dropped(), 3 + 2);
        assert_eq!(subscription.take_dropped(), 0);
        assert_eq!(subscription.next().await, Some(entry(0)));
        assert_eq!(subscription.next().await, Some(entry(1)));
        assert_eq!(subscription.next().await, Some(checkpoint(2)));
        subscribers.send(&entry(9));
        subscribers.end();
        let mut last = None;
        while let Some(event) = subscription.next().await {
            last = Some(event);
        }
        assert_eq!(last, Some(entry(9)));
        drop(subscription);
        assert!(subscribers.are_none());
    }
}
