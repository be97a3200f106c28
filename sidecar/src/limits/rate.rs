//! Requests and bytes a second, each a bucket that fills all the time and holds at least the largest request.
//!
//! The generic cell rate algorithm (ITU-T I.371): a bucket is the moment at which it is full again. It is written
//! here, and not a library's, for what a stream needs: it takes a segment before there is room for it and waits until
//! that is paid, and where messages were refused meanwhile it waits once more as long, so that each side has half
//! (`a_stream_and_messages_share_a_bucket_that_is_too_small_for_both`).

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Amount;

/// Requests and bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSizes {
    /// Operations a second, a batch counting its items.
    pub requests_per_second: NonZeroU32,
    /// Bytes of messages a second: what is sealed, opened or moved.
    pub bytes_per_second: NonZeroU32,
}

/// Which bucket had too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    Requests(Duration),
    Bytes(Duration),
}

/// The two buckets of one caller, or of one key.
#[derive(Debug)]
pub(super) struct Rate {
    requests: Bucket,
    bytes: Bucket,
}

impl Rate {
    /// Full buckets. One request may take `largest`, so that much they hold at least.
    pub(super) fn new(sizes: RateSizes, largest: Amount) -> Self {
        Self {
            requests: Bucket::new(sizes.requests_per_second, largest.requests),
            bytes: Bucket::new(sizes.bytes_per_second, largest.bytes),
        }
    }

    /// Takes `amount`, or says which bucket has too little and when it will have enough. A request that fails for
    /// its bytes has cost a place in the other bucket: asking is work too.
    pub(super) fn take(&self, amount: Amount, now: Instant) -> Result<(), Short> {
        self.requests.take(amount.requests, now).map_err(Short::Requests)?;
        self.bytes.take(amount.bytes, now).map_err(Short::Bytes)
    }

    /// Takes `bytes` at once and says how long to wait until they are there.
    pub(super) fn owe(&self, bytes: usize, now: Instant) -> Duration {
        self.bytes.owe(bytes, now)
    }

    /// Whether somebody was refused bytes since this was last asked.
    pub(super) fn is_crowded(&self) -> bool {
        std::mem::take(&mut self.bytes.state().is_crowded)
    }
}

#[derive(Debug)]
struct Bucket {
    /// Tokens a second.
    rate: NonZeroU32,
    /// How long it takes to fill.
    window: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When it is full again; `None`: it is.
    full_at: Option<Instant>,
    is_crowded: bool,
}

impl Bucket {
    fn new(rate: NonZeroU32, largest: usize) -> Self {
        let mut bucket = Self { rate, window: Duration::from_secs(1), state: Mutex::default() };
        bucket.window = bucket.window.max(bucket.time_for(largest));
        bucket
    }

    fn take(&self, tokens: usize, now: Instant) -> Result<(), Duration> {
        if tokens == 0 {
            return Ok(());
        }
        let mut state = self.state();
        let (full_at, fills_in) = self.after(&state, tokens, now);
        let short = fills_in.saturating_sub(self.window);
        if !short.is_zero() {
            state.is_crowded = true;
            return Err(short);
        }
        state.full_at = Some(full_at);
        Ok(())
    }

    fn owe(&self, tokens: usize, now: Instant) -> Duration {
        let mut state = self.state();
        let (full_at, fills_in) = self.after(&state, tokens, now);
        state.full_at = Some(full_at);
        fills_in.saturating_sub(self.window)
    }

    /// When it would be full again without these tokens, and how long that is.
    fn after(&self, state: &State, tokens: usize, now: Instant) -> (Instant, Duration) {
        let full_at = state.full_at.map_or(now, |full_at| full_at.max(now));
        let full_at = full_at + self.time_for(tokens);
        (full_at, full_at.saturating_duration_since(now))
    }

