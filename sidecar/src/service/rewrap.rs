//! Moves one message to the newest version of its key, and to a new context if asked.
//!
//! The plaintext exists between two buffers of this process and goes to nobody.

use super::{Error, Recorded, Sealed, Service};
use crate::audit::Attempt;
use crate::clock::Now;
use crate::envelope::{self, Context};
use crate::limits::Amount;
use crate::policy::Action;
use crate::secret::{OpenBuffer, SealBuffer};

impl Service {
    /// Opens what `buffer` holds under `context` and seals it under the newest version and `new_context`, or
    /// `context` again.
    ///
    /// # Errors
    /// [`Error`]; the buffer is wiped.
    pub async fn rewrap(
        &self,
        attempt: &mut Attempt,
        context: &Context,
        new_context: Option<&Context>,
        buffer: OpenBuffer,
    ) -> Result<Recorded<Sealed>, Error> {
        let (bytes, now) = (buffer.as_bytes().len(), self.now());
        attempt.about_message(bytes, context);
        self.limits.admit(attempt.caller().name(), Amount::bytes(bytes), now.monotonic)?;
        let sealed = self.reseal(attempt, context, new_context, buffer, now).await?;
        Ok(Recorded::new(sealed, attempt.succeed().await?))
    }

    /// Rewraps an admitted message.
    pub(super) async fn reseal(
        &self,
        attempt: &mut Attempt,
        context: &Context,
        new_context: Option<&Context>,
        buffer: OpenBuffer,
        now: Now,
    ) -> Result<Sealed, Error> {
        if let Some(new_context) = new_context {
            attempt.about_new_context(new_context);
        }
        let opened = self.open(attempt, Action::Rewrap, context, buffer, now).await?;
        let context = new_context.unwrap_or(context);
        let permit = self.permit(attempt, Action::Rewrap, &opened.key, Some(context), now)?;
        let bytes = opened.plaintext.len() as u64;
        let sealing = self.keyring.sealing_key(&permit, 1, bytes, now).await?;
        let buffer = SealBuffer::copied_from(opened.plaintext.expose_bytes());
        drop(opened);
        let (data_key, context) = sealing.for_message(&permit)?;
        let sealed = Sealed::by(&sealing, envelope::seal(data_key, context, buffer)?);
        attempt.was_rewrapped();
        sealed.note(attempt);
        Ok(sealed)
    }
}
