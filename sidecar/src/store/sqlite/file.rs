//! The files of one store: where they are, who may open them, and whose they are.
//!
//! Depends on the file system alone; nothing here speaks SQL. Invariants: a file that is not Keypod's is looked
//! at and never written (`a_foreign_database_is_refused_and_left_alone`); two stores never have one file open
//! (`a_second_sidecar_is_told_who_has_the_store`).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::{foreign, full, unavailable};
use crate::store::StoreError;

/// Marks a database as Keypod's, at offset 68 of the file: "Kpod" in ASCII. `0001_keys.sql` sets it.
pub(super) const APPLICATION_ID: [u8; 4] = *b"Kpod";

/// `path` and a suffix: SQLite and Keypod name their side files so.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The one spelling of `path`, so that two of them cannot get round the lock.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    match fs::canonicalize(path) {
        Ok(resolved) => return Ok(resolved),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unavailable(path, error)),
    }
    let Some(name) = path.file_name() else {
        return Err(unavailable(path, "store.sqlite must name a file"));
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match fs::canonicalize(folder) {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) => Err(unavailable(
            path,
            format_args!(
                "its folder cannot be used ({error}): create the folder, mount its volume, or set store.sqlite"
            ),
        )),
    }
}

/// One store's claim on its database. The kernel drops it when the process ends, however it ends, so a lock
/// file that is left behind means nothing.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Claims the database, or says who has it.
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let path = beside(database, ".lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|error| {
                let hint = "the folder of store.sqlite must be writable for this user";
                unavailable(&path, format_args!("cannot be opened ({error}): {hint}"))
            })?;
        match file.try_lock() {
            Ok(()) => {
                // For the message below only; a disk too full for it will be noticed soon enough.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Self { _file: file })
            }
            Err(fs::TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let known = Read::by_ref(&mut file).take(10).read_to_string(&mut owner).is_ok()
                    && owner.parse::<u32>().is_ok();
                let owner = if known { format!(" (process {owner})") } else { String::new() };
                Err(StoreError::InUse {
                    reason: format!(
                        "{} is in use by another sidecar{owner}, and an SQLite store serves one at a time: stop that one, or set another store.sqlite for this one",
                        database.display()
                    ),
                })
            }
            Err(fs::TryLockError::Error(error)) => {
                Err(unavailable(&path, format_args!("cannot be locked: {error}")))
            }
        }
    }
}

/// Whether there is a database that is Keypod's; an error for any other file. Reads the header only.
///
/// Called before SQLite has the file open: closing any descriptor of a file drops the POSIX locks that the
/// process holds on it (<https://www.sqlite.org/howtocorrupt.html>, 2.2).
pub(super) fn is_there(database: &Path) -> Result<bool, StoreError> {
    let file = match File::open(database) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unavailable(database, error)),
    };
    let failed = |error: io::Error| unavailable(database, error);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(unavailable(database, "not a regular file: store.sqlite must name a file"));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(unavailable(
            database,
            "every user can write it: find out who has, then `chmod 600` it",
        ));
    }
    let mut header = Vec::with_capacity(100);
    file.take(100).read_to_end(&mut header).map_err(failed)?;
    if !header.starts_with(b"SQLite format 3\0") {
        let what = if header.is_empty() {
            "the file is empty, and Keypod never leaves one so: restore a backup, or remove it to start without keys"
        } else {
            "not an SQLite database: restore a backup, or set store.sqlite to another path"
        };
        return Err(foreign(database, what));
    }
    if header.get(68..72) != Some(APPLICATION_ID.as_slice()) {
        return Err(foreign(
            database,
            "another program's database (its application_id is not Keypod's): set store.sqlite to another path",
        ));
    }
    Ok(true)
}

/// Free space below which a volume counts as full: some transactions' worth of log. A check's own small write
/// may still fit into what the log has already taken, and would pass on a disk where the next change fails.
const FREE_BYTES_MIN: u64 = 256 << 10;

/// Whether the volume has room for the next changes.
pub(super) fn has_room(database: &Path) -> Result<(), StoreError> {
    let volume = rustix::fs::statvfs(database).map_err(|error| unavailable(database, error))?;
    // Some file systems in user space count no blocks at all.
    let counts = volume.f_blocks > 0;
    if counts && volume.f_bavail.saturating_mul(volume.f_frsize) < FREE_BYTES_MIN {
        return Err(full(database));
    }
    Ok(())
}

/// Takes every right of group and others away. Kubernetes gives the group read and write on each file of a
/// volume when a pod with `fsGroup` starts, so this is put right rather than refused.
pub(super) fn restrict(database: &Path) {
    for path in [database.to_owned(), beside(database, "-wal"), beside(database, "-shm")] {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.mode() & 0o077 == 0 {
            continue;
        }
        let mode = format!("{:03o}", metadata.mode() & 0o777);
        match fs::set_permissions(&path, Permissions::from_mode(0o600)) {
            Ok(()) => tracing::warn!(path = %path.display(), mode, "others had access: now 600"),
            Err(error) => {
                tracing::warn!(path = %path.display(), mode, %error, "others have access: chmod 600 it");
            }
        }
    }
}

/// Makes an empty file of mode 0600 where a database is built before it has its name; whatever an interrupted
/// start left there goes.
pub(super) fn start_new(database: &Path) -> Result<PathBuf, StoreError> {
    let new = beside(database, ".new");
    for suffix in ["", "-journal", "-wal", "-shm"] {
        match fs::remove_file(beside(&new, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unavailable(&new, format_args!("cannot be removed: {error}")));
            }
            _ => {}
        }
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(|error| unavailable(&new, format_args!("cannot be created: {error}")))?;
    Ok(new)
}

/// Gives the finished database its name, on disk: there is a whole one or none.
pub(super) fn publish(new: &Path, database: &Path) -> Result<(), StoreError> {
    let publish = || {
        File::open(new)?.sync_all()?;
        fs::rename(new, database)?;
        database.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    publish().map_err(|error| unavailable(database, format_args!("cannot be created: {error}")))
}
