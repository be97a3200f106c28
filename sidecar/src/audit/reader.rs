//! Opens a folder of audit logs and hands out its files, each within a bound, whatever is in them.
//!
//! The form is `docs/audit-log.md`. Depends on nothing of Keypod. It judges nothing: what is there is told, and
//! [`super::verify`] says what that means. It writes nothing, follows no link below the folder that it was given, waits
//! for no pipe, and reads no more of a file than its form can have, compressed or not.
//! Invariants: `a_link_below_the_folder_is_not_followed`, `what_is_longer_than_its_form_is_not_read_on`.

mod bundle;
mod files;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags};

pub(crate) use bundle::Bundle;
pub(crate) use files::tile_path;
pub use files::{LogFolder, Unread};
use files::{in_folder, read_file};

/// Entries in a full bundle, and hashes in a full tile.
pub(crate) const WIDTH: u64 = 256;
/// Longest note that is read: a certificate or a checkpoint. C2SP asks for 16 signatures at least, of 5 KB at most.
pub(crate) const NOTE_BYTES_MAX: usize = 128 << 10;
/// Longest list of keys that is read.
const KEYS_BYTES_MAX: usize = 256 << 10;
/// More folders than this are not looked at: fifteen years of a sidecar that starts each minute. Their names alone are kept.
const LOGS_MAX: usize = 8_000_000;
/// Names of other things in the folder that are told.
const STRAYS_MAX: usize = 20;

/// Why a folder cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReaderError {
    /// It is not there, is no folder, or may not be read.
    #[error("cannot open the folder of audit logs")]
    Folder(#[source] io::Error),
    /// Nothing in it is a log.
    #[error("there is no audit log in this folder: name the folder with `000001-...` in it")]
    NoLogs,
    /// More than a chain can have.
    #[error(
        "there are more than {LOGS_MAX} logs in this folder: a folder is to be archived long before that"
    )]
    TooManyLogs,
}

/// The name of a log's folder: its number in the chain and its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogName {
    /// Its number, from 1.
    pub number: u64,
    /// The last part of its origin.
    pub id: String,
}

impl LogName {
    /// Six digits or more, a hyphen, and the id.
    fn parse(name: &str) -> Option<Self> {
        let (digits, id) = name.split_once('-')?;
        let plain = digits.len() == 6 || (digits.len() > 6 && !digits.starts_with('0'));
        let of_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !plain || digits.len() > 15 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        if id.is_empty() || id.len() > 128 || !id.chars().all(of_id) {
            return None;
        }
        Some(Self { number: digits.parse().ok()?, id: id.to_owned() })
    }
}

/// As the folder is named.
impl fmt::Display for LogName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:06}-{}", self.number, self.id)
    }
}

/// What a folder holds.
#[derive(Debug)]
pub struct Listing {
    /// Its logs, in the order of their numbers.
    pub logs: Vec<LogName>,
    /// Names of what does not belong there, the first few.
    pub strays: Vec<String>,
}

/// A folder of logs, opened.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Opens the folder at `path`, which may itself be a link.
    ///
    /// # Errors
    /// It is not there, is no folder, or may not be read.
    pub fn open(path: &Path) -> Result<Self, ReaderError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, rustix::fs::Mode::empty());
        opened.map(Self).map_err(|error| ReaderError::Folder(error.into()))
    }

    /// The logs in it.
    ///
    /// # Errors
    /// It cannot be listed, holds no log, or more than a chain has.
    pub fn list(&self) -> Result<Listing, ReaderError> {
        let mut listing = Listing { logs: Vec::new(), strays: Vec::new() };
        for name in self.names()? {
            let name = name?;
            match LogName::parse(&name) {
                Some(_) if listing.logs.len() == LOGS_MAX => return Err(ReaderError::TooManyLogs),
                Some(log) => listing.logs.push(log),
                // What begins with a dot is half made, and means nothing.
                None if name.starts_with('.') || matches!(&*name, "lock" | "authorities") => {}
                None if listing.strays.len() < STRAYS_MAX => listing.strays.push(name),
                None => {}
            }
        }
        listing.logs.sort();
        listing.strays.sort();
        if listing.logs.is_empty() { Err(ReaderError::NoLogs) } else { Ok(listing) }
    }

    /// The log of this number; of several, the one whose id is the first.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn find(&self, number: u64) -> Result<Option<LogName>, ReaderError> {
        let mut found: Option<LogName> = None;
        for name in self.names()? {
            let log = LogName::parse(&name?).filter(|log| log.number == number);
            found = match (found, log) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        Ok(found)
    }

    /// What is in the folder, one after the other.
    fn names(&self) -> Result<impl Iterator<Item = Result<String, ReaderError>>, ReaderError> {
        let failed = |error: rustix::io::Errno| ReaderError::Folder(error.into());
        let entries = rustix::fs::Dir::read_from(&self.0).map_err(failed)?;
        Ok(entries.map(move |entry| {
            Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())
        }))
    }

    /// The folder of one log.
    ///
    /// # Errors
    /// It is a link, or no folder, or may not be read.
    pub fn log(&self, name: &LogName) -> Result<LogFolder, Unread> {
        in_folder(&self.0, &name.to_string()).map(LogFolder::new)
    }

    /// The file `authorities`.
    ///
    /// # Errors
    /// It is not there, or no file of a bearable size.
    pub fn authorities(&self) -> Result<Vec<u8>, Unread> {
        read_file(&self.0, "authorities", KEYS_BYTES_MAX)
    }

    /// Whether a sidecar holds the lock now. It is asked for by taking it, shared, for a moment.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(lock) = rustix::fs::openat(&self.0, "lock", flags, rustix::fs::Mode::empty()) else {
            return false;
        };
        let taken = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared);
        taken == Err(rustix::io::Errno::WOULDBLOCK)
    }
}

#[cfg(test)]
mod tests;
