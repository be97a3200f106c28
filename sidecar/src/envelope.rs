//! Seals and opens messages: pure, synchronous, no I/O (FORMAT.md, to the byte).
//!
//! Depends on [`crate::names`] and [`crate::secret`] and on nothing above.

mod aead;
mod context;
mod derive;
mod header;
mod stream;
mod text;

pub use context::{Context, ContextError};
pub use derive::data_key;
pub use header::{FORMAT_OVERHEAD_BYTES, Header, MessageId, NotOurs, RandomUnavailable, Suite};
pub use stream::{SEGMENT_BYTES, SegmentOpener, SegmentSealer};
pub use text::{decode_text, encode_text};

pub use aead::{OpenFailed, open, seal};
