//! An entry as it stands in the log: one JSON object (`docs/audit-log.md`).

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::facts::{Facts, is_false};
use crate::names::CallerName;
use crate::policy::{Caller, CallerKind, Transport};

/// Bytes of an entry at most, as C2SP tlog-tiles has it: its length stands before it in two bytes.
pub(super) const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// What an operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// Policy did not allow it, or the caller is not known.
    Denied,
    /// It could not be done.
    Failed,
    /// The client went away before it had an answer.
    Cancelled,
    /// It begins: another entry says how it ended.
    Begun,
}

/// Milliseconds since 1970-01-01T00:00:00Z, written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Millis(pub(super) u64);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = UNIX_EPOCH + Duration::from_millis(self.0.min(253_402_300_799_999));
        serializer.collect_str(&humantime::format_rfc3339_millis(time))
    }
}

/// Who asked, and which way they came.
#[derive(Debug, Serialize)]
pub(super) struct Asker<'a> {
    #[serde(serialize_with = "as_text")]
    caller: &'a CallerName,
    #[serde(serialize_with = "as_proof")]
    proof: CallerKind,
    #[serde(serialize_with = "as_transport")]
    transport: Transport,
    #[serde(skip_serializing_if = "is_false")]
    mfa: bool,
}

impl<'a> Asker<'a> {
    pub(super) fn of(caller: &'a Caller) -> Self {
        let (name, proof) = (caller.name(), caller.identity.kind());
        Self { caller: name, proof, transport: caller.transport, mfa: caller.mfa }
    }
}

/// One entry, before it is bytes.
#[derive(Debug, Serialize)]
pub(super) struct Entry<'a> {
    pub(super) time: Millis,
    pub(super) operation: &'a str,
    pub(super) outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<&'a str>,
    #[serde(flatten)]
    pub(super) asker: Option<Asker<'a>>,
    #[serde(flatten)]
    pub(super) facts: &'a Facts,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy_set: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<&'a Value>,
}

thread_local! {
    /// The memory of the last entry that was written on this thread.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Entry<'_> {
    /// Gives `to` the bytes, which lie in a buffer that is used again.
    pub(super) fn written<T>(&self, to: impl FnOnce(&[u8]) -> T) -> T {
        let mut bytes = BUFFER.try_with(Cell::take).unwrap_or_default();
        self.write_to(&mut bytes);
        let done = to(&bytes);
        bytes.clear();
        bytes.shrink_to(ENTRY_BYTES_MAX);
        // At the end of a thread there is no such place any more.
        let _ = BUFFER.try_with(|buffer| buffer.set(bytes));
        done
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        self.write_to(&mut bytes);
        bytes
    }

    fn write_to(&self, bytes: &mut Vec<u8>) {
        // To serialise these types into memory cannot fail: their maps have text for keys.
        let _ = serde_json::to_writer(bytes, self);
    }
}

/// Adds `fields`, which are members of a JSON object without its braces, to the end of the object in `bytes`.
pub(super) fn add_members(bytes: &mut Vec<u8>, fields: &str) {
    if bytes.pop() == Some(b'}') {
        bytes.push(b',');
        bytes.extend_from_slice(fields.as_bytes());
        bytes.push(b'}');
    }
}

/// `[part, parts]`.
pub(super) fn part_member(part: usize, parts: usize) -> String {
    let mut text = String::new();
    let _ = write!(text, "\"part\":[{part},{parts}]");
    text
}

fn as_text<S: Serializer>(name: &CallerName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn as_proof<S: Serializer>(kind: &CallerKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn as_transport<S: Serializer>(transport: &Transport, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(transport.as_str())
}
