//! Breaking the glass: for a while, with a reason and an alarm, a caller may do what policy keeps for an emergency
//! (45 CFR 164.312(a)(2)(ii)).
//!
//! Depends on [`crate::policy`] for the [`Permit`] that a beginning needs, and on [`crate::clock`]. It decides nothing:
//! it knows who has broken the glass, and policy looks at that (`context.emergency`). Emergencies are in memory alone, so
//! each sidecar has its own and none outlives a restart.
//!
//! Invariants: an emergency ends on whichever clock gets there first, so a wall clock that is set back lengthens none
//! (`a_wall_clock_that_is_set_back_lengthens_nothing`); it covers its own caller and nobody else
//! (`an_emergency_covers_its_own_caller_alone`); none begins or ends without a line in the log that has
//! `alert="break_glass"` (`every_beginning_and_every_end_is_an_alarm_once`): only this module begins and ends them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::{Now, UnixSeconds};
use crate::names::CallerName;
use crate::policy::{Action, Permit};

/// The field of the log by which an alarm is found.
const ALERT: &str = "break_glass";
/// Emergencies at once.
const EMERGENCIES_MAX: usize = 1_024;
/// Characters of a reason, without white space around it.
const REASON_CHARS_MIN: usize = 10;
const REASON_CHARS_MAX: usize = 500;

/// One caller who has broken the glass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emergency {
    /// Who.
    pub caller: CallerName,
    /// Why, in their own words.
    pub reason: String,
    /// Since when.
    pub since: UnixSeconds,
    /// Until when, if they do not end it before.
    pub until: UnixSeconds,
    /// The same on the clock that nobody sets.
    ends: Instant,
}

/// Why an emergency did not begin or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmergencyError {
    /// The reason says nothing, is a novel, or could disguise itself in a log.
    #[error(
        "`reason` must say why in 10 to 500 characters, without line ends or other control characters"
    )]
    Reason,
    /// It would last no time, or too long.
    #[error("`minutes` must be from 1 to {minutes_max}")]
    Minutes {
        /// The most that the configuration allows.
        minutes_max: u32,
    },
    /// The caller has broken the glass already.
    #[error("this caller has broken the glass already: end that first, or let it end")]
    UnderWay,
    /// The caller has not broken the glass.
    #[error("this caller has not broken the glass, or it has ended")]
    NotUnderWay,
    /// As many callers have broken the glass as are kept.
    #[error("too many callers have broken the glass at once")]
    TooMany,
    /// The permit is for something else: a defect of the caller of this module.
    #[error("a permit was used for something else than it was made for")]
    WrongPermit,
}

/// How many emergencies there are and were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmergencyCounts {
    /// Callers in one now.
    pub active: usize,
    /// Begun since the start of the sidecar.
    pub begun: u64,
    /// Requests permitted to callers in one.
    pub decisions: u64,
}

/// The emergencies of this sidecar.
#[derive(Debug)]
pub struct Emergencies {
    minutes_max: u32,
    by_caller: Mutex<HashMap<CallerName, Emergency>>,
    /// How many are in the map: without one, which is nearly always, no request waits for the lock.
    kept: AtomicUsize,
    begun: AtomicU64,
    decisions: AtomicU64,
}

impl Emergency {
    fn is_over(&self, now: Now) -> bool {
        now.monotonic >= self.ends || now.wall >= self.until
    }
}

impl Emergencies {
    /// None yet; each at most so long.
    #[must_use]
    pub fn new(minutes_max: u32) -> Self {
        Self {
            minutes_max,
            by_caller: Mutex::default(),
            kept: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            decisions: AtomicU64::new(0),
        }
    }

    /// Breaks the glass for the caller that `permit` names, and for nobody else.
    ///
    /// # Errors
    /// [`EmergencyError`]; nothing has begun.
    pub fn begin(
        &self,
        permit: &Permit<'_>,
        reason: &str,
        minutes: u32,
        now: Now,
    ) -> Result<Emergency, EmergencyError> {
        if permit.action() != Action::BreakGlass {
            return Err(EmergencyError::WrongPermit);
        }
        let reason = check_reason(reason)?;
        if !(1..=self.minutes_max).contains(&minutes) {
            return Err(EmergencyError::Minutes { minutes_max: self.minutes_max });
        }
        self.end_due(now);
        let end = now.later(Duration::from_secs(u64::from(minutes) * 60));
        let emergency = Emergency {
            caller: permit.caller().clone(),
            reason: reason.to_owned(),
            since: now.wall,
            until: end.wall,
            ends: end.monotonic,
        };
        self.keep(&emergency)?;
        self.begun.fetch_add(1, Ordering::Relaxed);
        let Emergency { caller, reason, until, .. } = &emergency;
        tracing::error!(alert = ALERT, %caller, reason, %until, "the glass is broken");
        Ok(emergency)
    }

