//! Says how much at once: rates and places for each caller, rates for each key, memory for bodies.
//!
//! Depends on [`crate::names`], and on [`crate::clock`] for the type of time. It decides about amounts alone, never
//! about who may do what. What is admitted is a guard that gives its share back when dropped. What bites is counted in
//! `keypod_limited_total`.
//!
//! Callers are known by name after they have proven it, and keys only after policy has permitted their use: nobody
//! spends what is another's (`limits_hold_for_each_caller_and_for_each_key` in the suite). Callers and keys with limits
//! of their own are never forgotten; of the others, so many are remembered.

mod rate;
mod uses;

pub use rate::RateSizes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Now;
use crate::names::{CallerName, KeyName};
use rate::{Rate, Short};
use uses::Uses;

/// A caller with all its places or memory taken comes again after this long: when one is free nobody can tell.
const PLACE_RETRY: Duration = Duration::from_secs(1);

/// Memory that a stream takes: a segment that is read, one that is worked on, one that is sent, and their tags.
pub const STREAM_MEMORY_BYTES: usize = 4 * (65_536 + 16);

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

    /// The rest of one operation that has been let in: a message of `bytes` bytes.
    #[must_use]
    pub fn bytes(bytes: usize) -> Self {
        Self { requests: 0, bytes }
    }
}

/// How much is admitted for one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerSizes {
    /// A second.
    pub rate: RateSizes,
    /// Requests in flight.
    pub in_flight_max: usize,
    /// Bytes of request bodies in memory at once.
    pub body_memory_bytes_max: usize,
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
    /// Bodies of a caller in memory.
    CallerBodyMemory,
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
            Self::CallerBodyMemory => "caller_body_memory",
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

