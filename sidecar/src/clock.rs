//! Tells the time, so that everything else can take it as an argument.
//!
//! Two clocks travel together in a [`Now`]: the wall clock, for what is written down (creation times, destroy
//! times), and the monotonic one, for how long something has been in a cache. The wall clock may jump; no
//! cache bound reads it. Depends on nothing. Invariant: no other module reads a clock (`clippy.toml`,
//! `disallowed-methods`).

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01T00:00:00Z on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// A time of RFC 3339, in UTC.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let time = humantime::parse_rfc3339(text).ok()?;
        Some(Self(time.duration_since(UNIX_EPOCH).ok()?.as_secs()))
    }

    /// This time and `duration` more, in whole seconds, at most the last representable second.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }
}

/// RFC 3339, in UTC, with whole seconds.
impl fmt::Display for UnixSeconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH.checked_add(Duration::from_secs(self.0));
        match time {
            Some(time) if self.0 <= 253_402_300_799 => {
                write!(formatter, "{}", humantime::format_rfc3339_seconds(time))
            }
            _ => write!(formatter, "@{}", self.0),
        }
    }
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall clock: for what is stored or shown. It may jump.
    pub wall: UnixSeconds,
    /// The monotonic clock: for ages and bounds. It never goes back.
    pub monotonic: Instant,
}

impl Now {
    /// This reading, `by` later on both clocks: for whoever has waited that long.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self { wall: self.wall.after(by), monotonic: self.monotonic + by }
    }

    /// How long ago `earlier` was; zero if it was not.
    #[must_use]
    pub fn since(&self, earlier: Instant) -> Duration {
        self.monotonic.saturating_duration_since(earlier)
    }
}

/// Where a [`Now`] comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Reads both clocks.
    fn now(&self) -> Now;

    /// Milliseconds since 1970-01-01T00:00:00Z on the wall clock: for what is written down one after the other.
    fn unix_millis(&self) -> u64 {
        self.now().wall.0.saturating_mul(1000)
    }
}

/// The clocks of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Now { wall: UnixSeconds(wall), monotonic: Instant::now() }
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    fn unix_millis(&self) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that moves only when told to: for tests.
#[derive(Debug)]
pub struct ManualClock(Mutex<Now>);

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Now) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        now.wall = now.wall.after(by);
        now.monotonic += by;
    }

    /// Sets the wall clock alone, as an operator or a bad time server does.
    pub fn jump_wall(&self, to: UnixSeconds) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).wall = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_written_as_rfc_3339() {
        assert_eq!(UnixSeconds(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(UnixSeconds(1_795_500_000).to_string(), "2026-11-24T06:00:00Z");
        assert_eq!(UnixSeconds(u64::MAX).to_string(), format!("@{}", u64::MAX));
    }

    #[test]
    fn a_jump_of_the_wall_clock_does_not_move_the_monotonic_one() {
        let clock = ManualClock::at(SystemClock.now());
        let before = clock.now();
        clock.jump_wall(UnixSeconds(1));
        assert_eq!(clock.now().monotonic, before.monotonic);
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now().since(before.monotonic), Duration::from_secs(5));
        assert_eq!(clock.now().wall, UnixSeconds(6));
    }
}
