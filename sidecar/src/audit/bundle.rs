//! Entries in a row, each with its length before it: a bundle, and the tail.
//!
//! Touches no file.

use tlog_tiles::{Hash, record_hash};

use super::layout::ENTRY_BYTES_MAX;

/// Bytes of a length.
pub(super) const LENGTH_BYTES: usize = 2;

/// Adds `entry` to `bundle`. Nothing is added if it is too long, and the answer is no.
pub(super) fn put(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else { return false };
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    true
}

/// The entries of a bundle, one after the other; ends at one that is cut off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    pub(super) fn of(bundle: &'a [u8]) -> Self {
        Self { rest: bundle }
    }

    /// Bytes after the last whole entry.
    pub(super) fn torn_bytes(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<LENGTH_BYTES>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.rest = rest;
        Some(entry)
    }
}

/// The leaf hashes of a bundle's whole entries, and how many bytes they take.
pub(super) fn leaves(bundle: &[u8]) -> (Vec<Hash>, usize) {
    let mut entries = Entries::of(bundle);
    let leaves = entries.by_ref().map(record_hash).collect();
    (leaves, bundle.len() - entries.torn_bytes())
}

/// The first `count` entries of a bundle, in its form; `None` if it has fewer.
pub(super) fn first(bundle: &[u8], count: usize) -> Option<&[u8]> {
    let mut entries = Entries::of(bundle);
    (entries.by_ref().take(count).count() == count)
        .then(|| bundle.get(..bundle.len() - entries.torn_bytes()))?
}

/// Whether an entry can have so many bytes.
pub(super) fn fits(bytes: usize) -> bool {
    bytes <= ENTRY_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_and_a_torn_entry_does_not() {
        let mut bundle = Vec::new();
        let long = vec![b'x'; ENTRY_BYTES_MAX];
        for entry in [b"one".as_slice(), b"", &long] {
            assert!(put(&mut bundle, entry));
        }
        assert!(!put(&mut bundle, &[0; ENTRY_BYTES_MAX + 1]));
        let whole = bundle.len();
        assert_eq!(Entries::of(&bundle).collect::<Vec<_>>(), [b"one".as_slice(), b"", &long]);
        for cut in [whole - 1, whole - ENTRY_BYTES_MAX, whole - ENTRY_BYTES_MAX - 1] {
            let (leaves, bytes) = leaves(&bundle[..cut]);
            assert_eq!((leaves.len(), bytes), (2, 7), "{cut}");
        }
        assert_eq!(leaves(&bundle).1, whole);
    }
}
