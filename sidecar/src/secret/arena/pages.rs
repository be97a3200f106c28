//! Maps, lends, wipes and unmaps the pages that keys live in: the only `unsafe` code of Keypod.
//!
//! Depends on the operating system alone. Each mapping stands between two guard pages, so that an overrun ends
//! the process and not in a key. The one rule that the `unsafe` rests on: an address stands in exactly one
//! [`FreeSlot`] or [`Slot`], because [`Pages::into_slots`] consumes the pages, lending consumes the
//! [`FreeSlot`], and only the drop of the [`Slot`] makes it again.

#![allow(unsafe_code, reason = "mapping memory and pointing into it has no safe interface")]

use std::ffi::c_void;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use zeroize::Zeroize;

use super::{Pool, Protection};
use crate::secret::KEY_BYTES;

/// One mapping: a guard page, the body, a guard page. Unmapped on drop.
pub(super) struct Pages {
    base: NonNull<c_void>,
    body_len: usize,
    protection: Protection,
}

// SAFETY: the mapping belongs to the process and not to a thread, and `Pages` gives no access to its bytes.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// Maps `count` pages, all zero, with no less than `protection`.
    pub(super) fn map(protection: Protection, count: usize) -> io::Result<Self> {
        let body_len = count * rustix::param::page_size();
        let whole_len = body_len + 2 * rustix::param::page_size();
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses the address, so nothing that exists is replaced.
        let base = unsafe {
            rustix::mm::mmap_anonymous(ptr::null_mut(), whole_len, ProtFlags::empty(), flags)
        }?;
        let base = NonNull::new(base).ok_or(Errno::NOMEM)?;
        let pages = Self { base, body_len, protection };
        match protection {
            Protection::Secretmem => {
                pages.back_with_secretmem()?;
                pages.advise(Advice::LinuxDontFork)?;
                pages.touch()?;
            }
            Protection::Mlock => {
                pages.open_body()?;
                pages.advise(Advice::LinuxDontDump)?;
                pages.advise(Advice::LinuxDontFork)?;
                // SAFETY: the body is a part of our own mapping.
                unsafe { rustix::mm::mlock(pages.body(), body_len) }?;
            }
            Protection::Heap => {
                pages.open_body()?;
                // Nothing is promised of this kind: a system that refuses these still gives memory.
                pages.advise(Advice::LinuxDontDump).ok();
                pages.advise(Advice::LinuxDontFork).ok();
            }
        }
        Ok(pages)
    }

    pub(super) fn protection(&self) -> Protection {
        self.protection
    }

    fn body(&self) -> *mut c_void {
        self.base.as_ptr().wrapping_byte_add(rustix::param::page_size())
    }

    fn open_body(&self) -> io::Result<()> {
        let flags = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the body is a part of our own mapping, and nothing points into it yet.
        Ok(unsafe { rustix::mm::mprotect(self.body(), self.body_len, flags) }?)
    }

    /// A forked child has no copy of these pages: it dies when it touches one, where `MADV_WIPEONFORK` would let
    /// it go on with a key of zeros.
    fn advise(&self, advice: Advice) -> io::Result<()> {
        // SAFETY: the body is a part of our own mapping; neither advice changes its bytes.
        Ok(unsafe { rustix::mm::madvise(self.body(), self.body_len, advice) }?)
    }

    fn back_with_secretmem(&self) -> io::Result<()> {
        // SAFETY: `memfd_secret` takes flags and touches no memory of ours.
        let answer = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        let number = RawFd::try_from(answer).map_err(|_| Errno::BADF)?;
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        let secret = unsafe { OwnedFd::from_raw_fd(number) };
        rustix::fs::ftruncate(&secret, u64::try_from(self.body_len).map_err(|_| Errno::INVAL)?)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: what `FIXED` replaces is the body of our own mapping, and nothing points into it yet. The
        // mapping outlives the descriptor.
        unsafe { rustix::mm::mmap(self.body(), self.body_len, access, flags, &secret, 0) }?;
        Ok(())
    }

    /// Lets the kernel write into each page, so that a page which cannot be had is an error here and not a SIGBUS
    /// in the middle of a request. (`MADV_POPULATE_WRITE` refuses secretmem.)
    fn touch(&self) -> io::Result<()> {
        let (mut from, mut to) = io::pipe()?;
        for offset in (0..self.body_len).step_by(rustix::param::page_size()) {
            let first = self.body().wrapping_byte_add(offset).cast::<u8>();
            // SAFETY: `first` is the first byte of a page of the body, which is mapped for reading and writing
            // and zero; nothing else points into it yet.
            let first = unsafe { slice::from_raw_parts_mut(first, 1) };
            to.write_all(&[0])?;
            from.read_exact(first)?;
        }
        Ok(())
    }

    /// All the slots of these pages, each once.
    pub(super) fn into_slots(self) -> impl ExactSizeIterator<Item = FreeSlot> {
        let pages = Arc::new(self);
        // Never null: a page stands before it.
        let first = pages.base.cast::<[u8; KEY_BYTES]>();
        let guard = rustix::param::page_size() / KEY_BYTES;
        (guard..guard + pages.body_len / KEY_BYTES).map(move |index| {
            // SAFETY: the offset ends within the body of this mapping.
            let at = Address(unsafe { first.add(index) });
            FreeSlot { at, pages: Arc::clone(&pages) }
        })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let whole_len = self.body_len + 2 * rustix::param::page_size();
        // SAFETY: the mapping is ours, and no slot points into it: each of them would keep it alive.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr(), whole_len) };
        debug_assert_eq!(unmapped, Ok(()), "our own mapping can be unmapped");
    }
}

/// Where a slot is.
struct Address(NonNull<[u8; KEY_BYTES]>);

// SAFETY: whoever holds the only copy of an address is the only one who uses the bytes there, on any thread.
unsafe impl Send for Address {}
// SAFETY: as above; shared access to a `Slot` gives shared access to its bytes.
unsafe impl Sync for Address {}

/// A slot that nobody uses; its bytes are zero.
pub(super) struct FreeSlot {
    at: Address,
    pages: Arc<Pages>,
}

impl FreeSlot {
    /// Makes it a slot that `home` gets back.
    pub(super) fn lend(self, home: Arc<Pool>) -> Slot {
        Slot { at: self.at, pages: self.pages, home }
    }
}

/// One slot of an arena; wiped and given back on drop. It keeps its pages alive.
pub(in crate::secret) struct Slot {
    at: Address,
    pages: Arc<Pages>,
    home: Arc<Pool>,
}

impl Slot {
    pub(in crate::secret) fn expose_bytes(&self) -> &[u8; KEY_BYTES] {
        // SAFETY: the address lies in the body of `pages`, which are mapped while we hold them and were zero or
        // written since; it stands in no other slot, so only `&mut self` writes there.
        unsafe { self.at.0.as_ref() }
    }

    pub(in crate::secret) fn expose_bytes_mut(&mut self) -> &mut [u8; KEY_BYTES] {
        // SAFETY: as in `expose_bytes`, and `&mut self` is the only access to this slot.
        unsafe { self.at.0.as_mut() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.expose_bytes_mut().zeroize();
        let at = Address(self.at.0);
        self.home.give_back(FreeSlot { at, pages: Arc::clone(&self.pages) });
    }
}
