//! Entries that go to the disk together, and what those who wait for them hear.
//!
//! The bytes lie as they are written: an append copies its entry to the end of them and keeps its own memory, so that
//! nothing is allocated on one thread and freed on another for each entry. All who wait share one [`Verdict`].
//! Invariant: whoever waits hears the end, whatever becomes of the batch: dropped, it is closed.

use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tlog_tiles::{Hash, record_hash};

use super::bundle;
use super::receipt::{AppendError, Receipt};

/// What grew beyond this is let go when a batch is over: bytes, and entries.
const BYTES_KEPT: usize = 1 << 20;
const ENTRIES_KEPT: usize = 4_096;

/// Of this many parts of `commit_timeout` the first may be cut short, so one more has to pass.
pub(super) const TICKS: u32 = 8;

/// The batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The entries, each with its length before it.
    bytes: Vec<u8>,
    entries: Vec<Queued>,
    verdict: Arc<Verdict>,
}

/// An entry in it.
#[derive(Debug)]
struct Queued {
    leaf: Hash,
    /// Where its bytes end.
    end: usize,
    /// Somebody sees to it that its loss is told: else it is counted when it is lost.
    is_told: bool,
}

impl Batch {
    /// One entry that nobody waits for here.
    pub(super) fn of(entry: &[u8]) -> Self {
        let mut batch = Self::default();
        batch.put(entry, record_hash(entry), true);
        batch
    }

    /// Adds an entry, which [`bundle::fits`].
    pub(super) fn put(&mut self, entry: &[u8], leaf: Hash, is_told: bool) {
        bundle::put(&mut self.bytes, entry);
        self.entries.push(Queued { leaf, end: self.bytes.len(), is_told });
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that it takes on the disk.
    pub(super) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// These entries as they stand on the disk.
    pub(super) fn bytes(&self, entries: Range<usize>) -> &[u8] {
        self.bytes.get(self.start(entries.start)..self.start(entries.end)).unwrap_or_default()
    }

    /// The bytes of one entry.
    pub(super) fn entry(&self, index: usize) -> &[u8] {
        self.bytes(index..index + 1).get(bundle::LENGTH_BYTES..).unwrap_or_default()
    }

    pub(super) fn leaves(&self, entries: Range<usize>) -> impl Iterator<Item = Hash> {
        self.entries.get(entries).unwrap_or_default().iter().map(|entry| entry.leaf)
    }

    /// How many of them are counted when they are lost.
    pub(super) fn untold(&self, entries: Range<usize>) -> usize {
        let entries = self.entries.get(entries).unwrap_or_default();
        entries.iter().filter(|entry| !entry.is_told).count()
    }

    pub(super) fn verdict(&self) -> &Arc<Verdict> {
        &self.verdict
    }

    /// Waits for the last entry.
    pub(super) fn wait(&self) -> Waiting {
        let verdict = Arc::clone(&self.verdict);
        Waiting { index: self.len().saturating_sub(1), since: verdict.ticks(), verdict }
    }

    /// It is over: makes room for the next. Who is still waiting is told that the log is closed.
    pub(super) fn clear(&mut self) {
        std::mem::take(&mut self.verdict).close();
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
        self.entries.clear();
        self.entries.shrink_to(ENTRIES_KEPT);
    }

    fn start(&self, index: usize) -> usize {
        let before = index.checked_sub(1).and_then(|before| self.entries.get(before));
        before.map_or(0, |before| before.end)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.verdict.close();
    }
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    fate: Mutex<Fate>,
    /// Parts of `commit_timeout` that have passed.
    ticks: AtomicU32,
}

#[derive(Debug, Default)]
struct Fate {
    /// The log, and the number in it of the first entry.
    begins: Option<(Arc<str>, u64)>,
    /// So many of its entries are committed, the first ones.
    committed: usize,
    /// Why the others are not.
    failed: Option<AppendError>,
    /// Who waits for which entry: each is woken once, when that one has its end.
    wakers: Vec<Option<Waker>>,
}

impl Fate {
    fn of(&self, index: usize) -> Option<Result<Receipt, AppendError>> {
        if let Some((log, first)) = self.begins.as_ref().filter(|_| index < self.committed) {
            return Some(Ok(Receipt::new(Arc::clone(log), first + index as u64)));
        }
        self.failed.clone().map(Err)
    }
}

impl Verdict {
    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its first `committed` entries are in the log; the very first has this number.
    pub(super) fn commit(&self, log: &Arc<str>, first: u64, committed: usize) {
        let mut fate = self.fate();
        fate.begins.get_or_insert_with(|| (Arc::clone(log), first));
        let before = std::mem::replace(&mut fate.committed, committed);
        let wakers = fate.wakers.iter_mut().take(committed).skip(before);
        let wakers: Vec<_> = wakers.filter_map(Option::take).collect();
        drop(fate);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Its other entries are not.
    pub(super) fn fail(&self, error: AppendError) {
        let mut fate = self.fate();
        fate.failed.get_or_insert(error);
        let wakers = std::mem::take(&mut fate.wakers);
        drop(fate);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn close(&self) {
        self.fail(AppendError::Closed);
    }

    /// Another part of `commit_timeout` has passed: whoever has waited for all of it goes.
    pub(super) fn tick(&self) {
        if self.ticks.fetch_add(1, Ordering::Relaxed) >= TICKS {
            let wakers = std::mem::take(&mut self.fate().wakers);
            wakers.into_iter().flatten().for_each(Waker::wake);
        }
    }

    fn ticks(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }
}

/// Whoever waits for an entry: what became of it, or [`AppendError::TooSlow`] once [`TICKS`] whole parts of
/// `commit_timeout` have passed. Of its clones one is polled at a time.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    verdict: Arc<Verdict>,
    index: usize,
    since: u32,
}

impl Future for Waiting {
    type Output = Result<Receipt, AppendError>;

