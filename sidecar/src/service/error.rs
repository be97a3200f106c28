//! Why an operation failed, in the terms of the service, and the code of API.md that says so. `http/error.rs` alone
//! turns a code into a status.

mod code;

pub use code::Code;

use crate::audit::AppendError;
use crate::emergency::EmergencyError;
use crate::envelope::{ContextError, NotOurs, OpenFailed, RandomUnavailable};
use crate::keyring::KeyringError;
use crate::limits::{RateLimited, TooManyItems};
use crate::root::RootError;
use crate::store::StoreError;

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
    /// It could not be written to the audit log, so there is no answer.
    #[error(transparent)]
    Audit(#[from] AppendError),
}

impl Error {
    /// The code that says so. `internal` is a defect or damaged data.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Forbidden => Code::Forbidden,
            Self::Invalid(_) | Self::Context(_) | Self::TooManyItems(_) => Code::InvalidRequest,
            Self::NotOurs(_) => Code::InvalidCiphertext,
            Self::DecryptionFailed => Code::DecryptionFailed,
            Self::RateLimited(_) => Code::RateLimited,
            Self::LimitReached => Code::Conflict,
            Self::Emergency(error) => of_emergency(*error),
            Self::Keyring(error) => of_keyring(error),
            Self::Audit(_) => Code::AuditUnavailable,
            Self::Random(_) => Code::Internal,
        }
    }
}

fn of_emergency(error: EmergencyError) -> Code {
    match error {
        EmergencyError::Reason | EmergencyError::Minutes { .. } => Code::InvalidRequest,
        EmergencyError::UnderWay | EmergencyError::NotUnderWay => Code::Conflict,
        EmergencyError::TooMany => Code::Overloaded,
        EmergencyError::Pause { .. } => Code::RateLimited,
        EmergencyError::WrongPermit => Code::Internal,
    }
}

fn of_keyring(error: &KeyringError) -> Code {
    match error {
        KeyringError::NoSuchKey | KeyringError::NoSuchVersion | KeyringError::NoSuchApproval => {
            Code::KeyNotFound
        }
        KeyringError::Reserved => Code::InvalidRequest,
        KeyringError::SamePerson => Code::Forbidden,
        KeyringError::KeyExists => Code::KeyExists,
        KeyringError::VersionDisabled | KeyringError::NewestDisabled => Code::VersionDisabled,
        KeyringError::VersionDestroyed | KeyringError::NewestDestroyed => Code::VersionDestroyed,
        KeyringError::Conflict(_)
        | KeyringError::LimitTooSmall
        | KeyringError::VersionsExhausted => Code::Conflict,
        KeyringError::WrappedElsewhere { .. } => Code::RootUnavailable,
        KeyringError::Root(root) => match **root {
            RootError::Unavailable { .. }
            | RootError::Throttled { .. }
            | RootError::Denied { .. }
            | RootError::KeyGone { .. }
            | RootError::Unusable { .. }
            | RootError::Exposed { .. } => Code::RootUnavailable,
            _ => Code::Internal,
        },
        KeyringError::Store(store) => match **store {
            StoreError::Unavailable { .. } | StoreError::InUse { .. } => Code::StoreUnavailable,
            _ => Code::Internal,
        },
        KeyringError::NotRecorded(_) => Code::AuditUnavailable,
        KeyringError::Memory(_) => Code::Overloaded,
        _ => Code::Internal,
    }
}

impl From<OpenFailed> for Error {
    fn from(_: OpenFailed) -> Self {
        Self::DecryptionFailed
    }
}