/// Why there is no place or no memory for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its caller has used up its own share.
    #[error(transparent)]
    OfItsCaller(#[from] RateLimited),
    /// There is none for anybody.
    #[error(transparent)]
    AtAll(#[from] Overloaded),
}

/// One request in flight.
#[derive(Debug)]
pub struct InFlight {
    memory: Memory,
    _place: OwnedSemaphorePermit,
    _of_the_caller: OwnedSemaphorePermit,
}

impl InFlight {
    /// What its caller may take of the memory for bodies.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}

/// The memory for bodies, as one caller may take of it.
#[derive(Clone, Debug)]
pub struct Memory {
    whole: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// Memory for one body.
#[derive(Debug)]
pub struct BodyMemory {
    of_the_whole: OwnedSemaphorePermit,
    own: OwnedSemaphorePermit,
}

impl Memory {
    /// Memory for a body of `bytes` bytes.
    ///
    /// # Errors
    /// [`Refused`] when the bodies in memory, or those of the caller, leave too little.
    pub fn take(&self, bytes: usize) -> Result<BodyMemory, Refused> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let whole = Arc::clone(&self.whole).try_acquire_many_owned(bytes);
        let of_the_whole = whole.map_err(|_| overloaded(Limit::BodyMemory))?;
        let own = Arc::clone(&self.own).try_acquire_many_owned(bytes);
        let own = own.map_err(|_| limited(Limit::CallerBodyMemory, PLACE_RETRY))?;
        Ok(BodyMemory { of_the_whole, own })
    }

    /// Makes `memory` large enough for a body of `bytes` bytes.
    ///
    /// # Errors
    /// [`Refused`] when the bodies in memory leave too little; what it had, it keeps.
    pub fn grow(&self, memory: &mut BodyMemory, bytes: usize) -> Result<(), Refused> {
        let more = bytes.saturating_sub(memory.own.num_permits());
        if more > 0 {
            let more = self.take(more)?;
            memory.of_the_whole.merge(more.of_the_whole);
            memory.own.merge(more.own);
        }
        Ok(())
    }
}

/// What one caller has used.
#[derive(Debug)]
struct CallerUse {
    rate: Rate,
    places: Arc<Semaphore>,
    body_memory: Arc<Semaphore>,
}

/// The limits of one sidecar.
#[derive(Debug)]
pub struct Limits {
    sizes: LimitSizes,
    callers: Uses<CallerName, CallerUse>,
    keys: Uses<KeyName, Rate>,
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
        let callers = sizes.callers.iter();
        let callers = callers.map(|(name, own)| (name.clone(), CallerUse::new(*own, &sizes)));
        let keys = sizes.keys.iter();
        let keys = keys.map(|(name, own)| (name.clone(), Rate::new(*own, sizes.largest())));
        Self {
            callers: Uses::new(callers),
            keys: Uses::new(keys),
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

    /// A place among the requests in flight and among the caller's own, and one request of the caller's rate: before
    /// anything of its body is read.
    ///
    /// # Errors
    /// [`Refused`] when all places are taken, or the rate is used up.
    pub fn enter(&self, caller: &CallerName, now: Instant) -> Result<InFlight, Refused> {
        let place = Arc::clone(&self.in_flight).try_acquire_owned();
        let place = place.map_err(|_| overloaded(Limit::InFlight))?;
        let used = self.caller(caller);
        let own = Arc::clone(&used.places).try_acquire_owned();
        let own = own.map_err(|_| limited(Limit::CallerInFlight, PLACE_RETRY))?;
        used.take(Amount::one(0), now)?;
        let body_memory = (Arc::clone(&self.body_memory), Arc::clone(&used.body_memory));
        let memory = Memory { whole: body_memory.0, own: body_memory.1 };
        Ok(InFlight { memory, _place: place, _of_the_caller: own })
    }

    /// Counts `amount` against the caller's rate, beyond the one request that [`Limits::enter`] has counted: all or
    /// none.
    ///
    /// # Errors
    /// [`RateLimited`], with when to come again.
    pub fn admit(
        &self,
        caller: &CallerName,
        amount: Amount,
        now: Instant,
    ) -> Result<(), RateLimited> {
        self.caller(caller).take(amount, now)
    }

    /// Counts `amount` against the key's rate. Only for what policy has permitted.
    ///
    /// # Errors
    /// [`RateLimited`], with when to come again.
    pub fn admit_key(
        &self,
        key: &KeyName,
        amount: Amount,
        now: Instant,
    ) -> Result<(), RateLimited> {
        self.key(key).take(amount, now).map_err(|short| match short {
            Short::Requests(wait) => limited(Limit::KeyRequests, wait),
            Short::Bytes(wait) => limited(Limit::KeyBytes, wait),
        })
    }

    /// What holds a stream of this caller under this key to their rates.
    #[must_use]
    pub fn pace(&self, caller: &CallerName, key: &KeyName) -> Pace {
        Pace { caller: self.caller(caller), key: self.key(key) }
    }

    fn caller(&self, name: &CallerName) -> Arc<CallerUse> {
        self.callers.get(name, || CallerUse::new(self.sizes.caller, &self.sizes))
    }

    fn key(&self, name: &KeyName) -> Arc<Rate> {
        self.keys.get(name, || Rate::new(self.sizes.key, self.sizes.largest()))
    }

    /// Requests in flight now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.sizes.in_flight_max.saturating_sub(self.in_flight.available_permits())
    }
}

impl LimitSizes {
    /// What one request can take at most: a bucket that is smaller would never admit it.
    fn largest(&self) -> Amount {
        Amount { requests: self.batch_items_max, bytes: self.taken_bytes_max }
    }
}

impl CallerUse {
    fn new(own: CallerSizes, sizes: &LimitSizes) -> Self {
        Self {
            rate: Rate::new(own.rate, sizes.largest()),
            places: Arc::new(Semaphore::new(own.in_flight_max)),
            body_memory: Arc::new(Semaphore::new(own.body_memory_bytes_max)),
        }
    }

    fn take(&self, amount: Amount, now: Instant) -> Result<(), RateLimited> {
        self.rate.take(amount, now).map_err(|short| match short {
            Short::Requests(wait) => limited(Limit::CallerRequests, wait),
            Short::Bytes(wait) => limited(Limit::CallerBytes, wait),
        })
    }
}

impl Pace {
    /// Waits until the rates of the caller and of the key have `bytes` for the stream. Where messages were refused for
    /// it, it waits once more as long: half is theirs.
    pub async fn wait_for(&self, bytes: usize, now: Now) {
        let mut waited = Duration::ZERO;
        for (rate, limit) in
            [(&self.caller.rate, Limit::CallerBytes), (&*self.key, Limit::KeyBytes)]
        {
            let owed = rate.owe(bytes, now.later(waited).monotonic);
            if owed.is_zero() {
                continue;
            }
            limit.bit();
            tokio::time::sleep(owed).await;
            waited += owed;
            if rate.is_crowded() {
                tokio::time::sleep(owed).await;
                waited += owed;
            }
        }
    }
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
