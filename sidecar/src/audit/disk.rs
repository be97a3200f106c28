//! What the log does to files: private ones, never through a link, and whole or not at all.
//!
//! Everything that changes the disk goes through [`Disk`], so that a test can stop it, slow it or fail it at any step.
//! A file that is put in its place is written beside it under a name that begins with a dot, flushed and renamed.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::error::DiskError;

#[cfg(test)]
use super::faults::{Faults, Step};

/// Follow no link.
const NO_LINKS: u32 = rustix::fs::OFlags::NOFOLLOW.bits();

/// The disk, or one that a test makes fail.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<Faults>,
}

impl Disk {
    /// Writes all of `bytes` at `offset`.
    pub(super) fn write_at(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), DiskError> {
        #[cfg(test)]
        self.faults
            .write(file, bytes, offset)
            .map_err(|source| DiskError::new("written", path, source))?;
        file.write_all_at(bytes, offset).map_err(|source| DiskError::new("written", path, source))
    }

    /// Until the bytes of `file` are on the disk.
    pub(super) fn flush(&self, file: &File, path: &Path) -> Result<(), DiskError> {
        #[cfg(test)]
        self.faults.pass(Step::Flush).map_err(|source| DiskError::new("flushed", path, source))?;
        #[cfg(test)]
        if self.faults.skips_flushes() {
            return Ok(());
        }
        file.sync_data().map_err(|source| DiskError::new("flushed", path, source))
    }

    pub(super) fn truncate(&self, file: &File, path: &Path, bytes: u64) -> Result<(), DiskError> {
        #[cfg(test)]
        self.faults.pass(Step::Truncate).map_err(|source| DiskError::new("cut", path, source))?;
        file.set_len(bytes).map_err(|source| DiskError::new("cut", path, source))
    }

    /// An empty file to write and read, in the place of what may be there.
    pub(super) fn create(&self, path: &Path) -> Result<File, DiskError> {
        #[cfg(test)]
        self.faults.pass(Step::Create).map_err(|source| DiskError::new("made", path, source))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        options.custom_flags(NO_LINKS.cast_signed());
        options.open(path).map_err(|source| DiskError::new("made", path, source))
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        #[cfg(test)]
        self.faults.pass(Step::Rename).map_err(|source| DiskError::new("renamed", from, source))?;
        std::fs::rename(from, to).map_err(|source| DiskError::new("renamed", from, source))
    }

    /// Removes a file; that there is none is no error.
    pub(super) fn remove(&self, path: &Path) -> Result<(), DiskError> {
        #[cfg(test)]
        self.faults.pass(Step::Remove).map_err(|source| DiskError::new("removed", path, source))?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|source| DiskError::new("removed", path, source)),
        }
    }

    /// Removes a folder with all that is in it; that there is none is no error.
    pub(super) fn remove_folder(&self, path: &Path) -> Result<(), DiskError> {
        #[cfg(test)]
        self.faults.pass(Step::Remove).map_err(|source| DiskError::new("removed", path, source))?;
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|source| DiskError::new("removed", path, source)),
        }
    }

    /// Makes `path` and the folders above it up to `top`, which is there. Each is flushed into the one above; none may be
    /// a link.
    pub(super) fn make_folders(&self, top: &Path, path: &Path) -> Result<(), DiskError> {
        let Some(above) = path.parent().filter(|_| path != top) else { return Ok(()) };
        self.make_folders(top, above)?;
        if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        #[cfg(test)]
        self.faults.pass(Step::Create).map_err(|source| DiskError::new("made", path, source))?;
        DirBuilder::new()
            .mode(0o700)
            .create(path)
            .map_err(|source| DiskError::new("made", path, source))?;
        self.flush_folder(above).inspect_err(|_| {
            // So that the next time makes and flushes it again.
            let _ = std::fs::remove_dir(path);
        })
    }

    /// Until the names in the folder are on the disk.
    pub(super) fn flush_folder(&self, path: &Path) -> Result<(), DiskError> {
        #[cfg(test)]
        self.faults.pass(Step::Flush).map_err(|source| DiskError::new("flushed", path, source))?;
        #[cfg(test)]
        if self.faults.skips_flushes() {
            return Ok(());
        }
        let folder = File::open(path).and_then(|folder| folder.sync_all());
        folder.map_err(|source| DiskError::new("flushed", path, source))
    }

    /// Puts `bytes` at `path`, whole or not at all.
    pub(super) fn put(&self, top: &Path, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        self.place(top, path, |file, beside| self.write_at(file, beside, bytes, 0))
    }

    /// Puts the first `bytes` bytes of `source` at `path`, whole or not at all, through a small buffer.
    pub(super) fn put_copy(
        &self,
        top: &Path,
        path: &Path,
        source: &File,
        bytes: u64,
    ) -> Result<(), DiskError> {
        self.place(top, path, |file, beside| {
            let mut buffer = [0; 16 * 1024];
            let mut offset = 0;
            while offset < bytes {
                let left = usize::try_from(bytes - offset).unwrap_or(usize::MAX);
                let wanted = buffer.get_mut(..left.min(16 * 1024)).unwrap_or_default();
                source
                    .read_exact_at(wanted, offset)
                    .map_err(|source| DiskError::new("read", beside, source))?;
                self.write_at(file, beside, wanted, offset)?;
                offset += wanted.len() as u64;
            }
            Ok(())
        })
    }

    fn place(
        &self,
        top: &Path,
        path: &Path,
        write: impl FnOnce(&File, &Path) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let Some((folder, beside)) = path.parent().zip(beside(path)) else {
            let source = io::ErrorKind::InvalidFilename.into();
            return Err(DiskError::new("written", path, source));
        };
        self.make_folders(top, folder)?;
        let file = self.create(&beside)?;
        write(&file, &beside)?;
        self.flush(&file, &beside)?;
        self.rename(&beside, path)?;
        self.flush_folder(folder)
    }
}

/// The name under which `path` is written before it is there.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    Some(path.with_file_name(format!(".{name}.new")))
}

/// Opens a regular file to be read, not through a link.
pub(super) fn open(path: &Path) -> Result<(File, Metadata), DiskError> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let failed = |source| DiskError::new("read", path, source);
    let file = opened.map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is no file")));
    }
    Ok((file, metadata))
}

/// All of a file of at most `bytes_max` bytes; `None` if it is not there.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let (file, _) = match open(path) {
        Ok(opened) => opened,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    let failed = |source| DiskError::new("read", path, source);
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(failed(io::Error::other("it is longer than any that was written here")));
    }
    Ok(Some(bytes))
}

/// Whether a regular file is at `path`, not through a link.
pub(super) fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}

/// Which file one is: no other has that while this one is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Of an open file.
    pub(super) fn of(file: &File, path: &Path) -> Result<Self, DiskError> {
        let found = file.metadata().map_err(|source| DiskError::new("read", path, source))?;
        Ok(Self { device: found.dev(), inode: found.ino() })
    }

    /// How many bytes `path` has, if it still is this file: nobody removed it or put another in its place.
    pub(super) fn bytes_at(self, path: &Path) -> Option<u64> {
        let found = path.symlink_metadata().ok()?;
        (self == Self { device: found.dev(), inode: found.ino() }).then_some(found.len())
    }
}
