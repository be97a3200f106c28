//! Proofs that stand for themselves: that an entry is in a log, and that an older state of a log is in a newer one.
//!
//! The form is `docs/audit-log.md`: C2SP tlog-proof for inclusion, and the same manner for consistency. Depends on
//! [`super::reader`] for the files and on [`super::verify`] for notes and keys. A proof is made of hashes on disk and
//! checked before it is handed out; to check one needs the file and an authority's key, and no folder.

mod file;
#[cfg(test)]
mod tests;

use std::path::Path;

use tlog_tiles::tlog::{self, Hash, HashReader, record_hash, split_stored_hash_index};

use super::reader::{Bundle, Folder, LogFolder, ReaderError, Unread, WIDTH};
use super::verify::{
    Certificate, Checkpoint, Entry, NoteProblem, Signed, SignedText, TreeHead, VerifyingKey,
    read_tile,
};

pub use file::{Proof, ProofError};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// The folder cannot be read.
    #[error("cannot read the audit logs")]
    Reader(#[source] ReaderError),
    /// There is no log of that number.
    #[error("there is no log {0} in this folder")]
    NoLog(u64),
    /// A file that a proof is made of is not to be had.
    #[error("{file} of the log {why}")]
    Unread {
        /// Which.
        file: &'static str,
        /// Why.
        why: Unread,
    },
    /// A note is none.
    #[error("{file} of the log {why}")]
    Note {
        /// Which.
        file: &'static str,
        /// Why.
        why: NoteProblem,
    },
    /// What is asked for is not signed yet.
    #[error("the checkpoint is over {signed} entries: entry {asked} is not among them")]
    NotSigned {
        /// How many are.
        signed: u64,
        /// Which was asked for.
        asked: u64,
    },
    /// Not an older and a newer state.
    #[error(
        "a log grows from a smaller size, of 1 or more, to a larger: --from must not be above --to"
    )]
    Sizes,
    /// What is on disk proves nothing: the log was tampered with.
    #[error(
        "the entries and hashes on disk are not those that were signed: run `keypod audit verify`"
    )]
    Unsound,
}

/// One log, opened for proofs.
#[derive(Debug)]
pub struct Prover {
    log: LogFolder,
    certificate: Vec<u8>,
    checkpoint: Vec<u8>,
    head: TreeHead,
}

impl Prover {
    /// Opens log `number` of the folder at `path`.
    ///
    /// # Errors
    /// It is not there, or has no certificate and checkpoint.
    pub fn open(path: &Path, number: u64) -> Result<Self, ProveError> {
        let folder = Folder::open(path).map_err(ProveError::Reader)?;
        let name = folder.find(number).map_err(ProveError::Reader)?;
        let name = name.ok_or(ProveError::NoLog(number))?;
        let unread = |file| move |why| ProveError::Unread { file, why };
        let log = folder.log(&name).map_err(unread("the folder"))?;
        let certificate = log.certificate().map_err(unread("the certificate"))?;
        let checkpoint = log.checkpoint().map_err(unread("the checkpoint"))?;
        let note = SignedText::parse(&checkpoint);
        let head = note.and_then(|note| Checkpoint::parse(&note));
        let head = head.map_err(|why| ProveError::Note { file: "the checkpoint", why })?.head;
        Ok(Self { log, certificate, checkpoint, head })
    }