    /// How long these tokens take to come. More than fit into 32 bits are as many as do: no bucket holds more.
    fn time_for(&self, tokens: usize) -> Duration {
        let tokens = u64::from(u32::try_from(tokens).unwrap_or(u32::MAX));
        Duration::from_nanos(tokens * 1_000_000_000 / u64::from(self.rate.get()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn start() -> Instant {
        SystemClock.now().monotonic
    }

    fn bucket(rate: u32, largest: usize) -> Bucket {
        Bucket::new(NonZeroU32::new(rate).unwrap(), largest)
    }

    #[test]
    fn a_bucket_holds_one_seconds_worth_and_fills_at_its_rate() {
        let (bucket, now) = (bucket(1000, 1), start());
        assert_eq!(bucket.take(1000, now), Ok(()));
        assert_eq!(bucket.take(1, now), Err(MILLISECOND));
        assert_eq!(bucket.take(500, now + 499 * MILLISECOND), Err(MILLISECOND));
        assert_eq!(bucket.take(500, now + 500 * MILLISECOND), Ok(()));
        let much_later = now + Duration::from_secs(3600);
        assert_eq!(bucket.take(1000, much_later), Ok(()));
        assert!(bucket.take(1, much_later).is_err(), "and never more than that");
    }

    #[test]
    fn rates_are_what_is_set_up_to_the_largest() {
        for rate in [1, 7, 340_000_000, 510_000_000, 1 << 30, u32::MAX] {
            let (bucket, now) = (bucket(rate, 1), start());
            assert_eq!(bucket.take(rate as usize, now), Ok(()), "{rate}");
            let wait = bucket.take(rate as usize / 2 + 1, now).unwrap_err();
            assert!(wait.abs_diff(Duration::from_millis(500)) < 510 * MILLISECOND, "{rate}");
            if rate > 1000 {
                assert!(
                    wait.abs_diff(Duration::from_millis(500)) < MILLISECOND,
                    "{rate}: {wait:?}"
                );
            }
        }
    }

    #[test]
    fn what_it_never_holds_is_refused_and_costs_nothing() {
        let (bucket, now) = (bucket(10, 100), start());
        assert!(bucket.take(101, now).is_err() && bucket.take(usize::MAX, now).is_err());
        assert_eq!(bucket.take(100, now), Ok(()));
    }

    #[test]
    fn a_clock_that_is_read_late_gives_nothing_twice() {
        let (bucket, now) = (bucket(1000, 1), start());
        assert_eq!(bucket.take(1000, now + MILLISECOND), Ok(()));
        assert!(bucket.take(1, now).is_err());
    }

    #[test]
    fn a_stream_and_messages_share_a_bucket_that_is_too_small_for_both() {
        let sizes = NonZeroU32::new(300_000).unwrap();
        let sizes = RateSizes { requests_per_second: NonZeroU32::MAX, bytes_per_second: sizes };
        let rate = Rate::new(sizes, Amount::one(65_552));
        let (mut now, mut waits_until) = (start(), start());
        let (mut streamed, mut sent, mut paid) = (0, 0, None);
        for _ in 0..20_000 {
            now += MILLISECOND;
            // A caller who asks for 2 kB all the time, and a stream that waits as `Pace` does.
            sent += usize::from(rate.take(Amount::one(2000), now).is_ok()) * 2000;
            if now < waits_until {
                continue;
            }
            match paid.take() {
                Some(owed) if rate.is_crowded() => waits_until = now + owed,
                _ => {
                    let owed = rate.owe(65_536, now);
                    streamed += 65_536;
                    (waits_until, paid) = (now + owed, (!owed.is_zero()).then_some(owed));
                }
            }
        }
        // Six megabytes in 20 seconds, and what the bucket held.
        assert!(streamed > 2_000_000 && sent > 2_000_000, "{streamed} streamed, {sent} sent");
        assert!(streamed + sent < 6_500_000, "{streamed} streamed, {sent} sent");
    }
}
