//! Protected memory for key bytes.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::KEY_BYTES;

/// How well the pages of an [`Arena`] are protected, best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// Ordinary heap memory, wiped when freed.
    Heap,
    /// `mlock`ed pages with `MADV_DONTDUMP`: neither swapped nor in a core file.
    Mlock,
    /// `memfd_secret` pages: not mapped in the kernel, unreadable even for root through `/proc/PID/mem`.
    Secretmem,
}

impl Protection {
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
#[derive(Clone, Debug)]
pub struct Arena {
    protection: Arc<Protection>,
}

impl Arena {
    /// The best protection that this system offers.
    ///
    /// # Errors
    /// [`ArenaError::Unprotected`] if that is less than `required`.
    pub fn new(required: Protection) -> Result<Self, ArenaError> {
        let offered = Protection::Heap;
        if offered < required {
            return Err(ArenaError::Unprotected { required, offered });
        }
        Ok(Self { protection: Arc::new(offered) })
    }

    /// How the pages are protected.
    #[must_use]
    pub fn protection(&self) -> Protection {
        *self.protection
    }

    /// A free slot, all zero.
    pub(super) fn take(&self) -> Result<Slot, ArenaError> {
        Ok(Slot(Box::new(Zeroizing::new([0; KEY_BYTES]))))
    }
}

/// One slot of an arena; wiped and given back on drop.
pub(super) struct Slot(Box<Zeroizing<[u8; KEY_BYTES]>>);

impl Slot {
    pub(super) fn expose_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub(super) fn expose_bytes_mut(&mut self) -> &mut [u8; KEY_BYTES] {
        &mut self.0
    }
}
