//! The bodies of requests, read and written: C2SP tlog-witness, and `add-log` (`docs/witness.md`). Pure.
//!
//! Everything has one spelling: a number has no leading zero, a line ends in one newline. What is not so is malformed.

use std::fmt::Write as _;

use signed_note::Note;
use tlog_tiles::{Checkpoint, EMPTY_HASH, Hash, check_tree};

use super::keys::{KeyError, LogKey};
use crate::clock::UnixSeconds;

/// Proof lines of one request.
pub(super) const PROOF_LINES_MAX: usize = 63;
/// The largest tree that is believed: past it arithmetic would have no room.
pub(super) const SIZE_MAX: u64 = 1 << 62;
/// A certificate's first line.
const CERTIFICATE: &str = "keypod-audit-certificate/v1";

/// What could not be read, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// A request of either kind: what the witness is thought to know, what leads from there on, and a note.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) old: u64,
    pub(super) proof: Vec<Hash>,
    pub(super) note: Note,
}

impl Submission {
    /// The body as bytes.
    pub(super) fn write(old: u64, proof: &[Hash], note: &[u8]) -> Vec<u8> {
        let mut body = format!("old {old}\n");
        for hash in proof {
            let _ = writeln!(body, "{hash}");
        }
        body.push('\n');
        let mut body = body.into_bytes();
        body.extend_from_slice(note);
        body
    }

    /// The request in these bytes.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(body).map_err(|_| Malformed("the body is not UTF-8"))?;
        let (first, mut rest) = text.split_once('\n').ok_or(Malformed("no old size line"))?;
        let old = first.strip_prefix("old ").and_then(size);
        let old = old.ok_or(Malformed("the old size line is `old` and a number"))?;
        let mut proof = Vec::new();
        loop {
            let (line, after) = rest.split_once('\n').ok_or(Malformed("no empty line"))?;
            rest = after;
            if line.is_empty() {
                break;
            }
            if proof.len() == PROOF_LINES_MAX {
                return Err(Malformed("more than 63 proof lines"));
            }
            let hash = Hash::parse_hash(line);
            proof.push(hash.map_err(|_| Malformed("a proof line is no hash in base64"))?);
        }
        let note = Note::from_bytes(rest.as_bytes());
        Ok(Self {
            old,
            proof,
            note: note.map_err(|_| Malformed("what follows is no signed note"))?,
        })
    }

    /// The checkpoint that the note is.
    pub(super) fn checkpoint(&self) -> Result<Checkpoint, Malformed> {
        checkpoint(&self.note)
    }
}

/// The checkpoint that a note is.
pub(super) fn checkpoint(note: &Note) -> Result<Checkpoint, Malformed> {
    let checkpoint = Checkpoint::from_bytes(note.text());
    let checkpoint = checkpoint.map_err(|_| Malformed("the note is no checkpoint"))?;
    match checkpoint.size() <= SIZE_MAX {
        true => Ok(checkpoint),
        false => Err(Malformed("a tree of that size is no log")),
    }
}

/// A number with one spelling, of a size that a tree can have.
pub(super) fn size(text: &str) -> Option<u64> {
    let canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let size = if canonical { text.parse().ok()? } else { return None };
    (size <= SIZE_MAX).then_some(size)
}

/// Where a log was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Head {
    pub(super) size: u64,
    pub(super) root: Hash,
}

impl Head {
    /// A log without entries.
    pub(super) const EMPTY: Self = Self { size: 0, root: EMPTY_HASH };

    /// Whether `proof` leads from here to `later`, and has nothing else.
    pub(super) fn leads_to(&self, later: &Self, proof: &Vec<Hash>) -> bool {
        match self.size {
            0 => proof.is_empty() && (later.size > 0 || later.root == EMPTY_HASH),
            size if size == later.size => proof.is_empty() && self.root == later.root,
            size => check_tree(proof, later.size, later.root, size, self.root).is_ok(),
        }
    }
}

/// Where the log before ended, as its successor found it.
#[derive(Clone, Debug, PartialEq)]
pub struct Previous {
    /// Its origin.
    pub origin: String,
    /// How many entries were found.
    pub size: u64,
    /// The root hash at that size.
    pub root: Hash,
}

