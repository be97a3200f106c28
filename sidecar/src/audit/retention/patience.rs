//! The time by which logs are deleted: the wall clock, as far as the monotonic clock bears it out.
//!
//! Depends on [`crate::clock`]. A wall clock that is set forward while the sidecar runs is not believed until the next
//! start: of all looks at both clocks, the one at which the wall clock was furthest behind counts, and since then time has
//! gone by on the monotonic one. One that was wrong at the start is believed, but not at once: if it is set right before
//! the patience ends, it has done nothing. Invariant: `what_the_wall_clock_gains_on_the_monotonic_one_is_not_believed`.

use std::time::{Duration, Instant};

use crate::clock::{Now, UnixSeconds};

/// A sidecar that has not run for so long deletes nothing.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// A wall clock that is further ahead than this is told.
const AHEAD_MAX: Duration = Duration::from_secs(60 * 60);

/// What is known of the clocks.
#[derive(Debug)]
pub(super) struct Patience {
    patience: Duration,
    begun: Instant,
    /// The look at which the wall clock was furthest behind.
    slowest: Now,
    has_told: bool,
}

impl Patience {
    /// From now on. Who keeps logs for a shorter time than the usual patience has no more patience than that.
    pub(super) fn new(keep: Duration, now: Now) -> Self {
        let patience = keep.min(PATIENCE);
        Self { patience, begun: now.monotonic, slowest: now, has_told: false }
    }

    /// The time that is believed; `None` if it is too early for that.
    pub(super) fn believed(&mut self, now: Now) -> Option<UnixSeconds> {
        let borne_out = self.slowest.wall.after(now.since(self.slowest.monotonic));
        if now.wall <= borne_out {
            self.slowest = now;
        }
        let believed = now.wall.min(borne_out);
        if !self.has_told && now.wall > believed.after(AHEAD_MAX) {
            self.has_told = true;
            tracing::warn!(
                wall = %now.wall,
                believed = %believed,
                "the wall clock was set forward: until the next start, old audit logs are deleted by the time that went by"
            );
        }
        (now.since(self.begun) >= self.patience).then_some(believed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock, SystemClock};

    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    fn clock() -> (ManualClock, Now) {
        let now = SystemClock.now();
        (ManualClock::at(now), now)
    }

    #[test]
    fn what_the_wall_clock_gains_on_the_monotonic_one_is_not_believed() {
        let (clock, begun) = clock();
        let mut patience = Patience::new(YEAR, begun);
        clock.jump_wall(begun.wall.after(6 * YEAR));
        for _ in 0..100 {
            clock.advance(PATIENCE);
            let by_monotonic = begun.wall.after(clock.now().since(begun.monotonic));
            assert_eq!(patience.believed(clock.now()), Some(by_monotonic));
        }
        // Nor what it gains bit by bit.
        let (clock, begun) = self::clock();
        let mut patience = Patience::new(YEAR, begun);
        for _ in 0..1_000 {
            clock.advance(Duration::from_secs(10));
            clock.jump_wall(clock.now().wall.after(Duration::from_secs(1)));
            patience.believed(clock.now());
        }
        let after = begun.wall.after(Duration::from_secs(10_000));
        assert_eq!(patience.believed(clock.now()), Some(after));
    }

    #[test]
    fn a_wall_clock_that_was_ahead_at_the_start_is_set_right_in_time() {
        let (clock, right) = clock();
        clock.jump_wall(right.wall.after(6 * YEAR));
        let mut patience = Patience::new(YEAR, clock.now());
        clock.advance(PATIENCE / 2);
        assert_eq!(patience.believed(clock.now()), None);
        clock.jump_wall(right.wall.after(PATIENCE / 2));
        assert_eq!(patience.believed(clock.now()), None);
        clock.advance(PATIENCE);
        let believed = patience.believed(clock.now());
        assert_eq!(believed, Some(right.wall.after(PATIENCE / 2).after(PATIENCE)));
    }
}
