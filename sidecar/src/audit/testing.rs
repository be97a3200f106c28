//! What the tests of the log share: an authority, settings, and an auditor who reads a folder by `docs/audit-log.md`
//! and by nothing of the code that wrote it but the names of tiles.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Hash, HashReader, record_hash, stored_hashes_for_record_hash, tree_hash,
};

use super::disk::Disk;
use super::layout::Tile;
use super::{Durability, Log, LogError, LogSettings, LogStart};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::names::RootName;
use crate::root::RootError;
use crate::root::authority::{
    Authority, AuthorityDescription, AuthoritySignature, SignatureAlgorithm,
};

/// An authority with an Ed25519 key, that can be sent away.
#[derive(Debug)]
pub(super) struct Root {
    key: SigningKey,
    away: AtomicBool,
    signed: AtomicU64,
    hangs_at: AtomicU64,
}

impl Root {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            key: SigningKey::from_bytes(&[7; 32]),
            away: AtomicBool::new(false),
            signed: AtomicU64::new(0),
            hangs_at: AtomicU64::new(u64::MAX),
        })
    }

    pub(super) fn is_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// The signature after the next `more` never comes.
    pub(super) fn hangs_after(&self, more: u64) {
        self.hangs_at.store(self.signed.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    pub(super) fn verification_key(&self) -> String {
        signed_note::new_ed25519_verifier_key("keypod-root/test", &self.key.verifying_key())
    }
}

#[async_trait]
impl Authority for Root {
    async fn sign(&self, message: &[u8]) -> Result<AuthoritySignature, RootError> {
        if self.away.load(Ordering::Relaxed) {
            let (root, reason) = (RootName::local(), "the root is away".to_owned());
            return Err(RootError::Unavailable { root, reason, retry_after: None });
        }
        if self.signed.fetch_add(1, Ordering::Relaxed) == self.hangs_at.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Ok(AuthoritySignature {
            name: "keypod-root/test".to_owned(),
            algorithm: SignatureAlgorithm::Ed25519,
            public_key: self.key.verifying_key().as_bytes().to_vec(),
            signature: self.key.sign(message).to_vec(),
        })
    }

    fn describe(&self) -> AuthorityDescription {
        let (name, place) = ("keypod-root/test".to_owned(), "here".to_owned());
        AuthorityDescription { name, root: RootName::local(), kind: "local", place }
    }
}

/// A folder for logs, a root, a clock that stands, and a disk that can fail.
#[derive(Debug)]
pub(super) struct Place {
    folder: tempfile::TempDir,
    pub(super) root: Arc<Root>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) disk: Disk,
    pub(super) settings: LogSettings,
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = LogSettings {
            folder: folder.path().join("audit"),
            origin: "keypod.test/orders".parse().unwrap(),
            durability: Durability::Group,
            commit_timeout: Duration::from_secs(20),
            checkpoint_every: Duration::from_secs(1),
            queue_max: 4_096,
            rotate_bytes: u64::MAX,
            rotate_after: Duration::from_secs(1_000_000),
            retention: Duration::from_secs(1_000),
        };
        Self {
            folder,
            root: Root::new(),
            clock: Arc::new(ManualClock::at(SystemClock.now())),
            disk: Disk::default(),
            settings,
        }
    }

    pub(super) fn top(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    pub(super) async fn try_open(
        &self,
        first: impl FnOnce(&LogStart) -> Vec<u8>,
    ) -> Result<Log, LogError> {
        let authorities: Vec<Arc<dyn Authority>> = vec![Arc::clone(&self.root) as _];
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        Log::open_on(self.disk.clone(), self.settings.clone(), authorities, clock, first).await
    }

    /// Opens the log, and how it began.
    pub(super) async fn open(&self) -> (Log, LogStart) {
        let mut facts = None;
        let log = self
            .try_open(|start| {
                facts = Some(start.clone());
                b"start".to_vec()
            })
            .await
            .unwrap();
        (log, facts.unwrap())
    }

    /// The folders of the logs, by number.
    pub(super) fn logs(&self) -> Vec<PathBuf> {
        let mut logs: Vec<_> = std::fs::read_dir(self.top())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        logs.sort();
        logs
    }

    pub(super) fn audit(&self) -> Vec<AuditedLog> {
        audit(&self.top(), &self.root.verification_key())
    }
}

/// A log as an auditor found it.
#[derive(Debug)]
pub(super) struct AuditedLog {
    pub(super) origin: String,
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) checkpoint_size: u64,
    pub(super) closed: bool,
}

impl AuditedLog {
    pub(super) fn texts(&self) -> Vec<String> {
        self.entries.iter().map(|entry| String::from_utf8(entry.clone()).unwrap()).collect()
    }
}

/// A tree of all hashes, by the library.
#[derive(Default)]
struct Hashes(Vec<Hash>);

impl HashReader for Hashes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

impl Hashes {
    fn of(entries: &[Vec<u8>]) -> Self {
        let mut hashes = Self::default();
        for (number, entry) in entries.iter().enumerate() {
            let new =
                stored_hashes_for_record_hash(number as u64, record_hash(entry), &hashes).unwrap();
            hashes.0.extend(new);
        }
        hashes
    }
}

