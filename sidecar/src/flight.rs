//! One task in flight per key, whoever waits for it.
//!
//! Depends on nothing of this crate. The task is spawned, so a waiter that goes away harms no other. Whoever
//! starts one looks into the cache once more inside the task: an earlier flight may have landed between the
//! miss and the start.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

type Waiting<V> = watch::Receiver<Option<V>>;
type Table<K, V> = Arc<Mutex<HashMap<K, Waiting<V>>>>;

/// Why a flight brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFlight {
    /// It was not under way, and was not to start.
    Refused,
    /// Its task panicked.
    Lost,
}

/// The flights under way.
pub(crate) struct Flights<K, V>(Table<K, V>);

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Flights")
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The result of the flight for `key`: of the one under way, or of `start`. `None` if its task panicked.
    pub(crate) async fn join<F>(&self, key: K, start: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.join_if(key, |_| true, start).await.ok()
    }

    /// The same; but a flight that is not under way starts only if `may_start` says so, told how many are.
    pub(crate) async fn join_if<F>(
        &self,
        key: K,
        may_start: impl FnOnce(usize) -> bool,
        start: impl FnOnce() -> F,
    ) -> Result<V, NoFlight>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut waiting = self.board(key, may_start, start).ok_or(NoFlight::Refused)?;
        let landed = waiting.wait_for(Option::is_some).await.map_err(|_| NoFlight::Lost)?;
        landed.clone().ok_or(NoFlight::Lost)
    }

    /// Has the flight for `key` under way, and waits for nothing.
    pub(crate) fn begin<F>(&self, key: K, start: impl FnOnce() -> F)
    where
        F: Future<Output = V> + Send + 'static,
    {
        drop(self.board(key, |_| true, start));
    }

    fn board<F>(
        &self,
        key: K,
        may_start: impl FnOnce(usize) -> bool,
        start: impl FnOnce() -> F,
    ) -> Option<Waiting<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = table.get(&key) {
            return Some(waiting.clone());
        }
        if !may_start(table.len()) {
            return None;
        }
        let (land, waiting) = watch::channel(None);
        table.insert(key.clone(), waiting.clone());
        drop(table);
        let entry = Entry { table: Arc::clone(&self.0), key };
        let task = start();
        tokio::spawn(async move {
            let landed = task.await;
            // Off the table first: who comes later finds the cache filled.
            drop(entry);
            land.send_replace(Some(landed));
        });
        Some(waiting)
    }
}

/// Takes its flight off the table when dropped, also when the task panics.
struct Entry<K: Eq + Hash, V> {
    table: Table<K, V>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Entry<K, V> {
    fn drop(&mut self) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn all_who_wait_for_one_key_share_one_task() {
        let flights = Arc::new(Flights::<u32, usize>::default());
        let started = Arc::new(AtomicUsize::new(0));
        let (go, gate) = watch::channel(false);
        let waiters: Vec<_> = (0..100)
            .map(|_| {
                let (flights, started) = (Arc::clone(&flights), Arc::clone(&started));
                let mut gate = gate.clone();
                tokio::spawn(async move {
                    let start = || async move {
                        gate.wait_for(|open| *open).await.unwrap();
                        started.fetch_add(1, Ordering::Relaxed)
                    };
                    flights.join(7, start).await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        go.send(true).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), Some(0));
        }
        assert_eq!(started.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_waiter_that_goes_away_harms_no_other() {
        let flights = Arc::new(Flights::<u32, u32>::default());
        let (go, gate) = watch::channel(false);
        let spawn = || {
            let (flights, mut gate) = (Arc::clone(&flights), gate.clone());
            tokio::spawn(async move {
                let start = || async move {
                    gate.wait_for(|open| *open).await.unwrap();
                    5
                };
                flights.join(7, start).await
            })
        };
        let first = spawn();
        tokio::task::yield_now().await;
        let second = spawn();
        tokio::task::yield_now().await;
        first.abort();
        go.send(true).unwrap();
        assert_eq!(second.await.unwrap(), Some(5));
    }

    #[tokio::test]
    async fn a_flight_that_may_not_start_is_refused_and_one_under_way_is_joined() {
        let flights = Arc::new(Flights::<u32, u32>::default());
        let (go, mut gate) = watch::channel(false);
        flights.begin(7, || async move {
            gate.wait_for(|open| *open).await.unwrap();
            5
        });
        let one_at_most = |under_way| under_way < 1;
        let other = flights.join_if(8, one_at_most, || async { 6 }).await;
        assert_eq!(other, Err(NoFlight::Refused));
        let joined = flights.join_if(7, one_at_most, || async { 6 });
        let (joined, sent) = tokio::join!(joined, async { go.send(true) });
        sent.unwrap();
        assert_eq!(joined, Ok(5));
        assert_eq!(flights.join_if(8, one_at_most, || async { 6 }).await, Ok(6));
    }

    #[tokio::test]
    async fn a_task_that_panics_is_told_to_its_waiters_and_the_next_one_starts_afresh() {
        let flights = Flights::<u32, u32>::default();
        assert_eq!(flights.join(7, || async { panic!("planted") }).await, None);
        assert_eq!(flights.join(7, || async { 5 }).await, Some(5));
    }
}
