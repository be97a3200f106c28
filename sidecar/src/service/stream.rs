//! Messages of any length, segment by segment, in constant memory.
//!
//! Each `begin_*` does all that can fail before the first byte of an answer: limits, policy, the key, for an opening
//! the commitment, and an entry in the audit log that it begins. After that a failure can only break the answer off.
//! Whoever answers has the attempt, and has it end before the last bytes leave.

use std::sync::Arc;

use super::{Error, Recorded, Service};
use crate::audit::Attempt;
use crate::clock::Clock;
use crate::envelope::{
    Context, HEADER_BYTES, Header, LastSegment, SealSegment, SegmentOpener, SegmentSealer,
};
use crate::keyring::{Keyring, OpeningKey, SealingKey};
use crate::limits::{Amount, Pace};
use crate::names::KeyName;
use crate::policy::Action;
use crate::secret::{OpenBuffer, Plaintext};

/// A message that is being sealed.
#[derive(Debug)]
pub struct SealingStream {
    key: SealingKey,
    sealer: SegmentSealer,
    pace: Pace,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
}

/// A message that is being opened.
#[derive(Debug)]
pub struct OpeningStream {
    key: OpeningKey,
    opener: SegmentOpener,
    pace: Pace,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
}

/// A message that is being moved to the newest version.
#[derive(Debug)]
pub struct RewrappingStream {
    opening: OpeningStream,
    sealing: SealingStream,
}

impl Service {
    /// Begins to seal a message of unknown length under `key` and `context`.
    ///
    /// # Errors
    /// [`Error`]; nothing was sealed.
    pub async fn begin_encrypt(
        &self,
        attempt: &mut Attempt,
        key: &KeyName,
        context: &Context,
    ) -> Result<Recorded<SealingStream>, Error> {
        attempt.about_message(0, context);
        let stream = self.begin_sealing(attempt, Action::Encrypt, key, context).await?;
        Ok(Recorded::new(stream, attempt.begin().await?))
    }

    /// Begins to open the segmented message that `header` heads.
    ///
    /// # Errors
    /// [`Error`]: also when the header's commitment does not fit the key and context.
    pub async fn begin_decrypt(
        &self,
        attempt: &mut Attempt,
        context: &Context,
        header: &Header,
    ) -> Result<Recorded<OpeningStream>, Error> {
        attempt.about_message(0, context);
        let stream = self.begin_opening(attempt, Action::Decrypt, context, header).await?;
        Ok(Recorded::new(stream, attempt.begin().await?))
    }

    /// Begins to move the segmented message that `header` heads.
    ///
    /// # Errors
    /// [`Error`], as both of the above.
    pub async fn begin_rewrap(
        &self,
        attempt: &mut Attempt,
        context: &Context,
        new_context: Option<&Context>,
        header: &Header,
    ) -> Result<Recorded<RewrappingStream>, Error> {
        attempt.about_message(0, context);
        if let Some(new_context) = new_context {
            attempt.about_new_context(new_context);
        }
        let opening = self.begin_opening(attempt, Action::Rewrap, context, header).await?;
        attempt.was_rewrapped();
        let context = new_context.unwrap_or(context);
        let sealing =
            self.begin_sealing(attempt, Action::Rewrap, opening.key.name(), context).await?;
        let stream = RewrappingStream { opening, sealing };
        Ok(Recorded::new(stream, attempt.begin().await?))
    }

    async fn begin_sealing(
        &self,
        attempt: &mut Attempt,
        action: Action,
        key: &KeyName,
        context: &Context,
    ) -> Result<SealingStream, Error> {
        let now = self.now();
        let permit = self.permit(attempt, action, key, Some(context), now)?;
        if action == Action::Encrypt {
            // What is moved has been counted when it was opened.
            self.limits.admit_key(key, Amount::one(0), now.monotonic)?;
        }
        let pace = self.limits.pace(attempt.caller().name(), key);
        let key = self.keyring.sealing_key(&permit, 1, 0, now).await?;
        let (data_key, context) = key.for_message(&permit)?;
        let sealer = SegmentSealer::new(data_key, context)?;
        attempt.about_version(key.version());
        attempt.about_ciphertext(sealer.header());
        let (keyring, clock) = (self.keyring.clone(), Arc::clone(&self.clock));
        Ok(SealingStream { key, sealer, pace, keyring, clock })
    }

    async fn begin_opening(
        &self,
        attempt: &mut Attempt,
        action: Action,
        context: &Context,
        header: &Header,
    ) -> Result<OpeningStream, Error> {
        attempt.about_ciphertext(header.as_bytes());
        let (amount, now) = (Amount::one(0), self.now());
        let (key, permit) = self.opening_key(attempt, action, context, header, amount, now).await?;
        let (data_key, context) = key.for_message(&permit)?;
        let opener = SegmentOpener::new(data_key, context, header)?;
        let pace = self.limits.pace(attempt.caller().name(), key.name());
        let (keyring, clock) = (self.keyring.clone(), Arc::clone(&self.clock));
        Ok(OpeningStream { key, opener, pace, keyring, clock })
    }
}

impl SealingStream {
    /// The key that seals.
    #[must_use]
    pub fn key(&self) -> &SealingKey {
        &self.key
    }

    /// The first bytes of the sealed message.
    #[must_use]
    pub fn header(&self) -> &[u8; HEADER_BYTES] {
        self.sealer.header()
    }

    /// Seals the next segment, when the rates of its caller and key have room for it.
    ///
    /// # Errors
    /// [`Error`]: the stream ends here, and what was sealed so far never opens as a whole.
    pub async fn seal(
        &mut self,
        segment: SealSegment,
        last: LastSegment,
    ) -> Result<Vec<u8>, Error> {
        self.pace.wait_for(segment.len(), self.clock.now()).await;
        self.seal_now(segment, last).await
    }

    async fn seal_now(
        &mut self,
        segment: SealSegment,
        last: LastSegment,
    ) -> Result<Vec<u8>, Error> {
        let bytes = segment.len() as u64;
        if !self.keyring.charge_stream(&self.key, bytes, self.clock.now()).await? {
            return Err(Error::LimitReached);
        }
        self.sealer.seal(segment, last).map_err(|_| Error::LimitReached)
    }
}

impl OpeningStream {
    /// The key that opens.
    #[must_use]
    pub fn key(&self) -> &OpeningKey {
        &self.key
    }

    /// Opens the next segment, when the rates of its caller and key have room for it.
    ///
    /// # Errors
    /// [`Error`]: the stream ends here, also when the key version may no longer open.
    pub async fn open(
        &mut self,
        segment: OpenBuffer,
        last: LastSegment,
    ) -> Result<Plaintext, Error> {
        self.pace.wait_for(segment.as_bytes().len(), self.clock.now()).await;
        self.keyring.confirm_stream(&self.key, self.clock.now()).await?;
        Ok(self.opener.open(segment, last)?)
    }
}

impl RewrappingStream {
    /// The stream that seals again.
    #[must_use]
    pub fn sealing(&self) -> &SealingStream {
        &self.sealing
    }

    /// Moves the next segment: segments of both sides have the same length.
    ///
    /// # Errors
    /// [`Error`]: the stream ends here.
    pub async fn rewrap(
        &mut self,
        segment: OpenBuffer,
        last: LastSegment,
    ) -> Result<Vec<u8>, Error> {
        let plaintext = self.opening.open(segment, last).await?;
        let mut again = SealSegment::new();
        again.fill_from(&mut plaintext.expose_bytes());
        drop(plaintext);
        self.sealing.seal_now(again, last).await
    }
}
