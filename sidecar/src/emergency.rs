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
//! `alert="break_glass"` (`every_beginning_and_every_end_is_an_alarm_once`): only this module begins and ends them; nobody can raise alarms as fast as
//! they like (`whoever_ends_one_begins_the_next_after_a_pause_alone`).

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory as _};

use crate::clock::{Now, UnixSeconds};
use crate::names::CallerName;
use crate::policy::{Action, Permit};

/// The field of the log by which an alarm is found.
const ALERT: &str = "break_glass";
/// Emergencies at once, those that were ended less than [`PAUSE`] ago among them.
const EMERGENCIES_MAX: usize = 1_024;
/// From the end of an emergency by its caller to the next beginning of theirs: whoever begins and ends without a pause
/// could drown everybody's alarms in their own.
const PAUSE: Duration = Duration::from_secs(10);
/// Characters of a reason that can be seen.
const REASON_VISIBLE_MIN: usize = 10;
/// Characters of a reason, without white space around it.
const REASON_CHARS_MAX: usize = 500;

/// Why somebody breaks the glass: a line that says something and reads in a log as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

/// One caller who has broken the glass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emergency {
    /// Who.
    pub caller: CallerName,
    /// Why, in their own words.
    pub reason: Reason,
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
        "`reason` must say why in 10 to 500 characters that can be seen, without line ends, control characters or invisible ones"
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
    /// The caller has ended one a moment ago.
    #[error(
        "this caller has ended an emergency a moment ago: the next can begin after the time in Retry-After"
    )]
    Pause {
        /// How long the caller must wait.
        wait: Duration,
    },
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
    emergencies: Mutex<Kept>,
    /// How many are in the map: without one, which is nearly always, no request waits for the lock.
    kept: AtomicUsize,
    /// Ended by themselves, and not yet taken to be recorded.
    ended: Mutex<Vec<Emergency>>,
    begun: AtomicU64,
    decisions: AtomicU64,
}

/// What the lock guards.
#[derive(Debug, Default)]
struct Kept {
    by_caller: HashMap<CallerName, Emergency>,
    /// Until when those must wait who have ended one themselves, on the clock that nobody sets.
    pauses: HashMap<CallerName, Instant>,
}

impl Kept {
    fn active(&self, now: Now) -> impl Iterator<Item = &Emergency> {
        self.by_caller.values().filter(move |emergency| !emergency.is_over(now))
    }

