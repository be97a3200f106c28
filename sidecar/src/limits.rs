//! Says how much at once: rates and places for each caller, rates for each key, memory for bodies.
//!
//! Depends on [`crate::names`], and on [`crate::clock`] for the type of time. It decides about amounts alone, never
//! about who may do what. What is admitted is a guard that gives its share back when dropped. What bites is counted in
//! `keypod_limited_total`.
//!
//! Callers are known by name after they have proven it, and keys only after policy has permitted their use: nobody
//! spends what is another's (`limits_hold_for_each_caller_and_for_each_key` in the suite). Callers and keys with limits
//! of their own are never forgotten; of the others, so many are remembered.

mod memory;
mod rate;
mod refusal;
mod uses;

pub use memory::{BodyMemory, Memory};
pub use rate::RateSizes;
pub use refusal::{Limit, Overloaded, RateLimited, Refused, TooManyItems};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Now;
use crate::names::{CallerName, KeyName};
use rate::{Rate, Short};
use refusal::{limited, overloaded};
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
        let (whole, used) = (Arc::clone(&self.body_memory), Arc::clone(&used.body_memory));
        let memory = Memory { whole, own: used };
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

#[cfg(test)]
mod tests;
