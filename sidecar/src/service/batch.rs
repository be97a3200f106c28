//! Many messages in one request: each item succeeds or fails by itself, in order.
//!
//! A batch is admitted whole: its items count against the caller's rate together. Against their keys' rates they
//! count one by one, but in an encryption, which has one key.

use super::{Error, Opened, Recorded, Sealed, Service};
use crate::audit::Attempt;
use crate::clock::Now;
use crate::envelope::{self, Context};
use crate::keyring::SealingKey;
use crate::limits::Amount;
use crate::names::KeyName;
use crate::policy::{Action, Permit};
use crate::secret::{OpenBuffer, SealBuffer};

/// One message to seal.
#[derive(Debug)]
pub struct EncryptItem {
    /// The plaintext.
    pub buffer: SealBuffer,
    /// The batch's context and the item's together.
    pub context: Context,
}

/// One message to open.
#[derive(Debug)]
pub struct DecryptItem {
    /// The ciphertext.
    pub buffer: OpenBuffer,
    /// The batch's context and the item's together.
    pub context: Context,
}

/// One message to rewrap.
#[derive(Debug)]
pub struct RewrapItem {
    /// The ciphertext.
    pub buffer: OpenBuffer,
    /// The batch's context and the item's together.
    pub context: Context,
    /// The context to seal under, where it changes.
    pub new_context: Option<Context>,
}

impl Service {
    /// Seals every item under one key. Items that arrive as errors keep their place.
    ///
    /// # Errors
    /// [`Error`] where it concerns the whole batch: its size, its key, or no item permitted.
    pub async fn encrypt_batch(
        &self,
        attempt: &mut Attempt,
        key: &KeyName,
        items: Vec<Result<EncryptItem, Error>>,
    ) -> Result<Recorded<Vec<Result<Sealed, Error>>>, Error> {
        let now = self.now();
        attempt.about_key(key);
        self.admit_batch(attempt, &items, |item| item.buffer.plaintext_len(), now)?;
        let split = |item: Result<EncryptItem, Error>| match item {
            Ok(EncryptItem { buffer, context }) => (context, Ok(buffer)),
            Err(error) => (Context::default(), Err(error)),
        };
        let (contexts, buffers): (Vec<_>, Vec<_>) = items.into_iter().map(split).unzip();
        let mut amount = Amount::default();
        let mut permitted = Vec::with_capacity(buffers.len());
        for (index, (context, buffer)) in contexts.iter().zip(buffers).enumerate() {
            attempt.on_item(index);
            permitted.push(buffer.and_then(|buffer| {
                attempt.about_message(buffer.plaintext_len(), context);
                let permit = self.permit(attempt, Action::Encrypt, key, Some(context), now)?;
                amount.requests += 1;
                amount.bytes += buffer.plaintext_len();
                Ok((permit, buffer))
            }));
        }
        attempt.on_the_whole();
        let sealed = match permitted.iter().flatten().next() {
            Some((permit, _)) => {
                self.limits.admit_key(key, amount, now.monotonic)?;
                let (messages, bytes) = (amount.requests as u64, amount.bytes as u64);
                let sealing = self.keyring.sealing_key(permit, messages, bytes, now).await?;
                seal_each(attempt, &sealing, permitted)
            }
            None if permitted.iter().any(|item| matches!(item, Err(Error::Forbidden))) => {
                return Err(Error::Forbidden);
            }
            None => {
                // Nothing was asked of policy yet: an empty batch, or one of broken items alone.
                self.permit(attempt, Action::Encrypt, key, None, now)?;
                let broken = permitted.into_iter().filter_map(Result::err).enumerate();
                let note = |(index, error)| {
                    attempt.on_item(index);
                    let came_to = Err(error);
                    note_outcome(attempt, &came_to);
                    came_to
                };
                broken.map(note).collect()
            }
        };
        Ok(Recorded::new(sealed, attempt.succeed().await?))
    }

    /// Opens every item.
    ///
    /// # Errors
    /// [`Error`] where it concerns the whole batch.
    pub async fn decrypt_batch(
        &self,
        attempt: &mut Attempt,
        items: Vec<Result<DecryptItem, Error>>,
    ) -> Result<Recorded<Vec<Result<Opened, Error>>>, Error> {
        let now = self.now();
        self.admit_batch(attempt, &items, |item| item.buffer.as_bytes().len(), now)?;
        let mut opened = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            attempt.on_item(index);
            let came_to = match item {
                Ok(DecryptItem { buffer, context }) => {
                    attempt.about_message(buffer.as_bytes().len(), &context);
                    self.open(attempt, Action::Decrypt, &context, buffer, now).await
                }
                Err(error) => Err(error),
            };
            note_outcome(attempt, &came_to);
            opened.push(came_to);
        }
        Ok(Recorded::new(opened, attempt.succeed().await?))
    }

    /// Rewraps every item.
    ///
    /// # Errors
    /// [`Error`] where it concerns the whole batch.
    pub async fn rewrap_batch(
        &self,
        attempt: &mut Attempt,
        items: Vec<Result<RewrapItem, Error>>,
    ) -> Result<Recorded<Vec<Result<Sealed, Error>>>, Error> {
        let now = self.now();
        self.admit_batch(attempt, &items, |item| item.buffer.as_bytes().len(), now)?;
        let mut sealed = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            attempt.on_item(index);
            let came_to = match item {
                Ok(RewrapItem { buffer, context, new_context }) => {
                    attempt.about_message(buffer.as_bytes().len(), &context);
                    self.reseal(attempt, &context, new_context.as_ref(), buffer, now).await
                }
                Err(error) => Err(error),
            };
            note_outcome(attempt, &came_to);
            sealed.push(came_to);
        }
        Ok(Recorded::new(sealed, attempt.succeed().await?))
    }

    fn admit_batch<T>(
        &self,
        attempt: &mut Attempt,
        items: &[Result<T, Error>],
        bytes_of: impl Fn(&T) -> usize,
        now: Now,
    ) -> Result<(), Error> {
        self.limits.check_batch(items.len())?;
        let bytes = items.iter().flatten().map(bytes_of).sum();
        attempt.about_bytes(bytes);
        // One of them was counted at the door.
        let amount = Amount { requests: items.len().saturating_sub(1), bytes };
        Ok(self.limits.admit(attempt.caller().name(), amount, now.monotonic)?)
    }
}

/// Seals what was permitted, each item with its own permit.
fn seal_each(
    attempt: &mut Attempt,
    sealing: &SealingKey,
    permitted: Vec<Result<(Permit<'_>, SealBuffer), Error>>,
) -> Vec<Result<Sealed, Error>> {
    let seal = |(permit, buffer): (Permit<'_>, SealBuffer)| {
        let (data_key, context) = sealing.for_message(&permit)?;
        Ok(Sealed::by(sealing, envelope::seal(data_key, context, buffer)?))
    };
    let mut sealed = Vec::with_capacity(permitted.len());
    for (index, item) in permitted.into_iter().enumerate() {
        attempt.on_item(index);
        let came_to = item.and_then(seal).inspect(|sealed| sealed.note(attempt));
        note_outcome(attempt, &came_to);
        sealed.push(came_to);
    }
    sealed
}

/// Has the attempt know what the item that is spoken of came to.
fn note_outcome<T>(attempt: &mut Attempt, came_to: &Result<T, Error>) {
    attempt.item_came_to(came_to.as_ref().err().map(|error| error.code().as_str()));
}
