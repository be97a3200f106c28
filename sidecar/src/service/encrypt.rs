//! Encrypts one message.

use super::{Error, Service};
use crate::envelope::{self, Context};
use crate::keyring::SealingKey;
use crate::limits::Amount;
use crate::names::{KeyName, KeyVersion};
use crate::policy::{Action, Caller};
use crate::secret::{Ciphertext, SealBuffer};

/// A sealed message and the key version that sealed it.
#[derive(Debug)]
pub struct Sealed {
    /// The binary form.
    pub ciphertext: Ciphertext,
    /// The key.
    pub key: KeyName,
    /// The version.
    pub version: KeyVersion,
}

impl Sealed {
    pub(super) fn by(key: &SealingKey, ciphertext: Ciphertext) -> Self {
        Self { ciphertext, key: key.name().clone(), version: key.version() }
    }
}

impl Service {
    /// Seals what `buffer` holds under the newest version of `key`, bound to `context`.
    ///
    /// # Errors
    /// [`Error`]; the buffer is wiped.
    pub async fn encrypt(
        &self,
        caller: &Caller,
        key: &KeyName,
        context: &Context,
        buffer: SealBuffer,
    ) -> Result<Sealed, Error> {
        let (bytes, now) = (buffer.plaintext_len(), self.now());
        self.limits.admit(caller.name(), Amount::bytes(bytes), now.monotonic)?;
        let permit = self.permit(caller, Action::Encrypt, key, Some(context), now)?;
        self.limits.admit_key(key, Amount::one(bytes), now.monotonic)?;
        let sealing = self.keyring.sealing_key(&permit, 1, bytes as u64, now).await?;
        let (data_key, context) = sealing.for_message(&permit)?;
        let ciphertext = envelope::seal(data_key, context, buffer)?;
        Ok(Sealed::by(&sealing, ciphertext))
    }
}
