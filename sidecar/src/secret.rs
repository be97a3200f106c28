//! Holds what must not leak: key bytes in protected memory, plaintext in buffers that wipe themselves.
//!
//! Depends on [`crate::names`] alone. Nothing here is `Clone`, `Copy`, `PartialEq` or serialisable; `Debug`
//! shows the type and a length; bytes come out only through a function named `expose_*`, so that a search for
//! that word finds every use. Keys live in an [`Arena`] slot from the moment they exist; a [`MessageKey`] lives
//! for one message, on the stack, and is wiped.

mod arena;
mod base64;
mod buffer;
mod stack;
mod wiped;

pub use self::base64::{STANDARD, URL_SAFE_NO_PAD};
pub use arena::{Arena, ArenaError, Protection};
pub use buffer::{Ciphertext, OpenBuffer, Plaintext, SealBuffer};
pub(crate) use stack::wiping_the_stack;
pub use wiped::WipedBytes;

use std::fmt;

use subtle::ConstantTimeEq;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::names::KeyRef;

/// Bytes of every key in the hierarchy (KEYS.md): 32, for AES-256 and HKDF-SHA-256.
pub const KEY_BYTES: usize = 32;

/// Why a secret could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FillError<E> {
    /// There is no protected memory left for it.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// Whoever should have filled it failed; the slot is wiped.
    #[error(transparent)]
    Fill(E),
}

macro_rules! key_in_arena {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(arena::Slot);

        impl $name {
            /// Takes a slot of `arena` and lets `fill` write the 32 bytes in place.
            ///
            /// # Errors
            /// [`FillError::Arena`] when no protected memory is left, [`FillError::Fill`] with the error of
            /// `fill`; the slot is wiped in both cases.
            pub fn fill<E>(
                arena: &Arena,
                fill: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), E>,
            ) -> Result<Self, FillError<E>> {
                let mut slot = arena.take()?;
                fill(slot.expose_bytes_mut()).map_err(FillError::Fill)?;
                Ok(Self(slot))
            }

            /// The 32 secret bytes, in place.
            #[must_use]
            pub fn expose_bytes(&self) -> &[u8; KEY_BYTES] {
                self.0.expose_bytes()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(32 bytes)"))
            }
        }
    };
}

impl KeyVersionSecret {
    /// Whether `other` holds the same bytes, in constant time.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        bool::from(self.expose_bytes().ct_eq(other.expose_bytes()))
    }
}

key_in_arena!(
    /// A root key held by this process: only the `local` root has one.
    RootKey
);
key_in_arena!(
    /// The seed of the Ed25519 key with which a `local` root signs.
    SigningSeed
);
key_in_arena!(
    /// The secret of one key version, as the root unwrapped it.
    KeyVersionSecret
);
key_in_arena!(
    /// The secret of one subject under one key (FORMAT.md, `subject_secret`).
    SubjectSecret
);
key_in_arena!(
    /// The key of the hashes in the audit log.
    AuditHashSecret
);
key_in_arena!(
    /// The bytes of a [`DataKey`], before they are bound to their key version.
    DataKeyBytes
);

/// A data key: `HKDF-Extract(key_id ‖ version ‖ subject_secret?, version_secret)` (FORMAT.md), with what it was
/// derived for, so that a header can never name another key than the one that sealed it.
#[derive(Debug)]
pub struct DataKey {
    bytes: DataKeyBytes,
    key: KeyRef,
    mixes_subject: bool,
}

impl DataKey {
    /// Binds derived bytes to what they were derived from. Only `envelope::derive` calls this.
    pub(crate) fn new(bytes: DataKeyBytes, key: KeyRef, mixes_subject: bool) -> Self {
        Self { bytes, key, mixes_subject }
    }

    /// The key version that this was derived from.
    #[must_use]
    pub fn key(&self) -> KeyRef {
        self.key
    }

    /// Whether a subject's secret took part: bit 0 of the header's flags.
    #[must_use]
    pub fn mixes_subject(&self) -> bool {
        self.mixes_subject
    }

    /// The 32 secret bytes, in place.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; KEY_BYTES] {
        self.bytes.expose_bytes()
    }
}

/// The key of one message (FORMAT.md, `okm[0..32]`): used once, then wiped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MessageKey([u8; KEY_BYTES]);

impl MessageKey {
    /// Lets `fill` write the 32 bytes in place.
    pub(crate) fn fill(fill: impl FnOnce(&mut [u8; KEY_BYTES])) -> Self {
        let mut key = Self([0; KEY_BYTES]);
        fill(&mut key.0);
        key
    }

    /// The 32 secret bytes, in place.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for MessageKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MessageKey(32 bytes)")
    }
}

/// A key version as a root wrapped it: useless without that root, so not secret.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey(Vec<u8>);

impl WrappedKey {
    /// These bytes, as a root or a store gave them.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The wrapped bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "WrappedKey({} bytes)", self.0.len())
    }
}
