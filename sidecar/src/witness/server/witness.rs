//! What is taken and what is refused: the checks of C2SP tlog-witness in their order, and those of `add-log`. Blocks on
//! the disk; knows nothing of HTTP.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use sha2::{Digest as _, Sha256};

use super::super::keys::{AuthorityKey, CosigningKey, KeyError, LogKey, is_signed_by};
use super::super::protocol::{Certificate, Head, Known, Malformed, Previous, Submission, chain_of};
use super::super::state::{Chain, ChainName, Full, Log, State, StateError};
use crate::clock::Clock;
use crate::secret::{Arena, Protection};

/// What a witness is made of.
#[derive(Debug)]
pub struct WitnessSettings {
    /// The file with its key.
    pub key_file: PathBuf,
    /// The folder of what it remembers, which must exist.
    pub state: PathBuf,
    /// Whose certificates it believes.
    pub authorities: Vec<AuthorityKey>,
    /// Logs that have no certificates, by their keys.
    pub logs: Vec<LogKey>,
    /// Whether a chain whose first logs it has not seen is taken up where it is.
    pub adopt: bool,
    /// Chains at most.
    pub logs_max: usize,
}

/// Why a witness cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// Its key.
    #[error("the witness's key cannot be used")]
    Key(#[source] KeyError),
    /// What it remembers.
    #[error("what the witness remembers cannot be used")]
    State(#[source] StateError),
    /// Neither an authority nor a log is named.
    #[error("a witness without --authority and without --log has nobody to watch")]
    Nobody,
}

/// A witness.
#[derive(Debug)]
pub struct Witness {
    key: CosigningKey,
    state: State,
    authorities: Vec<AuthorityKey>,
    logs: Vec<LogKey>,
    adopt: bool,
    clock: Arc<dyn Clock>,
}

/// Why a request was not done.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// It is not as the protocol says.
    Malformed(&'static str),
    /// No log of this origin is known.
    UnknownLog,
    /// No known key has signed it, or its key is known to sign no more.
    NotTrusted(&'static str),
    /// The log was cosigned up to another size, or with another root at this one.
    OtherSize(u64),
    /// The chain is known to be elsewhere than the certificate says.
    OtherChain(Known),
    /// The proof does not lead from what is known to what is submitted.
    Inconsistent,
    /// There are as many chains as may be.
    Full,
    /// The disk did not take it.
    Disk(String),
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.0)
    }
}

impl From<Full> for Refusal {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl Witness {
    /// The witness of `settings`.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn open(settings: WitnessSettings, clock: Arc<dyn Clock>) -> Result<Self, WitnessError> {
        let WitnessSettings { key_file, state, authorities, logs, adopt, logs_max } = settings;
        if authorities.is_empty() && logs.is_empty() {
            return Err(WitnessError::Nobody);
        }
        let arena = Arena::new(Protection::Heap).map_err(KeyError::from);
        let arena = arena.map_err(WitnessError::Key)?;
        let key = CosigningKey::read(&key_file, &arena).map_err(WitnessError::Key)?;
        let state = State::open(&state, logs_max).map_err(WitnessError::State)?;
        Ok(Self { key, state, authorities, logs, adopt, clock })
    }

    /// Its verification key, as whoever asks it has to know it.
    #[must_use]
    pub fn verification_key(&self) -> String {
        self.key.verification_key().to_string()
    }

    /// How many chains it remembers.
    #[must_use]
    pub fn chains(&self) -> usize {
        self.state.count()
    }