    /// Adds it, if its caller has none, is not to wait, and there is room.
    fn add(&mut self, emergency: &Emergency, now: Now) -> Result<(), EmergencyError> {
        self.pauses.retain(|_, until| *until > now.monotonic);
        if self.by_caller.contains_key(&emergency.caller) {
            return Err(EmergencyError::UnderWay);
        }
        if let Some(until) = self.pauses.get(&emergency.caller) {
            let wait = until.saturating_duration_since(now.monotonic);
            return Err(EmergencyError::Pause { wait });
        }
        // An end moves one from the first to the second, so this bounds both.
        if self.by_caller.len() + self.pauses.len() >= EMERGENCIES_MAX {
            return Err(EmergencyError::TooMany);
        }
        self.by_caller.insert(emergency.caller.clone(), emergency.clone());
        Ok(())
    }
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
            emergencies: Mutex::default(),
            kept: AtomicUsize::new(0),
            ended: Mutex::default(),
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
        reason: Reason,
        minutes: u32,
        now: Now,
    ) -> Result<Emergency, EmergencyError> {
        if permit.action() != Action::BreakGlass {
            return Err(EmergencyError::WrongPermit);
        }
        if !(1..=self.minutes_max).contains(&minutes) {
            return Err(EmergencyError::Minutes { minutes_max: self.minutes_max });
        }
        self.end_due(now);
        let end = now.later(Duration::from_secs(u64::from(minutes) * 60));
        let emergency = Emergency {
            caller: permit.caller().clone(),
            reason,
            since: now.wall,
            until: end.wall,
            ends: end.monotonic,
        };
        self.keep(&emergency, now)?;
        self.begun.fetch_add(1, Ordering::Relaxed);
        let Emergency { caller, reason, until, .. } = &emergency;
        tracing::error!(alert = ALERT, %caller, %reason, %until, "the glass is broken");
        Ok(emergency)
    }

    fn keep(&self, emergency: &Emergency, now: Now) -> Result<(), EmergencyError> {
        let mut kept = self.lock();
        kept.add(emergency, now)?;
        self.kept.store(kept.by_caller.len(), Ordering::Release);
        Ok(())
    }

    /// Ends the caller's own emergency. Their next one can begin after a pause; after one whose time is up, at once.
    ///
    /// # Errors
    /// [`EmergencyError::NotUnderWay`].
    pub fn end(&self, caller: &CallerName, now: Now) -> Result<Emergency, EmergencyError> {
        self.end_due(now);
        let mut kept = self.lock();
        let ended = kept.by_caller.remove(caller).ok_or(EmergencyError::NotUnderWay)?;
        // Under the same lock: no beginning comes in between.
        kept.pauses.insert(caller.clone(), now.later(PAUSE).monotonic);
        self.kept.store(kept.by_caller.len(), Ordering::Release);
        drop(kept);
        say_ended(&ended, "the emergency was ended by its caller");
        Ok(ended)
    }

    /// Ends what has lasted its time. What that is covers nobody any more even before: this says so in the log.
    pub fn end_due(&self, now: Now) {
        for ended in self.take(|emergency| emergency.is_over(now)) {
            say_ended(&ended, "the emergency has ended: its time is up");
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(ended);
        }
    }

    /// Ends all of them, because the sidecar does.
    pub fn end_all(&self) {
        for ended in self.take(|_| true) {
            say_ended(&ended, "the emergency has ended: the sidecar stops");
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(ended);
        }
    }

    /// Those that have ended by themselves since this was asked last: nobody's request says so.
    #[must_use]
    pub fn take_ended(&self) -> Vec<Emergency> {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this caller has broken the glass and that has not ended.
    #[must_use]
    pub fn covers(&self, caller: &CallerName, now: Now) -> bool {
        if self.kept.load(Ordering::Acquire) == 0 {
            return false;
        }
        self.lock().by_caller.get(caller).is_some_and(|emergency| !emergency.is_over(now))
    }

    /// Writes down what a caller was permitted in an emergency. Of any other permit it takes no notice, nor of one to
    /// break the glass: in the middle of an emergency none begins, and a beginning is an alarm.
    pub fn note(&self, permit: &Permit<'_>) {
        if !permit.in_emergency() || permit.action() == Action::BreakGlass {
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
        let mut emergencies: Vec<_> = self.lock().active(now).cloned().collect();
        emergencies.sort_by(|one, other| one.caller.cmp(&other.caller));
        emergencies
    }

    /// How many there are and were.
    #[must_use]
    pub fn counts(&self, now: Now) -> EmergencyCounts {
        EmergencyCounts {
            active: self.lock().active(now).count(),
            begun: self.begun.load(Ordering::Relaxed),
            decisions: self.decisions.load(Ordering::Relaxed),
        }
    }

    /// Takes out those that `which` names.
    fn take(&self, mut which: impl FnMut(&Emergency) -> bool) -> Vec<Emergency> {
        let mut kept = self.lock();
        let taken = kept.by_caller.extract_if(|_, emergency| which(emergency));
        let taken: Vec<_> = taken.map(|(_, emergency)| emergency).collect();
        self.kept.store(kept.by_caller.len(), Ordering::Release);
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.emergencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say_ended(emergency: &Emergency, how: &str) {
    let Emergency { caller, reason, until, .. } = emergency;
    tracing::warn!(alert = ALERT, %caller, %reason, %until, "{how}");
}

impl Reason {
    /// The reason, in the caller's words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reason {
    type Err = EmergencyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let length = text.chars().take(REASON_CHARS_MAX + 1).count();
        let visible = text.chars().filter(|c| is_visible(*c)).take(REASON_VISIBLE_MIN).count();
        if length > REASON_CHARS_MAX
            || visible < REASON_VISIBLE_MIN
            || text.chars().any(disguises_itself)
        {
            return Err(EmergencyError::Reason);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether it leaves something on a page by itself: white space and marks on other characters do not.
fn is_visible(c: char) -> bool {
    use GeneralCategoryGroup as Group;
    let group = c.general_category_group();
    matches!(group, Group::Letter | Group::Number | Group::Punctuation | Group::Symbol)
}

/// A line of a log that a terminal or browser shows must read as it was written: line ends of Unicode, marks that turn the
/// direction of text, and what is not seen or means what its font says, are no less than control characters here.
fn disguises_itself(c: char) -> bool {
    use GeneralCategory as Category;
    // Letters and a symbol by category that are blank, and the plane of tags and of variations without end.
    let is_blank = matches!(
        c,
        '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}'
    );
    is_blank
        || c.general_category_group() == GeneralCategoryGroup::Other
        || matches!(c.general_category(), Category::LineSeparator | Category::ParagraphSeparator)
}

#[cfg(test)]
mod tests;
