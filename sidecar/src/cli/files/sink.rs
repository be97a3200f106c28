//! Writes a result so that it appears under its final name whole or not at all.
//!
//! Depends on [`super::plan::Destination`] and [`crate::cli::output`]. The bytes go to a temporary file in the
//! destination's folder, readable for its owner alone; it vanishes when a [`Sink`] is dropped unfinished.
//! Invariants: nothing is replaced unasked (`an_existing_file_is_not_replaced_unasked`); decrypted files are for
//! their owner alone (`a_decrypted_file_is_for_its_owner_alone`).

use std::fs::{DirBuilder, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::NamedTempFile;

use super::input::Attributes;
use super::plan::Destination;
use crate::cli::output;

/// What the names of temporary files begin with.
pub(super) const TEMPORARY_PREFIX: &[u8] = b".keypod-";

/// Who may read a result.
#[derive(Clone, Copy, Debug)]
pub(super) enum Readers {
    /// Its owner alone: it is plaintext.
    Owner,
    /// Those who may read the input.
    AsInput(Option<Attributes>),
    /// Those who may read the input, which it replaces; and whoever owned that owns it, if that can be had.
    AsReplaced(Option<Attributes>),
}

/// A result on its way.
#[derive(Debug)]
pub(super) enum Sink {
    /// To standard output.
    Stdout,
    /// To a file.
    File(FileSink),
}

/// A result on its way to a file.
#[derive(Debug)]
pub(super) struct FileSink {
    temporary: NamedTempFile,
    path: PathBuf,
    replace: bool,
    readers: Readers,
}

/// Fails if `destination` is taken and not to be replaced: to know before a long transfer. What is no regular
/// file (a link, `/dev/stdout`) is never replaced: the rename would put a file in the place of a device.
pub(super) fn check_free(destination: &Destination) -> anyhow::Result<()> {
    let Destination::File { path, replace } = destination else {
        return Ok(());
    };
    match path.symlink_metadata() {
        Ok(there) if !there.is_file() => {
            Err(anyhow::anyhow!("{} is not a regular file: name another", path.display()))
        }
        Ok(_) if !replace => Err(taken(path)),
        _ => Ok(()),
    }
}

fn taken(path: &Path) -> anyhow::Error {
    anyhow::anyhow!("{} exists: --force replaces it", path.display())
}

impl Sink {
    /// Opens a sink to `destination`, with the folders above it.
    pub(super) fn open(destination: &Destination, readers: Readers) -> anyhow::Result<Self> {
        let Destination::File { path, replace } = destination else {
            return Ok(Self::Stdout);
        };
        let folder = folder_of(path);
        let folder_mode = if matches!(readers, Readers::Owner) { 0o700 } else { 0o777 };
        DirBuilder::new()
            .recursive(true)
            .mode(folder_mode)
            .create(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let temporary = tempfile::Builder::new()
            .prefix(std::str::from_utf8(TEMPORARY_PREFIX)?)
            .suffix(".tmp")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(folder)
            .with_context(|| format!("cannot write in {}", folder.display()))?;
        Ok(Self::File(FileSink { temporary, path: path.clone(), replace: *replace, readers }))
    }

    /// Writes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Stdout => output::write(bytes),
            Self::File(sink) => sink.temporary.write_all(bytes).context("cannot write the result"),
        }
    }

    /// Makes the result appear: on disk, under its name.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(sink) => sink.finish(),
        }
    }
}

impl FileSink {
    fn finish(self) -> anyhow::Result<()> {
        let Self { temporary, path, replace, readers } = self;
        let file = temporary.as_file();
        match readers {
            Readers::Owner | Readers::AsInput(None) | Readers::AsReplaced(None) => {}
            Readers::AsInput(Some(attributes)) => {
                file.set_permissions(Permissions::from_mode(attributes.mode))?;
            }
            Readers::AsReplaced(Some(attributes)) => {
                // Only root can give a file away; for anybody else it was theirs already, or becomes theirs.
                let Attributes { uid, gid, mode } = attributes;
                let _ = std::os::unix::fs::fchown(file, Some(uid), Some(gid));
                file.set_permissions(Permissions::from_mode(mode))?;
            }
        }
        file.sync_all().context("cannot write the result to disk")?;
        let folder = folder_of(&path).to_owned();
        if replace {
            temporary.persist(&path).map_err(|failed| failed.error)
        } else {
            temporary.persist_noclobber(&path).map_err(|failed| failed.error)
        }
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => taken(&path),
            _ => anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
        })?;
        // The name is on disk only once its folder is.
        let synced = File::open(&folder).and_then(|folder| folder.sync_all());
        synced.with_context(|| format!("cannot write the folder {} to disk", folder.display()))
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(path: &Path, replace: bool) -> Destination {
        Destination::File { path: path.to_owned(), replace }
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    fn write(destination: &Destination, readers: Readers, bytes: &[u8]) -> anyhow::Result<()> {
        let mut sink = Sink::open(destination, readers)?;
        sink.write(bytes)?;
        sink.finish()
    }

    #[test]
    fn an_unfinished_result_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = Sink::open(&to(&folder.path().join("x"), false), Readers::Owner).unwrap();
        sink.write(b"half").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(sink);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_existing_file_is_not_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        write(&to(&path, false), Readers::Owner, b"first").unwrap();
        assert!(check_free(&to(&path, false)).is_err());
        let error = write(&to(&path, false), Readers::Owner, b"second").unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        write(&to(&path, true), Readers::Owner, b"third").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"third");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_or_device_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/stdout", &link).unwrap();
        for path in [link.as_path(), Path::new("/dev/null"), folder.path()] {
            let error = check_free(&to(path, true)).unwrap_err();
            assert!(error.to_string().contains("regular"), "{error}");
        }
    }

    #[test]
    fn a_decrypted_file_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/x");
        write(&to(&path, false), Readers::Owner, b"secret").unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let attributes = Attributes { mode: 0o640, uid: 0, gid: 0 };
        let path = folder.path().join("y");
        write(&to(&path, false), Readers::AsInput(Some(attributes)), b"sealed").unwrap();
        assert_eq!(mode(&path), 0o640);
    }
}
