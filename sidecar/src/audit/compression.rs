//! Compresses the full bundles of logs that are over.
//!
//! It touches nothing of the log that is open. It remembers up to which log all is done, so that a pass over closed logs
//! costs nothing (`a_pass_over_what_is_done_touches_no_file`).

use std::io::Write as _;
use std::path::Path;

use flate2::Compression as Level;
use flate2::write::GzEncoder;

use super::chain;
use super::disk::{self, Disk};
use super::error::{DiskError, LogError};
use super::layout::{LogName, Tile};
use super::recover::{BUNDLE_BYTES_MAX, decompress};

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

/// How far it has come.
#[derive(Debug, Default)]
pub(super) struct Compression {
    /// The logs below this number are done.
    done_below: u64,
}

impl Compression {
    /// Compresses the full bundles of the logs before `current`.
    pub(super) fn compress(
        &mut self,
        disk: &Disk,
        top: &Path,
        current: u64,
    ) -> Result<Compressed, LogError> {
        let mut total = Compressed::default();
        if self.done_below >= current {
            return Ok(total);
        }
        let logs = chain::logs(top)?;
        let open = self.done_below..current;
        for name in logs.into_iter().filter(|name| open.contains(&name.number)) {
            compress_log(disk, top, name, &mut total)?;
            self.done_below = name.number;
        }
        self.done_below = current;
        Ok(total)
    }
}

fn compress_log(
    disk: &Disk,
    top: &Path,
    name: LogName,
    total: &mut Compressed,
) -> Result<(), LogError> {
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
    Ok(())
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
    let mut encoder = GzEncoder::new(Vec::new(), Level::default());
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
