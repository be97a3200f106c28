//! Reads the files of the Vault root: secrets of one line, and PEM.
//!
//! Kubernetes mounts secrets as links, of mode 0644 unless told otherwise, so other than for the local root a link
//! is followed, and a file that others may read is told ([`readable_by_all`]) and not refused. One that they may
//! write is.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::VaultRootError;
use crate::secret::WipedBytes;

/// A token, a secret id or a service account's token: the longest are some kilobytes.
const SECRET_BYTES_MAX: u64 = 8 * 1024;
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// The one line of the file `path`, without the newline at its end: `what` is in it.
pub(super) fn read_secret(
    path: &Path,
    what: &'static str,
) -> Result<Zeroizing<String>, VaultRootError> {
    let bytes = read(path, SECRET_BYTES_MAX)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim_ascii();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(VaultRootError::NotText { path: path.into(), what });
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// The bytes of a PEM file.
pub(super) fn read_pem(path: &Path) -> Result<WipedBytes, VaultRootError> {
    read(path, PEM_BYTES_MAX)
}

/// Whether every user of this machine may read `path`.
pub(super) fn readable_by_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}

fn read(path: &Path, bytes_max: u64) -> Result<WipedBytes, VaultRootError> {
    let (file, metadata) = open(path)?;
    let length = |found| VaultRootError::Length { path: path.into(), found, max: bytes_max };
    let room = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if metadata.len() == 0 || metadata.len() > bytes_max {
        return Err(length(metadata.len()));
    }
    let mut bytes = WipedBytes::zeroed(room);
    let read = (&file).take(metadata.len()).read_exact(&mut bytes);
    read.map_err(|source| VaultRootError::File { path: path.into(), source })?;
    Ok(bytes)
}

fn open(path: &Path) -> Result<(File, Metadata), VaultRootError> {
    let failed = |source| VaultRootError::File { path: path.into(), source };
    let (file, metadata) = crate::file::open(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(VaultRootError::NotAFile { path: path.into() });
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(VaultRootError::OpenToAll { path: path.into() });
    }
    Ok((file, metadata))
}
