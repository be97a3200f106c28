//! Finds out how far the log before had come, and finishes what a crash left half done.
//!
//! First it looks, then it mends. It looks at the tiles at the edge and at the entries that no checkpoint covers, so the
//! time it takes does not grow with the log; where tiles are missing or do not lead to the checkpoint's root hash it
//! computes them from the entries. What is damaged is left as it was found: it is evidence.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use tlog_tiles::{HASH_SIZE, Hash};

use super::bundle;
use super::certificate::Statement;
use super::chain::NOTE_BYTES_MAX;
use super::disk::{self, Disk};
use super::error::DiskError;
use super::layout::{
    BUNDLE, CERTIFICATE, CHECKPOINT, ENTRY_BYTES_MAX, LogName, TAIL, TILE_WIDTH, Tile,
};
use super::note::read_checkpoint;
use super::open_log::{hashes, remove_partial};
use super::start::{Damage, Ended};
use super::tree::{FullTile, Tree};

/// No bundle is longer.
pub(super) const BUNDLE_BYTES_MAX: u64 =
    BUNDLE * (ENTRY_BYTES_MAX as u64 + bundle::LENGTH_BYTES as u64);

const TILE_BYTES: u64 = (TILE_WIDTH * HASH_SIZE) as u64;

/// The log before, as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) origin: String,
    pub(super) checkpoint_size: u64,
    pub(super) size: u64,
    pub(super) root: [u8; 32],
    pub(super) ended: Ended,
    /// Bytes of an entry that a crash cut off, and that were never committed.
    pub(super) torn_bytes: usize,
}

/// What is in the folder of a log.
#[derive(Debug)]
struct Survey {
    folder: PathBuf,
    statement: Option<Statement>,
    /// Full bundles, without a gap.
    bundles: u64,
    tail: Option<Vec<u8>>,
    /// The whole entries after the last full bundle: the tail's, or those of the partial bundle if that has more.
    rest: Vec<u8>,
    leaves: Vec<Hash>,
    torn_bytes: usize,
    checkpoint: Option<(u64, Hash)>,
    damage: Option<Damage>,
    tree: Tree,
    /// The tree at the checkpoint.
    signed: Tree,
    /// Tiles that are missing or wrong on the disk.
    tiles: Vec<FullTile>,
}

/// Looks at the log `name`, and mends it unless it is damaged. What cannot be read counts as damage, and what cannot be
/// mended stays as it is: neither keeps the next log from beginning.
pub(super) fn recover(disk: &Disk, top: &Path, name: LogName, origin: &str) -> Found {
    let folder = top.join(name.folder());
    let mut survey = Survey::of(folder);
    survey.grow();
    let size = survey.tree.size();
    let checkpoint_size = survey.checkpoint.map_or(0, |(size, _)| size);
    let ended = match survey.damage {
        Some(damage) => Ended::Damaged(damage),
        None if survey.tail.is_none() && size == checkpoint_size => Ended::Clean,
        None => Ended::Unclean { vouched_for: size.saturating_sub(checkpoint_size) },
    };
    if !matches!(ended, Ended::Damaged(_))
        && let Err(error) = survey.mend(disk, top, ended == Ended::Clean)
    {
        tracing::warn!(error = %error.text(), "the audit log before cannot be mended yet");
    }
    let said = survey.statement.map(|said| said.log);
    Found {
        origin: said.unwrap_or_else(|| format!("{origin}/{}", name.id())),
        checkpoint_size,
        size,
        root: survey.tree.root().0,
        ended,
        torn_bytes: survey.torn_bytes,
    }
}

