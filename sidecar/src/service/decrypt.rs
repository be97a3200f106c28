//! Decrypts one message.

use super::{Error, Service};
use crate::clock::Now;
use crate::envelope::{self, Context, Header};
use crate::limits::Amount;
use crate::names::{KeyName, KeyVersion};
use crate::policy::{Action, Caller};
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
        caller: &Caller,
        context: &Context,
        buffer: OpenBuffer,
    ) -> Result<Opened, Error> {
        let (bytes, now) = (buffer.as_bytes().len(), self.now());
        self.limits.admit(caller.name(), Amount::bytes(bytes), now.monotonic)?;
        self.open(caller, Action::Decrypt, context, buffer, now).await
    }

    /// Opens an admitted message for `action`.
    pub(super) async fn open(
        &self,
        caller: &Caller,
        action: Action,
        context: &Context,
        buffer: OpenBuffer,
        now: Now,
    ) -> Result<Opened, Error> {
        let header = Header::parse(buffer.as_bytes())?;
        let amount = Amount::one(buffer.as_bytes().len());
        let (opening, permit) =
            self.opening_key(caller, action, context, &header, amount, now).await?;
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
