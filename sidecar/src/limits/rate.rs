//! Requests and bytes a second, each a token bucket that holds at least the largest request.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::Amount;

/// Requests and bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSizes {
    /// Operations a second, a batch counting its items.
    pub requests_per_second: NonZeroU32,
    /// Bytes of messages a second: what is sealed, opened or moved.
    pub bytes_per_second: NonZeroU32,
}

/// Which bucket was empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bucket {
    Requests,
    Bytes,
}

/// The two buckets of one caller, or of one key.
#[derive(Debug)]
pub(super) struct Rate {
    requests: DefaultDirectRateLimiter,
    bytes: DefaultDirectRateLimiter,
}

impl Rate {
    /// Full buckets. One request may take `largest`, so that much they hold at least.
    pub(super) fn new(sizes: RateSizes, largest: Amount) -> Self {
        let bucket = |rate: NonZeroU32, largest: usize| {
            let burst = count(largest).map_or(rate, |largest| largest.max(rate));
            RateLimiter::direct(Quota::per_second(rate).allow_burst(burst))
        };
        Self {
            requests: bucket(sizes.requests_per_second, largest.requests),
            bytes: bucket(sizes.bytes_per_second, largest.bytes),
        }
    }

    /// Takes `amount`, or says which bucket has too little and when it will have enough. A request that fails for
    /// its bytes has cost a place in the other bucket: asking is work too.
    pub(super) fn take(&self, amount: Amount) -> Result<(), (Bucket, Duration)> {
        take(&self.requests, amount.requests).map_err(|wait| (Bucket::Requests, wait))?;
        take(&self.bytes, amount.bytes).map_err(|wait| (Bucket::Bytes, wait))
    }
}

fn take(bucket: &DefaultDirectRateLimiter, tokens: usize) -> Result<(), Duration> {
    let Some(tokens) = count(tokens) else { return Ok(()) };
    match bucket.check_n(tokens) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(not_until)) => Err(not_until.wait_time_from(bucket.clock().now())),
        Err(_more_than_it_ever_holds) => Err(Duration::from_secs(1)),
    }
}

/// A number of tokens; `None` for nothing at all.
fn count(tokens: usize) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(tokens).unwrap_or(u32::MAX))
}
