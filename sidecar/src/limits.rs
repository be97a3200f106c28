//! Says how much at once: rates and places for each caller, rates for each key, memory for bodies.
//!
//! Depends on [`crate::names`]. It decides about amounts alone, never about who may do what. What is admitted
//! is a guard that gives its share back when dropped. What bites is counted in `keypod_limited_total`.
//!
//! Callers are known by name after they have proven it, and keys only after policy has permitted their use: nobody
//! spends what is another's, and the tables hold no name that a stranger made up
//! (`limits_hold_for_each_caller_and_for_each_key` in the suite).

mod rate;

pub use rate::RateSizes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::names::{CallerName, KeyName};
use rate::{Bucket, Rate};

/// Callers, and keys, whose use is remembered at once. One that is forgotten starts anew.
const REMEMBERED_MAX: usize = 4096;
/// A caller with all its places taken comes again after this long: when one is free nobody can tell.
const PLACE_RETRY: Duration = Duration::from_secs(1);

/// What one request takes from a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Operations: a batch counts its items.
    pub requests: usize,
    /// Bytes of messages.
    pub bytes: usize,
}

impl Amount {
    /// One operation on a message of `bytes` bytes.
    #[must_use]
    pub fn one(bytes: usize) -> Self {
        Self { requests: 1, bytes }
    }

    /// One operation without a message.
    #[must_use]
    pub fn request() -> Self {
        Self::one(0)
    }
}

/// How much is admitted for one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerSizes {
    /// A second.
    pub rate: RateSizes,
    /// Requests in flight.
    pub in_flight_max: usize,
}

/// How much is admitted.
#[derive(Clone, Debug)]
pub struct LimitSizes {
    /// Items of a batch.
    pub batch_items_max: usize,
    /// Bytes that are taken at once: of a message, or of a segment of a stream.
    pub taken_bytes_max: usize,
    /// Requests in flight.
    pub in_flight_max: usize,
    /// Bytes of request bodies in memory at once.
    pub body_memory_bytes_max: usize,
    /// For each caller.
    pub caller: CallerSizes,
    /// For those with limits of their own.
    pub callers: HashMap<CallerName, CallerSizes>,
    /// For each key, whoever uses it.
    pub key: RateSizes,
    /// For those with limits of their own.
    pub keys: HashMap<KeyName, RateSizes>,
}

/// The limits that can bite, as the metric names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Operations a second of a caller.
    CallerRequests,
    /// Bytes a second of a caller.
    CallerBytes,
    /// Requests in flight of a caller.
    CallerInFlight,
    /// Operations a second on a key.
    KeyRequests,
    /// Bytes a second on a key.
    KeyBytes,
    /// Requests in flight.
    InFlight,
    /// Bodies in memory.
    BodyMemory,
    /// Connections of a listener.
    Connections,
    /// Connections of one user on the Unix socket.
    UserConnections,
    /// The time for a request's head.
    HeaderTimeout,
    /// The time for a body to make progress.
    BodyTimeout,
    /// The time for an answer to be taken.
    AnswerTimeout,
    /// The length of a body.
    BodyBytes,
    /// The items of a batch.
    BatchItems,
}

impl Limit {
    /// As the metric names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallerRequests => "caller_requests",
            Self::CallerBytes => "caller_bytes",
            Self::CallerInFlight => "caller_in_flight",
            Self::KeyRequests => "key_requests",
            Self::KeyBytes => "key_bytes",
            Self::InFlight => "in_flight",
            Self::BodyMemory => "body_memory",
            Self::Connections => "connections",
            Self::UserConnections => "user_connections",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::AnswerTimeout => "answer_timeout",
            Self::BodyBytes => "body_bytes",
            Self::BatchItems => "batch_items",
        }
    }

    /// Counts that it bit.
    pub fn bit(self) {
        metrics::counter!("keypod_limited_total", "limit" => self.as_str()).increment(1);
    }
}

/// A caller or a key has used up its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit {} is used up", limit.as_str())]
pub struct RateLimited {
    /// Which share.
    pub limit: Limit,
    /// After this long the same request would be admitted.
    pub retry_after: Duration,
}

