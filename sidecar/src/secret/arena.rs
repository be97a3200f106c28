//! Protected memory for key bytes: slots of 32 bytes in pages that are neither swapped, dumped nor forked.
//!
//! Depends on the operating system alone. An arena grows by a few pages at a time and keeps them until its last
//! handle and its last slot are gone. It never gives a slot that is protected less than was required: when the
//! better pages run out it fails (`a_required_protection_is_never_undercut`). Without a requirement it goes on
//! with the next kind, and [`Arena::protection`] names the weakest that was ever used. All `unsafe` of Keypod is
//! in `arena/pages.rs`.

mod pages;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) use pages::Slot;
use pages::{FreeSlot, Pages};

/// How well the pages of an [`Arena`] are protected, best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// Ordinary memory, wiped when given back.
    Heap,
    /// `mlock`ed pages with `MADV_DONTDUMP`: neither swapped nor in a core file.
    Mlock,
    /// `memfd_secret` pages: not mapped in the kernel, unreadable even for root through `/proc/PID/mem`.
    Secretmem,
}

impl Protection {
    const BEST_FIRST: [Self; 3] = [Self::Secretmem, Self::Mlock, Self::Heap];

    /// `secretmem`, `mlock` or `heap`: as in the configuration, `/v1/status` and the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secretmem => "secretmem",
            Self::Mlock => "mlock",
            Self::Heap => "heap",
        }
    }
}

/// Why protected memory could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// This system offers less than what the configuration requires.
    #[error(
        "memory.require asks for {required}, but this system offers {offered}: raise RLIMIT_MEMLOCK, run on a kernel with memfd_secret, or lower memory.require",
        required = required.as_str(), offered = offered.as_str()
    )]
    Unprotected {
        /// What the configuration asks for.
        required: Protection,
        /// The best that could be had.
        offered: Protection,
    },
    /// All slots are taken and no further page could be had.
    #[error(
        "protected memory for keys is exhausted: raise RLIMIT_MEMLOCK or lower cache.idle_evict"
    )]
    Exhausted,
}

/// Protected memory, in slots of 32 bytes. A clone is another handle to the same memory.
#[derive(Clone)]
pub struct Arena(Arc<Pool>);

/// What the handles and the slots of one arena share.
struct Pool {
    required: Protection,
    at_most: Protection,
    state: Mutex<State>,
}

struct State {
    free: Vec<FreeSlot>,
    slots: usize,
    weakest: Protection,
}

impl Arena {
    /// The best protection that this system offers, with room for the first slots.
    ///
    /// # Errors
    /// [`ArenaError::Unprotected`] if that is less than `required`.
    pub fn new(required: Protection) -> Result<Self, ArenaError> {
        Self::between(required, Protection::Secretmem)
    }

    /// An arena that does as if this system offered nothing better than `at_most`: for tests of the lesser kinds.
    ///
    /// # Errors
    /// [`ArenaError::Exhausted`] if not even ordinary memory is left.
    #[doc(hidden)]
    pub fn with_protection_at_most(at_most: Protection) -> Result<Self, ArenaError> {
        Self::between(Protection::Heap, at_most)
    }

    fn between(required: Protection, at_most: Protection) -> Result<Self, ArenaError> {
        let Some(pages) = map_best(required, at_most) else {
            return Err(match map_best(Protection::Heap, at_most) {
                Some(pages) => ArenaError::Unprotected { required, offered: pages.protection() },
                None => ArenaError::Exhausted,
            });
        };
        let mut state = State { free: Vec::new(), slots: 0, weakest: pages.protection() };
        state.add(pages);
        Ok(Self(Arc::new(Pool { required, at_most, state: Mutex::new(state) })))
    }

    /// How the pages are protected: the weakest kind, if several had to be used.
    #[must_use]
    pub fn protection(&self) -> Protection {
        self.0.state().weakest
    }

    /// Slots that hold a secret now.
    #[must_use]
    pub fn slots_used(&self) -> usize {
        let state = self.0.state();
        state.slots - state.free.len()
    }

    /// A free slot, all zero.
    pub(super) fn take(&self) -> Result<Slot, ArenaError> {
        let (free, weakened) = self.0.take()?;
        if let Some(protection) = weakened {
            tracing::warn!(
                protection = protection.as_str(),
                "better protected memory is exhausted: raise RLIMIT_MEMLOCK"
            );
        }
        Ok(free.lend(Arc::clone(&self.0)))
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Arena({}, {} used)", self.protection().as_str(), self.slots_used())
    }
}

impl Pool {
    /// Nothing that is done under this lock can panic halfway, so a poisoned one is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free slot, and the new protection if it had to become weaker for it.
    fn take(&self) -> Result<(FreeSlot, Option<Protection>), ArenaError> {
        let mut state = self.state();
        if let Some(free) = state.free.pop() {
            return Ok((free, None));
        }
        let before = state.weakest;
        state.add(map_best(self.required, self.at_most).ok_or(ArenaError::Exhausted)?);
        let weakened = (state.weakest < before).then_some(state.weakest);
        state.free.pop().map(|free| (free, weakened)).ok_or(ArenaError::Exhausted)
    }

    /// Takes a wiped slot back. There is room for it since [`State::add`].
    fn give_back(&self, free: FreeSlot) {
        self.state().free.push(free);
    }
}

impl State {
    /// Adds the slots of `pages`, and room to note that every slot is free: giving one back never allocates.
    fn add(&mut self, pages: Pages) {
        self.weakest = self.weakest.min(pages.protection());
        let added = pages.into_slots();
        self.slots += added.len();
        self.free.reserve(self.slots - self.free.len());
        self.free.extend(added);
    }
}

/// Pages of the best kind from `at_most` down to `required`: four of them, or one where the limit leaves no more.
fn map_best(required: Protection, at_most: Protection) -> Option<Pages> {
    Protection::BEST_FIRST
        .into_iter()
        .filter(|kind| (required..=at_most).contains(kind))
        .flat_map(|kind| [(kind, 4), (kind, 1)])
        .find_map(|(kind, pages)| Pages::map(kind, pages).ok())
}
