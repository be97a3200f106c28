//! The memory for bodies, of which each caller has a share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PLACE_RETRY;
use super::refusal::{Limit, Refused, limited, overloaded};

/// The memory for bodies, as one caller may take of it.
#[derive(Clone, Debug)]
pub struct Memory {
    pub(super) whole: Arc<Semaphore>,
    pub(super) own: Arc<Semaphore>,
}

/// Memory for one body.
#[derive(Debug)]
pub struct BodyMemory {
    of_the_whole: OwnedSemaphorePermit,
    own: OwnedSemaphorePermit,
}

impl Memory {
    /// Memory for a body of `bytes` bytes.
    ///
    /// # Errors
    /// [`Refused`] when the bodies in memory, or those of the caller, leave too little.
    pub fn take(&self, bytes: usize) -> Result<BodyMemory, Refused> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let whole = Arc::clone(&self.whole).try_acquire_many_owned(bytes);
        let of_the_whole = whole.map_err(|_| overloaded(Limit::BodyMemory))?;
        let own = Arc::clone(&self.own).try_acquire_many_owned(bytes);
        let own = own.map_err(|_| limited(Limit::CallerBodyMemory, PLACE_RETRY))?;
        Ok(BodyMemory { of_the_whole, own })
    }

    /// Makes `memory` large enough for a body of `bytes` bytes.
    ///
    /// # Errors
    /// [`Refused`] when the bodies in memory leave too little; what it had, it keeps.
    pub fn grow(&self, memory: &mut BodyMemory, bytes: usize) -> Result<(), Refused> {
        let more = bytes.saturating_sub(memory.own.num_permits());
        if more > 0 {
            let more = self.take(more)?;
            memory.of_the_whole.merge(more.of_the_whole);
            memory.own.merge(more.own);
        }
        Ok(())
    }
}
