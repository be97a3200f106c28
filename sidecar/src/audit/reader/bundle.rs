//! Bundles: entries, each with its length in two bytes before it, plain or in gzip.

use std::io::Read as _;
use std::ops::Range;

use flate2::read::MultiGzDecoder;

use super::WIDTH;
use super::files::Unread;

/// The most that a bundle can be: 256 entries of 65,535 bytes, with their lengths.
pub(super) const BUNDLE_BYTES_MAX: usize = 256 * (2 + 0xffff);

/// What `compressed` holds, of which no more is made than a bundle can be.
pub(super) fn gunzip(compressed: &[u8]) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    let mut decoder = MultiGzDecoder::new(compressed).take(BUNDLE_BYTES_MAX as u64 + 1);
    decoder.read_to_end(&mut bytes).map_err(|_| Unread::BadGzip)?;
    if bytes.len() > BUNDLE_BYTES_MAX {
        return Err(Unread::TooLong { max: BUNDLE_BYTES_MAX });
    }
    Ok(bytes)
}

/// A bundle, taken apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bundle {
    bytes: Vec<u8>,
    entries: Vec<Range<usize>>,
    rest: usize,
}

impl Bundle {
    /// Takes `bytes` apart: at most 256 entries, and what is left is counted.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let mut entries = Vec::new();
        let mut at = 0_usize;
        while (entries.len() as u64) < WIDTH {
            let Some(&[high, low]) = bytes.get(at..at.saturating_add(2)) else { break };
            let begin = at.saturating_add(2);
            let end = begin.saturating_add(usize::from(u16::from_be_bytes([high, low])));
            // An entry is never empty: zeros at the end are what a crash leaves of a file that had been made longer.
            if end == begin || end > bytes.len() {
                break;
            }
            entries.push(begin..end);
            at = end;
        }
        Self { rest: bytes.len().saturating_sub(at), entries, bytes }
    }

    /// How many entries it has.
    pub(crate) fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// How many bytes come after its last whole entry.
    pub(crate) fn rest(&self) -> usize {
        self.rest
    }

    /// Its entries, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter_map(|range| self.bytes.get(range.clone()))
    }

    /// One of them.
    pub(crate) fn entry(&self, at: u64) -> Option<&[u8]> {
        let range = self.entries.get(usize::try_from(at).ok()?)?;
        self.bytes.get(range.clone())
    }
}