impl Survey {
    fn of(folder: PathBuf) -> Self {
        let mut survey = Self {
            folder,
            statement: None,
            bundles: 0,
            tail: None,
            rest: Vec::new(),
            leaves: Vec::new(),
            torn_bytes: 0,
            checkpoint: None,
            damage: None,
            tree: Tree::default(),
            signed: Tree::default(),
            tiles: Vec::new(),
        };
        if !survey.folder.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            survey.damaged(Damage::Unreadable);
            return survey;
        }
        survey.read_notes();
        while bundle_is_there(&survey.folder, survey.bundles) {
            survey.bundles += 1;
        }
        survey.tail = survey.read(TAIL, BUNDLE_BYTES_MAX);
        survey.rest = survey.tail.clone().unwrap_or_default();
        let (leaves, whole) = bundle::leaves(&survey.rest);
        survey.torn_bytes = survey.rest.len() - whole;
        survey.rest.truncate(whole);
        if leaves.len() > TILE_WIDTH {
            survey.damaged(Damage::Altered);
        }
        survey.leaves = leaves;
        survey.take_the_partial_bundle_if_it_has_more();
        survey
    }

    /// Keeps the first damage that is found.
    fn damaged(&mut self, damage: Damage) {
        self.damage.get_or_insert(damage);
    }

    /// A file of the log; `None` if there is none or it cannot be read, which is damage.
    fn read(&mut self, name: &str, bytes_max: u64) -> Option<Vec<u8>> {
        match disk::read(&self.folder.join(name), bytes_max) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(error = %error.text(), "a file of the audit log before cannot be read");
                self.damaged(Damage::Unreadable);
                None
            }
        }
    }

    fn read_notes(&mut self) {
        let certificate = self.read(CERTIFICATE, NOTE_BYTES_MAX);
        self.statement = certificate.and_then(|note| Statement::read(&note).ok());
        let checkpoint = self.read(CHECKPOINT, NOTE_BYTES_MAX);
        let Some(statement) = &self.statement else { return self.damaged(Damage::Certificate) };
        self.checkpoint = checkpoint.and_then(|note| {
            let said = read_checkpoint(&note, &statement.key).ok()?;
            (said.origin() == statement.log).then(|| (said.size(), *said.hash()))
        });
        if self.checkpoint.is_none() {
            self.damaged(Damage::Checkpoint);
        }
    }

    /// The entries of a closed log's end are in its partial bundle; so are those that a tail lost.
    fn take_the_partial_bundle_if_it_has_more(&mut self) {
        let Some((size, _)) = self.checkpoint else { return };
        let width = usize::try_from(size % BUNDLE).unwrap_or(0);
        if size / BUNDLE != self.bundles || width <= self.leaves.len() {
            return;
        }
        let partial = Tile::Entries.partial_path(self.bundles, width);
        if let Some(bytes) = self.read(&partial, BUNDLE_BYTES_MAX) {
            let (leaves, whole) = bundle::leaves(&bytes);
            if leaves.len() == width && whole == bytes.len() {
                self.rest = bytes;
                self.leaves = leaves;
            }
        }
    }

    /// Computes the tree of all entries there are, and compares it with the checkpoint.
    fn grow(&mut self) {
        if let Some((size, root)) = self.checkpoint
            && self.bundles * BUNDLE + self.leaves.len() as u64 >= size
            && let Some(tree) = self.tree_by_tiles(size)
            && self.grow_past_checkpoint(tree, size, root)
        {
            return;
        }
        self.grow_from_entries();
    }

    /// The tree at the last full bundle before the checkpoint, by its tiles; `None` if one is missing.
    fn tree_by_tiles(&self, size: u64) -> Option<Tree> {
        let mut above = Vec::new();
        // With seven levels there is room for 2^56 entries.
        for level in 0_u8..7 {
            let hashes = size >> (8 * u32::from(level));
            if hashes == 0 {
                break;
            }
            for number in 0..hashes / BUNDLE {
                if !disk::is_file(&self.folder.join(Tile::Hashes(level).path(number))) {
                    return None;
                }
            }
            if level > 0 {
                let width = usize::try_from(hashes % BUNDLE).unwrap_or(0);
                above.push(self.partial_tile(level, hashes / BUNDLE, width)?);
            }
        }
        Some(Tree::resumed(size - size % BUNDLE, above))
    }

    fn partial_tile(&self, level: u8, number: u64, width: usize) -> Option<Vec<Hash>> {
        if width == 0 {
            return Some(Vec::new());
        }
        let path = self.folder.join(Tile::Hashes(level).partial_path(number, width));
        let bytes = disk::read(&path, TILE_BYTES).ok()??;
        (bytes.len() == width * HASH_SIZE).then(|| read_hashes(&bytes))
    }

    /// Adds to `tree` what comes after it. `false` if it does not lead to the checkpoint's root hash.
    fn grow_past_checkpoint(&mut self, mut tree: Tree, size: u64, root: Hash) -> bool {
        let mut reached = tree.size() == size && tree.root() == root;
        self.signed = tree.clone();
        for number in tree.size() / BUNDLE..=self.bundles {
            let Some(leaves) = self.leaves_of(number) else { return false };
            for leaf in leaves {
                tree.push(leaf);
                if tree.size() == size {
                    reached = tree.root() == root;
                    self.signed = tree.clone();
                }
            }
            if !reached {
                return false;
            }
            self.keep_full_tiles(&mut tree);
        }
        self.tree = tree;
        true
    }

    fn grow_from_entries(&mut self) {
        let mut tree = Tree::default();
        self.tiles.clear();
        let mut reached = self.checkpoint.is_some_and(|(size, _)| size == 0);
        for number in 0..=self.bundles {
            let Some(leaves) = self.leaves_of(number) else {
                self.damaged(Damage::Unreadable);
                break;
            };
            for leaf in leaves {
                tree.push(leaf);
                if let Some((size, root)) = self.checkpoint
                    && tree.size() == size
                {
                    reached = true;
                    self.signed = tree.clone();
                    if tree.root() != root {
                        self.damaged(Damage::Altered);
                    }
                }
            }
            self.keep_full_tiles(&mut tree);
        }
        if !reached {
            self.damaged(Damage::Missing);
        }
        self.tree = tree;
    }

    /// The leaves of a full bundle, or after the last those of the rest. `None` if it is not as it should be.
    fn leaves_of(&self, number: u64) -> Option<Vec<Hash>> {
        if number == self.bundles {
            return Some(self.leaves.clone());
        }
        let bytes = read_bundle(&self.folder, number).ok()??;
        let (leaves, whole) = bundle::leaves(&bytes);
        (leaves.len() == TILE_WIDTH && whole == bytes.len()).then_some(leaves)
    }

    /// Keeps those full tiles that are not on the disk as they should be.
    fn keep_full_tiles(&mut self, tree: &mut Tree) {
        while let Some(tile) = tree.full_tile() {
            let path = self.folder.join(Tile::Hashes(tile.level).path(tile.number));
            let found = disk::read(&path, TILE_BYTES);
            if !found.is_ok_and(|found| found == Some(hashes(&tile.hashes))) {
                self.tiles.push(tile.clone());
            }
            tree.full_tile_is_written();
        }
    }

    /// Brings the files to where a log that lost its sidecar is left: everything in tiles, and the tail whole.
    fn mend(&self, disk: &Disk, top: &Path, clean: bool) -> Result<(), DiskError> {
        for tile in &self.tiles {
            let path = self.folder.join(Tile::Hashes(tile.level).path(tile.number));
            disk.put(top, &path, &hashes(&tile.hashes))?;
        }
        if self.leaves.len() == TILE_WIDTH {
            let bundle = self.folder.join(Tile::Entries.path(self.bundles));
            disk.put(top, &bundle, &self.rest)?;
            disk.put(top, &self.folder.join(TAIL), &[])?;
        } else if !clean && self.tail.as_ref() != Some(&self.rest) {
            disk.put(top, &self.folder.join(TAIL), &self.rest)?;
        }
        for tree in [&self.tree, &self.signed] {
            self.mend_partial_tiles(disk, top, tree)?;
        }
        self.remove_old_partials(disk);
        Ok(())
    }

    fn mend_partial_tiles(&self, disk: &Disk, top: &Path, tree: &Tree) -> Result<(), DiskError> {
        let put = |name: String, bytes: &[u8]| {
            let path = self.folder.join(name);
            let found = disk::read(&path, BUNDLE_BYTES_MAX).ok().flatten();
            if found.as_deref() == Some(bytes) { Ok(()) } else { disk.put(top, &path, bytes) }
        };
        for tile in tree.partial_tiles() {
            let width = tile.hashes.len();
            let name = Tile::Hashes(tile.level).partial_path(tile.number, width);
            put(name, &hashes(tile.hashes))?;
            if tile.level == 0 {
                let whole = read_bundle(&self.folder, tile.number)?;
                let bundle = whole.as_deref().unwrap_or(&self.rest);
                let entries = bundle::first(bundle, width).unwrap_or_default();
                put(Tile::Entries.partial_path(tile.number, width), entries)?;
            }
        }
        Ok(())
    }

    /// Partial tiles of earlier checkpoints, which a crash left behind, are taken away.
    fn remove_old_partials(&self, disk: &Disk) {
        let sizes = [self.tree.size(), self.checkpoint.map_or(0, |(size, _)| size)];
        // With seven levels there is room for 2^56 entries.
        for level in 0_u8..7 {
            let shift = 8 * u32::from(level);
            let newest = self.tree.size() >> (shift + 8);
            // Those of one bundle before: a checkpoint is seldom further back.
            for number in newest.saturating_sub(1)..=newest {
                let mut tiles = vec![Tile::Hashes(level)];
                if level == 0 {
                    tiles.push(Tile::Entries);
                }
                for tile in tiles {
                    let kept = sizes.map(|size| {
                        let width = usize::try_from((size >> shift) % BUNDLE).unwrap_or(0);
                        tile.partial_path((size >> shift) / BUNDLE, width)
                    });
                    let folder = format!("{}.p", tile.path(number));
                    let Ok(found) = std::fs::read_dir(self.folder.join(&folder)) else { continue };
                    for found in found.flatten() {
                        let name = format!("{folder}/{}", found.file_name().to_string_lossy());
                        if !kept.contains(&name) {
                            remove_partial(disk, &found.path());
                        }
                    }
                }
            }
        }
    }
}

