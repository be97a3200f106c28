//! Operations on keys: make, show, list, rotate, set states, destroy, approve.
//!
//! A change has two entries in the audit log: one before it begins, so that none is made that nobody knows of, and one
//! that says what came of it.

use std::sync::Arc;

use super::{Error, Recorded, Service};
use crate::audit::{Attempt, LogStatus};
use crate::clock::Now;
use crate::keyring::{KeyringError, KeyringStatus, NewKey, RotationDue};
use crate::names::{KeyName, KeyVersion};
use crate::policy::{Action, Caller, Permit, Policies, Resource};
use crate::store::{Approval, KeyRecord, StoreError, VersionState};

/// The sidecar at one moment, as `/v1/status` shows it.
#[derive(Debug)]
pub struct Status {
    /// When.
    pub now: Now,
    /// The policies that decide.
    pub policies: Arc<Policies>,
    /// Callers who have broken the glass.
    pub emergencies: usize,
    /// The audit log.
    pub audit: LogStatus,
    /// The keyring and what is below it.
    pub keyring: KeyringStatus,
    /// Whether the store answers and can be written.
    pub store: Result<(), StoreError>,
}

/// What became of a request to destroy a version.
#[derive(Clone, Debug)]
pub enum Destruction {
    /// Another person must approve it first.
    Waits(Approval),
    /// It is under way or done: the key as it is now.
    Ordered(KeyRecord),
}

/// What became of a key whose rotation was due.
#[derive(Debug)]
pub enum DueRotation {
    /// The key with its new version, and why it was due.
    Rotated(KeyRecord, RotationDue),
    /// It has no new version.
    Failed(KeyName, Error),
}

impl Service {
    /// Makes a key.
    ///
    /// # Errors
    /// [`Error`]; no key was made.
    pub async fn create_key(
        &self,
        attempt: &mut Attempt,
        name: &KeyName,
        new: NewKey,
    ) -> Result<Recorded<KeyRecord>, Error> {
        let (permit, now) = self.begin_change(attempt, Action::CreateKey, name).await?;
        let key = self.keyring.create(&permit, new, now).await?;
        attempt.about_version(key.primary);
        Ok(Recorded::new(key, attempt.succeed().await?))
    }