    /// How many entries the checkpoint is over.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.head.size
    }

    /// The log's certificate, as it is on disk.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The log's newest checkpoint, as it is on disk.
    #[must_use]
    pub fn checkpoint(&self) -> &[u8] {
        &self.checkpoint
    }

    /// The consistency proof (RFC 6962, section 2.1.2) from `old` entries to `new`, of what is on disk, signed or not:
    /// for a witness, who checks it.
    ///
    /// # Errors
    /// Hashes that it needs are not there.
    pub fn path(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProveError> {
        let at = At { prover: self, size: new };
        tlog::prove_tree(new, old, &at).map_err(|_| ProveError::Unsound)
    }

    /// Proves that entry `index` is in the log.
    ///
    /// # Errors
    /// It is not signed, not to be had, or not the one that was signed.
    pub fn inclusion(&self, index: u64) -> Result<Proof, ProveError> {
        let TreeHead { size, root } = self.head;
        if index >= size {
            return Err(ProveError::NotSigned { signed: size, asked: index });
        }
        let entry = self.entry(index)?;
        let hashes = tlog::prove_record(size, index, self).map_err(|_| ProveError::Unsound)?;
        tlog::check_record(&hashes, size, root, index, record_hash(&entry))
            .map_err(|_| ProveError::Unsound)?;
        Ok(Proof::Inclusion {
            certificate: self.certificate.clone(),
            entry,
            index,
            hashes,
            checkpoint: self.checkpoint.clone(),
        })
    }

    /// Proves that the log at size `from` is the beginning of the log at size `to`, or at that of the checkpoint.
    ///
    /// # Errors
    /// The sizes are none of the log's, or the hashes on disk are not those that were signed.
    pub fn consistency(&self, from: u64, to: Option<u64>) -> Result<Proof, ProveError> {
        let to = to.unwrap_or(self.head.size);
        if to > self.head.size {
            return Err(ProveError::NotSigned {
                signed: self.head.size,
                asked: to.saturating_sub(1),
            });
        }
        if from == 0 || from > to {
            return Err(ProveError::Sizes);
        }
        let root = |size| tlog::tree_hash(size, self).map_err(|_| ProveError::Unsound);
        let prove = |to, from| tlog::prove_tree(to, from, self).map_err(|_| ProveError::Unsound);
        let (old, new) = (root(from)?, root(to)?);
        let steps = [prove(to, from)?, prove(self.head.size, to)?];
        let proof = Proof::Consistency {
            certificate: self.certificate.clone(),
            from: TreeHead { size: from, root: old },
            to: TreeHead { size: to, root: new },
            steps,
            checkpoint: self.checkpoint.clone(),
        };
        if proof.holds(self.head) { Ok(proof) } else { Err(ProveError::Unsound) }
    }

    /// The bytes of an entry.
    fn entry(&self, index: u64) -> Result<Vec<u8>, ProveError> {
        let (bundle, at) = (index / WIDTH, index % WIDTH);
        let width = self.head.size.saturating_sub(bundle.saturating_mul(WIDTH)).min(WIDTH);
        let bytes = match self.log.bundle(bundle) {
            Err(Unread::Missing) if width < WIDTH => self.log.partial_bundle(bundle, width),
            other => other.map(|stored| stored.bytes),
        };
        let bytes = bytes.map_err(|why| ProveError::Unread { file: "the bundle", why })?;
        Bundle::of(bytes).entry(at).map(<[u8]>::to_vec).ok_or(ProveError::Unsound)
    }

    /// A hash of the tree: over `1 << level` entries, the `index`th of them.
    fn hash(&self, level: u8, index: u64) -> Result<Hash, Unread> {
        self.hash_at(self.head.size, level, index)
    }

    /// The same, from the tiles that there are for `size` entries.
    fn hash_at(&self, size: u64, level: u8, index: u64) -> Result<Hash, Unread> {
        // In the tile of the level that is a multiple of eight below, which has all of its leaves.
        let (tile_level, height) = (level / 8, level % 8);
        let first = index << height;
        let (tile, begin) = (first / WIDTH, usize::try_from(first % WIDTH).unwrap_or_default());
        let count = size >> (8 * u32::from(tile_level));
        let width = count.saturating_sub(tile.saturating_mul(WIDTH)).min(WIDTH);
        let hashes = read_tile(&self.log, tile_level, tile, width)?;
        let end = begin.saturating_add(1 << height);
        let mut hashes = hashes.get(begin..end).ok_or(Unread::TooShort)?.to_vec();
        while hashes.len() > 1 {
            let pairs = hashes.chunks_exact(2);
            hashes = pairs
                .filter_map(|pair| match pair {
                    &[left, right] => Some(tlog::node_hash(left, right)),
                    _ => None,
                })
                .collect();
        }
        hashes.first().copied().ok_or(Unread::TooShort)
    }
}

/// A log at a size that need not be that of its checkpoint.
struct At<'a> {
    prover: &'a Prover,
    size: u64,
}