    fn poll(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let mut fate = self.verdict.fate();
        if let Some(end) = fate.of(self.index) {
            return Poll::Ready(end);
        }
        if self.verdict.ticks().wrapping_sub(self.since) > TICKS {
            return Poll::Ready(Err(AppendError::TooSlow));
        }
        if fate.wakers.len() <= self.index {
            fate.wakers.resize(self.index + 1, None);
        }
        if let Some(waker) = fate.wakers.get_mut(self.index) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Arc<str> {
        "log".into()
    }

    #[tokio::test]
    async fn what_is_committed_has_its_number_and_the_rest_hears_why_not() {
        let mut batch = Batch::default();
        let mut waiting = Vec::new();
        for entry in [b"one".as_slice(), b"", b"three"] {
            batch.put(entry, record_hash(entry), true);
            waiting.push(batch.wait());
        }
        assert_eq!(batch.bytes(1..3), b"\0\0\0\x05three");
        assert_eq!((batch.entry(0), batch.entry(1)), (b"one".as_slice(), b"".as_slice()));
        assert_eq!(batch.leaves(2..3).collect::<Vec<_>>(), [record_hash(b"three")]);
        batch.verdict().commit(&log(), 7, 1);
        batch.verdict().commit(&log(), 7, 2);
        batch.verdict().fail(AppendError::QueueFull);
        batch.clear();
        assert!(batch.is_empty() && batch.bytes_len() == 0);
        let [one, two, three] = <[Waiting; 3]>::try_from(waiting).unwrap();
        assert_eq!(one.await.unwrap().index(), 7);
        assert_eq!(two.await.unwrap().index(), 8);
        assert_eq!(three.await, Err(AppendError::QueueFull));
    }

    #[tokio::test]
    async fn a_batch_that_is_dropped_is_closed() {
        let batch = Batch::of(b"one");
        let waiting = tokio::spawn(batch.wait());
        tokio::task::yield_now().await;
        drop(batch);
        assert_eq!(waiting.await.unwrap(), Err(AppendError::Closed));
    }

    #[tokio::test]
    async fn each_waits_for_the_whole_timeout_from_its_own_beginning() {
        let mut batch = Batch::of(b"one");
        let first = tokio::spawn(batch.wait());
        (0..TICKS).for_each(|_| batch.verdict().tick());
        batch.put(b"two", record_hash(b"two"), true);
        let second = tokio::spawn(batch.wait());
        tokio::task::yield_now().await;
        assert!(!first.is_finished());
        batch.verdict().tick();
        assert_eq!(first.await.unwrap(), Err(AppendError::TooSlow));
        assert!(!second.is_finished());
        // What comes late does not change what was said, and counts for who still waits.
        batch.verdict().commit(&log(), 1, 2);
        assert_eq!(second.await.unwrap().unwrap().index(), 2);
    }
}
