//! Says how much at once: rates for each caller, requests in flight, memory for bodies.
//!
//! Depends on [`crate::names`]. It decides about amounts alone, never about who may do what. What is admitted
//! is a guard that gives its share back when dropped.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::names::CallerName;

/// How much is admitted.
#[derive(Clone, Copy, Debug)]
pub struct LimitSizes {
    /// Items of a batch.
    pub batch_items_max: usize,
    /// Requests in flight.
    pub in_flight_max: usize,
    /// Bytes of request bodies in memory at once.
    pub body_memory_bytes_max: usize,
    /// Operations a second for each caller, a batch counting its items.
    pub operations_per_second: u32,
}

/// The caller has used up its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rate of this caller is used up")]
pub struct RateLimited {
    /// After this long the same request would be admitted.
    pub retry_after: Duration,
}

/// The sidecar has as much to do as it admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as much is under way as the limits admit")]
pub struct Overloaded;

/// One request in flight.
#[derive(Debug)]
pub struct InFlight(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Memory for one body.
#[derive(Debug)]
pub struct BodyMemory(OwnedSemaphorePermit);

/// How often which limit bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitCounts {
    /// Requests refused for their caller's rate.
    pub rate_limited: u64,
    /// Requests refused for what was under way.
    pub overloaded: u64,
}

/// The limits of one sidecar.
#[derive(Debug)]
pub struct Limits {
    sizes: LimitSizes,
    rates: DefaultKeyedRateLimiter<CallerName>,
    in_flight: Arc<Semaphore>,
    body_memory: Arc<Semaphore>,
    rate_limited: AtomicU64,
    overloaded: AtomicU64,
}

impl Limits {
    /// Limits of these sizes, with nothing used.
    #[must_use]
    pub fn new(sizes: LimitSizes) -> Self {
        let rate = NonZeroU32::new(sizes.operations_per_second).unwrap_or(NonZeroU32::MIN);
        // A whole batch must fit into the burst, or it could never be admitted.
        let batch = u32::try_from(sizes.batch_items_max).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(batch).unwrap_or(NonZeroU32::MIN).max(rate);
        Self {
            sizes,
            rates: RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)),
            in_flight: Arc::new(Semaphore::new(sizes.in_flight_max)),
            body_memory: Arc::new(Semaphore::new(sizes.body_memory_bytes_max)),
            rate_limited: AtomicU64::new(0),
            overloaded: AtomicU64::new(0),
        }
    }

    /// The sizes.
    #[must_use]
    pub fn sizes(&self) -> &LimitSizes {
        &self.sizes
    }

    /// Counts `operations` against the caller's rate: all or none.
    ///
    /// # Errors
    /// [`RateLimited`], with when to come again.
    pub fn admit(&self, caller: &CallerName, operations: usize) -> Result<(), RateLimited> {
        let operations = u32::try_from(operations).unwrap_or(u32::MAX);
        let operations = NonZeroU32::new(operations).unwrap_or(NonZeroU32::MIN);
        let retry_after = match self.rates.check_key_n(caller, operations) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(not_until)) => not_until.wait_time_from(self.rates.clock().now()),
            Err(_more_than_the_burst) => Duration::from_secs(1),
        };
        self.rate_limited.fetch_add(1, Ordering::Relaxed);
        Err(RateLimited { retry_after })
    }

    /// A place among the requests in flight.
    ///
    /// # Errors
    /// [`Overloaded`] when all places are taken.
    pub fn enter(&self) -> Result<InFlight, Overloaded> {
        let permit = Arc::clone(&self.in_flight).try_acquire_owned();
        permit.map(InFlight).map_err(|_| self.overloaded())
    }

    /// Memory for a body of `bytes` bytes.
    ///
    /// # Errors
    /// [`Overloaded`] when the bodies in memory leave too little.
    pub fn body_memory(&self, bytes: usize) -> Result<BodyMemory, Overloaded> {
        let bytes = u32::try_from(bytes).map_err(|_| self.overloaded())?;
        let permit = Arc::clone(&self.body_memory).try_acquire_many_owned(bytes);
        permit.map(BodyMemory).map_err(|_| self.overloaded())
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

    fn overloaded(&self) -> Overloaded {
        self.overloaded.fetch_add(1, Ordering::Relaxed);
        Overloaded
    }

    /// Requests in flight now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.sizes.in_flight_max.saturating_sub(self.in_flight.available_permits())
    }

    /// How often which limit bit since the start.
    #[must_use]
    pub fn counts(&self) -> LimitCounts {
        LimitCounts {
            rate_limited: self.rate_limited.load(Ordering::Relaxed),
            overloaded: self.overloaded.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Limits {
        Limits::new(LimitSizes {
            batch_items_max: 4,
            in_flight_max: 2,
            body_memory_bytes_max: 100,
            operations_per_second: 1,
        })
    }

    #[test]
    fn a_caller_past_its_rate_is_told_when_to_come_again_and_harms_no_other() {
        let limits = small();
        let (greedy, other) = ("greedy".parse().unwrap(), "other".parse().unwrap());
        limits.admit(&greedy, 4).unwrap();
        let refused = limits.admit(&greedy, 1).unwrap_err();
        assert!(
            refused.retry_after > Duration::ZERO && refused.retry_after <= Duration::from_secs(1)
        );
        limits.admit(&other, 1).unwrap();
        assert_eq!(limits.counts().rate_limited, 1);
    }

    #[test]
    fn a_place_in_flight_comes_back_when_its_guard_is_dropped() {
        let limits = small();
        let first = limits.enter().unwrap();
        let _second = limits.enter().unwrap();
        assert_eq!(limits.enter().unwrap_err(), Overloaded);
        assert_eq!(limits.in_flight(), 2);
        drop(first);
        assert!(limits.enter().is_ok());
    }

    #[test]
    fn bodies_share_one_memory() {
        let limits = small();
        let first = limits.body_memory(80).unwrap();
        assert!(limits.body_memory(21).is_err());
        drop(first);
        assert!(limits.body_memory(100).is_ok());
        assert!(limits.body_memory(usize::MAX).is_err());
    }

    #[test]
    fn a_body_that_grows_takes_what_it_has_and_no_more_than_there_is() {
        let limits = small();
        let mut growing = limits.body_memory(10).unwrap();
        limits.grow(&mut growing, 60).unwrap();
        assert!(limits.body_memory(41).is_err());
        assert!(limits.grow(&mut growing, 101).is_err());
        limits.grow(&mut growing, 5).unwrap();
        assert!(limits.body_memory(40).is_ok());
        drop(growing);
        assert!(limits.body_memory(100).is_ok());
    }
}
