//! Wraps and unwraps key versions under a root key that stays where it is.
//!
//! Depends on [`crate::secret`] and [`crate::names`]. A root sees a key version's secret and its binding, never
//! a plaintext, a context or a caller. One conformance suite (`root/conformance.rs`) runs over every root. A root may
//! also sign, with another key of its own: that is an [`authority`].

pub mod authority;
pub mod aws_kms;
pub mod local;
pub mod retrying;
pub mod vault;

#[cfg(test)]
pub(crate) mod conformance;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use crate::names::{KeyId, KeyRef, KeyVersion, RootName};
use crate::secret::{Arena, ArenaError, FillError, KeyVersionSecret, WrappedKey};

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
    /// `local`, `aws_kms` or `vault`.
    pub kind: &'static str,
    /// Where its key is, in words for an operator: a file, a key in a region, a key of a mount at an address.
    pub place: String,
    /// What tells this root key from another of the same name, where the root can say: eight hexadecimal digits
    /// for `local`.
    pub fingerprint: Option<String>,
    /// What an operator should know; for the local root, that it is for one machine.
    pub note: Option<&'static str>,
}

/// Why a root did not wrap or unwrap. The first two pass by themselves; the others end the use of the key at
/// once (KEYS.md, outage contract).
///
/// A `reason` is in words for an operator: what the root said and what to do next. It never holds a credential, a
/// token, or bytes of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// It could not be reached, or did not answer in time, or this process has no valid credentials for now.
    #[error("the root {root} cannot be reached: {reason}")]
    Unavailable {
        /// Which root.
        root: RootName,
        /// What went wrong and what to do.
        reason: String,
        /// When to ask again, where that is known.
        retry_after: Option<Duration>,
    },
    /// It asks for fewer calls.
    #[error("the root {root} asks for fewer calls")]
    Throttled {
        /// Which root.
        root: RootName,
        /// When to ask again, where that is known.
        retry_after: Option<Duration>,
    },
    /// It refuses this process.
    #[error("the root {root} refuses access: {reason}")]
    Denied {
        /// Which root.
        root: RootName,
        /// What it said and what to do.
        reason: String,
    },
    /// Its key is disabled, deleted or not there.
    #[error("the root key of {root} is disabled or gone: {reason}")]
    KeyGone {
        /// Which root.
        root: RootName,
        /// What it said and what to do.
        reason: String,
    },
    /// It is there, and not set up so that it could keep keys.
    #[error("the root {root} is not set up for Keypod: {reason}")]
    Unusable {
        /// Which root.
        root: RootName,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// Its key can leave it: then it is not a root, and nothing new may be wrapped under it.
    #[error("the root {root} does not keep its key: {reason}")]
    Exposed {
        /// Which root.
        root: RootName,
        /// How it can leave and what to do.
        reason: String,
    },
    /// The wrapped bytes do not belong to this root, key version or domain, or were altered.
    #[error(
        "a wrapped key version does not unwrap under {root}: the row was altered or moved, or another root key wrapped it"
    )]
    Corrupt {
        /// Which root.
        root: RootName,
    },
    /// It gave a signature that its own public key does not verify, so something between is not the root.
    #[error(
        "the root {root} gave a signature that does not verify: look at what stands between, and whether its audit key was changed this moment"
    )]
    WrongSignature {
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

impl RootError {
    /// Whether this may pass by itself: a root that is away, or asks for fewer calls.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Throttled { .. })
    }

    /// When to ask again, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } | Self::Throttled { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }
}

/// From filling a secret in place: no room for it, or why there is nothing to fill it with.
impl From<FillError<RootError>> for RootError {
    fn from(error: FillError<RootError>) -> Self {
        match error {
            FillError::Arena(error) => Self::Memory(error),
            FillError::Fill(error) => error,
        }
    }
}

/// Whether `host`, of an address, is this machine itself: there, secrets need no TLS.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
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

    /// Whether this process can wrap and unwrap with this root now. Asks it, with a secret made for the purpose
    /// ([`prove`]) under `domain`, which a grant may ask for, and looks at how its key is set up where it may.
    ///
    /// Returns what an operator should know although it works, a sentence each.
    async fn check(&self, domain: &str) -> Result<Vec<String>, RootError>;

    /// What this root is.
    fn describe(&self) -> RootDescription;
}

/// Has `root` wrap a random secret and give it back: what every [`Root::check`] does at least. Its binding is of no
/// key: the first version of a key whose id is all zero is never made.
///
/// # Errors
/// [`RootError`]: why it did not; [`RootError::Corrupt`] if it gave back other bytes.
pub async fn prove(root: &dyn Root, domain: &str, arena: &Arena) -> Result<(), RootError> {
    let filled = KeyVersionSecret::fill(arena, |bytes| getrandom::fill(bytes));
    let secret = filled.map_err(|error| match error {
        FillError::Arena(error) => error.into(),
        FillError::Fill(_) => RootError::Random,
    })?;
    let key = KeyRef { id: KeyId::from_bytes([0; 8]), version: KeyVersion::FIRST };
    let binding = Binding { key, domain };
    let wrapped = root.wrap(&secret, binding).await?;
    let given_back = root.unwrap_key(&wrapped, binding).await?;
    match given_back.is_same_as(&secret) {
        true => Ok(()),
        false => Err(RootError::Corrupt { root: root.describe().name }),
    }
}
