//! Operations on keys: make, show, list, rotate, set states, destroy, approve.

use std::sync::Arc;

use super::{Error, Service};
use crate::clock::Now;
use crate::keyring::{KeyringError, KeyringStatus, NewKey};
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

impl Service {
    /// Makes a key.
    ///
    /// # Errors
    /// [`Error`]; no key was made.
    pub async fn create_key(
        &self,
        caller: &Caller,
        name: &KeyName,
        new: NewKey,
    ) -> Result<KeyRecord, Error> {
        let (permit, now) = self.admit_key_action(caller, Action::CreateKey, name)?;
        Ok(self.keyring.create(&permit, new, now).await?)
    }

    /// Shows a key.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn show_key(&self, caller: &Caller, name: &KeyName) -> Result<KeyRecord, Error> {
        let (permit, now) = self.admit_key_action(caller, Action::ReadKey, name)?;
        Ok(self.keyring.show(&permit, now).await?)
    }

    /// The keys that the caller may read, by name.
    ///
    /// # Errors
    /// [`Error`]. A caller who may read no key gets an empty list.
    pub async fn list_keys(&self, caller: &Caller) -> Result<Vec<KeyRecord>, Error> {
        let now = self.now();
        let mut keys = self.keyring.list().await?;
        keys.retain(|key| self.may(caller, Action::ReadKey, &key.name, false, now));
        Ok(keys)
    }

    /// Makes a new version and makes it primary.
    ///
    /// # Errors
    /// [`Error`]; no version was made.
    pub async fn rotate(&self, caller: &Caller, name: &KeyName) -> Result<KeyRecord, Error> {
        let (permit, now) = self.admit_key_action(caller, Action::Rotate, name)?;
        Ok(self.keyring.rotate(&permit, now).await?)
    }

    /// Sets the state of a version.
    ///
    /// # Errors
    /// [`Error`]; nothing has changed.
    pub async fn set_state(
        &self,
        caller: &Caller,
        name: &KeyName,
        version: KeyVersion,
        state: VersionState,
    ) -> Result<KeyRecord, Error> {
        let (permit, now) = self.admit_key_action(caller, Action::SetState, name)?;
        if state == VersionState::Destroyed {
            return Err(Error::Invalid(
                "a version is destroyed by its own request, not by a state",
            ));
        }
        Ok(self.keyring.set_state(&permit, version, state, now).await?)
    }

    /// Orders the destruction of a version where policy permits that to one person, and has it wait for another where
    /// policy permits it only with an approval.
    ///
    /// # Errors
    /// [`Error`]; nothing has changed.
    pub async fn destroy(
        &self,
        caller: &Caller,
        name: &KeyName,
        version: KeyVersion,
        confirm: &str,
    ) -> Result<Destruction, Error> {
        let now = self.now();
        let alone = self.decide(caller, Action::Destroy, Resource::Key(name), None, false, now);
        let permit = match alone {
            Ok(_) => self.write_down(caller, Action::Destroy, Some(name), alone)?,
            Err(_) => self.permit_if_approved(caller, Action::Destroy, name, now)?,
        };
        if confirm != format!("{name}/{version}") {
            return Err(Error::Invalid(
                "`confirm` must be NAME/N, the key and version that the path names",
            ));
        }
        if permit.needs_approval() {
            let waits = self.keyring.request_destruction(&permit, version, now).await?;
            return Ok(Destruction::Waits(waits));
        }
        Ok(Destruction::Ordered(self.keyring.destroy(&permit, version, now).await?))
    }

    /// Takes the destruction of a version back, or the request for it that waits. Who could ask for it, or approve it, can:
    /// that is the safe direction.
    ///
    /// # Errors
    /// [`Error`]; nothing has changed.
    pub async fn cancel_destruction(
        &self,
        caller: &Caller,
        name: &KeyName,
        version: KeyVersion,
    ) -> Result<KeyRecord, Error> {
        let now = self.now();
        let permit = self.permit_if_approved(caller, Action::Destroy, name, now)?;
        Ok(self.keyring.cancel_destruction(&permit, version, now).await?)
    }

    /// The destructions that wait for a second person and that the caller could approve.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_approvals(&self, caller: &Caller) -> Result<Vec<(Approval, KeyName)>, Error> {
        let now = self.now();
        let mut waiting = self.keyring.approvals(now).await?;
        waiting.retain(|(_, name)| self.may(caller, Action::Destroy, name, true, now));
        Ok(waiting)
    }

    /// Approves a destruction that somebody else asked for.
    ///
    /// # Errors
    /// [`Error`]; one that the caller may not see is answered as one that is not there.
    pub async fn approve(&self, caller: &Caller, id: &str) -> Result<KeyRecord, Error> {
        let waiting = self.list_approvals(caller).await?;
        let waits = waiting.iter().find(|(approval, _)| approval.id == id);
        let (_, name) = waits.ok_or(KeyringError::NoSuchApproval)?;
        let now = self.now();
        let permit = self.permit_if_approved(caller, Action::Destroy, name, now)?;
        Ok(self.keyring.approve(&permit, id, now).await?)
    }

    /// The sidecar as it is now.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::RateLimited`].
    pub async fn status(&self, caller: &Caller) -> Result<Status, Error> {
        let now = self.now();
        self.permit_server(caller, Action::ReadStatus, now)?;
        let store = self.keyring.check_store().await;
        Ok(Status {
            now,
            policies: self.policies(),
            emergencies: self.emergencies.counts(now).active,
            keyring: self.keyring.status(now),
            store,
        })
    }

    fn admit_key_action(
        &self,
        caller: &Caller,
        action: Action,
        name: &KeyName,
    ) -> Result<(Permit<'static>, Now), Error> {
        let now = self.now();
        // Not held to the key's rate: whoever uses it up must not keep an operator from disabling it.
        Ok((self.permit(caller, action, name, None, now)?, now))
    }
}
