//! Leaves alone what does not answer: after so many failed tries in a row, one try each interval finds out whether
//! it is back, and all others are answered at once. Pure: the time is an argument.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failed tries in a row that open it. A root that answers two calls of three stays in use
/// (`a_root_that_fails_now_and_then_stays_in_use`).
const FAILURES_MAX: u32 = 8;

/// The circuit in front of one root.
#[derive(Debug)]
pub(super) struct Circuit {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    /// While it is open: when the next try is let through.
    open_until: Option<Instant>,
    /// What went wrong last.
    reason: String,
}

/// It is open: nothing was asked.
#[derive(Debug)]
pub(super) struct Broken {
    /// Until a try is let through.
    pub(super) retry_after: Duration,
    /// What went wrong last.
    pub(super) reason: String,
}

impl Circuit {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::default() }
    }

    /// Whether a try may be made at `now`. Of an open circuit's interval only the first one may.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Broken> {
        let mut state = self.lock();
        let Some(until) = state.open_until else { return Ok(()) };
        if now < until {
            let retry_after = until.saturating_duration_since(now);
            return Err(Broken { retry_after, reason: state.reason.clone() });
        }
        // This try finds out; the next is let through an interval later, also if this one is never heard of again.
        state.open_until = Some(now + self.pause());
        Ok(())
    }

    pub(super) fn answered(&self) {
        *self.lock() = State::default();
    }

    pub(super) fn failed(&self, now: Instant, reason: String) {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        state.reason = reason;
        if state.failures >= FAILURES_MAX && state.open_until.is_none_or(|until| until <= now) {
            state.open_until = Some(now + self.pause());
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().open_until.is_some()
    }

    /// Between half of the interval and all of it: pods that lost a root together do not come back together.
    fn pause(&self) -> Duration {
        self.interval.mul_f64(0.5 + 0.5 * random_share())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Anything from 0 to 1. Without random bytes it is 1: the longest wait harms nobody.
pub(super) fn random_share() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}
