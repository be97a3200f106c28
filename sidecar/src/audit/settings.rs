//! What the configuration says of the log.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::receipt::Durability;

/// Bytes of an origin; a log's own has its id behind it.
const ORIGIN_BYTES_MAX: usize = 200;

/// Where the log is, and how it is written.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The folder of all logs of this chain. Made if it is not there; nobody else may write to it.
    pub folder: PathBuf,
    /// What the logs here are called.
    pub origin: Origin,
    /// When an entry counts as committed.
    pub durability: Durability,
    /// How long an append waits, or up to an eighth longer.
    pub commit_timeout: Duration,
    /// A checkpoint is signed at most so often.
    pub checkpoint_every: Duration,
    /// Entries that may wait for the writer.
    pub queue_max: usize,
    /// A log with so many bytes of entries is followed by another.
    pub rotate_bytes: u64,
    /// And so is one that is so old.
    pub rotate_after: Duration,
    /// How long a log is kept after its last entry.
    pub retention: Duration,
}

/// What the logs of a sidecar are called: 1 to 200 of `A-Z a-z 0-9 . _ : / @ -`. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(Arc<str>);

impl Origin {
    /// It as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Not an origin. The refused text is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is 1 to 200 of A-Z a-z 0-9 . _ : / @ -")]
pub struct OriginError;

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:/@-".contains(byte);
        let bytes = text.as_bytes();
        let well_formed = !bytes.is_empty() && bytes.len() <= ORIGIN_BYTES_MAX;
        if well_formed && bytes.iter().all(fits) { Ok(Self(text.into())) } else { Err(OriginError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_signed_note_can_name() {
        for good in ["a", "keypod.example/shop/orders-0", "a:b@c_d", &"x".repeat(200)] {
            assert_eq!(good.parse::<Origin>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a+b", "a\nb", "a\u{2014}b", "é", &"x".repeat(201)] {
            assert!(bad.parse::<Origin>().is_err(), "{bad:?}");
        }
    }
}
