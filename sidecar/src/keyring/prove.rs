//! Proves at start that this root opens this store: a sidecar with another root key, or another `root.domain`,
//! says so then, and not at each request.

use super::{Keyring, KeyringError};
use crate::names::KeyRef;
use crate::root::RootError;
use crate::store::VersionState;

/// Versions that are tried before the root is taken to be another: one altered row proves nothing.
const TRIES_MAX: usize = 32;

impl Keyring {
    /// Unwraps the newest version of one key, of the next where that fails, and so on.
    ///
    /// # Errors
    /// [`KeyringError::ForeignRoot`] if there are keys and none that was tried unwraps;
    /// [`KeyringError::Store`] if they cannot be listed. A root that cannot be reached proves nothing and is no
    /// error here.
    pub async fn prove_root(&self) -> Result<(), KeyringError> {
        let keys = self.list().await?;
        let newest = keys.iter().filter_map(|key| {
            let version = key.version(key.primary)?;
            let key_ref = KeyRef { id: key.id, version: version.version };
            (version.state != VersionState::Destroyed).then_some((key_ref, version))
        });
        let mut tried = false;
        for (key_ref, version) in newest.take(TRIES_MAX) {
            match self.0.unwrap_secret(key_ref, version).await {
                Err(KeyringError::NotWrapped { .. }) => tried = true,
                Err(KeyringError::Root(error)) if matches!(*error, RootError::Corrupt { .. }) => {
                    tried = true;
                }
                // Opened, or there is another cause than which root it is: whoever needs the key is told.
                _ => return Ok(()),
            }
        }
        if tried { Err(KeyringError::ForeignRoot) } else { Ok(()) }
    }
}
