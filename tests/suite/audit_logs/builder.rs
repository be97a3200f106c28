//! Writes folders of audit logs as docs/audit-log.md has them, with keys that the tests hold: so they can forge, too.
//!
//! Tiles are named and filled by the crate `tlog_tiles`, in the place of Keypod's own code.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tlog_tiles::tile::Tile;
use tlog_tiles::tlog::{
    Hash, HashReader, stored_hash_index, stored_hashes_for_record_hash, tree_hash,
};

pub(super) const PREFIX: &str = "cluster/namespace/workload/pod";
/// 2026-11-25T08:00:00Z
const BEGIN_MS: u64 = 1_795_593_600_000;

/// Every hash of a tree, in the order of `tlog_tiles`.
#[derive(Clone, Default)]
pub(super) struct Tree {
    hashes: Vec<Hash>,
    size: u64,
}

impl HashReader for Tree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::tlog::Error> {
        Ok(indexes.iter().map(|&index| self.hashes[usize::try_from(index).unwrap()]).collect())
    }
}

impl Tree {
    pub(super) fn of(entries: &[Vec<u8>]) -> Self {
        let mut tree = Self::default();
        entries.iter().for_each(|entry| tree.push(entry));
        tree
    }

    pub(super) fn push(&mut self, entry: &[u8]) {
        let leaf = Hash(Sha256::digest([&[0], entry].concat()).into());
        let more = stored_hashes_for_record_hash(self.size, leaf, self).unwrap();
        assert_eq!(stored_hash_index(0, self.size), self.hashes.len() as u64);
        self.hashes.extend(more);
        self.size += 1;
    }

    pub(super) fn root(&self, size: u64) -> Hash {
        tree_hash(size, self).unwrap()
    }

    /// Writes the tiles of the tree at `size`.
    pub(super) fn write(&self, log: &Path, size: u64) {
        for tile in Tile::new_tiles(8, 0, size) {
            put(
                &log.join(tile.path().replacen("tile/8/", "tile/", 1)),
                &tile.read_data(self).unwrap(),
            );
        }
    }
}

pub(super) fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// The path of a full bundle, or of one of `width` entries.
pub(super) fn bundle_path(log: &Path, index: u64, width: u64) -> PathBuf {
    let tile = Tile::new(8, 0, index, u32::try_from(width).unwrap(), true);
    log.join(tile.path().replacen("tile/8/data/", "tile/entries/", 1))
}

pub(super) fn bundle(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(u16::try_from(entry.len()).unwrap().to_be_bytes());
        bytes.extend(entry);
    }
    bytes
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A key that signs notes.
pub(super) enum NoteKey {
    Ed25519 { name: String, key: Box<SigningKey> },
    P256 { name: String, key: Box<EcdsaKeyPair> },
}

/// What SubjectPublicKeyInfo of a P-256 key begins with.
const SPKI: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";

impl NoteKey {
    /// The same key each time for one `seed`.
    pub(super) fn ed25519(name: &str, seed: &str) -> Self {
        let key = SigningKey::from_bytes(&Sha256::digest(seed).into());
        Self::Ed25519 { name: name.to_owned(), key: Box::new(key) }
    }

    pub(super) fn p256(name: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self::P256 { name: name.to_owned(), key: Box::new(key) }
    }

    fn name(&self) -> &str {
        let (Self::Ed25519 { name, .. } | Self::P256 { name, .. }) = self;
        name
    }

    fn id(&self, kind: u8) -> [u8; 4] {
        let digest = match self {
            Self::Ed25519 { name, key } => {
                let public = key.verifying_key();
                Sha256::digest([name.as_bytes(), b"\n", &[kind], public.as_bytes()].concat())
            }
            Self::P256 { .. } => Sha256::digest(self.public()),
        };
        digest[..4].try_into().unwrap()
    }

    fn public(&self) -> Vec<u8> {
        match self {
            Self::Ed25519 { key, .. } => key.verifying_key().as_bytes().to_vec(),
            Self::P256 { key, .. } => {
                let point = &key.public_key().as_ref()[1..];
                [&BASE64.decode(SPKI).unwrap(), point].concat()
            }
        }
    }

