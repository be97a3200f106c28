//! The files of one log, by their names in C2SP tlog-tiles.
//!
//! Each part of a path is opened by itself and without following links, so that a link in the folder, wherever it is, is
//! told and not followed.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::bundle::{BUNDLE_BYTES_MAX, gunzip};
use super::{NOTE_BYTES_MAX, WIDTH};

/// Folders in folders that a bundle can be in: numbers below 10 to the 15th.
const DEPTH_MAX: u8 = 4;
/// Full bundles of one log: four thousand million entries.
const BUNDLES_MAX: usize = 1 << 24;
/// Length of a full tile of hashes.
const TILE_BYTES_MAX: usize = 256 * 32;

/// Why a file is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unread {
    /// It is not there.
    #[error("is not there")]
    Missing,
    /// It is a symbolic link, or a part of its path is.
    #[error("is a symbolic link, which is not followed, or no file")]
    NotAFile,
    /// It is longer than its form can be.
    #[error("is longer than the {max} bytes that it can have")]
    TooLong {
        /// The most that it can have.
        max: usize,
    },
    /// It is shorter than its name says.
    #[error("is shorter than its name says")]
    TooShort,
    /// What it was compressed to is no gzip.
    #[error("is not sound gzip")]
    BadGzip,
    /// The system does not let it be read.
    #[error("cannot be read: {0}")]
    System(std::io::ErrorKind),
}

impl From<Errno> for Unread {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT => Self::Missing,
            Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::ISDIR => Self::NotAFile,
            other => Self::System(other.kind()),
        }
    }
}

/// Opens the folder `name` of `parent`, unless it is a link.
pub(super) fn in_folder(parent: impl AsFd, name: &str) -> Result<OwnedFd, Unread> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// The whole file `name` of `parent`, of `max` bytes at most, unless it is a link.
pub(super) fn read_file(parent: impl AsFd, name: &str, max: usize) -> Result<Vec<u8>, Unread> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(parent, name, flags, Mode::empty())?);
    let system = |error: std::io::Error| Unread::System(error.kind());
    let metadata = file.metadata().map_err(system)?;
    if !metadata.is_file() {
        return Err(Unread::NotAFile);
    }
    let too_long = Unread::TooLong { max };
    let length = usize::try_from(metadata.len()).map_err(|_| too_long.clone())?;
    if length > max {
        return Err(too_long);
    }
    let mut bytes = Vec::with_capacity(length.saturating_add(1));
    // It may have grown since.
    let read = file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(system)?;
    if read > max { Err(Unread::TooLong { max }) } else { Ok(bytes) }
}

/// The parts of `x001/x234/067`.
fn parts(index: u64) -> Vec<String> {
    let mut parts = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        parts.insert(0, format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    parts
}

/// The path of a tile or bundle below its log, as C2SP tlog-tiles has it. `level` is a number or `entries`.
pub(crate) fn tile_path(level: &str, index: u64, width: u64) -> String {
    let path = format!("tile/{level}/{}", parts(index).join("/"));
    if width == WIDTH { path } else { format!("{path}.p/{width}") }
}

/// A full bundle as it lies there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoredBundle {
    /// Its bytes, uncompressed.
    pub(crate) bytes: Vec<u8>,
    /// There is a compressed one beside it that holds something else.
    pub(crate) contradicted: bool,
}

/// The folder of a log, opened.
#[derive(Debug)]
pub struct LogFolder(OwnedFd);

impl LogFolder {
    pub(super) fn new(folder: OwnedFd) -> Self {
        Self(folder)
    }

    /// The file `certificate`.
    pub(crate) fn certificate(&self) -> Result<Vec<u8>, Unread> {
        read_file(&self.0, "certificate", NOTE_BYTES_MAX)
    }

    /// The file `checkpoint`.
    pub(crate) fn checkpoint(&self) -> Result<Vec<u8>, Unread> {
        read_file(&self.0, "checkpoint", NOTE_BYTES_MAX)
    }

    /// The file `tail`. A crash may have left a bundle's worth of it.
    pub(crate) fn tail(&self) -> Result<Vec<u8>, Unread> {
        read_file(&self.0, "tail", BUNDLE_BYTES_MAX)
    }