/// Who may sign a log, and what came before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// The log's key. Its name is the log's origin.
    pub key: LogKey,
    /// When it was certified.
    pub time: UnixSeconds,
    /// The log's number in its chain, from 1.
    pub number: u64,
    /// The log before it; none for the first of a chain.
    pub previous: Option<Previous>,
}

impl Certificate {
    /// The chain: the origin without its last part.
    #[must_use]
    pub fn chain(&self) -> &str {
        chain_of(self.key.origin()).unwrap_or_default()
    }

    /// The text of the note.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { key, time, number, previous } = self;
        let origin = key.origin();
        let previous = match previous {
            None => "none".to_owned(),
            Some(Previous { origin, size, root }) => format!("{origin} {size} {root}"),
        };
        format!(
            "{CERTIFICATE}\nlog {origin}\nkey {key}\ntime {time}\nnumber {number}\nprevious {previous}\n"
        )
    }

    /// The certificate of this text.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let wrong = Malformed("the note is no certificate of an audit log");
        let text = std::str::from_utf8(text).map_err(|_| wrong)?;
        let mut lines = text.strip_suffix('\n').ok_or(wrong)?.split('\n');
        if lines.next() != Some(CERTIFICATE) {
            return Err(wrong);
        }
        let mut field = |name: &str| {
            let line = lines.next().ok_or(wrong)?;
            line.strip_prefix(name).and_then(|line| line.strip_prefix(' ')).ok_or(wrong)
        };
        let origin = field("log")?;
        let key = LogKey::parse(field("key")?).map_err(|_: KeyError| wrong)?;
        let time = UnixSeconds::parse(field("time")?).ok_or(wrong)?;
        let number = size(field("number")?).filter(|number| *number > 0).ok_or(wrong)?;
        let previous = Previous::parse(field("previous")?).ok_or(wrong)?;
        let found = Self { key, time, number, previous };
        // Each field has one spelling, and there is none more.
        if found.text() != text || found.key.origin() != origin {
            return Err(wrong);
        }
        found.check()?;
        Ok(found)
    }

    /// Whether its parts fit together.
    fn check(&self) -> Result<(), Malformed> {
        let chain = chain_of(self.key.origin()).ok_or(Malformed("an origin is CHAIN/ID"))?;
        match (&self.previous, self.number) {
            (None, 1) => Ok(()),
            (None, _) => Err(Malformed("only the first log of a chain has none before it")),
            (Some(_), 1) => Err(Malformed("the first log of a chain has none before it")),
            (Some(previous), _) if chain_of(&previous.origin) != Some(chain) => {
                Err(Malformed("the log before it is of another chain"))
            }
            (Some(previous), _) if previous.origin == self.key.origin() => {
                Err(Malformed("a log does not come before itself"))
            }
            (Some(_), _) => Ok(()),
        }
    }
}

impl Previous {
    /// `none`, or origin, size and root.
    fn parse(text: &str) -> Option<Option<Self>> {
        if text == "none" {
            return Some(None);
        }
        let mut parts = text.split(' ');
        let (origin, found, root) = (parts.next()?, parts.next()?, parts.next()?);
        let (size, root) = (size(found)?, Hash::parse_hash(root).ok()?);
        parts.next().is_none().then(|| Some(Self { origin: origin.to_owned(), size, root }))
    }

    pub(super) fn head(&self) -> Head {
        Head { size: self.size, root: self.root }
    }
}

/// The origin of a chain's log without its last part; `None` for what is of no chain.
pub(super) fn chain_of(origin: &str) -> Option<&str> {
    let (chain, id) = origin.rsplit_once('/')?;
    (!chain.is_empty() && !id.is_empty()).then_some(chain)
}

/// What a witness knows of a chain, as it answers to a log that it does not take: `none`, or origin and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Nothing,
    Log { origin: String, size: u64 },
}

impl Known {
    pub(super) fn write(&self) -> String {
        match self {
            Self::Nothing => "none\n".to_owned(),
            Self::Log { origin, size } => format!("{origin} {size}\n"),
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let line = text.strip_suffix('\n')?;
        if line == "none" {
            return Some(Self::Nothing);
        }
        let (origin, found) = line.rsplit_once(' ')?;
        let plain = !origin.is_empty() && !origin.contains(|char: char| char.is_control());
        plain.then_some(Self::Log { origin: origin.to_owned(), size: size(found)? })
    }
}

#[cfg(test)]
mod tests;
