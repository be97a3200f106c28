//! Certificates and checkpoints: signed notes whose text has a form.
//!
//! Depends on [`super::key`] and the crate `signed_note`. What is read here is not yet believed: the signatures are
//! counted by [`SignedText::signed`], for keys that the caller trusts.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use signed_note::{Note, NoteError};
use tlog_tiles::Hash;

use super::key::{VerifyingKey, is_name, verifiers};
use crate::clock::UnixSeconds;

/// Largest tree: more than a sidecar writes in its life, and far from where arithmetic ends.
pub(crate) const SIZE_MAX: u64 = 1 << 52;

/// Why a file is no certificate or checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteProblem {
    /// Not text, a blank line, and signatures.
    #[error("is no signed note")]
    NotANote,
    /// Its text is not of the form.
    #[error("is not of its form: line {0}")]
    Line(usize),
}

/// A note, of which nothing is believed yet.
#[derive(Debug)]
pub(crate) struct SignedText {
    note: Note,
    text: String,
}

/// Who signed a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// So many of the keys that were asked for, and none of them wrongly.
    By(usize),
    /// One of the keys stands under it, with a signature that is not its own.
    Wrongly,
}

impl SignedText {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, NoteProblem> {
        let note = Note::from_bytes(bytes).map_err(|_| NoteProblem::NotANote)?;
        let text = String::from_utf8(note.text().to_vec()).map_err(|_| NoteProblem::NotANote)?;
        Ok(Self { note, text })
    }

    /// How many of `keys` signed it.
    pub(crate) fn signed<'a>(&self, keys: impl IntoIterator<Item = &'a VerifyingKey>) -> Signed {
        match self.note.verify(&verifiers(keys)) {
            Ok((signatures, _)) => Signed::By(signatures.len()),
            Err(NoteError::UnverifiedNote) => Signed::By(0),
            Err(_) => Signed::Wrongly,
        }
    }

    /// The lines of its text, each of which ends with a line feed.
    fn lines(&self) -> Vec<&str> {
        self.text.strip_suffix('\n').unwrap_or(&self.text).split('\n').collect()
    }
}

/// A tree at a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeHead {
    /// How many entries.
    pub size: u64,
    /// The root hash over them.
    pub root: Hash,
}

/// What a certificate says of the log before.
#[derive(Clone, Debug, PartialEq)]
pub struct Previous {
    /// Its origin.
    pub origin: String,
    /// What was found of it.
    pub head: TreeHead,
}

/// A certificate: who may sign a log, and what came before it.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The origin of the log.
    pub origin: String,
    /// The key of the log.
    pub key: VerifyingKey,
    /// When it was certified.
    pub time: UnixSeconds,
    /// Its number in the chain.
    pub number: u64,
    /// The log before it; `None` for the first.
    pub previous: Option<Previous>,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl Certificate {
    /// Reads the text of `note`, which came from the file `bytes`.
    pub(crate) fn parse(note: &SignedText, bytes: &[u8]) -> Result<Self, NoteProblem> {
        let lines = note.lines();
        let &[head, log, key, time, number, previous] = &lines[..] else {
            return Err(NoteProblem::Line(lines.len().saturating_add(1).min(7)));
        };
        if head != "keypod-audit-certificate/v1" {
            return Err(NoteProblem::Line(1));
        }
        let origin = log.strip_prefix("log ").filter(|origin| is_origin(origin));
        let key = key.strip_prefix("key ").and_then(|key| VerifyingKey::parse(key).ok());
        let time = time.strip_prefix("time ").and_then(whole_seconds);
        let number = number.strip_prefix("number ").and_then(decimal).filter(|&number| number > 0);
        let previous = previous.strip_prefix("previous ").and_then(Self::previous);
        Ok(Self {
            origin: origin.ok_or(NoteProblem::Line(2))?.to_owned(),
            key: key.filter(VerifyingKey::is_ed25519).ok_or(NoteProblem::Line(3))?,
            time: time.ok_or(NoteProblem::Line(4))?,
            number: number.ok_or(NoteProblem::Line(5))?,
            previous: previous.ok_or(NoteProblem::Line(6))?,
            sha256: hex(&Sha256::digest(bytes)),
        })
    }

    /// What comes after `previous `: `Some(None)` is `none`.
    fn previous(text: &str) -> Option<Option<Previous>> {
        if text == "none" {
            return Some(None);
        }
        let mut parts = text.split(' ');
        let (origin, size, root) = (parts.next()?, parts.next()?, parts.next()?);
        if !is_origin(origin) || parts.next().is_some() {
            return None;
        }
        let head = TreeHead { size: tree_size(size)?, root: root_hash(root)? };
        Some(Some(Previous { origin: origin.to_owned(), head }))
    }

    /// The origin without the log's id: what all logs of a chain have in common.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.origin.rsplit_once('/').map_or("", |(prefix, _)| prefix)
    }

    /// The last part of the origin.
    #[must_use]
    pub fn id(&self) -> &str {
        self.origin.rsplit_once('/').map_or("", |(_, id)| id)
    }
}

/// A checkpoint: the state of a log that its key signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The origin of the log.
    pub origin: String,
    /// The state.
    pub head: TreeHead,
}

impl Checkpoint {
    /// Reads the text of `note`.
    pub(crate) fn parse(note: &SignedText) -> Result<Self, NoteProblem> {
        let lines = note.lines();
        let &[origin, size, root] = &lines[..] else {
            return Err(NoteProblem::Line(lines.len().saturating_add(1).min(4)));
        };
        if !is_origin(origin) {
            return Err(NoteProblem::Line(1));
        }
        let size = tree_size(size).ok_or(NoteProblem::Line(2))?;
        let root = root_hash(root).ok_or(NoteProblem::Line(3))?;
        Ok(Self { origin: origin.to_owned(), head: TreeHead { size, root } })
    }
}

/// `PREFIX/ID`, of which neither is empty.
pub(crate) fn is_origin(text: &str) -> bool {
    let parts = text.rsplit_once('/');
    is_name(text) && parts.is_some_and(|(prefix, id)| !prefix.is_empty() && !id.is_empty())
}

/// A number without a sign, and without zeros before it.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|digit| digit.is_ascii_digit());
    let short = text == "0" || !text.starts_with('0');
    (digits && short).then(|| text.parse().ok()).flatten()
}

pub(crate) fn tree_size(text: &str) -> Option<u64> {
    decimal(text).filter(|&size| size <= SIZE_MAX)
}

pub(crate) fn root_hash(text: &str) -> Option<Hash> {
    if text.len() != 44 {
        return None;
    }
    Some(Hash(BASE64_STANDARD.decode(text).ok()?.try_into().ok()?))
}

/// A time of RFC 3339 in UTC, with whole seconds.
pub(crate) fn whole_seconds(text: &str) -> Option<UnixSeconds> {
    let form = text.len() == 20 && text.as_bytes().get(10) == Some(&b'T');
    form.then(|| UnixSeconds::parse(text)).flatten()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
