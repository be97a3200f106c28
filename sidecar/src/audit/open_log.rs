//! A log on the disk while it is written: its tail, its tree, its tiles and its checkpoint.
//!
//! It belongs to one thread and waits for nobody but the disk. Each step can be done again after it failed, and at
//! each the files say how far it had come (`recover`): an entry counts from the flush of the tail on, 256 of them become
//! a bundle by a rename, a checkpoint is there by a rename. Memory is the tree's.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tlog_tiles::Hash;

use super::batch::Batch;
use super::disk::{Disk, FileId};
use super::error::DiskError;
use super::layout::{BUNDLE, CERTIFICATE, CHECKPOINT, LogName, TAIL, Tile};
use super::note::{LogKey, with_signature};
use super::receipt::Durability;
use super::tree::Tree;

/// A log that takes entries.
#[derive(Debug)]
pub(super) struct OpenLog {
    disk: Disk,
    /// The folder of the chain.
    top: PathBuf,
    name: LogName,
    folder: PathBuf,
    /// Its folder has its last name.
    born: bool,
    origin: Arc<str>,
    durability: Durability,
    key: LogKey,
    tail: Tail,
    tree: Tree,
    bytes: u64,
    turn: Turn,
    signed: Option<Signed>,
    /// Partial tiles of the newest checkpoint, in the log's folder.
    partials: Vec<String>,
}

#[derive(Debug)]
struct Tail {
    file: File,
    id: FileId,
    path: PathBuf,
    /// Committed.
    bytes: u64,
    /// There may be more bytes in it, which are not committed.
    torn: bool,
}

impl Tail {
    fn create(disk: &Disk, path: PathBuf) -> Result<Self, DiskError> {
        let file = disk.create(&path)?;
        let id = FileId::of(&file, &path)?;
        Ok(Self { file, id, path, bytes: 0, torn: false })
    }

    /// Whether it is as this process left it. What somebody added is cut off the next time; what they took is gone.
    fn check(&mut self) -> Result<(), DiskError> {
        let found = self.id.bytes_at(&self.path);
        let more = found.is_some_and(|found| found > self.bytes);
        if found == Some(self.bytes) || (more && self.torn) {
            return Ok(());
        }
        self.torn |= more;
        Err(DiskError::Gone { path: self.path.clone() })
    }
}

/// What is left to be done before the tail takes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Nothing,
    /// It has 256 entries and becomes a bundle.
    Rename,
    NewTail,
    Tiles,
}

/// The newest checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) size: u64,
    pub(super) note: Arc<[u8]>,
}

/// What a log begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) name: LogName,
    pub(super) origin: Arc<str>,
    pub(super) key: LogKey,
    pub(super) certificate: Vec<u8>,
    pub(super) first: Vec<u8>,
}

impl OpenLog {
    /// Makes a log with its certificate, its first entry and a checkpoint over that, under a name that is no log's yet:
    /// [`Self::bear`] comes next.
    pub(super) fn begin(
        disk: &Disk,
        top: &Path,
        durability: Durability,
        beginning: Beginning,
    ) -> Result<Self, DiskError> {
        let folder = top.join(beginning.name.unborn_folder());
        Self::begin_in(disk, top, folder.clone(), durability, beginning).inspect_err(|_| {
            // A disk that is full is not to be filled by what failed.
            let _ = disk.remove_folder(&folder);
        })
    }

    fn begin_in(
        disk: &Disk,
        top: &Path,
        folder: PathBuf,
        durability: Durability,
        beginning: Beginning,
    ) -> Result<Self, DiskError> {
        let Beginning { name, origin, key, certificate, first } = beginning;
        disk.make_folders(top, &folder)?;
        disk.put(top, &folder.join(CERTIFICATE), &certificate)?;
        let tail = Tail::create(disk, folder.join(TAIL))?;
        let mut log = Self {
            disk: disk.clone(),
            top: top.to_owned(),
            name,
            folder,
            born: false,
            origin,
            durability,
            key,
            tail,
            tree: Tree::default(),
            bytes: 0,
            turn: Turn::Nothing,
            signed: None,
            partials: Vec::new(),
        };
        let first = Batch::of(&first);
        log.write(first.bytes(0..1), first.leaves(0..1))?;
        log.sign()?;
        disk.flush_folder(&log.folder)?;
        Ok(log)
    }