/// The sidecar has as much to do as it admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as much is under way as the limits admit")]
pub struct Overloaded;

/// A batch has more items than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch has more items than the limit of {max}")]
pub struct TooManyItems {
    max: usize,
}

/// Why there is no place for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// Its caller has taken all of its own.
    #[error(transparent)]
    OfItsCaller(#[from] RateLimited),
    /// There is none for anybody.
    #[error(transparent)]
    AtAll(#[from] Overloaded),
}

/// One request in flight.
#[derive(Debug)]
pub struct InFlight {
    _place: OwnedSemaphorePermit,
    _of_the_caller: OwnedSemaphorePermit,
}

/// Memory for one body.
#[derive(Debug)]
pub struct BodyMemory(OwnedSemaphorePermit);

/// What one caller has used.
#[derive(Debug)]
struct CallerUse {
    rate: Rate,
    places: Arc<Semaphore>,
}

/// The limits of one sidecar.
#[derive(Debug)]
pub struct Limits {
    sizes: LimitSizes,
    callers: Cache<CallerName, Arc<CallerUse>>,
    keys: Cache<KeyName, Arc<Rate>>,
    in_flight: Arc<Semaphore>,
    body_memory: Arc<Semaphore>,
}

/// Holds a stream to the rates of its caller and its key: it waits where a message would be refused.
#[derive(Debug)]
pub struct Pace {
    caller: Arc<CallerUse>,
    key: Arc<Rate>,
}

impl Limits {
    /// Limits of these sizes, with nothing used.
    #[must_use]
    pub fn new(sizes: LimitSizes) -> Self {
        Self {
            callers: Cache::new(REMEMBERED_MAX),
            keys: Cache::new(REMEMBERED_MAX),
            in_flight: Arc::new(Semaphore::new(sizes.in_flight_max)),
            body_memory: Arc::new(Semaphore::new(sizes.body_memory_bytes_max)),
            sizes,
        }
    }

    /// Lets a batch of `items` items through.
    ///
    /// # Errors
    /// [`TooManyItems`], with the limit.
    pub fn check_batch(&self, items: usize) -> Result<(), TooManyItems> {
        let max = self.sizes.batch_items_max;
        if items > max {
            Limit::BatchItems.bit();
            return Err(TooManyItems { max });
        }
        Ok(())
    }

    /// Counts `amount` against the caller's rate: all or none.
    ///
    /// # Errors
    /// [`RateLimited`], with when to come again.
    pub fn admit(&self, caller: &CallerName, amount: Amount) -> Result<(), RateLimited> {
        refuse_caller(self.caller(caller).rate.take(amount))
    }

    /// Counts `amount` against the key's rate. Only for what policy has permitted.
    ///
    /// # Errors
    /// [`RateLimited`], with when to come again.
    pub fn admit_key(&self, key: &KeyName, amount: Amount) -> Result<(), RateLimited> {
        refuse_key(self.key(key).take(amount))
    }

    /// What holds a stream of this caller under this key to their rates.
    #[must_use]
    pub fn pace(&self, caller: &CallerName, key: &KeyName) -> Pace {
        Pace { caller: self.caller(caller), key: self.key(key) }
    }

    /// A place among the requests in flight, and among the caller's own.
    ///
    /// # Errors
    /// [`NoPlace`] when all places are taken.
    pub fn enter(&self, caller: &CallerName) -> Result<InFlight, NoPlace> {
        let place = Arc::clone(&self.in_flight).try_acquire_owned();
        let place = place.map_err(|_| overloaded(Limit::InFlight))?;
        let own = Arc::clone(&self.caller(caller).places).try_acquire_owned();
        let own = own.map_err(|_| limited(Limit::CallerInFlight, PLACE_RETRY))?;
        Ok(InFlight { _place: place, _of_the_caller: own })
    }

    /// Memory for a body of `bytes` bytes.
    ///
    /// # Errors
    /// [`Overloaded`] when the bodies in memory leave too little.
    pub fn body_memory(&self, bytes: usize) -> Result<BodyMemory, Overloaded> {
        let bytes = u32::try_from(bytes).map_err(|_| overloaded(Limit::BodyMemory))?;
        let permit = Arc::clone(&self.body_memory).try_acquire_many_owned(bytes);
        permit.map(BodyMemory).map_err(|_| overloaded(Limit::BodyMemory))
    }

    /// Makes `memory` large enough for a body of `bytes` bytes.
    ///
    /// # Errors
    /// [`Overloaded`] when the bodies in memory leave too little; what it had, it keeps.
    pub fn grow(&self, memory: &mut BodyMemory, bytes: usize) -> Result<(), Overloaded> {
        let more = bytes.saturating_sub(memory.0.num_permits());
        if more > 0 {
            memory.0.merge(self.body_memory(more)?.0);
        }
        Ok(())
    }

    /// Requests in flight now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.sizes.in_flight_max.saturating_sub(self.in_flight.available_permits())
    }

    fn caller(&self, name: &CallerName) -> Arc<CallerUse> {
        if let Some(known) = self.callers.get(name) {
            return known;
        }
        let sizes = self.sizes.callers.get(name).copied().unwrap_or(self.sizes.caller);
        let places = Arc::new(Semaphore::new(sizes.in_flight_max));
        let fresh = CallerUse { rate: Rate::new(sizes.rate, self.largest()), places };
        remember(&self.callers, name, fresh)
    }

    fn key(&self, name: &KeyName) -> Arc<Rate> {
        if let Some(known) = self.keys.get(name) {
            return known;
        }
        let sizes = self.sizes.keys.get(name).copied().unwrap_or(self.sizes.key);
        remember(&self.keys, name, Rate::new(sizes, self.largest()))
    }

    /// What one request can take at most: a bucket that is smaller would never admit it.
    fn largest(&self) -> Amount {
        Amount { requests: self.sizes.batch_items_max, bytes: self.sizes.taken_bytes_max }
    }
}