    fn line(&self, kind: u8) -> String {
        let id: String = self.id(kind).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}+{id}+{}", self.name(), BASE64.encode([&[kind], &*self.public()].concat()))
    }

    /// Its verification key.
    pub(super) fn verification_key(&self) -> String {
        self.line(if matches!(self, Self::P256 { .. }) { 2 } else { 1 })
    }

    /// Its verification key as a witness's.
    pub(super) fn witness_key(&self) -> String {
        self.line(4)
    }

    fn signature(&self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519 { key, .. } => key.sign(text).to_bytes().to_vec(),
            Self::P256 { key, .. } => {
                key.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec()
            }
        }
    }

    /// A signature line under `text`.
    pub(super) fn sign(&self, text: &str) -> String {
        let kind = if matches!(self, Self::P256 { .. }) { 2 } else { 1 };
        let signature = [&self.id(kind)[..], &self.signature(text.as_bytes())].concat();
        format!("— {} {}\n", self.name(), BASE64.encode(signature))
    }

    /// A witness's line under the text of a checkpoint.
    pub(super) fn cosign(&self, text: &str, time: u64) -> String {
        let cosigned = format!("cosignature/v1\ntime {time}\n{text}");
        let signature =
            [&self.id(4)[..], &time.to_be_bytes(), &self.signature(cosigned.as_bytes())].concat();
        format!("— {} {}\n", self.name(), BASE64.encode(signature))
    }
}

/// One log, with its key.
pub(super) struct Log {
    pub(super) folder: PathBuf,
    pub(super) number: u64,
    pub(super) began_ms: u64,
    pub(super) origin: String,
    pub(super) key: NoteKey,
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) signed: u64,
}

impl Log {
    /// The text of a checkpoint over the first `size` entries.
    pub(super) fn checkpoint_text(&self, size: u64) -> String {
        format!("{}\n{size}\n{}\n", self.origin, Tree::of(&self.entries).root(size))
    }

    /// A signed checkpoint over the first `size` entries.
    pub(super) fn checkpoint(&self, size: u64) -> String {
        let text = self.checkpoint_text(size);
        format!("{text}\n{}", self.key.sign(&text))
    }

    /// Writes its entries, its tiles, and a checkpoint over the first `signed` of them; a tail holds what is past the
    /// last full bundle, unless all are signed.
    pub(super) fn write(&self, signed: u64) {
        let (folder, count) = (&self.folder, self.entries.len() as u64);
        let full = count / 256;
        for (index, entries) in (0..full).zip(self.entries.chunks(256)) {
            put(&bundle_path(folder, index, 256), &bundle(entries));
        }
        let rest = &self.entries[usize::try_from(full * 256).unwrap()..];
        let width = usize::try_from(signed.saturating_sub(full * 256)).unwrap();
        if width > 0 {
            put(&bundle_path(folder, full, width as u64), &bundle(&rest[..width]));
        }
        if signed < count {
            put(&folder.join("tail"), &bundle(rest));
        }
        Tree::of(&self.entries).write(folder, signed);
        put(&folder.join("checkpoint"), self.checkpoint(signed).as_bytes());
    }

    /// Takes away what [`Self::write`] wrote, and writes it again.
    pub(super) fn rewrite(&self, signed: u64) {
        let _ = std::fs::remove_dir_all(self.folder.join("tile"));
        let _ = std::fs::remove_file(self.folder.join("tail"));
        self.write(signed);
    }
}

/// A chain of logs in a folder.
pub(super) struct Chain {
    pub(super) folder: PathBuf,
    pub(super) authority: NoteKey,
    pub(super) prefix: String,
    pub(super) logs: Vec<Log>,
    pub(super) now_ms: u64,
}

impl Chain {
    pub(super) fn begin(folder: &Path, authority: NoteKey) -> Self {
        put(&folder.join("lock"), b"");
        put(&folder.join("authorities"), format!("{}\n", authority.verification_key()).as_bytes());
        let (folder, prefix) = (folder.to_owned(), PREFIX.to_owned());
        Self { folder, authority, prefix, logs: Vec::new(), now_ms: BEGIN_MS }
    }

    /// Begins a log: its certificate and its first entry.
    pub(super) fn open(&mut self) -> &mut Log {
        let number = self.logs.last().map_or(1, |log| log.number + 1);
        let digest = Sha256::digest(format!("{}/{number}", self.prefix));
        let id: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let origin = format!("{}/{id}", self.prefix);
        let key = NoteKey::ed25519(&origin, &origin);
        let previous = self.logs.last().map_or("none".to_owned(), |log| {
            let size = log.entries.len() as u64;
            format!("{} {size} {}", log.origin, Tree::of(&log.entries).root(size))
        });
        let folder = self.folder.join(format!("{number:06}-{id}"));
        let (began_ms, entries) = (self.now_ms, Vec::new());
        let mut log = Log { folder, number, began_ms, origin, key, entries, signed: 0 };
        let certificate = self.certificate(&log, &previous);
        put(&log.folder.join("certificate"), certificate.as_bytes());
        let digest = Sha256::digest(certificate);
        let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let detail =
            json!({ "reason": "boot", "version": "0.1.0", "certificate": sha256, "pid": 7 });
        log.entries.push(self.entry("start", &json!({ "detail": detail })));
        self.logs.push(log);
        self.logs.last_mut().unwrap()
    }

