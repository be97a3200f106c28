//! Makes keys, shows them, and takes versions through their states (NIST SP 800-57 part 1, section 7).
//!
//! Destruction is confirmed by name at the API, may wait for a second person, and becomes final after a delay
//! in which it can be taken back. Whether it waits is policy's to say, and the permit carries what it said: one that
//! holds only with an approval orders nothing at once (`a_permit_that_needs_an_approval_destroys_nothing_at_once`).
//! Every change is compare-and-swap on the row's revision.

use std::fmt::Write as _;

use super::{KeyLookup, Keyring, KeyringError, permitted_key};
use crate::clock::Now;
use crate::names::{KeyId, KeyName, KeyRef, KeyVersion};
use crate::policy::{Action, Permit};
use crate::store::{
    Approval, KeyRecord, KeySettings, StoreError, VersionChange, VersionRecord, VersionState,
};

/// What a new key is to be like. What is `None` takes the sidecar's default.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewKey {
    /// Seconds after which the next version is made by itself.
    pub rotation_period_s: Option<u64>,
    /// Messages that one version may seal.
    pub messages_max: Option<u64>,
    /// Plaintext bytes that one version may seal.
    pub bytes_max: Option<u64>,
}

impl Keyring {
    /// Makes the key that `permit` names, with its first version.
    ///
    /// # Errors
    /// [`KeyringError::KeyExists`], or store or root cannot be reached.
    pub async fn create(
        &self,
        permit: &Permit<'_>,
        new: NewKey,
        now: Now,
    ) -> Result<KeyRecord, KeyringError> {
        let name = permitted_key(permit, &[Action::CreateKey])?;
        self.make_key(name, new, now).await
    }

