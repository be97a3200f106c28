//! Opens and makes files that only this user may read.
//!
//! Every check is made on the opened file and none on its name, so that nobody can swap it in between. What is read
//! goes straight into the caller's buffer.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::LocalRootError;

/// A regular file that nobody but this user, or root, can read or write.
pub(super) struct PrivateFile {
    /// Its length.
    pub(super) bytes: u64,
    path: PathBuf,
    file: File,
}

impl PrivateFile {
    /// Fills `buffer` from the beginning of the file.
    pub(super) fn read_into(mut self, buffer: &mut [u8]) -> Result<(), LocalRootError> {
        self.file.read_exact(buffer).map_err(|source| unusable(&self.path, source))
    }
}

/// Opens `path`, which must be a regular file of this user or of root without any right for others. `command` says
/// how to make it, should it be missing.
pub(super) fn open_private(
    path: &Path,
    command: impl FnOnce() -> String,
) -> Result<PrivateFile, LocalRootError> {
    let opened = open_regular(path, command)?;
    let (mode, owner) = (opened.mode & 0o7777, opened.owner);
    let user = rustix::process::geteuid().as_raw();
    if owner != user && owner != 0 {
        return Err(LocalRootError::ForeignOwner { path: path.into(), owner, user });
    }
    if mode & 0o077 != 0 {
        return Err(LocalRootError::TooOpen { path: path.into(), mode });
    }
    Ok(PrivateFile { bytes: opened.bytes, path: path.into(), file: opened.file })
}

/// The text of a file that is no secret, if it is no longer than `bytes_max`.
pub(super) fn read_public(
    path: &Path,
    bytes_max: u64,
    command: impl FnOnce() -> String,
) -> Result<Vec<u8>, LocalRootError> {
    let opened = open_regular(path, command)?;
    if opened.bytes > bytes_max {
        let problem = format!("it is {} bytes long, {bytes_max} are allowed", opened.bytes);
        return Err(LocalRootError::Salt { path: path.into(), problem });
    }
    let mut text = Vec::new();
    let read = opened.file.take(bytes_max).read_to_end(&mut text);
    read.map_err(|source| unusable(path, source))?;
    Ok(text)
}

struct Opened {
    file: File,
    mode: u32,
    owner: u32,
    bytes: u64,
}

fn open_regular(path: &Path, command: impl FnOnce() -> String) -> Result<Opened, LocalRootError> {
    // NONBLOCK: to open a pipe must not wait for somebody to write into it.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => LocalRootError::Missing { path: path.into(), command: command() },
        Errno::LOOP => LocalRootError::Link { path: path.into() },
        other => unusable(path, other.into()),
    })?;
    let stat = rustix::fs::fstat(&file).map_err(|error| unusable(path, error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(LocalRootError::NotAFile { path: path.into() });
    }
    Ok(Opened {
        file: file.into(),
        mode: stat.st_mode,
        owner: stat.st_uid,
        bytes: u64::try_from(stat.st_size).unwrap_or(0),
    })
}

/// Makes `path` with `bytes`, of mode 0600 from its first moment. It appears whole or not at all, never in the place
/// of another, and is on disk when this returns.
pub(super) fn create_private(path: &Path, bytes: &[u8]) -> Result<(), LocalRootError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let written = || -> io::Result<NamedTempFile> {
        // Mode 0600 and O_EXCL are what `tempfile` does.
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    let file = written().map_err(|source| unusable(path, source))?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => LocalRootError::Exists { path: path.into() },
        _ => unusable(path, error.error),
    })?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| unusable(path, source))
}

fn unusable(path: &Path, source: io::Error) -> LocalRootError {
    LocalRootError::File { path: path.into(), source }
}