    fn keep(&self, emergency: &Emergency) -> Result<(), EmergencyError> {
        let mut by_caller = self.lock();
        if by_caller.contains_key(&emergency.caller) {
            return Err(EmergencyError::UnderWay);
        }
        if by_caller.len() >= EMERGENCIES_MAX {
            return Err(EmergencyError::TooMany);
        }
        by_caller.insert(emergency.caller.clone(), emergency.clone());
        self.kept.store(by_caller.len(), Ordering::Release);
        Ok(())
    }

    /// Ends the caller's own emergency.
    ///
    /// # Errors
    /// [`EmergencyError::NotUnderWay`].
    pub fn end(&self, caller: &CallerName, now: Now) -> Result<Emergency, EmergencyError> {
        self.end_due(now);
        let ended = self.take(|emergency| emergency.caller == *caller).pop();
        let ended = ended.ok_or(EmergencyError::NotUnderWay)?;
        say_ended(&ended, "the emergency was ended by its caller");
        Ok(ended)
    }

    /// Ends what has lasted its time. What that is covers nobody any more even before: this says so in the log.
    pub fn end_due(&self, now: Now) {
        for ended in self.take(|emergency| emergency.is_over(now)) {
            say_ended(&ended, "the emergency has ended: its time is up");
        }
    }

    /// Ends all of them, because the sidecar does.
    pub fn end_all(&self) {
        for ended in self.take(|_| true) {
            say_ended(&ended, "the emergency has ended: the sidecar stops");
        }
    }

    /// Whether this caller has broken the glass and that has not ended.
    #[must_use]
    pub fn covers(&self, caller: &CallerName, now: Now) -> bool {
        if self.kept.load(Ordering::Acquire) == 0 {
            return false;
        }
        self.lock().get(caller).is_some_and(|emergency| !emergency.is_over(now))
    }

    /// Writes down what a caller was permitted in an emergency. Of any other permit it takes no notice.
    pub fn note(&self, permit: &Permit<'_>) {
        if !permit.in_emergency() {
            return;
        }
        self.decisions.fetch_add(1, Ordering::Relaxed);
        let (caller, action) = (permit.caller(), permit.action().as_str());
        let key = permit.key().map(tracing::field::display);
        tracing::info!(%caller, action, key, by = ?permit.by(), "permitted in an emergency");
    }

    /// Those that have not ended, by caller.
    #[must_use]
    pub fn list(&self, now: Now) -> Vec<Emergency> {
        let mut emergencies: Vec<_> =
            self.lock().values().filter(|emergency| !emergency.is_over(now)).cloned().collect();
        emergencies.sort_by(|one, other| one.caller.cmp(&other.caller));
        emergencies
    }

    /// How many there are and were.
    #[must_use]
    pub fn counts(&self, now: Now) -> EmergencyCounts {
        EmergencyCounts {
            active: self.lock().values().filter(|emergency| !emergency.is_over(now)).count(),
            begun: self.begun.load(Ordering::Relaxed),
            decisions: self.decisions.load(Ordering::Relaxed),
        }
    }

    /// Takes out those that `which` names.
    fn take(&self, mut which: impl FnMut(&Emergency) -> bool) -> Vec<Emergency> {
        let mut by_caller = self.lock();
        let taken = by_caller.extract_if(|_, emergency| which(emergency));
        let taken: Vec<_> = taken.map(|(_, emergency)| emergency).collect();
        self.kept.store(by_caller.len(), Ordering::Release);
        taken
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallerName, Emergency>> {
        self.by_caller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say_ended(emergency: &Emergency, how: &str) {
    let Emergency { caller, reason, until, .. } = emergency;
    tracing::warn!(alert = ALERT, %caller, reason, %until, "{how}");
}

/// The reason without white space around it, if it is one.
fn check_reason(text: &str) -> Result<&str, EmergencyError> {
    let text = text.trim();
    // A line of a log that a terminal or browser shows must read as it was written: line ends of Unicode and marks that
    // turn the direction of text are no less than control characters here.
    let disguises = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let length = text.chars().take(REASON_CHARS_MAX + 1).count();
    if !(REASON_CHARS_MIN..=REASON_CHARS_MAX).contains(&length) || text.chars().any(disguises) {
        return Err(EmergencyError::Reason);
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