    /// Makes a key with its first version.
    pub(super) async fn make_key(
        &self,
        name: &KeyName,
        new: NewKey,
        now: Now,
    ) -> Result<KeyRecord, KeyringError> {
        if self.0.store.key_by_name(name).await?.is_some() {
            return Err(KeyringError::KeyExists);
        }
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|_| KeyringError::Random)?;
        let key_ref = KeyRef { id: KeyId::from_bytes(id), version: KeyVersion::FIRST };
        let (version, secret) = self.0.make_version(key_ref, now).await?;
        let record = KeyRecord {
            id: key_ref.id,
            name: name.clone(),
            created_at: now.wall,
            settings: KeySettings {
                rotation_period_s: new.rotation_period_s,
                messages_max: new.messages_max.unwrap_or(self.0.settings.messages_max),
                bytes_max: new.bytes_max.unwrap_or(self.0.settings.bytes_max),
            },
            primary: KeyVersion::FIRST,
            versions: vec![version],
        };
        match self.0.store.insert_key(&record).await {
            Ok(()) => {}
            Err(StoreError::Exists) => return Err(KeyringError::KeyExists),
            Err(error) => return Err(error.into()),
        }
        self.0.keep(key_ref, &secret, now)?;
        let key = self.key_after_change(&KeyLookup::Id(record.id), now).await?;
        tracing::info!(key = %name, key_id = %record.id, "key made");
        Ok(key.record.clone())
    }

    /// The key that `permit` names, as the store has it.
    ///
    /// # Errors
    /// [`KeyringError::NoSuchKey`], or the store cannot be reached.
    pub async fn show(&self, permit: &Permit<'_>, now: Now) -> Result<KeyRecord, KeyringError> {
        let name = permitted_key(permit, &[Action::ReadKey])?;
        let key = self.key_after_change(&KeyLookup::Name(name.clone()), now).await?;
        Ok(key.record.clone())
    }

    /// Every key, by name. The caller shows each only to who may read it.
    ///
    /// # Errors
    /// [`KeyringError::Store`] when the store cannot be reached.
    pub async fn list(&self) -> Result<Vec<KeyRecord>, KeyringError> {
        Ok(self.0.store.list_keys().await?)
    }

    /// Sets the state of a version of the key that `permit` names.
    ///
    /// # Errors
    /// [`KeyringError::VersionDestroyed`], [`KeyringError::Conflict`] while its destruction is under way, or
    /// the store cannot be reached.
    pub async fn set_state(
        &self,
        permit: &Permit<'_>,
        version: KeyVersion,
        state: VersionState,
        now: Now,
    ) -> Result<KeyRecord, KeyringError> {
        let name = permitted_key(permit, &[Action::SetState])?;
        let (key_ref, record) = self.stored_version(name, version, now).await?;
        if record.destroy_at.is_some() {
            return Err(KeyringError::Conflict(
                "its destruction is under way: cancel that before its state is set",
            ));
        }
        self.change(name, key_ref, record.revision, VersionChange::State(state), now).await
    }

    /// Orders the destruction of a version of the key that `permit` names, at once: policy wants nobody's approval.
    ///
    /// # Errors
    /// [`KeyringError::WrongPermit`] for a permit that holds only if another person approves,
    /// [`KeyringError::VersionDestroyed`], [`KeyringError::Conflict`] if it is under way, or the store cannot be
    /// reached.
    pub async fn destroy(
        &self,
        permit: &Permit<'_>,
        version: KeyVersion,
        now: Now,
    ) -> Result<KeyRecord, KeyringError> {
        let name = permitted_destruction(permit, false)?;
        let (key_ref, record) = self.version_to_destroy(name, version, now).await?;
        self.order_destruction(name, key_ref, record.revision, now).await
    }

    /// Notes that a version of the key that `permit` names is to be destroyed once another person approves.
    ///
    /// # Errors
    /// [`KeyringError::VersionDestroyed`], [`KeyringError::Conflict`] if it is under way or waits already, or
    /// the store cannot be reached.
    pub async fn request_destruction(
        &self,
        permit: &Permit<'_>,
        version: KeyVersion,
        now: Now,
    ) -> Result<Approval, KeyringError> {
        let name = permitted_destruction(permit, true)?;
        let (key_ref, _) = self.version_to_destroy(name, version, now).await?;
        let approval = Approval {
            id: random_id()?,
            key: key_ref,
            requested_by: permit.caller().clone(),
            requested_at: now.wall,
            expires_at: now.wall.after(self.0.settings.approval_expiry),
        };
        match self.0.store.insert_approval(&approval, now.wall).await {
            Ok(()) => Ok(approval),
            Err(StoreError::Exists) => {
                Err(KeyringError::Conflict("its destruction waits for a second person already"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the destruction of a version back: while it waits for another person, and while its delay runs. A version
    /// whose delay ran stays disabled. This is the safe direction, so one person is enough where two are needed to
    /// destroy: a permit that needs an approval is taken.
    ///
    /// # Errors
    /// [`KeyringError::Conflict`] if none waits or is under way, [`KeyringError::VersionDestroyed`] if it is too late.
    pub async fn cancel_destruction(
        &self,
        permit: &Permit<'_>,
        version: KeyVersion,
        now: Now,
    ) -> Result<KeyRecord, KeyringError> {
        let name = permitted_destruction(permit, true)?;
        let (key_ref, _) = self.stored_version(name, version, now).await?;
        let waited = self.withdraw_request(name, key_ref, now).await?;
        // Only now: somebody may have approved it until then, and what they ordered is taken back too.
        let key = self.key_after_change(&KeyLookup::Id(key_ref.id), now).await?;
        let record = key.record.version(version).ok_or(KeyringError::NoSuchVersion)?;
        match record.destroy_at {
            Some(_) => {
                let change = VersionChange::CancelDestroy;
                self.change(name, key_ref, record.revision, change, now).await
            }
            None if waited => Ok(key.record.clone()),
            None => Err(KeyringError::Conflict(
                "its destruction is not under way, and does not wait for a second person",
            )),
        }
    }

    /// Takes away the approval that waits for this version. Whether there was one: of two that take it at once, such as
    /// one who approves, only one has it.
    async fn withdraw_request(
        &self,
        name: &KeyName,
        key_ref: KeyRef,
        now: Now,
    ) -> Result<bool, KeyringError> {
        let waiting = self.0.store.list_approvals(now.wall).await?;
        let Some(approval) = waiting.iter().find(|approval| approval.key == key_ref) else {
            return Ok(false);
        };
        let taken = self.0.store.take_approval(&approval.id).await?.is_some();
        if taken {
            let requested_by = &approval.requested_by;
            tracing::info!(key = %name, version = %key_ref.version, %requested_by, "a request for destruction was withdrawn");
        }
        Ok(taken)
    }

    /// The destructions that wait for a second person, each with the name of its key.
    ///
    /// # Errors
    /// [`KeyringError::Store`] when the store cannot be reached.
    pub async fn approvals(&self, now: Now) -> Result<Vec<(Approval, KeyName)>, KeyringError> {
        let mut named = Vec::new();
        for approval in self.0.store.list_approvals(now.wall).await? {
            if let Some(name) = self.key_name(approval.key.id, now).await? {
                named.push((approval, name));
            }
        }
        Ok(named)
    }

    /// Approves a destruction that somebody else asked for.
    ///
    /// # Errors
    /// [`KeyringError::NoSuchApproval`], [`KeyringError::SamePerson`], and those of
    /// [`Keyring::request_destruction`].
    pub async fn approve(
        &self,
        permit: &Permit<'_>,
        id: &str,
        now: Now,
    ) -> Result<KeyRecord, KeyringError> {
        let name = permitted_destruction(permit, true)?;
        let waiting = self.0.store.list_approvals(now.wall).await?;
        let approval = waiting.iter().find(|approval| approval.id == id);
        let approval = approval.ok_or(KeyringError::NoSuchApproval)?;
        if approval.requested_by == *permit.caller() {
            return Err(KeyringError::SamePerson);
        }
        let version = approval.key.version;
        let (key_ref, record) = self.version_to_destroy(name, version, now).await?;
        if key_ref != approval.key {
            return Err(KeyringError::WrongPermit);
        }
        self.0.store.take_approval(id).await?.ok_or(KeyringError::NoSuchApproval)?;
        self.order_destruction(name, key_ref, record.revision, now).await
    }

    async fn order_destruction(
        &self,
        name: &KeyName,
        key_ref: KeyRef,
        revision: u64,
        now: Now,
    ) -> Result<KeyRecord, KeyringError> {
        let delay = self.0.settings.destroy_delay;
        let change = if delay.is_zero() {
            VersionChange::Destroy
        } else {
            VersionChange::ScheduleDestroy(now.wall.after(delay))
        };
        self.change(name, key_ref, revision, change, now).await
    }

    /// The stored row of a version whose destruction can be asked for.
    async fn version_to_destroy(
        &self,
        name: &KeyName,
        version: KeyVersion,
        now: Now,
    ) -> Result<(KeyRef, VersionRecord), KeyringError> {
        let (key_ref, record) = self.stored_version(name, version, now).await?;
        match record.destroy_at {
            None => Ok((key_ref, record)),
            Some(_) => Err(KeyringError::Conflict("its destruction is under way already")),
        }
    }

    /// The stored row of a version that is not destroyed.
    async fn stored_version(
        &self,
        name: &KeyName,
        version: KeyVersion,
        now: Now,
    ) -> Result<(KeyRef, VersionRecord), KeyringError> {
        let key = self.key_after_change(&KeyLookup::Name(name.clone()), now).await?;
        let record = key.record.version(version).ok_or(KeyringError::NoSuchVersion)?;
        if record.state == VersionState::Destroyed {
            return Err(KeyringError::VersionDestroyed);
        }
        Ok((KeyRef { id: key.record.id, version }, record.clone()))
    }

    pub(super) async fn change(
        &self,
        name: &KeyName,
        key_ref: KeyRef,
        revision: u64,
        change: VersionChange,
        now: Now,
    ) -> Result<KeyRecord, KeyringError> {
        match self.0.store.update_version(key_ref, revision, &change).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => {
                return Err(KeyringError::Conflict(
                    "somebody else changed this version at the same time: look again, then repeat",
                ));
            }
            Err(StoreError::Missing) => return Err(KeyringError::NoSuchVersion),
            Err(error) => return Err(error.into()),
        }
        tracing::info!(key = %name, version = %key_ref.version, ?change, "key version changed");
        let key = self.key_after_change(&KeyLookup::Id(key_ref.id), now).await?;
        Ok(key.record.clone())
    }
}

/// The key that `permit` is for, if it is a permit to destroy that needs an approval, or needs none, as it must be here.
fn permitted_destruction<'a>(
    permit: &'a Permit<'_>,
    with_approval: bool,
) -> Result<&'a KeyName, KeyringError> {
    if permit.needs_approval() != with_approval {
        return Err(KeyringError::WrongPermit);
    }
    permitted_key(permit, &[Action::Destroy])
}

/// 128 random bits as 32 hexadecimal digits.
fn random_id() -> Result<String, KeyringError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| KeyringError::Random)?;
    let mut text = String::with_capacity(32);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}
