//! The facts of a log's beginning: its name, its certificate, and how the log before it ended.

use std::sync::Arc;

/// What a first entry can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStart {
    /// The origin of the log.
    pub origin: Arc<str>,
    /// Its number in the chain.
    pub number: u64,
    /// SHA-256 of its certificate file.
    pub certificate_sha256: [u8; 32],
    /// The log before it; `None` if it is the first.
    pub previous: Option<Previous>,
}

/// The log before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Its origin.
    pub origin: String,
    /// Entries that its last checkpoint covers.
    pub checkpoint_size: u64,
    /// Entries that were found.
    pub found_size: u64,
    /// How it ended.
    pub ended: Ended,
}

/// How a log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It was closed.
    Clean,
    /// Its sidecar was killed, or the machine stopped.
    Unclean {
        /// Entries after its last checkpoint: the next certificate vouches for them.
        vouched_for: u64,
    },
    /// It is not what its sidecar left.
    Damaged(Damage),
}

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// Its certificate is missing or cannot be read.
    Certificate,
    /// Its checkpoint is missing, or not signed by its key.
    Checkpoint,
    /// It has fewer entries than its checkpoint says.
    Missing,
    /// Its entries do not lead to the root hash of its checkpoint.
    Altered,
    /// A file of it cannot be read, or a bundle does not hold 256 entries.
    Unreadable,
}
