//! Moves one message to the newest version of its key, and to a new context if asked.
//!
//! The plaintext exists between two buffers of this process and goes to nobody.

use super::{Error, Sealed, Service};
use crate::clock::Now;
use crate::envelope::{self, Context};
use crate::limits::Amount;
use crate::policy::{Action, Caller};
use crate::secret::{OpenBuffer, SealBuffer};

impl Service {
    /// Opens what `buffer` holds under `context` and seals it under the newest version and `new_context`, or
    /// `context` again.
    ///
    /// # Errors
    /// [`Error`]; the buffer is wiped.
    pub async fn rewrap(
        &self,
        caller: &Caller,
        context: &Context,
        new_context: Option<&Context>,
        buffer: OpenBuffer,
    ) -> Result<Sealed, Error> {
        let (bytes, now) = (buffer.as_bytes().len(), self.now());
        self.limits.admit(caller.name(), Amount::bytes(bytes), now.monotonic)?;
        self.reseal(caller, context, new_context, buffer, now).await
    }

    /// Rewraps an admitted message.
    pub(super) async fn reseal(
        &self,
        caller: &Caller,
        context: &Context,
        new_context: Option<&Context>,
        buffer: OpenBuffer,
        now: Now,
    ) -> Result<Sealed, Error> {
        let opened = self.open(caller, Action::Rewrap, context, buffer, now).await?;
        let context = new_context.unwrap_or(context);
        let permit = self.permit(caller, Action::Rewrap, &opened.key, Some(context), now)?;
        let bytes = opened.plaintext.len() as u64;
        let sealing = self.keyring.sealing_key(&permit, 1, bytes, now).await?;
        let buffer = SealBuffer::copied_from(opened.plaintext.expose_bytes());
        drop(opened);
        let (data_key, context) = sealing.for_message(&permit)?;
        let ciphertext = envelope::seal(data_key, context, buffer)?;
        Ok(Sealed::by(&sealing, ciphertext))
    }
}