    /// Gives the folder its name: from here on it is a log.
    pub(super) fn bear(&mut self) -> Result<(), DiskError> {
        if self.born {
            return Ok(());
        }
        let folder = self.top.join(self.name.folder());
        if self.folder != folder {
            self.disk.rename(&self.folder, &folder)?;
            self.tail.path = folder.join(TAIL);
            self.folder = folder;
        }
        self.disk.flush_folder(&self.top)?;
        self.born = true;
        Ok(())
    }

    /// Removes what [`Self::begin`] made: nothing was committed there that anybody knows of.
    pub(super) fn discard(self) -> Result<(), DiskError> {
        if self.born { Ok(()) } else { self.disk.remove_folder(&self.folder) }
    }

    pub(super) fn origin(&self) -> &Arc<str> {
        &self.origin
    }

    pub(super) fn number(&self) -> u64 {
        self.name.number
    }

    pub(super) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Bytes of entries, with their lengths.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn signed(&self) -> Option<&Signed> {
        self.signed.as_ref()
    }

    /// How many entries the next [`Self::commit`] can take.
    pub(super) fn room(&self) -> usize {
        usize::try_from(BUNDLE - self.tree.size() % BUNDLE).unwrap_or(1)
    }

    /// The size and the root hash with one more entry.
    pub(super) fn with_one_more(&self, leaf: Hash) -> (u64, Hash) {
        let mut tree = self.tree.clone();
        tree.push(leaf);
        (tree.size(), tree.root())
    }

    /// Finishes what the last commit left: a full tail becomes a bundle.
    pub(super) fn ready(&mut self) -> Result<(), DiskError> {
        self.bear()?;
        self.turn()
    }

    /// Commits entries, at most [`Self::room`]: their bytes as a bundle has them, and their leaf hashes. After an error
    /// none of them is in.
    pub(super) fn commit(
        &mut self,
        entries: &[u8],
        leaves: impl Iterator<Item = Hash>,
    ) -> Result<(), DiskError> {
        self.ready()?;
        self.write(entries, leaves)
    }

