//! Wraps and unwraps key versions under a root key that stays where it is.
//!
//! Depends on [`crate::secret`] and [`crate::names`]. A root sees a key version's secret and its binding, never
//! a plaintext, a context or a caller. One conformance suite (`root/conformance.rs`) runs over every root.

pub mod local;

#[cfg(test)]
pub(crate) mod conformance;

use std::fmt;

use async_trait::async_trait;

use crate::names::{KeyRef, RootName};
use crate::secret::{ArenaError, KeyVersionSecret, WrappedKey};

/// What a wrapped key version is bound to: unwrapping under any other binding fails, so that a row moved or
/// altered in the store is useless. It holds no personal data: AWS KMS writes it to CloudTrail in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The key and the version.
    pub key: KeyRef,
    /// The domain of this installation (`root.domain`), which keeps two installations on one root apart.
    pub domain: &'a str,
}

impl Binding<'_> {
    /// One unambiguous spelling of the binding, for use as associated data:
    /// `keypod/v1/wrap ‖ key_id(8) ‖ version(4) ‖ domain`, integers big-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = b"keypod/v1/wrap".to_vec();
        bytes.extend_from_slice(self.key.id.as_bytes());
        bytes.extend_from_slice(&self.key.version.number().to_be_bytes());
        bytes.extend_from_slice(self.domain.as_bytes());
        bytes
    }
}

/// What a root says of itself, for the log and `/v1/status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootDescription {
    /// The name under which wrapped versions are stored.
    pub name: RootName,
    /// `local`, later `aws_kms`, `vault`.
    pub kind: &'static str,
    /// What tells this root key from another of the same name, where the root can say: eight hexadecimal digits
    /// for `local`. To be kept beside the rows, so that a sidecar started with the wrong root key says so.
    pub fingerprint: Option<String>,
    /// What an operator should know; for the local root, that it is for one machine.
    pub note: Option<&'static str>,
}

/// Why a root did not wrap or unwrap. The first two pass by themselves; the others end the use of the key at
/// once (KEYS.md, outage contract).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// It could not be reached, or did not answer in time.
    #[error("the root {root} cannot be reached: {reason}")]
    Unavailable {
        /// Which root.
        root: RootName,
        /// What went wrong, in words for an operator.
        reason: String,
    },
    /// It asks for fewer calls.
    #[error("the root {root} asks for fewer calls")]
    Throttled {
        /// Which root.
        root: RootName,
    },
    /// It refuses this process.
    #[error("the root {root} refuses access: check the grant or credentials of this sidecar")]
    Denied {
        /// Which root.
        root: RootName,
    },
    /// Its key is disabled, deleted or not there.
    #[error("the root key of {root} is disabled or gone")]
    KeyGone {
        /// Which root.
        root: RootName,
    },
    /// The wrapped bytes do not belong to this root, key version or domain, or were altered.
    #[error(
        "a wrapped key version does not unwrap under {root}: the row was altered or moved, or another root key wrapped it"
    )]
    Corrupt {
        /// Which root.
        root: RootName,
    },
    /// There is no protected memory left for the unwrapped secret.
    #[error(transparent)]
    Memory(#[from] ArenaError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// A root key, wherever it is.
#[async_trait]
pub trait Root: Send + Sync + fmt::Debug {
    /// Wraps `secret` so that only this root, under an equal binding, gives it back.
    async fn wrap(
        &self,
        secret: &KeyVersionSecret,
        binding: Binding<'_>,
    ) -> Result<WrappedKey, RootError>;

    /// The secret that [`Root::wrap`] was given, in protected memory.
    async fn unwrap_key(
        &self,
        wrapped: &WrappedKey,
        binding: Binding<'_>,
    ) -> Result<KeyVersionSecret, RootError>;

    /// What this root is.
    fn describe(&self) -> RootDescription;
}
