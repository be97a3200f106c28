//! Why the keyring did not do it. Cheap to clone: all who wait for one flight get the same error.

use std::sync::Arc;

use crate::audit::AppendError;
use crate::root::RootError;
use crate::secret::ArenaError;
use crate::store::StoreError;

/// Why the keyring did not do it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// There is no key of that name or id.
    #[error("there is no such key")]
    NoSuchKey,
    /// The key has no such version.
    #[error("the key has no such version")]
    NoSuchVersion,
    /// There is no such approval, or it has expired.
    #[error("there is no such approval, or it has expired")]
    NoSuchApproval,
    /// Who asked for a destruction cannot approve it.
    #[error("who asked for a destruction cannot approve it: a second person must")]
    SamePerson,
    /// There is a key of that name already.
    #[error("there is a key of that name already")]
    KeyExists,
    /// The name is one of Keypod's own.
    #[error("names that begin with keypod. are reserved")]
    Reserved,
    /// The version's state does not allow this use.
    #[error("the state of this key version does not allow this")]
    VersionDisabled,
    /// The version is destroyed for good.
    #[error("this key version is destroyed")]
    VersionDestroyed,
    /// A key is to be rotated whose newest version is disabled.
    #[error("the newest version of this key is disabled, so that the key encrypts nothing")]
    NewestDisabled,
    /// A key is to be rotated whose newest version is destroyed.
    #[error("the newest version of this key is destroyed, so that the key encrypts nothing")]
    NewestDestroyed,
    /// Somebody else changed the key at the same time, or its state does not allow the change.
    #[error("{0}")]
    Conflict(&'static str),
    /// One request is larger than what a whole version of this key may seal.
    #[error("the request is larger than what one version of this key may seal")]
    LimitTooSmall,
    /// The key has used all 4,294,967,295 versions.
    #[error("the key has used all its version numbers")]
    VersionsExhausted,
    /// The permit is for another key or action, or needs an approval that nobody gave: a defect of the caller of this
    /// module.
    #[error("a permit was used for something else than it was made for")]
    WrongPermit,
    /// The root did not wrap or unwrap.
    #[error("the root did not wrap or unwrap a key version")]
    Root(#[source] Arc<RootError>),
    /// The version's row has no wrapping at all: it was altered.
    #[error("a key version has no wrapping: its row was altered or moved")]
    NotWrapped,
    /// Other roots have wrapped the version, and none of this sidecar's has.
    #[error(
        "a key version has no wrapping under {roots}: another root wrapped it, or its row was altered"
    )]
    WrappedElsewhere {
        /// The roots of this sidecar.
        roots: String,
    },
    /// The store did not read or write.
    #[error("the key store did not read or write")]
    Store(#[source] Arc<StoreError>),
    /// There is no protected memory left.
    #[error(transparent)]
    Memory(Arc<ArenaError>),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// What the root gave back is not what it was given: nothing was stored.
    #[error("the root does not give back what it was given: the new version was not stored")]
    RootLies,
    /// What nobody asked for could not be recorded, and so was not begun.
    #[error("a change of a key cannot be recorded, and was not begun")]
    NotRecorded(#[source] AppendError),
    /// A background task ended in a panic.
    #[error("a task of the keyring ended in a panic")]
    Panicked,
}

impl From<RootError> for KeyringError {
    fn from(error: RootError) -> Self {
        Self::Root(Arc::new(error))
    }
}

impl From<StoreError> for KeyringError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<ArenaError> for KeyringError {
    fn from(error: ArenaError) -> Self {
        Self::Memory(Arc::new(error))
    }
}

impl KeyringError {
    /// Whether this may pass by itself: a root that is away or asks for fewer calls.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Root(error) if error.may_pass())
    }

    /// Whether a cached key must not outlive this answer of the root (KEYS.md, outage contract): denied, gone
    /// and corrupt end at once; unavailable and throttled are served through within the bound.
    pub(super) fn ends_the_key(&self) -> bool {
        match self {
            Self::Root(error) => matches!(
                **error,
                RootError::Denied { .. }
                    | RootError::KeyGone { .. }
                    | RootError::Unusable { .. }
                    | RootError::Exposed { .. }
                    | RootError::Corrupt { .. }
            ),
            Self::NotWrapped | Self::WrappedElsewhere { .. } => true,
            _ => false,
        }
    }
}
