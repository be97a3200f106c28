//! Slows down who shows wrong credentials, and counts them by where they come from.
//!
//! A refusal is held back, and nothing else; who hangs up does not wait, and is counted all the same
//! (`who_hangs_up_before_the_answer_is_counted_all_the_same` in the suite). So this slows down programs that go on trying,
//! and raises the alarm; what keeps a guesser out is that tokens cannot be guessed. Of the others: a credential that is right is never made to wait, whoever else is
//! guessing, and whoever guesses beside it from the same place
//! (`wrong_credentials_are_answered_slower_and_slower_and_right_ones_at_once`). A refusal that is held back has no
//! place in flight and no memory of a body; its connection has its place.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::source::Source;

/// Places that are remembered at once.
const SOURCES_MAX: usize = 1024;
/// Places that the metric names; the rest are "others".
const LABELS_MAX: usize = 64;
/// Refusals that are answered at once: a wrong token file is noticed as fast as ever.
const FREE: u32 = 10;
/// Each one past them waits this much longer than the one before...
const STEP: Duration = Duration::from_millis(100);
/// ...up to this.
const DELAY_MAX: Duration = Duration::from_secs(5);
/// One refusal is forgotten in this time.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// The wrong credentials of late.
#[derive(Debug)]
pub(super) struct Guesses {
    sources: Cache<Source, Arc<Guesser>>,
    labels: AtomicUsize,
}

#[derive(Debug)]
struct Guesser {
    label: String,
    recent: Mutex<Recent>,
    all: AtomicU64,
}

/// Refusals that are not forgotten yet.
#[derive(Debug)]
struct Recent {
    refusals: u32,
    since: Instant,
}

impl Guesses {
    pub(super) fn new() -> Self {
        Self { sources: Cache::new(SOURCES_MAX), labels: AtomicUsize::new(0) }
    }

    /// Counts a refusal of a credential from `source`, and says how long its answer is held back.
    pub(super) fn count(&self, source: Source, now: Instant) -> Duration {
        let guesser = self.guesser(source, now);
        let label = guesser.label.clone();
        metrics::counter!("keypod_authentication_failures_total", "source" => label).increment(1);
        let all = guesser.all.fetch_add(1, Ordering::Relaxed) + 1;
        if all.is_power_of_two() {
            tracing::warn!(%source, failures = all, "wrong or missing credentials");
        }
        let mut recent = guesser.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.count(now)
    }

    fn guesser(&self, source: Source, now: Instant) -> Arc<Guesser> {
        let fresh = || {
            let named = self.labels.fetch_add(1, Ordering::Relaxed) < LABELS_MAX;
            let label = if named { source.to_string() } else { "others".to_owned() };
            let recent = Mutex::new(Recent { refusals: 0, since: now });
            Ok::<_, std::convert::Infallible>(Arc::new(Guesser {
                label,
                recent,
                all: AtomicU64::new(0),
            }))
        };
        let Ok(guesser) = self.sources.get_or_insert_with(&source, fresh);
        guesser
    }
}

impl Recent {
    fn count(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.since);
        let forgotten =
            u32::try_from(passed.as_secs() / FORGET_EVERY.as_secs()).unwrap_or(u32::MAX);
        self.since += FORGET_EVERY * forgotten.min(self.refusals);
        self.refusals = self.refusals.saturating_sub(forgotten);
        if self.refusals == 0 {
            self.since = now;
        }
        let delay = (STEP * self.refusals.saturating_sub(FREE - 1)).min(DELAY_MAX);
        // No more than what the longest delay needs: who stops guessing is as any other within a minute.
        if delay < DELAY_MAX {
            self.refusals += 1;
        }
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const GUESSER: Source = Source::User(7);

    fn start() -> Instant {
        SystemClock.now().monotonic
    }

    #[test]
    fn the_first_refusals_are_answered_at_once_and_the_next_later_and_later() {
        let (guesses, now) = (Guesses::new(), start());
        let delays: Vec<_> = (0..100).map(|_| guesses.count(GUESSER, now)).collect();
        assert!(delays[..10].iter().all(Duration::is_zero));
        assert_eq!(delays[10..13], [STEP, STEP * 2, STEP * 3]);
        assert!(delays.is_sorted() && delays[99] == DELAY_MAX);
        assert_eq!(guesses.count(Source::User(8), now), Duration::ZERO, "and nobody else");
        assert_eq!(guesses.count(Source::Unknown, now), Duration::ZERO);
    }

    #[test]
    fn who_stops_guessing_is_as_any_other_after_a_minute_and_not_before() {
        let (guesses, now) = (Guesses::new(), start());
        for _ in 0..100_000 {
            guesses.count(GUESSER, now);
        }
        let later = guesses.count(GUESSER, now + Duration::from_secs(10));
        assert!(later > DELAY_MAX / 2, "{later:?}");
        assert_eq!(guesses.count(GUESSER, now + Duration::from_secs(70)), Duration::ZERO);
    }

    #[test]
    fn a_refusal_now_and_then_is_never_held_back() {
        let (guesses, mut now) = (Guesses::new(), start());
        for _ in 0..1000 {
            assert_eq!(guesses.count(GUESSER, now), Duration::ZERO);
            now += Duration::from_millis(1100);
        }
    }

    #[test]
    fn many_places_take_bounded_memory_and_few_names_in_the_metrics() {
        let (guesses, now) = (Guesses::new(), start());
        for uid in 0..10_000 {
            guesses.count(Source::User(uid), now);
        }
        assert!(guesses.sources.len() <= SOURCES_MAX);
        assert_eq!(guesses.guesser(Source::User(9_999), now).label, "others");
    }
}
