//! What a witness remembers: of each chain its newest log and how far it was cosigned, in a file each.
//!
//! A chain's file is replaced whole, and is on disk before anything is answered; check and change happen under the
//! chain's own lock, so of two that race for one size one is checked against what the other left behind. A file that
//! cannot be read ends the start: a witness that has forgotten is none. One process has the folder (`flock`).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tlog_tiles::Hash;

use super::keys::LogKey;
use super::protocol::{Head, size};
use crate::file;

/// Longer than any chain's file: two origins, two keys, two hashes.
const FILE_BYTES_MAX: u64 = 16 << 10;
const VERSION: u32 = 1;

/// Why a witness cannot remember.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The folder or a file in it cannot be used.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("another witness has {}: stop it, or give this one a folder of its own", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// A file holds something else than what a witness wrote.
    #[error(
        "{} was altered or is damaged: bring it back from a backup, or the logs of its chain have to be looked at by a person",
        path.display()
    )]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// More chains than are allowed.
    #[error("{} has {found} chains, {most} are allowed: raise --logs-max", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// How many there are.
        found: usize,
        /// How many may be.
        most: usize,
    },
}

/// One log as far as it was cosigned.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Log {
    pub(super) key: LogKey,
    pub(super) number: u64,
    pub(super) head: Head,
    /// SHA-256 of its certificate's text; of a log that the operator named, nothing.
    pub(super) certificate: Option<String>,
}

/// A chain: its newest log, and the one before, which grows no more.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chain {
    pub(super) newest: Log,
    pub(super) before: Option<Log>,
}

/// Which chain: of logs that certificates tell of, or one log that the operator named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ChainName {
    Certified(String),
    Named(String),
}

impl ChainName {
    fn text(&self) -> String {
        match self {
            Self::Certified(chain) => format!("chain {chain}"),
            Self::Named(origin) => format!("log {origin}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(chain) = text.strip_prefix("chain ") {
            return Some(Self::Certified(chain.to_owned()));
        }
        text.strip_prefix("log ").map(|origin| Self::Named(origin.to_owned()))
    }

    fn file(&self) -> String {
        let digest = Sha256::digest(self.text());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{hex}.json")
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StoredChain {
    version: u32,
    name: String,
    newest: StoredLog,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<StoredLog>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StoredLog {
    key: String,
    number: u64,
    size: String,
    root: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
}

impl StoredLog {
    fn of(log: &Log) -> Self {
        Self {
            key: log.key.to_string(),
            number: log.number,
            size: log.head.size.to_string(),
            root: log.head.root.to_string(),
            certificate: log.certificate.clone(),
        }
    }

    fn log(self) -> Option<Log> {
        let head = Head { size: size(&self.size)?, root: Hash::parse_hash(&self.root).ok()? };
        let key = LogKey::parse(&self.key).ok()?;
        Some(Log { key, number: self.number, head, certificate: self.certificate })
    }
}

type Place = Arc<Mutex<Option<Chain>>>;

/// All chains, and the folder that they are in.
#[derive(Debug)]
pub(super) struct State {
    folder: PathBuf,
    chains: Mutex<HashMap<ChainName, Place>>,
    chains_max: usize,
    _lock: File,
}

/// There is no place for one more chain.
#[derive(Debug)]
pub(super) struct Full;

impl State {
    /// Reads what is in `folder`, which must exist.
    pub(super) fn open(folder: &Path, chains_max: usize) -> Result<Self, StateError> {
        let lock_path = folder.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(|source| unusable(&lock_path, source))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| StateError::InUse { path: folder.to_owned() })?;
        let mut chains = HashMap::new();
        for entry in std::fs::read_dir(folder).map_err(|source| unusable(folder, source))? {
            let path = entry.map_err(|source| unusable(folder, source))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let (name, chain) = read(&path)?;
            chains.insert(name, Arc::new(Mutex::new(Some(chain))));
        }
        if chains.len() > chains_max {
            let (path, found) = (folder.to_owned(), chains.len());
            return Err(StateError::TooMany { path, found, most: chains_max });
        }
        let chains = Mutex::new(chains);
        Ok(Self { folder: folder.to_owned(), chains, chains_max, _lock: lock })
    }

    /// The place of a chain, if it is known.
    pub(super) fn known(&self, name: &ChainName) -> Option<Place> {
        self.chains().get(name).cloned()
    }

    /// The place of a chain that somebody who may has told of.
    pub(super) fn place(&self, name: &ChainName) -> Result<Place, Full> {
        let mut chains = self.chains();
        if !chains.contains_key(name) && chains.len() >= self.chains_max {
            return Err(Full);
        }
        Ok(Arc::clone(chains.entry(name.clone()).or_default()))
    }

    /// How many chains there are.
    pub(super) fn count(&self) -> usize {
        self.chains().len()
    }

    /// Puts `chain` in the place of what is there, on disk first. The place is locked by who has looked at it.
    pub(super) fn put(
        &self,
        name: &ChainName,
        place: &mut Option<Chain>,
        chain: Chain,
    ) -> io::Result<()> {
        let stored = StoredChain {
            version: VERSION,
            name: name.text(),
            newest: StoredLog::of(&chain.newest),
            before: chain.before.as_ref().map(StoredLog::of),
        };
        let text = serde_json::to_vec(&stored)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&text)?;
        file.as_file().sync_all()?;
        file.persist(self.folder.join(name.file())).map_err(|error| error.error)?;
        File::open(&self.folder)?.sync_all()?;
        *place = Some(chain);
        Ok(())
    }

    fn chains(&self) -> MutexGuard<'_, HashMap<ChainName, Place>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unusable(path: &Path, source: io::Error) -> StateError {
    StateError::File { path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<(ChainName, Chain), StateError> {
    let failed = |source| unusable(path, source);
    let damaged = || StateError::Damaged { path: path.to_owned() };
    let (opened, metadata) = file::open(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(damaged());
    }
    let mut text = Vec::new();
    opened.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
    let stored: StoredChain = serde_json::from_slice(&text).map_err(|_| damaged())?;
    let name = ChainName::parse(&stored.name).ok_or_else(damaged)?;
    let is_its_own = path.file_name().is_some_and(|found| *found == *name.file());
    if stored.version != VERSION || !is_its_own {
        return Err(damaged());
    }
    let before = match stored.before {
        Some(before) => Some(before.log().ok_or_else(damaged)?),
        None => None,
    };
    let newest = stored.newest.log().ok_or_else(damaged)?;
    Ok((name, Chain { newest, before }))
}