impl Pace {
    /// Waits until the rates of the caller and of the key admit `bytes` more.
    pub async fn wait_for(&self, bytes: usize) {
        let amount = Amount { requests: 0, bytes };
        wait_for(&self.caller.rate, amount, Limit::CallerBytes).await;
        wait_for(&self.key, amount, Limit::KeyBytes).await;
    }
}

async fn wait_for(rate: &Rate, amount: Amount, limit: Limit) {
    let Err((_, mut wait)) = rate.take(amount) else { return };
    limit.bit();
    loop {
        tokio::time::sleep(wait).await;
        match rate.take(amount) {
            Ok(()) => return,
            Err((_, longer)) => wait = longer,
        }
    }
}

/// Keeps `fresh` under `name`, or what another has put there in the meantime.
fn remember<K: Clone + Eq + std::hash::Hash, V>(
    known: &Cache<K, Arc<V>>,
    name: &K,
    fresh: V,
) -> Arc<V> {
    let fresh = Arc::new(fresh);
    let kept = known.get_or_insert_with(name, || Ok::<_, std::convert::Infallible>(fresh.clone()));
    let Ok(kept) = kept;
    kept
}

fn refuse_caller(taken: Result<(), (Bucket, Duration)>) -> Result<(), RateLimited> {
    taken.map_err(|(bucket, wait)| match bucket {
        Bucket::Requests => limited(Limit::CallerRequests, wait),
        Bucket::Bytes => limited(Limit::CallerBytes, wait),
    })
}

fn refuse_key(taken: Result<(), (Bucket, Duration)>) -> Result<(), RateLimited> {
    taken.map_err(|(bucket, wait)| match bucket {
        Bucket::Requests => limited(Limit::KeyRequests, wait),
        Bucket::Bytes => limited(Limit::KeyBytes, wait),
    })
}

fn limited(limit: Limit, retry_after: Duration) -> RateLimited {
    limit.bit();
    RateLimited { limit, retry_after }
}

fn overloaded(limit: Limit) -> Overloaded {
    limit.bit();
    Overloaded
}

#[cfg(test)]
mod tests;
