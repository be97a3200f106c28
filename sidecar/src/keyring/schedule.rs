//! When all keys are looked over for what is due, and whether the wall clock is believed then.
//!
//! What is written down is dated by the wall clock, so that it holds across restarts and sidecars; and the wall clock can be
//! wrong. Two things give it away: it moved otherwise than the monotonic one, or the store's server tells another time. While
//! it is in doubt nothing is destroyed and nothing is rotated for its age.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::{Now, UnixSeconds};
use crate::names::{KeyId, KeyVersion};
use crate::store::KeyRecord;

/// All keys in the store are looked over for what is due this often.
const LOOK_OVER_EVERY: Duration = Duration::from_secs(60);
/// Between two readings, and from the store's, the wall clock may differ by this much.
const CLOCK_DRIFT_MAX: Duration = Duration::from_secs(120);
/// After a jump of the wall clock nothing is destroyed and nothing rotated for its age for this long: time to set it right,
/// or to cancel.
const HOLD_AFTER_JUMP: Duration = Duration::from_secs(60 * 60);

/// When the last look over all keys was, and what the clocks said then.
#[derive(Debug, Default)]
pub(super) struct Schedule(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    looked_over: Option<Instant>,
    last: Option<Now>,
    asked_others: Option<Instant>,
    hold_until: Option<Instant>,
    /// Whether the store's server tells another time, as it was last asked.
    differs: bool,
    /// Since when the primary version of each key with a period has been seen here.
    seen: HashMap<KeyId, (KeyVersion, Instant)>,
}

/// What is to be done now.
pub(super) struct Tick {
    pub(super) look_over: bool,
    pub(super) ask_others: bool,
}

impl Schedule {
    pub(super) fn tick(&self, now: Now, root_recheck: Duration) -> Tick {
        let mut state = self.lock();
        if let Some(last) = state.last.replace(now)
            && jumped(last, now)
        {
            tracing::error!(
                before = %last.wall, after = %now.wall,
                "the wall clock jumped: for an hour no key version is destroyed, and none rotated for its age; check the time service"
            );
            state.hold_until = Some(now.monotonic + HOLD_AFTER_JUMP);
        }
        let look_over = state.looked_over.is_none_or(|then| now.since(then) >= LOOK_OVER_EVERY);
        if look_over {
            state.looked_over = Some(now.monotonic);
        }
        let ask_others = state.asked_others.is_none_or(|then| now.since(then) >= root_recheck);
        if ask_others {
            state.asked_others = Some(now.monotonic);
        }
        Tick { look_over, ask_others }
    }

    /// Whether the wall clock can be believed now, which the store's server says to be `told`, if it tells any time.
    pub(super) fn believes_wall_clock(&self, told: Option<UnixSeconds>, now: Now) -> bool {
        let mut state = self.lock();
        let differs = told.is_some_and(|told| differ(told, now.wall));
        if differs && !state.differs {
            tracing::error!(
                here = %now.wall, store = ?told.map(|told| told.to_string()),
                "the clocks here and at the store differ: no key version is destroyed, and none rotated for its age, until they agree"
            );
        }
        state.differs = differs;
        !differs && state.hold_until.is_none_or(|until| now.monotonic >= until)
    }

    /// For how long the primary version of `key` has been seen here, by a clock that does not jump.
    pub(super) fn seen_for(&self, key: &KeyRecord, now: Now) -> Duration {
        let mut state = self.lock();
        let seen = state.seen.entry(key.id).or_insert((key.primary, now.monotonic));
        if seen.0 != key.primary {
            *seen = (key.primary, now.monotonic);
        }
        now.since(seen.1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn jumped(last: Now, now: Now) -> bool {
    differ(last.wall.after(now.since(last.monotonic)), now.wall)
}

fn differ(one: UnixSeconds, other: UnixSeconds) -> bool {
    one.0.abs_diff(other.0) > CLOCK_DRIFT_MAX.as_secs()
}