    /// Shows a key.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn show_key(
        &self,
        attempt: &mut Attempt,
        name: &KeyName,
    ) -> Result<Recorded<KeyRecord>, Error> {
        let now = self.now();
        // Not held to the key's rate: whoever uses it up must not keep an operator from looking, nor from a change.
        let permit = self.permit(attempt, Action::ReadKey, name, None, now)?;
        let key = self.keyring.show(&permit, now).await?;
        Ok(Recorded::new(key, attempt.succeed().await?))
    }

    /// The keys that the caller may read, by name.
    ///
    /// # Errors
    /// [`Error`]. A caller who may read no key gets an empty list.
    pub async fn list_keys(
        &self,
        attempt: &mut Attempt,
    ) -> Result<Recorded<Vec<KeyRecord>>, Error> {
        let now = self.now();
        let mut keys = self.keyring.list().await?;
        keys.retain(|key| self.may(attempt.caller(), Action::ReadKey, &key.name, false, now));
        attempt.detail("keys", keys.len());
        Ok(Recorded::new(keys, attempt.succeed().await?))
    }

    /// Makes a new version and makes it primary; of a key whose newest version is disabled or destroyed only
    /// `in_any_state`.
    ///
    /// # Errors
    /// [`Error`]; no version was made.
    pub async fn rotate(
        &self,
        attempt: &mut Attempt,
        name: &KeyName,
        in_any_state: bool,
    ) -> Result<Recorded<KeyRecord>, Error> {
        let (permit, now) = self.begin_change(attempt, Action::Rotate, name).await?;
        let key = match in_any_state {
            true => self.keyring.rotate_in_any_state(&permit, now).await?,
            false => self.keyring.rotate(&permit, now).await?,
        };
        attempt.about_version(key.primary);
        Ok(Recorded::new(key, attempt.succeed().await?))
    }

    /// Rotates every key that the caller may rotate and whose rotation is due. One that fails stops no other.
    ///
    /// # Errors
    /// [`Error`]: the keys cannot be listed, or nothing can be recorded.
    pub async fn rotate_due(
        &self,
        attempt: &mut Attempt,
    ) -> Result<Recorded<Vec<DueRotation>>, Error> {
        let now = self.now();
        attempt.begin().await?;
        let mut done = Vec::new();
        for key in self.keyring.list().await? {
            let (caller, resource) = (attempt.caller(), Resource::Key(&key.name));
            let decided = self.decide(caller, Action::Rotate, resource, None, false, now);
            let Ok(permit) = decided else { continue };
            self.emergencies.note(&permit);
            match self.keyring.rotate_if_due(&permit, now).await {
                Ok(None) => {}
                Ok(Some((key, due))) => done.push(DueRotation::Rotated(key, due)),
                Err(error) => done.push(DueRotation::Failed(key.name, error.into())),
            }
        }
        let failed = done.iter().filter(|one| matches!(one, DueRotation::Failed(..))).count();
        attempt.detail("rotated", done.len() - failed);
        attempt.detail("failed", failed);
        Ok(Recorded::new(done, attempt.succeed().await?))
    }

    /// Sets the state of a version.
    ///
    /// # Errors
    /// [`Error`]; nothing has changed.
    pub async fn set_state(
        &self,
        attempt: &mut Attempt,
        name: &KeyName,
        version: KeyVersion,
        state: VersionState,
    ) -> Result<Recorded<KeyRecord>, Error> {
        attempt.about_version(version);
        attempt.detail("state", state.as_str());
        let (permit, now) = self.begin_change(attempt, Action::SetState, name).await?;
        if state == VersionState::Destroyed {
            return Err(Error::Invalid(
                "a version is destroyed by its own request, not by a state",
            ));
        }
        let key = self.keyring.set_state(&permit, version, state, now).await?;
        Ok(Recorded::new(key, attempt.succeed().await?))
    }

    /// Orders the destruction of a version where policy permits that to one person, and has it wait for another where
    /// policy permits it only with an approval.
    ///
    /// # Errors
    /// [`Error`]; nothing has changed.
    pub async fn destroy(
        &self,
        attempt: &mut Attempt,
        name: &KeyName,
        version: KeyVersion,
        confirm: &str,
    ) -> Result<Recorded<Destruction>, Error> {
        let now = self.now();
        attempt.about_version(version);
        let (caller, resource) = (attempt.caller(), Resource::Key(name));
        let alone = self.decide(caller, Action::Destroy, resource, None, false, now);
        let permit = match alone {
            Ok(_) => {
                attempt.about_key(name);
                self.note(attempt, Action::Destroy, Some(name), alone)?
            }
            Err(_) => self.permit_if_approved(attempt, Action::Destroy, name, now)?,
        };
        if confirm != format!("{name}/{version}") {
            return Err(Error::Invalid(
                "`confirm` must be NAME/N, the key and version that the path names",
            ));
        }
        attempt.begin().await?;
        let destruction = if permit.needs_approval() {
            let waits = self.keyring.request_destruction(&permit, version, now).await?;
            attempt.detail("approval", waits.id.clone());
            Destruction::Waits(waits)
        } else {
            let key = self.keyring.destroy(&permit, version, now).await?;
            say_of_destruction(attempt, &key, version);
            Destruction::Ordered(key)
        };
        Ok(Recorded::new(destruction, attempt.succeed().await?))
    }

    /// Takes the destruction of a version back, or the request for it that waits. Who could ask for it, or approve it, can:
    /// that is the safe direction.
    ///
    /// # Errors
    /// [`Error`]; nothing has changed.
    pub async fn cancel_destruction(
        &self,
        attempt: &mut Attempt,
        name: &KeyName,
        version: KeyVersion,
    ) -> Result<Recorded<KeyRecord>, Error> {
        let now = self.now();
        attempt.about_version(version);
        let permit = self.permit_if_approved(attempt, Action::Destroy, name, now)?;
        attempt.begin().await?;
        let key = self.keyring.cancel_destruction(&permit, version, now).await?;
        Ok(Recorded::new(key, attempt.succeed().await?))
    }

    /// The destructions that wait for a second person and that the caller could approve.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_approvals(
        &self,
        attempt: &mut Attempt,
    ) -> Result<Recorded<Vec<(Approval, KeyName)>>, Error> {
        let waiting = self.approvals_for(attempt.caller()).await?;
        attempt.detail("approvals", waiting.len());
        Ok(Recorded::new(waiting, attempt.succeed().await?))
    }

    /// Approves a destruction that somebody else asked for.
    ///
    /// # Errors
    /// [`Error`]; one that the caller may not see is answered as one that is not there.
    pub async fn approve(
        &self,
        attempt: &mut Attempt,
        id: &str,
    ) -> Result<Recorded<KeyRecord>, Error> {
        let waiting = self.approvals_for(attempt.caller()).await?;
        let waits = waiting.iter().find(|(approval, _)| approval.id == id);
        let (approval, name) = waits.ok_or(KeyringError::NoSuchApproval)?;
        attempt.about_version(approval.key.version);
        attempt.detail("approval", approval.id.clone());
        attempt.detail("requested_by", approval.requested_by.as_str());
        let now = self.now();
        let permit = self.permit_if_approved(attempt, Action::Destroy, name, now)?;
        attempt.begin().await?;
        let key = self.keyring.approve(&permit, id, now).await?;
        say_of_destruction(attempt, &key, approval.key.version);
        Ok(Recorded::new(key, attempt.succeed().await?))
    }

    /// The sidecar as it is now.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::RateLimited`].
    pub async fn status(&self, attempt: &mut Attempt) -> Result<Recorded<Status>, Error> {
        let now = self.now();
        self.permit_server(attempt, Action::ReadStatus, now)?;
        let store = self.keyring.check_store().await;
        let status = Status {
            now,
            policies: self.policies(),
            emergencies: self.emergencies.counts(now).active,
            audit: self.audit.log().status(),
            keyring: self.keyring.status(now),
            store,
        };
        Ok(Recorded::new(status, attempt.succeed().await?))
    }

    async fn approvals_for(&self, caller: &Caller) -> Result<Vec<(Approval, KeyName)>, Error> {
        let now = self.now();
        let mut waiting = self.keyring.approvals(now).await?;
        waiting.retain(|(_, name)| self.may(caller, Action::Destroy, name, true, now));
        Ok(waiting)
    }

    /// Permits a change of a key, and has the audit log know that it begins.
    async fn begin_change(
        &self,
        attempt: &mut Attempt,
        action: Action,
        name: &KeyName,
    ) -> Result<(Permit<'static>, Now), Error> {
        let now = self.now();
        let permit = self.permit(attempt, action, name, None, now)?;
        attempt.begin().await?;
        Ok((permit, now))
    }
}

/// What an order to destroy has come to: which key's version it is, whatever the key is called later, and whether it is gone.
fn say_of_destruction(attempt: &mut Attempt, key: &KeyRecord, version: KeyVersion) {
    attempt.detail("key_id", key.id.to_string());
    let Some(record) = key.version(version) else { return };
    attempt.detail("state", record.state.as_str());
    if let Some(at) = record.destroy_at {
        attempt.detail("destroy_at", at.0);
    }
}
