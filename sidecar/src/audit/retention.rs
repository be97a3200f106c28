//! What happens to logs that are over: a witness's late signature, compression, and the end of their time.
//!
//! None of it touches the log that is open, so none of it waits for the writer.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::chain::{self, NOTE_BYTES_MAX};
use super::disk::{self, Disk};
use super::error::{DiskError, LogError};
use super::layout::{CHECKPOINT, LogName, TAIL, TILES, Tile};
use super::note::{read_checkpoint, with_signature};
use super::recover::{BUNDLE_BYTES_MAX, decompress};
use crate::clock::UnixSeconds;

/// Tiles on their way out.
const LEAVING: &str = ".tile.old";

/// A log whose time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldLog {
    /// Its number in the chain.
    pub number: u64,
    /// Its origin.
    pub origin: String,
    /// Entries that its checkpoint covers.
    pub size: u64,
    /// The root hash of its checkpoint.
    pub root: [u8; 32],
    name: LogName,
}

/// What compression came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compressed {
    /// Bundles that were compressed.
    pub bundles: u64,
    /// Their bytes before.
    pub bytes_before: u64,
    /// Their bytes after.
    pub bytes_after: u64,
}

/// The logs before `current` that still have entries, of which the youngest is older than `retention`. A log began when
/// the one before it had ended, and the time of that is in its certificate.
pub(super) fn due(
    top: &Path,
    current: u64,
    retention: Duration,
    now: UnixSeconds,
) -> Result<Vec<OldLog>, LogError> {
    let logs = chain::logs(top)?;
    let mut due = Vec::new();
    for pair in logs.windows(2) {
        let [name, next] = pair else { continue };
        if name.number >= current || !has_entries(&top.join(name.folder())) {
            continue;
        }
        let Some(statement) = chain::statement(top, name) else { continue };
        // The later of the two: a machine that begins with a clock that is far behind dates a log's end before its beginning.
        let ended = chain::statement(top, next).map(|next| next.time.max(statement.time));
        if ended.is_none_or(|ended| ended.after(retention) >= now) {
            continue;
        }
        let note = disk::read(&top.join(name.folder()).join(CHECKPOINT), NOTE_BYTES_MAX);
        let note = note.map_err(LogError::Disk)?.unwrap_or_default();
        // Without a checkpoint that holds, what goes could not be said: it stays, and the verifier says why.
        let Ok(checkpoint) = read_checkpoint(&note, &statement.key) else { continue };
        due.push(OldLog {
            number: name.number,
            origin: statement.log,
            size: checkpoint.size(),
            root: checkpoint.hash().0,
            name: name.clone(),
        });
    }
    Ok(due)
}

fn has_entries(folder: &Path) -> bool {
    [TILES, LEAVING, TAIL].iter().any(|name| folder.join(name).symlink_metadata().is_ok())
}

/// Deletes entries and tiles; certificate and checkpoint stay.
pub(super) fn delete(disk: &Disk, top: &Path, log: &OldLog) -> Result<(), DiskError> {
    let folder = top.join(log.name.folder());
    // A crash leaves no log that has some of its entries under their names.
    let leaving = folder.join(LEAVING);
    disk.remove_folder(&leaving)?;
    if folder.join(TILES).symlink_metadata().is_ok() {
        disk.rename(&folder.join(TILES), &leaving)?;
    }
    disk.remove(&folder.join(TAIL))?;
    disk.flush_folder(&folder)?;
    disk.remove_folder(&leaving)?;
    disk.flush_folder(&folder)
}

/// Compresses the full bundles of the logs before `current`.
pub(super) fn compress(disk: &Disk, top: &Path, current: u64) -> Result<Compressed, LogError> {
    let mut total = Compressed::default();
    for name in chain::logs(top)?.iter().filter(|name| name.number < current) {
        let folder = top.join(name.folder());
        for number in 0.. {
            let path = folder.join(Tile::Entries.path(number));
            let gzip = path.with_added_extension("gz");
            if !disk::is_file(&path) {
                if disk::is_file(&gzip) {
                    continue;
                }
                break;
            }
            let bytes = compress_bundle(disk, top, &path, &gzip).map_err(LogError::Disk)?;
            total.bundles += 1;
            total.bytes_before += bytes.0;
            total.bytes_after += bytes.1;
        }
    }
    Ok(total)
}

/// Puts the compressed bundle beside the plain one, reads it back, and only then takes the plain one away.
fn compress_bundle(
    disk: &Disk,
    top: &Path,
    path: &Path,
    gzip: &Path,
) -> Result<(u64, u64), DiskError> {
    let failed = |source| DiskError::new("compressed", path, source);
    // Gone meanwhile: somebody else has compressed it.
    let Some(plain) = disk::read(path, BUNDLE_BYTES_MAX)? else { return Ok((0, 0)) };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let compressed = encoder.write_all(&plain).and_then(|()| encoder.finish());
    disk.put(top, gzip, &compressed.map_err(failed)?)?;
    let back = disk::read(gzip, BUNDLE_BYTES_MAX)?.unwrap_or_default();
    if decompress(&back).as_deref() != Some(&plain) {
        disk.remove(gzip)?;
        return Err(failed(std::io::Error::other("it does not read back as it was written")));
    }
    disk.remove(path)?;
    Ok((plain.len() as u64, back.len() as u64))
}

/// Adds a witness's signature to the checkpoint of a log that is over, if it covers `size` entries.
pub(super) fn cosign(
    disk: &Disk,
    top: &Path,
    origin: &str,
    size: u64,
    line: &str,
) -> Result<bool, DiskError> {
    let Some((path, key)) = checkpoint_of(top, origin) else { return Ok(false) };
    let Some(note) = disk::read(&path, NOTE_BYTES_MAX)? else { return Ok(false) };
    if !read_checkpoint(&note, &key).is_ok_and(|checkpoint| checkpoint.size() == size) {
        return Ok(false);
    }
    let failed = |error| DiskError::new("cosigned", &path, std::io::Error::other(error));
    disk.put(top, &path, &with_signature(&note, line).map_err(failed)?)?;
    Ok(true)
}

/// The checkpoint file of the log with this origin, and its key.
fn checkpoint_of(top: &Path, origin: &str) -> Option<(PathBuf, String)> {
    let (_, id) = origin.rsplit_once('/')?;
    let name = chain::logs(top).ok()?.into_iter().find(|name| name.id == id)?;
    let statement = chain::statement(top, &name).filter(|statement| statement.log == origin)?;
    Some((top.join(name.folder()).join(CHECKPOINT), statement.key))
}