    pub(super) fn certificate(&self, log: &Log, previous: &str) -> String {
        let Log { number, origin, key, .. } = log;
        let time = rfc3339(self.now_ms);
        let text = format!(
            "keypod-audit-certificate/v1\nlog {origin}\nkey {}\ntime {}Z\nnumber {number}\nprevious {previous}\n",
            key.verification_key(),
            &time[..19],
        );
        format!("{text}\n{}", self.authority.sign(&text))
    }

    /// An entry with these fields, ten milliseconds after the one before.
    pub(super) fn entry(&mut self, operation: &str, fields: &Value) -> Vec<u8> {
        self.now_ms += 10;
        entry(self.now_ms, operation, fields)
    }

    /// Adds `count` entries of every day to the newest log.
    pub(super) fn work(&mut self, count: u64) {
        for at in 0..count {
            let entry = daily(self, at);
            self.logs.last_mut().unwrap().entries.push(entry);
        }
    }

    /// A whole log of `count` entries, closed.
    pub(super) fn closed(&mut self, count: u64) {
        self.open();
        self.work(count - 2);
        self.close();
    }

    /// Ends the newest log in order.
    pub(super) fn close(&mut self) {
        let close = self.entry("close", &json!({ "detail": { "reason": "stop" } }));
        let log = self.logs.last_mut().unwrap();
        log.entries.push(close);
        log.signed = log.entries.len() as u64;
        log.write(log.signed);
    }

    /// A log of `count` entries of which `signed` were signed when its sidecar was killed.
    pub(super) fn killed(&mut self, count: u64, signed: u64) {
        self.open();
        self.work(count - 1);
        let log = self.logs.last_mut().unwrap();
        log.signed = signed;
        log.write(signed);
    }

    /// Deletes the entries of a log that was to be kept for `retention_s`. The detail of the entry that says so.
    pub(super) fn prune(&self, number: usize, retention_s: u64) -> Value {
        let (log, next) = (self.log(number), self.log(number + 1));
        let ended = rfc3339(log.began_ms.max(next.began_ms));
        let root = BASE64.encode(Tree::of(&log.entries).root(log.signed).0);
        std::fs::remove_dir_all(log.folder.join("tile")).unwrap();
        json!({
            "number": number, "origin": log.origin, "size": log.signed, "root": root,
            "ended": format!("{}Z", &ended[..19]), "retention_s": retention_s,
        })
    }

    pub(super) fn log(&self, number: usize) -> &Log {
        &self.logs[number - 1]
    }
}

/// An entry at this time.
pub(super) fn entry(time_ms: u64, operation: &str, fields: &Value) -> Vec<u8> {
    let mut all = json!({ "time": rfc3339(time_ms), "operation": operation, "outcome": "ok" });
    for (name, value) in fields.as_object().unwrap() {
        all[name] = value.clone();
    }
    all.to_string().into_bytes()
}

/// What a clinic's sidecar writes all day.
fn daily(chain: &mut Chain, at: u64) -> Vec<u8> {
    let callers = ["billing", "intake", "reports", "archive"];
    let caller = callers[usize::try_from(at % 4).unwrap()];
    let operation = if at.is_multiple_of(3) { "encrypt" } else { "decrypt" };
    let mut fields = json!({
        "request": format!("{at:032x}"), "caller": caller, "proof": "token", "transport": "unix",
        "key": if at.is_multiple_of(5) { "cards" } else { "patients" }, "version": 1, "bytes": 180 + at % 50,
        "subject": format!("1:{:022}", at % 97), "context": format!("1:{:022}", at % 101),
        "ciphertext": format!("{at:011}"), "policies": ["pack.decrypt"], "policy_set": "0123456789abcdef",
    });
    if at % 17 == 16 {
        fields["outcome"] = json!("denied");
        fields["code"] = json!("forbidden");
    }
    chain.entry(operation, &fields)
}

pub(super) fn rfc3339(time_ms: u64) -> String {
    let (days, rest) = (time_ms / 86_400_000, time_ms % 86_400_000);
    // Civil date from days since 1970 (Howard Hinnant's algorithm), for times after 1970.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) =
        if month < 10 { (month + 3, year + era * 400) } else { (month - 9, year + era * 400 + 1) };
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}
