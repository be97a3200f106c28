//! An entry: the JSON object of `docs/audit-log.md`, read without a copy where it can be.
//!
//! Depends on nothing of Keypod. A field twice, of another type, or a required one that is missing makes it no entry; a
//! field or a word that is not known makes it an entry of a later version, which is worth a note.

mod parse;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value};

/// Outcomes that the format knows.
const OUTCOMES: [&str; 5] = ["ok", "denied", "failed", "cancelled", "begun"];

/// Why some bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryProblem {
    /// A line end or another control character stands in it, outside of an escape.
    #[error("has a control character in it, at byte {0}")]
    Control(usize),
    /// It is not one JSON object.
    #[error("is not one JSON object")]
    NotAnObject,
    /// It is JSON, but a field is there twice, missing, or of the wrong type.
    #[error("is not of the form of an entry, at byte {0}")]
    Form(usize),
    /// Its time is none of RFC 3339 in UTC.
    #[error("has no time of RFC 3339 in UTC")]
    Time,
}

/// The ciphertext that a rewrap moved.
#[derive(Clone, Debug, Default)]
pub struct Moved<'a> {
    /// The version that opened it.
    pub version: Option<u64>,
    /// The hash of its header.
    pub ciphertext: Option<Cow<'a, str>>,
}

/// What an entry is about, or one of a batch: then the fields that differ from the entry's own.
#[derive(Clone, Debug, Default)]
pub struct Item<'a> {
    /// What came of it.
    pub outcome: Option<Cow<'a, str>>,
    /// Why not.
    pub code: Option<Cow<'a, str>>,
    /// The key's name.
    pub key: Option<Cow<'a, str>>,
    /// `V:H` of the subject.
    pub subject: Option<Cow<'a, str>>,
    /// `V:H` of the whole context.
    pub context: Option<Cow<'a, str>>,
    /// The hash of the ciphertext's header.
    pub ciphertext: Option<Cow<'a, str>>,
    /// Of a rewrap: `V:H` of the subject that it moved to.
    pub new_subject: Option<Cow<'a, str>>,
    /// Of a rewrap: `V:H` of the context that it moved to.
    pub new_context: Option<Cow<'a, str>>,
    /// Of a rewrap: what was moved.
    pub from: Option<Moved<'a>>,
}

/// An entry.
#[derive(Clone, Debug, Default)]
pub struct Entry<'a> {
    /// When it was written, in milliseconds since 1970.
    pub time_ms: u64,
    /// What was asked.
    pub operation: Cow<'a, str>,
    /// What came of it.
    pub outcome: Cow<'a, str>,
    /// The request's id.
    pub request: Option<Cow<'a, str>>,
    /// Who.
    pub caller: Option<Cow<'a, str>>,
    /// The version that sealed or opened.
    pub version: Option<u64>,
    /// Bytes of plaintext or ciphertext.
    pub bytes: Option<u64>,
    /// What it is about. Of a batch, what all of its items have in common; without the outcome, which it has itself.
    pub whole: Item<'a>,
    /// The caller had broken the glass.
    pub emergency: bool,
    /// It took a second person.
    pub approved: bool,
    /// Of a batch.
    pub items: Vec<Item<'a>>,
    /// How many items came to which outcome.
    pub counts: Option<Map<String, Value>>,
    /// `[1, 3]`: the first of three.
    pub part: Option<[u64; 2]>,
    /// What else there is to say.
    pub detail: Option<Map<String, Value>>,
    /// The first field that the format does not know, or `outcome` if that is a word of its own.
    pub unknown: Option<String>,
}

impl<'a> Entry<'a> {
    /// Reads an entry.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EntryProblem> {
        if let Some(at) = bytes.iter().position(|&byte| byte < 0x20) {
            return Err(EntryProblem::Control(at));
        }
        if bytes.first() != Some(&b'{') || bytes.last() != Some(&b'}') {
            return Err(EntryProblem::NotAnObject);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| EntryProblem::NotAnObject)?;
        let read: parse::Read<'_> = serde_json::from_str(text).map_err(|error| {
            if error.is_data() {
                EntryProblem::Form(error.column())
            } else {
                EntryProblem::NotAnObject
            }
        })?;
        let parse::Read { time, mut entry } = read;
        entry.time_ms = milliseconds(&time).ok_or(EntryProblem::Time)?;
        if entry.unknown.is_none() && !OUTCOMES.contains(&&*entry.outcome) {
            entry.unknown = Some("outcome".to_owned());
        }
        Ok(entry)
    }

    /// A text of its detail.
    #[must_use]
    pub fn detail_text(&self, field: &str) -> Option<&str> {
        self.detail.as_ref()?.get(field)?.as_str()
    }

    /// A number of its detail.
    #[must_use]
    pub fn detail_number(&self, field: &str) -> Option<u64> {
        self.detail.as_ref()?.get(field)?.as_u64()
    }
}

/// A time of RFC 3339 in UTC, `2026-11-25T08:00:00.123Z`.
fn milliseconds(text: &str) -> Option<u64> {
    let form = text.len() <= 40 && text.as_bytes().get(10) == Some(&b'T') && text.ends_with('Z');
    let time = form.then(|| humantime::parse_rfc3339(text).ok()).flatten()?;
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// Milliseconds since 1970 as RFC 3339 in UTC, with milliseconds.
#[must_use]
pub fn rfc3339(time_ms: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(time_ms));
    match time {
        Some(time) if time_ms <= 253_402_300_799_000 => {
            humantime::format_rfc3339_millis(time).to_string()
        }
        _ => format!("@{time_ms}"),
    }
}
