//! Asks a witness: tells it of a new log, and has checkpoints cosigned (C2SP tlog-witness, `add-checkpoint`).
//!
//! Nothing that a witness answers is believed but a cosignature that verifies: a success of `add-log` alone proves
//! nothing, and the first cosignature of that log does. A witness that knows more of a log than its owner is the one
//! alarm that this is for ([`AskError::RolledBack`]): the owner's disk is older than what was shown to the witness.
//!
//! Each try has a time-out, and what may pass is tried again a few times within a budget, with full jitter. Answers are
//! bounded, redirects are not followed, proxies of the environment are not used. Tests: `witness/client/tests.rs`.

mod error;
#[cfg(test)]
mod tests;
mod transport;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use signed_note::{Note, Signature, Verifier as _};
use tlog_tiles::Hash;
use tower::retry::budget::{Budget as _, TpsBudget};

use super::keys::CosignatureKey;
use super::protocol::{Certificate, Known, Submission, checkpoint, size};
use crate::clock::UnixSeconds;
pub use error::{AskError, ClientError, SourceError};
use transport::{Answer, Transport};

/// Tries of one request, the first included.
const TRIES_MAX: u32 = 3;
/// The longest wait before the second try; it doubles with each.
const WAIT_FIRST: Duration = Duration::from_millis(100);
/// A witness that asks for more than this is not waited for.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Retries are at most this share of the requests of the last ten seconds, and [`RETRIES_PER_SECOND`] more.
const RETRY_SHARE: f32 = 0.2;
const RETRY_WINDOW: Duration = Duration::from_secs(10);
const RETRIES_PER_SECOND: u32 = 2;
/// Requests of one call: the first, and some more with what the witness has answered.
const ASKS_MAX: u32 = 4;
/// Lines of an answer that are looked at.
const LINES_MAX: usize = 16;

/// Which witness, and how it is reached.
#[derive(Clone, Debug)]
pub struct WitnessSettings {
    /// Its submission prefix: `https://HOST/PATH`, or `http://` on this machine.
    pub url: String,
    /// A Unix socket to reach it by, in the place of the URL's host.
    pub socket: Option<PathBuf>,
    /// Its verification key.
    pub key: CosignatureKey,
    /// The certificates that its own must be signed by, in PEM; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// For one try.
    pub attempt_timeout: Duration,
}

/// Who has a log, and can prove that it only grows.
#[async_trait]
pub trait Proofs: Send + Sync {
    /// The consistency proof from `old` entries to `new` (RFC 6962, section 2.1.2), where `0 < old < new`.
    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, SourceError>;
}

/// A log that is being written.
#[async_trait]
pub trait Source: Proofs {
    /// Its newest checkpoint: a note that the log's key has signed.
    async fn checkpoint(&self) -> Result<Vec<u8>, SourceError>;
}

/// A cosignature that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// The line to be added to the checkpoint, with its newline.
    pub line: String,
    /// Of which log.
    pub origin: String,
    /// Up to how many entries.
    pub size: u64,
    /// When, by the witness's clock.
    pub time: UnixSeconds,
}

/// A witness to be asked.
pub struct WitnessClient {
    key: CosignatureKey,
    transport: Transport,
    budget: TpsBudget,
    /// The log that it has cosigned last, and up to where.
    last: Mutex<Option<(String, u64)>>,
}

