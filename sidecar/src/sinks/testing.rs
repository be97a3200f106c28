//! Events as the log sends them, for tests.

use crate::audit::Event;

pub(super) const LOG: &str = "keypod/test/1";

pub(super) fn entry(index: u64, text: &str) -> Event {
    Event::Entry { log: LOG.into(), index, entry: text.as_bytes().into() }
}

/// An entry of the operation `encrypt` that went well.
pub(super) fn usual(index: u64) -> Event {
    let text = r#"{"time":"2026-11-24T06:00:00.123Z","operation":"encrypt","outcome":"ok"}"#;
    entry(index, text)
}

pub(super) fn checkpoint(size: u64, note: &str) -> Event {
    Event::Checkpoint { log: LOG.into(), size, note: note.as_bytes().into() }
}
