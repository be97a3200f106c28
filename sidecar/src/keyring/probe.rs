//! Asks at start whether the roots open what the store holds, so that a wrong root, a missing grant or an outage is found
//! before a request.

use super::{Keyring, KeyringError};
use crate::names::{KeyName, KeyRef};
use crate::root::{RootDescription, RootError};
use crate::store::VersionState;

/// So many keys are tried: damaged rows among good ones must not keep the sidecar from starting.
const KEYS_TRIED: usize = 32;

/// What the roots and the store have to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// They open a key of it.
    Opens,
    /// It holds none.
    Empty,
}

impl Keyring {
    /// Unwraps the newest version of a few keys, those named `first` before others, until one opens.
    ///
    /// # Errors
    /// Why none of them opened: [`KeyringError::Root`] with [`RootError::Corrupt`], [`KeyringError::NotWrapped`] or
    /// [`KeyringError::WrappedElsewhere`] if other roots wrapped them; [`KeyringError::Root`] with another cause if a
    /// root is away or refuses; [`KeyringError::Store`] if the store cannot be read.
    pub async fn probe_root(&self, first: &[KeyName]) -> Result<Probed, KeyringError> {
        let mut refusal = None;
        let mut keys = self.0.store.list_keys().await?;
        keys.sort_by_key(|key| !first.contains(&key.name));
        for key in keys.into_iter().take(KEYS_TRIED) {
            let Some(record) = key.version(key.primary) else { continue };
            if record.state == VersionState::Destroyed {
                continue;
            }
            let key_ref = KeyRef { id: key.id, version: key.primary };
            match self.0.unwrap_secret(key_ref, record).await {
                Ok(_secret) => return Ok(Probed::Opens),
                // A grant may be for some keys and not for others.
                Err(error) if error.ends_the_key() => refusal = refusal.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        refusal.map_or(Ok(Probed::Empty), Err)
    }

    /// Asks each root whether this process can use it: what an operator should know of it, or why not. A process that
    /// only ever decrypts may do without the grant to wrap.
    pub async fn check_roots(&self) -> Vec<(RootDescription, Result<Vec<String>, RootError>)> {
        self.0.roots.check(&self.0.settings.domain).await
    }
}

impl KeyringError {
    /// Whether this is what the wrong root answers. One whose key is disabled or out of reach may be the right one.
    #[must_use]
    pub fn says_another_root(&self) -> bool {
        match self {
            Self::NotWrapped | Self::WrappedElsewhere { .. } => true,
            Self::Root(error) => matches!(**error, RootError::Corrupt { .. }),
            _ => false,
        }
    }
}