    /// `add-checkpoint`: the line of the cosignature.
    pub(super) fn add_checkpoint(&self, body: &[u8]) -> Result<String, Refusal> {
        let submission = Submission::parse(body)?;
        let checkpoint = submission.checkpoint()?;
        let origin = checkpoint.origin();
        let named = self.logs.iter().find(|key| key.origin() == origin);
        let (name, place) = match named {
            Some(_) => {
                let name = ChainName::Named(origin.to_owned());
                // Before its signature is looked at: the operator has named it, so there is a place for it.
                let place = self.state.place(&name)?;
                (name, place)
            }
            None => {
                let chain = chain_of(origin).ok_or(Refusal::UnknownLog)?;
                let name = ChainName::Certified(chain.to_owned());
                let place = self.state.known(&name).ok_or(Refusal::UnknownLog)?;
                (name, place)
            }
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chain = match (named, place.as_ref()) {
            (Some(key), known) => {
                let head = known.map_or(Head::EMPTY, |chain| chain.newest.head);
                let newest = Log { key: key.clone(), number: 0, head, certificate: None };
                Chain { newest, before: None }
            }
            (None, Some(chain)) => chain.clone(),
            (None, None) => return Err(Refusal::UnknownLog),
        };
        let is_newest = chain.newest.key.origin() == origin;
        let before = chain.before.as_mut().filter(|log| log.key.origin() == origin);
        let log = match (is_newest, before) {
            (true, _) => &mut chain.newest,
            (false, Some(before)) => before,
            (false, None) => return Err(Refusal::UnknownLog),
        };
        if !is_signed_by(&submission.note, std::slice::from_ref(&log.key)) {
            return Err(Refusal::NotTrusted("the log's own key has not signed it"));
        }
        let head = Head { size: checkpoint.size(), root: *checkpoint.hash() };
        follow(log, &submission, head)?;
        let grows = log.head != head;
        if grows && !is_newest {
            return Err(Refusal::NotTrusted("another log has followed this one, so it has ended"));
        }
        if grows {
            log.head = head;
            self.state
                .put(&name, &mut place, chain)
                .map_err(|error| Refusal::Disk(error.to_string()))?;
        }
        // Under the lock still: the times of cosignatures are in the order of their sizes.
        Ok(self.key.cosign(submission.note.text(), self.clock.now().wall))
    }

    /// `add-log`: takes up the log that a certificate tells of.
    pub(super) fn add_log(&self, body: &[u8]) -> Result<(), Refusal> {
        let submission = Submission::parse(body)?;
        let certificate = Certificate::parse(submission.note.text())?;
        if !is_signed_by(&submission.note, &self.authorities) {
            return Err(Refusal::NotTrusted("no authority that is known here has signed it"));
        }
        let origin = certificate.key.origin();
        if self.logs.iter().any(|key| key.origin() == origin) {
            return Err(Refusal::Malformed("a log that the operator named has no certificate"));
        }
        let name = ChainName::Certified(certificate.chain().to_owned());
        let place = self.state.place(&name)?;
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = Sha256::digest(submission.note.text());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let is_known = |chain: &Chain| {
            chain.newest.key == certificate.key
                && chain.newest.certificate.as_deref() == Some(digest.as_str())
        };
        if place.as_ref().is_some_and(is_known) {
            return Ok(());
        }
        let before = self.ended(place.as_ref(), &certificate, &submission)?;
        let newest = Log {
            key: certificate.key,
            number: certificate.number,
            head: Head::EMPTY,
            certificate: Some(digest),
        };
        let chain = Chain { newest, before };
        self.state.put(&name, &mut place, chain).map_err(|error| Refusal::Disk(error.to_string()))
    }

    /// The log before, as it has ended: what is known of it leads to what its successor has found.
    fn ended(
        &self,
        chain: Option<&Chain>,
        certificate: &Certificate,
        submission: &Submission,
    ) -> Result<Option<Log>, Refusal> {
        let nothing = submission.old == 0 && submission.proof.is_empty();
        let Some(Chain { newest, .. }) = chain else {
            return match (certificate.previous.is_none() || self.adopt, nothing) {
                (true, true) => Ok(None),
                (true, false) => Err(Refusal::Inconsistent),
                (false, _) => Err(Refusal::OtherChain(Known::Nothing)),
            };
        };
        let known = || {
            let (origin, size) = (newest.key.origin().to_owned(), newest.head.size);
            Refusal::OtherChain(Known::Log { origin, size })
        };
        let Some(previous) = &certificate.previous else { return Err(known()) };
        let Previous { origin, size, .. } = previous;
        let follows = origin == newest.key.origin()
            && newest.number.checked_add(1) == Some(certificate.number)
            && *size >= newest.head.size
            && submission.old == newest.head.size;
        if !follows {
            return Err(known());
        }
        let found = previous.head();
        if !newest.head.leads_to(&found, &submission.proof) {
            return Err(Refusal::Inconsistent);
        }
        Ok(Some(Log { head: found, ..newest.clone() }))
    }
}

/// Whether `submission` leads from how far `log` was cosigned to `head`: the checks of the specification, in its order.
fn follow(log: &Log, submission: &Submission, head: Head) -> Result<(), Refusal> {
    if submission.old > head.size {
        return Err(Refusal::Malformed("the old size is larger than the checkpoint's"));
    }
    if submission.old != log.head.size {
        return Err(Refusal::OtherSize(log.head.size));
    }
    if log.head.size == head.size && log.head.root != head.root {
        return Err(Refusal::OtherSize(log.head.size));
    }
    match log.head.leads_to(&head, &submission.proof) {
        true => Ok(()),
        false => Err(Refusal::Inconsistent),
    }
}

#[cfg(test)]
mod tests;
