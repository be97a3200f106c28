//! The operations: each file below this one holds one, with all its control flow.
//!
//! Depends on [`crate::limits`], [`crate::policy`], [`crate::emergency`], [`crate::keyring`], [`crate::envelope`] and
//! [`crate::audit`]; knows nothing of HTTP. An operation reads as one sentence: limits admit it, policy permits it, the
//! keyring gives the key, the envelope seals or opens, the audit log has it. What each step gives is what the next one
//! wants, so none can be left out: without a permit there is no key, and without a receipt no [`Recorded`] answer.

mod audit;
mod batch;
mod decrypt;
mod emergency;
mod encrypt;
mod error;
mod keys;
mod recorded;
mod rewrap;
mod stream;

pub use audit::{AuditHashes, AuditQuestion};
pub use batch::{DecryptItem, EncryptItem, RewrapItem};
pub use decrypt::Opened;
pub use encrypt::Sealed;
pub use error::{Code, Error};
pub use keys::{Destruction, DueRotation, Status};
pub use recorded::Recorded;
pub use stream::{OpeningStream, RewrappingStream, SealingStream};

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::audit::{Attempt, Audit};
use crate::clock::{Clock, Now};
use crate::emergency::Emergencies;
use crate::envelope::{Context, Header};
use crate::keyring::{Keyring, KeyringError, OpeningKey};
use crate::limits::{Amount, Limits};
use crate::names::{KeyName, KeyRef};
use crate::policy::{self, AccessRequest, Action, Caller, Denied, Permit, Policies, Resource};

/// Everything that an operation needs.
#[derive(Debug)]
pub struct Service {
    policies: ArcSwap<Policies>,
    limits: Limits,
    emergencies: Emergencies,
    keyring: Keyring,
    audit: Audit,
    clock: Arc<dyn Clock>,
}

impl Service {
    /// A service over these parts.
    #[must_use]
    pub fn new(
        policies: Policies,
        limits: Limits,
        emergencies: Emergencies,
        keyring: Keyring,
        audit: Audit,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let policies = ArcSwap::from_pointee(policies);
        Self { policies, limits, emergencies, keyring, audit, clock }
    }

    /// The policies that decide now.
    #[must_use]
    pub fn policies(&self) -> Arc<Policies> {
        self.policies.load_full()
    }

    /// Has these policies decide from now on. What the old ones remembered goes with them.
    pub fn set_policies(&self, policies: Policies) {
        self.policies.store(Arc::new(policies));
    }

    /// The limits, for the parts of them that hold before an operation is known.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The emergencies, for their counts and their ends: none begins here without a permit.
    #[must_use]
    pub fn emergencies(&self) -> &Emergencies {
        &self.emergencies
    }

    /// The keyring, for its own health and maintenance: it gives no key without a permit.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Asks policy about an action on a key; the attempt notes what it said.
    fn permit<'a>(
        &self,
        attempt: &mut Attempt,
        action: Action,
        key: &KeyName,
        context: Option<&'a Context>,
        now: Now,
    ) -> Result<Permit<'a>, Error> {
        self.permit_as(attempt, action, key, context, false, now)
    }

    /// The same, as if another person had approved it: the permit says so, and is good for no more.
    fn permit_if_approved(
        &self,
        attempt: &mut Attempt,
        action: Action,
        key: &KeyName,
        now: Now,
    ) -> Result<Permit<'static>, Error> {
        self.permit_as(attempt, action, key, None, true, now)
    }

    fn permit_as<'a>(
        &self,
        attempt: &mut Attempt,
        action: Action,
        key: &KeyName,
        context: Option<&'a Context>,
        approved: bool,
        now: Now,
    ) -> Result<Permit<'a>, Error> {
        attempt.about_key(key);
        let caller = attempt.caller();
        let decided = self.decide(caller, action, Resource::Key(key), context, approved, now);
        self.note(attempt, action, Some(key), decided)
    }

    /// Asks policy about an action on the sidecar itself; the attempt notes what it said.
    fn permit_server(
        &self,
        attempt: &mut Attempt,
        action: Action,
        now: Now,
    ) -> Result<Permit<'static>, Error> {
        let decided = self.decide(attempt.caller(), action, Resource::Server, None, false, now);
        self.note(attempt, action, None, decided)
    }

    /// Has the attempt note what policy said; what was denied, and what was permitted in an emergency, is in the
    /// process's log too.
    fn note<'a>(
        &self,
        attempt: &mut Attempt,
        action: Action,
        key: Option<&KeyName>,
        decided: Result<Permit<'a>, Denied>,
    ) -> Result<Permit<'a>, Error> {
        match decided {
            Ok(permit) => {
                attempt.permitted(&permit);
                self.emergencies.note(&permit);
                Ok(permit)
            }
            Err(denied) => {
                attempt.denied(&denied);
                let (caller, action) = (attempt.caller().name(), action.as_str());
                let key = key.map(tracing::field::display);
                tracing::warn!(%caller, action, key, by = ?denied.by(), "denied");
                Err(Error::Forbidden)
            }
        }
    }

    /// Whether policy would allow an action on a key: for what is shown in a list.
    fn may(
        &self,
        caller: &Caller,
        action: Action,
        key: &KeyName,
        approved: bool,
        now: Now,
    ) -> bool {
        self.decide(caller, action, Resource::Key(key), None, approved, now).is_ok()
    }

    /// What policy says. Nothing is written down.
    fn decide<'a>(
        &self,
        caller: &Caller,
        action: Action,
        resource: Resource<'_>,
        context: Option<&'a Context>,
        approved: bool,
        now: Now,
    ) -> Result<Permit<'a>, Denied> {
        let (emergency, now) = (self.emergencies.covers(caller.name(), now), now.wall);
        let request = AccessRequest { caller, action, resource, context, approved, emergency, now };
        policy::decide(&self.policies.load(), &request)
    }

    /// The key that opens what `header` names, and the permit for `action`; the key's rate admits `amount`.
    ///
    /// A key or version that this store never had is answered as any ciphertext that does not open: a header is
    /// the caller's bytes until its commitment is checked.
    async fn opening_key<'a>(
        &self,
        attempt: &mut Attempt,
        action: Action,
        context: &'a Context,
        header: &Header,
        amount: Amount,
        now: Now,
    ) -> Result<(OpeningKey, Permit<'a>), Error> {
        let key_ref: KeyRef = header.key();
        let Some(name) = self.keyring.key_name(key_ref.id, now).await? else {
            return Err(Error::DecryptionFailed);
        };
        attempt.about_version(key_ref.version);
        let permit = self.permit(attempt, action, &name, Some(context), now)?;
        self.limits.admit_key(&name, amount, now.monotonic)?;
        match self.keyring.opening_key(&permit, key_ref, now).await {
            // A reserved key has sealed nothing, so this is no ciphertext of ours.
            Err(KeyringError::NoSuchVersion | KeyringError::Reserved) => {
                Err(Error::DecryptionFailed)
            }
            other => Ok((other?, permit)),
        }
    }
}