impl WitnessClient {
    /// The witness of `settings`. Asks nobody.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(settings: WitnessSettings) -> Result<Self, ClientError> {
        Ok(Self {
            transport: Transport::new(&settings)?,
            key: settings.key,
            budget: TpsBudget::new(RETRY_WINDOW, RETRIES_PER_SECOND, RETRY_SHARE),
            last: Mutex::default(),
        })
    }

    /// The witness's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// Has the newest checkpoint of `source` cosigned.
    ///
    /// # Errors
    /// [`AskError`]; [`AskError::UnknownLog`] if the witness has to be told of the log first.
    pub async fn cosign(&self, source: &dyn Source) -> Result<Cosigned, AskError> {
        let bytes = source.checkpoint().await?;
        let note = Note::from_bytes(&bytes).map_err(|_| AskError::NoCheckpoint)?;
        let checkpoint = checkpoint(&note).map_err(|_| AskError::NoCheckpoint)?;
        let (origin, size) = (checkpoint.origin(), checkpoint.size());
        let mut old = self.last_of(origin).min(size);
        for _ in 0..ASKS_MAX {
            let proof = proof_between(source, old, size).await?;
            let body = Submission::write(old, &proof, &bytes);
            let answer = self.ask("add-checkpoint", body).await?;
            match answer.status {
                200 => return self.cosigned(origin, size, &note, &answer),
                409 => match known_size(&answer) {
                    Some(known) if known > size => {
                        return Err(AskError::RolledBack {
                            origin: origin.to_owned(),
                            size: known,
                        });
                    }
                    Some(known) if known != old => old = known,
                    _ if old == size => return Err(AskError::Forked),
                    _ => return Err(AskError::BadAnswer),
                },
                422 => return Err(AskError::Forked),
                404 => return Err(AskError::UnknownLog),
                _ => return Err(refusal(&answer)),
            }
        }
        Err(AskError::BadAnswer)
    }

    /// Tells the witness of the log that `certificate`, a note, is of. `previous` has the log before, if there is one.
    ///
    /// # Errors
    /// [`AskError`]; [`AskError::RolledBack`] if the witness knows of more than this certificate follows.
    pub async fn add_log(&self, certificate: &[u8], previous: &dyn Proofs) -> Result<(), AskError> {
        let note = Note::from_bytes(certificate).map_err(|_| AskError::NoCertificate)?;
        let parsed = Certificate::parse(note.text()).map_err(|_| AskError::NoCertificate)?;
        let found = parsed.previous.as_ref().map_or(0, |previous| previous.size);
        let mut old = found;
        for _ in 0..ASKS_MAX {
            let proof = proof_between(previous, old, found).await?;
            let answer = self.ask("add-log", Submission::write(old, &proof, certificate)).await?;
            match answer.status {
                200 => return Ok(()),
                409 => match Known::parse(answer.text()).ok_or(AskError::BadAnswer)? {
                    Known::Nothing => return Err(AskError::UnknownChain),
                    Known::Log { origin, size } => {
                        let is_previous =
                            parsed.previous.as_ref().is_some_and(|known| known.origin == origin);
                        if !is_previous || size > found || size == old {
                            return Err(AskError::RolledBack { origin, size });
                        }
                        old = size;
                    }
                },
                422 => return Err(AskError::Forked),
                _ => return Err(refusal(&answer)),
            }
        }
        Err(AskError::BadAnswer)
    }

    fn last_of(&self, origin: &str) -> u64 {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(known, _)| known == origin).map_or(0, |(_, size)| *size)
    }

    /// The cosignature of this witness in an answer. Lines of others are ignored, as the specification wants.
    fn cosigned(
        &self,
        origin: &str,
        size: u64,
        note: &Note,
        answer: &Answer,
    ) -> Result<Cosigned, AskError> {
        let lines = answer.text().lines().take(LINES_MAX);
        let signatures = lines.filter_map(|line| Signature::from_bytes(line.as_bytes()).ok());
        let own =
            |found: &Signature| found.name() == self.key.name() && found.id() == self.key.key_id();
        let own = signatures.into_iter().find(own).ok_or(AskError::NotCosigned)?;
        let time = self.key.cosigned_at(note.text(), own.signature());
        let time = time.ok_or(AskError::NotCosigned)?;
        let line = String::from_utf8(own.to_bytes()).map_err(|_| AskError::NotCosigned)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((origin.to_owned(), size));
        Ok(Cosigned { line, origin: origin.to_owned(), size, time })
    }

    /// One request of as many tries as it takes, and as the budget allows.
    async fn ask(&self, path: &str, body: Vec<u8>) -> Result<Answer, AskError> {
        let mut longest_wait = WAIT_FIRST;
        self.budget.deposit();
        for tries_left in (0..TRIES_MAX).rev() {
            let error = match self.transport.post(path, body.clone()).await {
                Err(error) if error.may_pass() => error,
                done => return done,
            };
            let wait = error.retry_after().unwrap_or_default() + longest_wait.mul_f64(random());
            if tries_left == 0 || wait > WAIT_MAX || !self.budget.withdraw() {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            longest_wait *= 2;
        }
        Err(AskError::BadAnswer)
    }
}

impl fmt::Debug for WitnessClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "WitnessClient({})", self.key.name())
    }
}

async fn proof_between(
    proofs: &(impl Proofs + ?Sized),
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, AskError> {
    if old == 0 || old >= new {
        return Ok(Vec::new());
    }
    Ok(proofs.consistency(old, new).await?)
}

fn known_size(answer: &Answer) -> Option<u64> {
    size(answer.text().strip_suffix('\n')?)
}

fn refusal(answer: &Answer) -> AskError {
    match answer.status {
        403 => AskError::NotTrusted,
        404 => AskError::NoWitness,
        status => AskError::Refused { status },
    }
}

/// Anything from nothing to one: full jitter. Without random bytes there is none, which harms nobody.
fn random() -> f64 {
    let mut byte = [0];
    match getrandom::fill(&mut byte) {
        Ok(()) => f64::from(byte[0]) / 255.0,
        Err(_) => 1.0,
    }
}