impl HashReader for At<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        let read = |&index: &u64| {
            let (level, index) = split_stored_hash_index(index);
            let hash = self.prover.hash_at(self.size, level, index);
            hash.map_err(|_| tlog::Error::IndexesNotInTree)
        };
        indexes.iter().map(read).collect()
    }
}

impl HashReader for Prover {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        let read = |&index: &u64| {
            let (level, index) = split_stored_hash_index(index);
            self.hash(level, index).map_err(|_| tlog::Error::IndexesNotInTree)
        };
        indexes.iter().map(read).collect()
    }
}

/// What a proof shows, once it has been checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// The entry is in the log.
    Inclusion {
        /// Its number.
        index: u64,
        /// Its bytes.
        entry: Vec<u8>,
    },
    /// The log at one size is the beginning of the log at another.
    Consistency {
        /// The older state.
        from: TreeHead,
        /// The newer one.
        to: TreeHead,
    },
}

/// A proof that was checked.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it shows.
    pub shown: Shown,
    /// The log's certificate.
    pub certificate: Certificate,
    /// The state of the log that its key signed.
    pub checkpoint: Checkpoint,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The certificate is none.
    #[error("the certificate in the proof {0}")]
    Certificate(#[source] NoteProblem),
    /// No trusted authority signed it.
    #[error("no trusted authority signed the certificate in the proof")]
    Authority,
    /// The checkpoint is none.
    #[error("the checkpoint in the proof {0}")]
    Checkpoint(#[source] NoteProblem),
    /// It is not the certified log's.
    #[error("the checkpoint in the proof is not signed by the key that the certificate names")]
    Signature,
    /// The hashes do not lead to the checkpoint.
    #[error("the hashes in the proof do not lead to the checkpoint's root")]
    Hashes,
    /// What is proven to be in the log is no entry.
    #[error("what the proof is of is no entry of an audit log")]
    Entry,
}

impl Proof {
    /// Checks it, by the keys of the authorities that are trusted.
    ///
    /// # Errors
    /// It proves nothing, and this is why.
    pub fn check(&self, authorities: &[VerifyingKey]) -> Result<Checked, CheckError> {
        let bytes = self.certificate();
        let note = SignedText::parse(bytes).map_err(CheckError::Certificate)?;
        let certificate = Certificate::parse(&note, bytes).map_err(CheckError::Certificate)?;
        if !matches!(note.signed(authorities), Signed::By(count) if count > 0) {
            return Err(CheckError::Authority);
        }
        let note = SignedText::parse(self.checkpoint()).map_err(CheckError::Checkpoint)?;
        let checkpoint = Checkpoint::parse(&note).map_err(CheckError::Checkpoint)?;
        let own =
            checkpoint.origin == certificate.origin && certificate.key.name() == checkpoint.origin;
        if !own || note.signed([&certificate.key]) != Signed::By(1) {
            return Err(CheckError::Signature);
        }
        if !self.holds(checkpoint.head) {
            return Err(CheckError::Hashes);
        }
        let shown = match self {
            Self::Inclusion { index, entry, .. } => {
                Entry::parse(entry).map_err(|_| CheckError::Entry)?;
                Shown::Inclusion { index: *index, entry: entry.clone() }
            }
            Self::Consistency { from, to, .. } => Shown::Consistency { from: *from, to: *to },
        };
        Ok(Checked { shown, certificate, checkpoint })
    }

    /// Whether its hashes lead to this state of the log.
    fn holds(&self, head: TreeHead) -> bool {
        match self {
            Self::Inclusion { entry, index, hashes, .. } => {
                let leaf = record_hash(entry);
                *index < head.size
                    && tlog::check_record(hashes, head.size, head.root, *index, leaf).is_ok()
            }
            Self::Consistency { from, to, steps: [first, second], .. } => {
                let sizes = 0 < from.size && from.size <= to.size && to.size <= head.size;
                sizes
                    && tlog::check_tree(first, to.size, to.root, from.size, from.root).is_ok()
                    && tlog::check_tree(second, head.size, head.root, to.size, to.root).is_ok()
            }
        }
    }
}
