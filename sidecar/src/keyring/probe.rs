//! Asks at start whether the root opens what the store holds, so that a wrong root is found before a request.

use super::{Keyring, KeyringError};
use crate::error_chain::error_chain;
use crate::names::KeyRef;
use crate::root::RootError;
use crate::store::VersionState;

/// So many keys are tried: damaged rows among good ones must not keep the sidecar from starting.
const KEYS_TRIED: usize = 32;

impl Keyring {
    /// Unwraps the newest version of a few keys. An empty store is fine, and so is a root that cannot be reached:
    /// that is what the bounds are for.
    ///
    /// # Errors
    /// [`KeyringError::Root`] with [`RootError::Corrupt`], or [`KeyringError::NotWrapped`], if the root opens none
    /// of them; [`KeyringError::Store`] if the store cannot be read.
    pub async fn probe_root(&self) -> Result<(), KeyringError> {
        let mut refusal = None;
        for key in self.0.store.list_keys().await?.into_iter().take(KEYS_TRIED) {
            let Some(record) = key.version(key.primary) else { continue };
            if record.state == VersionState::Destroyed {
                continue;
            }
            let key_ref = KeyRef { id: key.id, version: key.primary };
            match self.0.unwrap_secret(key_ref, record).await {
                Ok(_secret) => return Ok(()),
                Err(error) if says_another_root(&error) => refusal = Some(error),
                Err(error) => {
                    tracing::warn!(
                        error = error_chain(&error),
                        "the root could not be tried at start"
                    );
                    return Ok(());
                }
            }
        }
        refusal.map_or(Ok(()), Err)
    }
}

/// Whether this is what the wrong root answers. One whose key is disabled or out of reach may be the right one.
fn says_another_root(error: &KeyringError) -> bool {
    match error {
        KeyringError::NotWrapped { .. } => true,
        KeyringError::Root(error) => matches!(**error, RootError::Corrupt { .. }),
        _ => false,
    }
}