/// The text of a note that `key` signed.
pub(super) fn verified(note: &[u8], key: &str) -> String {
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(key).unwrap())]);
    let note = Note::from_bytes(note).unwrap();
    note.verify(&known).unwrap();
    String::from_utf8(note.text().to_vec()).unwrap()
}

fn entries_of(bundle: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut entries) = (bundle, Vec::new());
    while !rest.is_empty() {
        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        entries.push(rest[2..2 + length].to_vec());
        rest = &rest[2 + length..];
    }
    entries
}

/// Reads every log of the chain and holds it against its certificate, its checkpoint and its tiles.
pub(super) fn audit(top: &Path, authority: &str) -> Vec<AuditedLog> {
    let mut folders: Vec<_> = std::fs::read_dir(top)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.is_dir() && !path.file_name().unwrap().to_str().unwrap().starts_with('.')
        })
        .collect();
    folders.sort();
    let mut previous: Option<(String, u64, Hash)> = None;
    let mut logs: Vec<AuditedLog> = Vec::new();
    for (folder, number) in folders.iter().zip(1_u64..) {
        let certificate = verified(&std::fs::read(folder.join("certificate")).unwrap(), authority);
        let fields: HashMap<_, _> =
            certificate.lines().skip(1).map(|line| line.split_once(' ').unwrap()).collect();
        assert_eq!(certificate.lines().next(), Some("keypod-audit-certificate/v1"));
        assert_eq!(fields["number"], number.to_string());
        let name = folder.file_name().unwrap().to_str().unwrap();
        let (digits, id) = name.split_once('-').unwrap();
        assert_eq!(digits, format!("{number:06}"));
        assert_eq!(fields["log"].rsplit_once('/').unwrap().1, id);
        if let Some((origin, size, root)) = &previous {
            let said = format!("{origin} {size} {}", STANDARD.encode(root.0));
            assert_eq!(fields["previous"], said, "{name}");
        } else {
            assert_eq!(fields["previous"], "none");
        }
        let note = verified(&std::fs::read(folder.join("checkpoint")).unwrap(), fields["key"]);
        let checkpoint = Checkpoint::from_bytes(note.as_bytes()).unwrap();
        assert_eq!(checkpoint.origin(), fields["log"]);

        let tail = std::fs::read(folder.join("tail")).ok();
        let entries = read_entries(folder, checkpoint.size(), tail.as_deref());
        let hashes = Hashes::of(&entries);
        let size = entries.len() as u64;
        assert!(size >= checkpoint.size(), "{name}");
        assert_eq!(tree_hash(checkpoint.size(), &hashes).unwrap(), *checkpoint.hash(), "{name}");
        check_tiles(folder, checkpoint.size(), &hashes, &entries);
        previous = Some((fields["log"].to_owned(), size, tree_hash(size, &hashes).unwrap()));
        logs.push(AuditedLog {
            origin: fields["log"].to_owned(),
            entries,
            checkpoint_size: checkpoint.size(),
            closed: tail.is_none(),
        });
    }
    logs
}

fn read_entries(folder: &Path, checkpoint: u64, tail: Option<&[u8]>) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    let mut bundles = 0;
    loop {
        let path = folder.join(Tile::Entries.path(bundles));
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(_) => match std::fs::read(path.with_added_extension("gz")) {
                Ok(gzip) => super::recover::decompress(&gzip).unwrap(),
                Err(_) => break,
            },
        };
        let bundle = entries_of(&bytes);
        assert_eq!(bundle.len(), 256, "{}", path.display());
        entries.extend(bundle);
        bundles += 1;
    }
    if let Some(tail) = tail {
        let tail = entries_of(tail);
        assert!(tail.len() < 256);
        entries.extend(tail);
    } else if !checkpoint.is_multiple_of(256) {
        let width = usize::try_from(checkpoint % 256).unwrap();
        let path = folder.join(Tile::Entries.partial_path(bundles, width));
        entries.extend(entries_of(&std::fs::read(path).unwrap()));
    }
    entries
}

/// Every tile of a tree of `size`, full and partial, is there with the right hashes.
fn check_tiles(folder: &Path, size: u64, hashes: &Hashes, entries: &[Vec<u8>]) {
    for tile in tlog_tiles::Tile::new_tiles(8, 0, size) {
        let path = tile.path().replacen("tile/8/", "tile/", 1);
        let found = std::fs::read(folder.join(&path))
            .unwrap_or_else(|error| panic!("{path} of {}: {error}", folder.display()));
        assert_eq!(found, tile.read_data(hashes).unwrap(), "{path}");
    }
    let width = usize::try_from(size % 256).unwrap();
    if width > 0 {
        let path = folder.join(Tile::Entries.partial_path(size / 256, width));
        let whole = usize::try_from(size - size % 256).unwrap();
        let partial = entries_of(&std::fs::read(path).unwrap());
        assert_eq!(partial, entries[whole..whole + width]);
    }
}

/// All files under `folder`, by their paths in it.
pub(super) fn files(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    files
}
