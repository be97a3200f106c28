//! Why a witness did not cosign, in words for an operator. Nothing of its answers is repeated but origins and sizes.

use std::path::PathBuf;
use std::time::Duration;

/// Why a witness cannot be asked at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Its address.
    #[error(
        "a witness's address is https://HOST/PATH without a user; http:// to this machine itself, or by a socket"
    )]
    Address,
    /// The certificates of its authority.
    #[error("{} has to hold certificates in PEM", path.display())]
    CaFile {
        /// Which.
        path: PathBuf,
    },
    /// No HTTP client can be made.
    #[error("the witness cannot be asked")]
    Client {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The log itself did not give what the witness wants.
#[derive(Debug, thiserror::Error)]
#[error("the log gave no checkpoint or no proof")]
pub struct SourceError {
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a witness did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody answered, or not in time.
    #[error("the witness cannot be reached: {reason}")]
    Unavailable {
        /// What went wrong and what to do.
        reason: String,
        /// When to ask again, where that is known.
        retry_after: Option<Duration>,
    },
    /// The witness knows of more than this log has: the disk is older than what was shown to the witness.
    #[error(
        "the witness knows this audit log up to {size} entries of {origin}, and this disk does not: it was rolled back, replaced or copied, or another sidecar writes the same log"
    )]
    RolledBack {
        /// The log that it knows.
        origin: String,
        /// How far.
        size: u64,
    },
    /// What the witness has cosigned is no beginning of what the log is now.
    #[error(
        "this audit log is not the one that the witness has cosigned: it was altered, or there are two of it"
    )]
    Forked,
    /// The witness does not know the log: it has to be told of it.
    #[error("the witness does not know this log")]
    UnknownLog,
    /// The witness knows nothing of the chain, and takes up only its first log.
    #[error(
        "the witness has never seen this chain of logs: start it with --adopt once, if this is its first time"
    )]
    UnknownChain,
    /// It does not believe the log's key or the authority's.
    #[error(
        "the witness does not believe who has signed: name the authority to it (--authority), or another log has followed this one"
    )]
    NotTrusted,
    /// Something else than a witness answers.
    #[error("what answers is no witness: look at the address")]
    NoWitness,
    /// It answered something else.
    #[error("the witness answered {status}: look at its log")]
    Refused {
        /// The status.
        status: u16,
    },
    /// It answered with success, and without a cosignature that verifies.
    #[error(
        "the witness's answer has no cosignature by its key: look at what stands between, and at the key"
    )]
    NotCosigned,
    /// It answered what no witness answers.
    #[error("what the witness answered makes no sense: look at what stands between")]
    BadAnswer,
    /// The log gave no checkpoint.
    #[error("what the log gave is no checkpoint")]
    NoCheckpoint,
    /// What was to be told is no certificate.
    #[error("what the log gave is no certificate")]
    NoCertificate,
    /// The log gave nothing.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl AskError {
    /// Whether this may pass by itself.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the log itself is in doubt: nobody may go on with it as if nothing had happened.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        matches!(self, Self::RolledBack { .. } | Self::Forked)
    }

    /// When to ask again, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
