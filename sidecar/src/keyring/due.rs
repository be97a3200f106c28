//! What is due by the clock: rotations whose period has passed, destructions whose delay has.
//!
//! The sidecar looks all keys over by itself, and an operator may ask for the rotations. Invariants, each with its test
//! (`keyring/tests/due.rs`, `keyring/tests/lifecycle.rs`): a wall clock in doubt destroys and rotates nothing
//! (`a_jump_of_the_wall_clock_holds_destruction_back`, `a_clock_that_the_store_contradicts_destroys_and_rotates_nothing`); a
//! clock that was set back stops no rotation for longer than its period (`a_clock_set_back_a_year_stops_no_rotation`).

use std::time::Duration;

use super::own_changes::{Cause, OwnChange};
use super::{KeyLookup, Keyring, KeyringError, permitted_key};
use crate::clock::{Now, UnixSeconds};
use crate::error_chain::error_chain;
use crate::names::KeyRef;
use crate::policy::{Action, Permit};
use crate::store::{KeyRecord, VersionChange, VersionState};

/// A version that is dated this far in the future was made by a clock that was wrong, or the one here is.
const FUTURE_MIN: Duration = Duration::from_secs(60 * 60);

/// Why a rotation is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationDue {
    /// Its period has passed.
    Period,
    /// Its newest version is dated in the future, so that its age is not known.
    DatedInFuture,
}

impl RotationDue {
    /// `period` or `dated_in_future`: as the API says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Period => "period",
            Self::DatedInFuture => "dated_in_future",
        }
    }
}

impl Keyring {
    /// Rotates the key that `permit` names if its period has passed, or if nobody can tell because its newest version is
    /// dated in the future. Returns the key with its new version and why, or `None` if nothing was due.
    ///
    /// # Errors
    /// [`KeyringError::Conflict`] while the wall clock is in doubt; otherwise as [`Keyring::rotate`].
    pub async fn rotate_if_due(
        &self,
        permit: &Permit<'_>,
        now: Now,
    ) -> Result<Option<(KeyRecord, RotationDue)>, KeyringError> {
        let name = permitted_key(permit, &[Action::Rotate])?;
        let lookup = KeyLookup::Name(name.clone());
        let key = self.look_up(lookup.clone(), now.monotonic, now).await?;
        let Some(due) = rotation_due(&key.record, now.wall) else { return Ok(None) };
        if !self.believes_wall_clock(now).await {
            return Err(KeyringError::Conflict(
                "the wall clock here jumped within the hour, or is not the store's: check the time service, or rotate the key by its name",
            ));
        }
        self.rotate_from(&key.record, Some(Cause::DueWhenAsked), now).await?;
        let rotated = self.key_after_change(&lookup, now).await?;
        Ok(Some((rotated.record.clone(), due)))
    }

    /// Rotates every key whose period has passed, and destroys every version whose delay has.
    pub(super) async fn look_over(&self, now: Now) {
        let keys = match self.0.store.list_keys().await {
            Ok(keys) => keys,
            Err(error) => {
                tracing::warn!(error = %error, "the store could not be looked over for what is due");
                return;
            }
        };
        let believed = self.believes_wall_clock(now).await;
        for key in keys {
            if self.rotation_is_due(&key, believed, now)
                && let Err(error) = self.rotate_from(&key, Some(Cause::Period), now).await
            {
                let error = error_chain(&error);
                tracing::warn!(key = %key.name, error, "a rotation is due and failed");
            }
            if believed {
                self.destroy_due(&key, now).await;
            }
        }
    }

    /// A store that does not tell the time now contradicts nobody: no change can be written to it either.
    async fn believes_wall_clock(&self, now: Now) -> bool {
        let told = self.0.store.time().await.unwrap_or(None);
        self.0.schedule.believes_wall_clock(told, now)
    }

    /// Whether the period of a key has passed, by the wall clock where that is believed, or by this process's own count.
    fn rotation_is_due(&self, key: &KeyRecord, believed: bool, now: Now) -> bool {
        let Some(period) = key.settings.rotation_period_s else { return false };
        let seen_for = self.0.schedule.seen_for(key, now);
        match rotation_due(key, now.wall) {
            Some(RotationDue::Period) if believed => return true,
            Some(RotationDue::DatedInFuture) if believed => tracing::error!(
                key = %key.name, version = %key.primary,
                "the newest version is dated in the future, so its period counts from the start of this process: check the time service, then run `keypod keys rotate --due`"
            ),
            _ => {}
        }
        is_enabled(key) && seen_for >= Duration::from_secs(period)
    }

    async fn destroy_due(&self, key: &KeyRecord, now: Now) {
        for version in &key.versions {
            if version.state == VersionState::Destroyed
                || version.destroy_at.is_none_or(|at| at > now.wall)
            {
                continue;
            }
            let key_ref = KeyRef { id: key.id, version: version.version };
            let own = OwnChange {
                cause: Cause::DestroyDelay,
                key: &key.name,
                id: key.id,
                version: version.version,
            };
            let change = VersionChange::Destroy;
            let change = self.change(&key.name, key_ref, version.revision, change, now);
            if let Err(error) = self.recorded(own, change).await {
                let error = error_chain(&error);
                tracing::warn!(key = %key.name, version = %version.version, error, "a destruction is due and failed");
            }
        }
    }
}

/// Why a rotation is due by the wall clock, for a key with a period whose newest version is enabled.
fn rotation_due(key: &KeyRecord, now: UnixSeconds) -> Option<RotationDue> {
    let (period, primary) = (key.settings.rotation_period_s?, key.version(key.primary)?);
    if primary.state != VersionState::Enabled {
        return None;
    }
    if primary.created_at > now.after(FUTURE_MIN) {
        return Some(RotationDue::DatedInFuture);
    }
    let passed = now >= primary.created_at.after(Duration::from_secs(period));
    passed.then_some(RotationDue::Period)
}

fn is_enabled(key: &KeyRecord) -> bool {
    key.version(key.primary).is_some_and(|primary| primary.state == VersionState::Enabled)
}
