//! The folder of all logs: who may write there, which logs there are, and which authorities certified them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::certificate::Statement;
use super::disk::{self, Disk};
use super::error::{DiskError, LogError};
use super::layout::{AUTHORITIES, CERTIFICATE, LOCK, LogName};
use super::settings::Origin;

/// A certificate or a checkpoint is shorter.
pub(super) const NOTE_BYTES_MAX: u64 = 1 << 20;

/// The folder, held by this process.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) disk: Disk,
    pub(super) top: PathBuf,
    /// Held as long as it is open.
    _lock: File,
}

impl Chain {
    /// Makes the folder if need be, looks whether it is safe to write to, takes the lock, and removes what a crash left
    /// half made.
    pub(super) fn open(disk: Disk, folder: &Path) -> Result<Self, LogError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| LogError::Disk(DiskError::new("made", folder, source)))?;
        check(folder)?;
        let lock = lock(folder)?;
        for name in names(folder)? {
            let name = name?;
            let unborn = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new"));
            if unborn.is_some_and(|name| LogName::parse(name).is_some()) {
                disk.remove_folder(&folder.join(name)).map_err(LogError::Disk)?;
            }
        }
        Ok(Self { disk, top: folder.to_owned(), _lock: lock })
    }

    /// The verification keys that are written down.
    pub(super) fn authorities(&self) -> Result<Vec<u8>, DiskError> {
        Ok(disk::read(&self.top.join(AUTHORITIES), NOTE_BYTES_MAX)?.unwrap_or_default())
    }

    /// Adds an authority's verification key to those that are written down.
    pub(super) fn write_authority(&self, key: &str) -> Result<(), DiskError> {
        write_authority(&self.disk, &self.top, key)
    }
}

/// Adds an authority's verification key to those that are written down.
pub(super) fn write_authority(disk: &Disk, top: &Path, key: &str) -> Result<(), DiskError> {
    let path = top.join(AUTHORITIES);
    let mut keys = disk::read(&path, NOTE_BYTES_MAX)?.unwrap_or_default();
    if keys.split(|byte| *byte == b'\n').any(|line| line == key.as_bytes()) {
        return Ok(());
    }
    if keys.last().is_some_and(|byte| *byte != b'\n') {
        keys.push(b'\n');
    }
    keys.extend_from_slice(key.as_bytes());
    keys.push(b'\n');
    disk.put(top, &path, &keys)
}

/// The logs of a folder, by number.
pub(super) fn logs(top: &Path) -> Result<Vec<LogName>, LogError> {
    let logs = names(top)?.filter_map(|name| name.map(|name| LogName::parse(&name)).transpose());
    let mut logs = logs.collect::<Result<Vec<_>, _>>()?;
    logs.sort();
    Ok(logs)
}

/// The log with the highest number; `None` if there is none yet.
pub(super) fn newest(top: &Path) -> Result<Option<LogName>, LogError> {
    let mut newest = None;
    for name in names(top)? {
        newest = newest.max(LogName::parse(&name?));
    }
    Ok(newest)
}

/// What the certificate of a log says, if it can be read.
pub(super) fn statement(top: &Path, name: LogName) -> Option<Statement> {
    let note = disk::read(&top.join(name.folder()).join(CERTIFICATE), NOTE_BYTES_MAX).ok()??;
    Statement::read(&note).ok()
}

/// What the logs in `folder` are called, by the newest certificate; `None` if there is none yet.
#[must_use]
pub fn origin_in(folder: &Path) -> Option<Origin> {
    let log = statement(folder, newest(folder).ok()??)?.log;
    log.rsplit_once('/')?.0.parse().ok()
}

/// The names in the folder, one after the other: there may be millions.
fn names(folder: &Path) -> Result<impl Iterator<Item = Result<String, LogError>>, LogError> {
    let failed = move |source| LogError::Disk(DiskError::new("listed", folder, source));
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    Ok(entries.filter_map(move |entry| {
        entry.map_err(failed).map(|entry| entry.file_name().into_string().ok()).transpose()
    }))
}

fn check(folder: &Path) -> Result<(), LogError> {
    let unfit = |problem| LogError::Folder { folder: folder.to_owned(), problem };
    let found = folder.symlink_metadata();
    let found = found.map_err(|error| LogError::Disk(DiskError::new("read", folder, error)))?;
    if !found.is_dir() {
        return Err(unfit("is no folder: name one that is no link"));
    }
    let owner = found.uid();
    if owner != rustix::process::geteuid().as_raw() && owner != 0 {
        return Err(unfit("belongs to somebody else: give it to the user of the sidecar"));
    }
    if found.mode() & 0o022 != 0 {
        return Err(unfit(
            "can be written by others: chmod go-w, or name a folder inside it, which will be made",
        ));
    }
    Ok(())
}

/// A lock that somebody else has is tried this often, so long after each other.
const LOCK_TRIES: u32 = 10;
const LOCK_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

/// The lock of the folder. Waits for a second at most.
fn lock(folder: &Path) -> Result<File, LogError> {
    let path = folder.join(LOCK);
    let failed = |source| LogError::Disk(DiskError::new("locked", &path, source));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    let file = options.open(&path).map_err(failed)?;
    // Who verifies the folder has it for a moment, to see whether anybody writes.
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_AGAIN),
            Err(error) => return Err(failed(io::Error::from(error))),
        }
    }
    Err(LogError::InUse { folder: folder.to_owned() })
}
