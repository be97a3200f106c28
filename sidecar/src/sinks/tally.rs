//! Counts what became of the copies of one sink.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::copy::is_to_be_missed;
use crate::audit::Event;

/// The counts of one sink.
#[derive(Debug)]
pub(super) struct Tally {
    sink: &'static str,
    received: AtomicU64,
    taken: AtomicU64,
    lost: AtomicU64,
    /// Of those lost, the ones that the log does not say yet. What says so is not among them.
    unsaid: AtomicU64,
    fault: Mutex<Option<String>>,
}

impl Tally {
    pub(super) fn new(sink: &'static str) -> Self {
        let zero = AtomicU64::default;
        // Shown from the start on: a counter that appears with its first loss has no growth to be alarmed by.
        metrics::counter!("keypod_audit_sink_lost_total", "sink" => sink).increment(0);
        let fault = Mutex::default();
        Self { sink, received: zero(), taken: zero(), lost: zero(), unsaid: zero(), fault }
    }

    pub(super) fn sink(&self) -> &'static str {
        self.sink
    }

    /// `event` came. Only entries are counted, here and below.
    pub(super) fn receive(&self, event: &Event) {
        self.received.fetch_add(entries(event), Ordering::Relaxed);
    }

    /// So many events did not get as far as that, because nobody came for them in time.
    pub(super) fn miss(&self, events: u64) {
        self.received.fetch_add(events, Ordering::Relaxed);
        self.lose_some(events, events);
    }

    /// The target took `event`.
    pub(super) fn take(&self, event: &Event) {
        self.take_some(entries(event));
    }

    pub(super) fn take_some(&self, entries: u64) {
        self.taken.fetch_add(entries, Ordering::Relaxed);
        metrics::counter!("keypod_audit_sink_entries_total", "sink" => self.sink)
            .increment(entries);
    }

    /// Nobody will take `event`.
    pub(super) fn lose(&self, event: &Event) {
        self.lose_some(entries(event), u64::from(is_to_be_missed(event)));
    }

    /// Nobody will take so many entries, of which so many are to be said.
    pub(super) fn lose_some(&self, entries: u64, unsaid: u64) {
        self.lost.fetch_add(entries, Ordering::Relaxed);
        self.unsaid.fetch_add(unsaid, Ordering::Relaxed);
        metrics::counter!("keypod_audit_sink_lost_total", "sink" => self.sink).increment(entries);
    }

    /// Entries that came and were neither taken nor lost.
    pub(super) fn waiting(&self) -> u64 {
        let received = self.received.load(Ordering::Relaxed);
        let done = self.taken.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed);
        received.saturating_sub(done)
    }

    /// Entries that were lost and are not said, which are said from now on.
    pub(super) fn take_unsaid(&self) -> u64 {
        self.unsaid.swap(0, Ordering::AcqRel)
    }

    /// They could not be said.
    pub(super) fn put_back(&self, unsaid: u64) {
        self.unsaid.fetch_add(unsaid, Ordering::AcqRel);
    }

    /// What is wrong with the target from now on. Whether nothing was before, if something is; and the other way round.
    pub(super) fn turn(&self, fault: Option<&str>) -> bool {
        let mut current = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let turned = current.is_some() != fault.is_some();
        *current = fault.map(str::to_owned);
        turned
    }

    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    pub(super) fn show(&self) {
        let failing = self.fault.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        metrics::gauge!("keypod_audit_sink_waiting", "sink" => self.sink)
            .set(self.waiting() as f64);
        metrics::gauge!("keypod_audit_sink_failing", "sink" => self.sink).set(if failing {
            1.0
        } else {
            0.0
        });
    }

    #[cfg(test)]
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.taken.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }
}

fn entries(event: &Event) -> u64 {
    u64::from(matches!(event, Event::Entry { .. }))
}
