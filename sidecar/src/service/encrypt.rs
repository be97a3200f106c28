//! Encrypts one message.

use super::{Error, Recorded, Service};
use crate::audit::Attempt;
use crate::envelope::{self, Context};
use crate::keyring::SealingKey;
use crate::limits::Amount;
use crate::names::{KeyName, KeyVersion};
use crate::policy::Action;
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

    /// Has the attempt know which ciphertext it made.
    pub(super) fn note(&self, attempt: &mut Attempt) {
        attempt.about_version(self.version);
        attempt.about_ciphertext(self.ciphertext.as_bytes());
    }
}

impl Service {
    /// Seals what `buffer` holds under the newest version of `key`, bound to `context`.
    ///
    /// # Errors
    /// [`Error`]; the buffer is wiped.
    pub async fn encrypt(
        &self,
        attempt: &mut Attempt,
        key: &KeyName,
        context: &Context,
        buffer: SealBuffer,
    ) -> Result<Recorded<Sealed>, Error> {
        let (bytes, now) = (buffer.plaintext_len(), self.now());
        attempt.about_message(bytes, context);
        self.limits.admit(attempt.caller().name(), Amount::bytes(bytes), now.monotonic)?;
        let permit = self.permit(attempt, Action::Encrypt, key, Some(context), now)?;
        self.limits.admit_key(key, Amount::one(bytes), now.monotonic)?;
        let sealing = self.keyring.sealing_key(&permit, 1, bytes as u64, now).await?;
        let (data_key, context) = sealing.for_message(&permit)?;
        let sealed = Sealed::by(&sealing, envelope::seal(data_key, context, buffer)?);
        sealed.note(attempt);
        Ok(Recorded::new(sealed, attempt.succeed().await?))
    }
}
