//! Why an operation failed, in the terms of the service. `http/error.rs` alone turns it into a status.

use crate::emergency::EmergencyError;
use crate::envelope::{ContextError, NotOurs, OpenFailed, RandomUnavailable};
use crate::keyring::KeyringError;
use crate::limits::{RateLimited, TooManyItems};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No rule allows it.
    #[error("no rule allows it")]
    Forbidden,
    /// The request is well formed and asks for what cannot be. The text says what to do, and holds nothing of
    /// the caller's bytes.
    #[error("{0}")]
    Invalid(&'static str),
    /// The two contexts of an item cannot be one.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The bytes are not a ciphertext of this format.
    #[error(transparent)]
    NotOurs(#[from] NotOurs),
    /// A ciphertext of this format that does not open: wrong context, key or bytes, one answer for all.
    #[error("the ciphertext does not open")]
    DecryptionFailed,
    /// A rate is used up: the caller's, or the key's.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The glass was not broken, or the emergency not ended.
    #[error(transparent)]
    Emergency(#[from] EmergencyError),
    /// The keyring did not do it.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Random(#[from] RandomUnavailable),
    /// A limit of the key's version was reached in the middle of a stream.
    #[error("the usage limit of the key version was reached in the middle of a stream")]
    LimitReached,
    /// A batch has more items than the limit.
    #[error(transparent)]
    TooManyItems(#[from] TooManyItems),
}

impl From<OpenFailed> for Error {
    fn from(_: OpenFailed) -> Self {
        Self::DecryptionFailed
    }
}