    /// A full bundle, plain or compressed.
    pub(crate) fn bundle(&self, index: u64) -> Result<StoredBundle, Unread> {
        let (folder, name) = self.place("entries", index, WIDTH)?;
        let compressed = format!("{name}.gz");
        match read_file(&folder, &name, BUNDLE_BYTES_MAX) {
            // Both are there while a sidecar compresses, and after a crash of it.
            Ok(bytes) => {
                let other = read_file(&folder, &compressed, BUNDLE_BYTES_MAX);
                let contradicted = other != Err(Unread::Missing)
                    && other.and_then(|other| gunzip(&other)).as_ref() != Ok(&bytes);
                Ok(StoredBundle { bytes, contradicted })
            }
            Err(Unread::Missing) => {
                let bytes = gunzip(&read_file(&folder, &compressed, BUNDLE_BYTES_MAX)?)?;
                Ok(StoredBundle { bytes, contradicted: false })
            }
            Err(other) => Err(other),
        }
    }

    /// Whether there is something in the place of a full bundle.
    pub(crate) fn has_bundle(&self, index: u64) -> bool {
        let Ok((folder, name)) = self.place("entries", index, WIDTH) else { return false };
        let there =
            |name: &str| rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        there(&name) || there(&format!("{name}.gz"))
    }

    /// A bundle of fewer than 256 entries.
    pub(crate) fn partial_bundle(&self, index: u64, width: u64) -> Result<Vec<u8>, Unread> {
        let (folder, name) = self.place("entries", index, width)?;
        read_file(&folder, &name, BUNDLE_BYTES_MAX)
    }

    /// A tile of `width` hashes: the full one if that is there, else the partial one.
    pub(crate) fn tile(&self, level: u8, index: u64, width: u64) -> Result<Vec<u8>, Unread> {
        let read = |width| {
            let (folder, name) = self.place(&level.to_string(), index, width)?;
            read_file(&folder, &name, TILE_BYTES_MAX)
        };
        match read(WIDTH) {
            Err(Unread::Missing) if width < WIDTH => read(width),
            other => other,
        }
    }

    /// Which full bundles are there, in runs of numbers without a gap.
    pub(crate) fn bundles(&self) -> Result<Vec<Range<u64>>, Unread> {
        let entries = match in_folder(&self.0, "tile").and_then(|tile| in_folder(tile, "entries")) {
            Ok(folder) => folder,
            Err(Unread::Missing) => return Ok(Vec::new()),
            Err(other) => return Err(other),
        };
        let mut numbers = Vec::new();
        list_bundles(&entries, 0, 0, &mut numbers)?;
        numbers.sort_unstable();
        let mut runs: Vec<Range<u64>> = Vec::new();
        for number in numbers {
            match runs.last_mut() {
                // Plain and compressed, it is there twice.
                Some(run) if number < run.end => {}
                Some(run) if number == run.end => run.end = number.saturating_add(1),
                _ => runs.push(number..number.saturating_add(1)),
            }
        }
        Ok(runs)
    }

    /// The folder that a tile or bundle is in, and its name there.
    fn place(&self, level: &str, index: u64, width: u64) -> Result<(OwnedFd, String), Unread> {
        let mut folder = in_folder(in_folder(&self.0, "tile")?, level)?;
        let mut parts = parts(index);
        let mut name = parts.pop().unwrap_or_default();
        for part in parts {
            folder = in_folder(&folder, &part)?;
        }
        if width != WIDTH {
            folder = in_folder(&folder, &format!("{name}.p"))?;
            name = width.to_string();
        }
        Ok((folder, name))
    }
}

/// Adds the numbers of the full bundles below `folder`, whose path began with the digits of `before`.
fn list_bundles(
    folder: &OwnedFd,
    before: u64,
    depth: u8,
    numbers: &mut Vec<u64>,
) -> Result<(), Unread> {
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        let number = |digits: &str| {
            let sound = digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_digit());
            let digits = sound.then(|| digits.parse::<u64>().ok()).flatten()?;
            before.checked_mul(1000)?.checked_add(digits)
        };
        if let Some(before) = name.strip_prefix('x').and_then(number) {
            if depth < DEPTH_MAX {
                list_bundles(&in_folder(folder, &name)?, before, depth.saturating_add(1), numbers)?;
            }
        } else if let Some(number) = number(name.strip_suffix(".gz").unwrap_or(&name)) {
            numbers.push(number);
        }
        if numbers.len() > BUNDLES_MAX {
            return Err(Unread::TooLong { max: BUNDLES_MAX });
        }
    }
    Ok(())
}