    fn write(
        &mut self,
        entries: &[u8],
        leaves: impl Iterator<Item = Hash>,
    ) -> Result<(), DiskError> {
        self.tail.check()?;
        let Tail { file, id, path, bytes, torn } = &mut self.tail;
        if *torn {
            // After a flush that failed, the pages that it was to write count as written: they are written anew.
            self.disk.truncate(file, path, *bytes)?;
        }
        *torn = true;
        self.disk.write_at(file, path, entries, *bytes)?;
        if self.durability != Durability::Async {
            self.disk.flush(file, path)?;
        }
        let after = *bytes + entries.len() as u64;
        if id.bytes_at(path) != Some(after) {
            return Err(DiskError::Gone { path: path.clone() });
        }
        *torn = false;
        *bytes = after;
        self.bytes += entries.len() as u64;
        leaves.for_each(|leaf| self.tree.push(leaf));
        if self.tree.size().is_multiple_of(BUNDLE) {
            self.turn = Turn::Rename;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), DiskError> {
        if self.turn == Turn::Nothing {
            return Ok(());
        }
        let number = (self.tree.size() / BUNDLE).saturating_sub(1);
        let bundle = self.folder.join(Tile::Entries.path(number));
        let bundles = bundle.parent().unwrap_or(&self.folder).to_owned();
        if self.turn == Turn::Rename {
            if self.durability == Durability::Async {
                self.disk.flush(&self.tail.file, &self.tail.path)?;
            }
            self.disk.make_folders(&self.top, &bundles)?;
            self.disk.rename(&self.tail.path, &bundle)?;
            self.turn = Turn::NewTail;
        }
        if self.turn == Turn::NewTail {
            let tail = Tail::create(&self.disk, self.tail.path.clone())?;
            self.disk.flush_folder(&self.folder)?;
            self.disk.flush_folder(&bundles)?;
            self.tail = tail;
            self.turn = Turn::Tiles;
        }
        while let Some(tile) = self.tree.full_tile() {
            let path = self.folder.join(Tile::Hashes(tile.level).path(tile.number));
            self.disk.put(&self.top, &path, &hashes(&tile.hashes))?;
            self.tree.full_tile_is_written();
        }
        self.turn = Turn::Nothing;
        Ok(())
    }

    /// Signs a checkpoint, if there are entries that none covers. `None` if not.
    pub(super) fn checkpoint(&mut self) -> Result<Option<Signed>, DiskError> {
        self.ready()?;
        if self.signed.as_ref().is_some_and(|signed| signed.size == self.tree.size()) {
            return Ok(None);
        }
        self.sign().map(Some)
    }

    fn sign(&mut self) -> Result<Signed, DiskError> {
        let size = self.tree.size();
        self.tail.check()?;
        let Tail { file, path, bytes, .. } = &self.tail;
        if self.durability == Durability::Async {
            // A checkpoint must not outlive what it covers.
            self.disk.flush(file, path)?;
        }
        let mut partials = Vec::new();
        for tile in self.tree.partial_tiles() {
            let name = Tile::Hashes(tile.level).partial_path(tile.number, tile.hashes.len());
            if tile.level == 0 {
                let entries = Tile::Entries.partial_path(tile.number, tile.hashes.len());
                self.disk.put_copy(&self.top, &self.folder.join(&entries), file, *bytes)?;
                partials.push(entries);
            }
            if !self.partials.contains(&name) {
                self.disk.put(&self.top, &self.folder.join(&name), &hashes(tile.hashes))?;
            }
            partials.push(name);
        }
        let path = self.folder.join(CHECKPOINT);
        let note = self
            .key
            .checkpoint(size, self.tree.root())
            .map_err(|error| DiskError::new("signed", &path, std::io::Error::other(error)))?;
        self.disk.put(&self.top, &path, &note)?;
        let old = std::mem::replace(&mut self.partials, partials);
        for name in old.iter().filter(|name| !self.partials.contains(name)) {
            remove_partial(&self.disk, &self.folder.join(name));
        }
        let signed = Signed { size, note: note.into() };
        self.signed = Some(signed.clone());
        Ok(signed)
    }

    /// Signs the last checkpoint and takes the tail away: the log is closed.
    pub(super) fn finish(&mut self) -> Result<Option<Signed>, DiskError> {
        let signed = self.checkpoint()?;
        self.disk.remove(&self.tail.path)?;
        self.disk.flush_folder(&self.folder)?;
        Ok(signed)
    }

    /// Adds a witness's signature to the checkpoint at `size`, if that is the newest.
    pub(super) fn cosign(&mut self, size: u64, line: &str) -> Result<bool, DiskError> {
        let Some(signed) = self.signed.as_mut().filter(|signed| signed.size == size) else {
            return Ok(false);
        };
        let path = self.folder.join(CHECKPOINT);
        let note = with_signature(&signed.note, line)
            .map_err(|error| DiskError::new("cosigned", &path, std::io::Error::other(error)))?;
        self.disk.put(&self.top, &path, &note)?;
        signed.note = note.into();
        Ok(true)
    }
}

/// Removes a partial tile that a newer one takes the place of. Left behind, it does no harm.
pub(super) fn remove_partial(disk: &Disk, path: &Path) {
    if disk.remove(path).is_ok()
        && let Some(folder) = path.parent()
    {
        // Others may be in it.
        let _ = std::fs::remove_dir(folder);
    }
}

/// The bytes of a tile.
pub(super) fn hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}
