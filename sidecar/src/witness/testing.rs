//! Logs, authorities and witnesses of tests: real trees, real signatures, real files.

use std::sync::Arc;

use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey};
use signed_note::{Signature, key_id};
use tempfile::TempDir;
use tlog_tiles::{Checkpoint, Error, Hash, HashReader, prove_tree, stored_hashes, tree_hash};

use super::client::{Proofs, Source, SourceError};
use super::keys::{AuthorityKey, CosigningKey, LogKey};
use super::protocol::{Certificate, Previous, Submission};
use super::server::{Witness, WitnessSettings};
use crate::clock::{Clock as _, ManualClock, SystemClock, UnixSeconds};
use crate::root::authority::{AuthoritySignature, SignatureAlgorithm};

/// Hashes as they are stored, in order.
#[derive(Clone, Default)]
struct Hashes(Vec<Hash>);

impl HashReader for Hashes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let found = indexes.iter().map(|index| self.0.get(usize::try_from(*index).ok()?).copied());
        found.collect::<Option<Vec<_>>>().ok_or(Error::IndexesNotInTree)
    }
}

/// A log with its key.
#[derive(Clone)]
pub(super) struct TestLog {
    pub(super) origin: String,
    key: SigningKey,
    hashes: Hashes,
    pub(super) size: u64,
}

impl TestLog {
    /// An empty log, of this seed.
    pub(super) fn new(origin: &str, seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        Self { origin: origin.to_owned(), key, hashes: Hashes::default(), size: 0 }
    }

    /// The same log with entries up to `size`, each made of `of` and its number.
    pub(super) fn grown(mut self, size: u64, of: &str) -> Self {
        while self.size < size {
            let entry = format!("{of} {}", self.size);
            let new = stored_hashes(self.size, entry.as_bytes(), &self.hashes).unwrap();
            self.hashes.0.extend(new);
            self.size += 1;
        }
        self
    }

    pub(super) fn vkey(&self) -> LogKey {
        LogKey::parse(&signed_note::new_ed25519_verifier_key(
            &self.origin,
            &self.key.verifying_key(),
        ))
        .unwrap()
    }

    pub(super) fn root(&self, size: u64) -> Hash {
        tree_hash(size, &self.hashes).unwrap()
    }

    pub(super) fn proof(&self, old: u64, new: u64) -> Vec<Hash> {
        if old == 0 || old >= new {
            Vec::new()
        } else {
            prove_tree(new, old, &self.hashes).unwrap()
        }
    }

    /// The text of a checkpoint at `size`.
    pub(super) fn text(&self, size: u64) -> Vec<u8> {
        Checkpoint::new(&self.origin, size, self.root(size), "").unwrap().to_bytes()
    }

    /// A checkpoint at `size`, signed.
    pub(super) fn checkpoint(&self, size: u64) -> Vec<u8> {
        self.signed(&self.text(size))
    }

    /// This text as a note that the log has signed.
    pub(super) fn signed(&self, text: &[u8]) -> Vec<u8> {
        let key = [&[1], self.key.verifying_key().as_bytes().as_slice()].concat();
        let id = key_id(&self.origin, &key);
        let signature = self.key.sign(text).to_bytes().to_vec();
        let line = Signature::new(self.origin.clone(), id, signature).unwrap().to_bytes();
        [text, b"\n", &line].concat()
    }

    /// The body of `add-checkpoint`.
    pub(super) fn body(&self, old: u64, size: u64) -> Vec<u8> {
        Submission::write(old, &self.proof(old, size), &self.checkpoint(size))
    }

    /// The certificate of this log, which follows `previous` as it was found at a size.
    pub(super) fn certificate(&self, number: u64, previous: Option<(&Self, u64)>) -> Certificate {
        let previous = previous.map(|(log, size)| Previous {
            origin: log.origin.clone(),
            size,
            root: log.root(size),
        });
        Certificate { key: self.vkey(), time: UnixSeconds(1_795_500_000), number, previous }
    }
}

#[async_trait]
impl Proofs for TestLog {
    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, SourceError> {
        prove_tree(new, old, &self.hashes).map_err(|error| SourceError { source: error.into() })
    }
}

#[async_trait]
impl Source for TestLog {
    async fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        Ok(TestLog::checkpoint(self, self.size))
    }
}

/// An authority.
pub(super) struct TestAuthority(SigningKey);

impl TestAuthority {
    pub(super) fn new(seed: u8) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]))
    }

    fn signature(&self, text: &[u8]) -> AuthoritySignature {
        AuthoritySignature {
            name: "keypod-root/local".to_owned(),
            algorithm: SignatureAlgorithm::Ed25519,
            public_key: self.0.verifying_key().to_bytes().to_vec(),
            signature: self.0.sign(text).to_bytes().to_vec(),
        }
    }

    pub(super) fn key(&self) -> AuthorityKey {
        AuthorityKey::parse(&AuthorityKey::of_signature(&self.signature(b""))).unwrap()
    }

    /// A certificate as a note.
    pub(super) fn signed(&self, text: &str) -> Vec<u8> {
        let line = AuthorityKey::line_of(&self.signature(text.as_bytes()));
        format!("{text}\n{line}").into_bytes()
    }

    /// The body of `add-log` for a log that follows `previous`, known to the witness up to `old`.
    pub(super) fn body(
        &self,
        log: &TestLog,
        number: u64,
        previous: Option<(&TestLog, u64)>,
        old: u64,
    ) -> Vec<u8> {
        let proof = previous.map(|(log, size)| log.proof(old, size)).unwrap_or_default();
        let certificate = log.certificate(number, previous);
        Submission::write(old, &proof, &self.signed(&certificate.text()))
    }
}

/// A witness's files, its authority and its clock.
pub(super) struct Stopped {
    folder: TempDir,
    pub(super) authority: TestAuthority,
    pub(super) clock: Arc<ManualClock>,
}

impl Stopped {
    pub(super) fn settings(&self) -> WitnessSettings {
        WitnessSettings {
            key_file: self.folder.path().join("key"),
            state: self.folder.path().join("state"),
            authorities: vec![self.authority.key()],
            logs: Vec::new(),
            adopt: false,
            logs_max: 16,
        }
    }

    fn started(self, settings: WitnessSettings) -> Site {
        let witness = Arc::new(Witness::open(settings, Arc::clone(&self.clock) as _).unwrap());
        Site { files: self, witness }
    }
}

/// A running witness on files of its own, which can be restarted.
pub(super) struct Site {
    files: Stopped,
    pub(super) witness: Arc<Witness>,
}

impl std::ops::Deref for Site {
    type Target = Stopped;

    fn deref(&self) -> &Stopped {
        &self.files
    }
}

impl Site {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut WitnessSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        CosigningKey::create(&folder.path().join("key"), "witness.example/w1").unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let files = Stopped { folder, authority: TestAuthority::new(100), clock };
        let mut settings = files.settings();
        change(&mut settings);
        files.started(settings)
    }

    /// What is left once the witness has ended.
    pub(super) fn stopped(self) -> Stopped {
        self.files
    }

    /// The same witness after a restart.
    pub(super) fn restarted(self) -> Self {
        let settings = self.settings();
        self.restarted_with(settings)
    }

    pub(super) fn restarted_with(self, settings: WitnessSettings) -> Self {
        self.stopped().started(settings)
    }
}
