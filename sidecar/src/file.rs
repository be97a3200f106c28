//! What reading a file that may change, or be a pipe, always needs: a look that tells a change, and an opening that waits
//! for nobody.
//!
//! Depends on nothing. Who may have written a file, and how long it may be, is for its reader to judge.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// What changes when a file does: device, inode, length, and the times of its bytes and of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp([u64; 3], [i64; 4]);

impl Stamp {
    /// What the file at `path` looks like now; links are followed. To be taken before the file is read: a change in
    /// between is seen the next time.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Stamp {
    fn from(file: &Metadata) -> Self {
        let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
        Self([file.dev(), file.ino(), file.len()], times)
    }
}

/// Opens `path` to be read, and what it is: of the opened file, so nobody can swap it in between. Links are followed:
/// Kubernetes mounts links. A pipe without a writer is not waited for.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// The whole of a regular file of at most `max` bytes.
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let (file, metadata) = open(path)?;
    if !metadata.is_file() || metadata.len() > max {
        return Err(io::Error::other("it is no file, or too long"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_tells_a_change_of_bytes_and_a_file_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert!(Stamp::of(&path).is_err());
        std::fs::write(&path, "one").unwrap();
        let first = Stamp::of(&path).unwrap();
        assert_eq!(Stamp::of(&path).unwrap(), first);
        std::fs::write(&path, "more").unwrap();
        let second = Stamp::of(&path).unwrap();
        let beside = folder.path().join("b");
        std::fs::write(&beside, "more").unwrap();
        std::fs::rename(&beside, &path).unwrap();
        let third = Stamp::of(&path).unwrap();
        assert!(first != second && second != third);
    }

    #[test]
    fn a_pipe_without_a_writer_is_opened_at_once_and_told_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        assert!(!open(&path).unwrap().1.is_file());
    }
}
