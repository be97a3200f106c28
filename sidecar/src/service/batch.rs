//! Many messages in one request: each item succeeds or fails by itself, in order.
//!
//! A batch is admitted whole: its items count against the caller's rate together. Against their keys' rates they
//! count one by one, but in an encryption, which has one key.

use super::{Error, Opened, Sealed, Service};
use crate::clock::Now;
use crate::envelope::{self, Context};
use crate::limits::Amount;
use crate::names::KeyName;
use crate::policy::{Action, Caller, Permit};
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
        caller: &Caller,
        key: &KeyName,
        items: Vec<Result<EncryptItem, Error>>,
    ) -> Result<Vec<Result<Sealed, Error>>, Error> {
        let now = self.now();
        self.admit_batch(caller, &items, |item| item.buffer.plaintext_len(), now)?;
        let split = |item: Result<EncryptItem, Error>| match item {
            Ok(EncryptItem { buffer, context }) => (context, Ok(buffer)),
            Err(error) => (Context::default(), Err(error)),
        };
        let (contexts, buffers): (Vec<_>, Vec<_>) = items.into_iter().map(split).unzip();
        let mut amount = Amount::default();
        let mut permitted = Vec::with_capacity(buffers.len());
        for (context, buffer) in contexts.iter().zip(buffers) {
            permitted.push(buffer.and_then(|buffer| {
                let permit = self.permit(caller, Action::Encrypt, key, Some(context), now)?;
                amount.requests += 1;
                amount.bytes += buffer.plaintext_len();
                Ok((permit, buffer))
            }));
        }
        let Some((permit, _)) = permitted.iter().flatten().next() else {
            if permitted.iter().any(|item| matches!(item, Err(Error::Forbidden))) {
                return Err(Error::Forbidden);
            }
            // Nothing was asked of policy yet: an empty batch, or one of broken items alone.
            self.permit(caller, Action::Encrypt, key, None, now)?;
            return Ok(permitted.into_iter().filter_map(Result::err).map(Err).collect());
        };
        self.limits.admit_key(key, amount, now.monotonic)?;
        let (messages, bytes) = (amount.requests as u64, amount.bytes as u64);
        let sealing = self.keyring.sealing_key(permit, messages, bytes, now).await?;
        let seal = |(permit, buffer): (Permit<'_>, SealBuffer)| {
            let (data_key, context) = sealing.for_message(&permit)?;
            Ok(Sealed::by(&sealing, envelope::seal(data_key, context, buffer)?))
        };
        Ok(permitted.into_iter().map(|item| item.and_then(seal)).collect())
    }

    /// Opens every item.
    ///
    /// # Errors
    /// [`Error`] where it concerns the whole batch.
    pub async fn decrypt_batch(
        &self,
        caller: &Caller,
        items: Vec<Result<DecryptItem, Error>>,
    ) -> Result<Vec<Result<Opened, Error>>, Error> {
        let now = self.now();
        self.admit_batch(caller, &items, |item| item.buffer.as_bytes().len(), now)?;
        let mut opened = Vec::with_capacity(items.len());
        for item in items {
            opened.push(match item {
                Ok(item) => {
                    self.open(caller, Action::Decrypt, &item.context, item.buffer, now).await
                }
                Err(error) => Err(error),
            });
        }
        Ok(opened)
    }

    /// Rewraps every item.
    ///
    /// # Errors
    /// [`Error`] where it concerns the whole batch.
    pub async fn rewrap_batch(
        &self,
        caller: &Caller,
        items: Vec<Result<RewrapItem, Error>>,
    ) -> Result<Vec<Result<Sealed, Error>>, Error> {
        let now = self.now();
        self.admit_batch(caller, &items, |item| item.buffer.as_bytes().len(), now)?;
        let mut sealed = Vec::with_capacity(items.len());
        for item in items {
            sealed.push(match item {
                Ok(RewrapItem { buffer, context, new_context }) => {
                    self.reseal(caller, &context, new_context.as_ref(), buffer, now).await
                }
                Err(error) => Err(error),
            });
        }
        Ok(sealed)
    }

    fn admit_batch<T>(
        &self,
        caller: &Caller,
        items: &[Result<T, Error>],
        bytes_of: impl Fn(&T) -> usize,
        now: Now,
    ) -> Result<(), Error> {
        self.limits.check_batch(items.len())?;
        let bytes = items.iter().flatten().map(bytes_of).sum();
        // One of them was counted at the door.
        let amount = Amount { requests: items.len().saturating_sub(1), bytes };
        Ok(self.limits.admit(caller.name(), amount, now.monotonic)?)
    }
}