fn read_hashes(bytes: &[u8]) -> Vec<Hash> {
    let (hashes, _) = bytes.as_chunks::<32>();
    hashes.iter().map(|hash| Hash(*hash)).collect()
}

fn compressed(path: &Path) -> PathBuf {
    path.with_added_extension("gz")
}

fn bundle_is_there(folder: &Path, number: u64) -> bool {
    let path = folder.join(Tile::Entries.path(number));
    disk::is_file(&path) || disk::is_file(&compressed(&path))
}

/// A full bundle, whether it is compressed or not. `None` if neither is there or the compression is broken.
pub(super) fn read_bundle(folder: &Path, number: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let path = folder.join(Tile::Entries.path(number));
    if let Some(bytes) = disk::read(&path, BUNDLE_BYTES_MAX)? {
        return Ok(Some(bytes));
    }
    let Some(bytes) = disk::read(&compressed(&path), BUNDLE_BYTES_MAX)? else { return Ok(None) };
    Ok(decompress(&bytes))
}

/// What `gzip` holds, if it is whole and no longer than a bundle.
pub(super) fn decompress(gzip: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut decoder = flate2::bufread::GzDecoder::new(gzip).take(BUNDLE_BYTES_MAX + 1);
    decoder.read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= BUNDLE_BYTES_MAX).then_some(bytes)
}
