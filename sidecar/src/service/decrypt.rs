//! Decrypts one message.

use super::{Error, Recorded, Service};
use crate::audit::Attempt;
use crate::clock::Now;
use crate::envelope::{self, Context, Header};
use crate::limits::Amount;
use crate::names::{KeyName, KeyVersion};
use crate::policy::Action;
use crate::secret::{OpenBuffer, Plaintext};

/// An opened message and the key version that opened it.
#[derive(Debug)]
pub struct Opened {
    /// The authentic plaintext.
    pub plaintext: Plaintext,
    /// The key.
    pub key: KeyName,
    /// The version.
    pub version: KeyVersion,
    /// Whether a newer version would seal it today.
    pub rewrap_recommended: bool,
}

impl Service {
    /// Opens what `buffer` holds, which was sealed under `context`.
    ///
    /// # Errors
    /// [`Error`]; the buffer is wiped.
    pub async fn decrypt(
        &self,
        attempt: &mut Attempt,
        context: &Context,
        buffer: OpenBuffer,
    ) -> Result<Recorded<Opened>, Error> {
        let (bytes, now) = (buffer.as_bytes().len(), self.now());
        attempt.about_message(bytes, context);
        self.limits.admit(attempt.caller().name(), Amount::bytes(bytes), now.monotonic)?;
        let opened = self.open(attempt, Action::Decrypt, context, buffer, now).await?;
        Ok(Recorded::new(opened, attempt.succeed().await?))
    }

    /// Opens an admitted message for `action`.
    pub(super) async fn open(
        &self,
        attempt: &mut Attempt,
        action: Action,
        context: &Context,
        buffer: OpenBuffer,
        now: Now,
    ) -> Result<Opened, Error> {
        let header = Header::parse(buffer.as_bytes())?;
        attempt.about_ciphertext(buffer.as_bytes());
        let amount = Amount::one(buffer.as_bytes().len());
        let (opening, permit) =
            self.opening_key(attempt, action, context, &header, amount, now).await?;
        let (data_key, context) = opening.for_message(&permit)?;
        let plaintext = envelope::open(data_key, context, &header, buffer)?;
        Ok(Opened {
            plaintext,
            key: opening.name().clone(),
            version: opening.version(),
            rewrap_recommended: opening.rewrap_recommended(),
        })
    }
}
