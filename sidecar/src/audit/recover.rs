//! Finds out how far the log before had come, and finishes what a crash left half done.
//!
//! First it looks, then it mends. It looks at the tiles at the edge and at the entries that no checkpoint covers, so the
//! time it takes does not grow with the log; where tiles are missing or do not lead to the checkpoint's root hash it
//! computes them from the entries. What is damaged is left as it was found: it is evidence.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use tlog_tiles::Hash;

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
const BUNDLE_BYTES_MAX: u64 = (BUNDLE) * (ENTRY_BYTES_MAX as u64 + bundle::LENGTH_BYTES as u64);

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
    /// Tiles that are missing or wrong on the disk.
    tiles: Vec<FullTile>,
}

/// Looks at the log `name`, and mends it unless it is damaged.
pub(super) fn recover(
    disk: &Disk,
    top: &Path,
    name: &LogName,
    origin: &str,
) -> Result<Found, DiskError> {
    let folder = top.join(name.folder());
    let certificate = disk::read(&folder.join(CERTIFICATE), NOTE_BYTES_MAX)?;
    let statement = certificate.and_then(|note| Statement::read(&note).ok());
    let mut survey = Survey::of(folder, statement.as_ref())?;
    survey.grow()?;
    let size = survey.tree.size();
    let checkpoint_size = survey.checkpoint.map_or(0, |(size, _)| size);
    let ended = match survey.damage {
        Some(damage) => Ended::Damaged(damage),
        None if survey.tail.is_none() && size == checkpoint_size => Ended::Clean,
        None => Ended::Unclean { vouched_for: size.saturating_sub(checkpoint_size) },
    };
    if !matches!(ended, Ended::Damaged(_)) {
        survey.mend(disk, top)?;
    }
    Ok(Found {
        origin: statement.map_or_else(|| format!("{origin}/{}", name.id), |said| said.log),
        checkpoint_size,
        size,
        root: survey.tree.root().0,
        ended,
        torn_bytes: survey.torn_bytes,
    })
}

impl Survey {
    fn of(folder: PathBuf, statement: Option<&Statement>) -> Result<Self, DiskError> {
        let mut damage = statement.is_none().then_some(Damage::Certificate);
        let checkpoint = disk::read(&folder.join(CHECKPOINT), NOTE_BYTES_MAX)?
            .zip(statement)
            .and_then(|(note, statement)| {
                let said = read_checkpoint(&note, &statement.key).ok()?;
                (said.origin() == statement.log).then(|| (said.size(), *said.hash()))
            });
        if checkpoint.is_none() {
            damage = damage.or(Some(Damage::Checkpoint));
        }
        let mut bundles = 0;
        while bundle_is_there(&folder, bundles) {
            bundles += 1;
        }
        let tail = disk::read(&folder.join(TAIL), BUNDLE_BYTES_MAX)?;
        let mut survey = Self {
            folder,
            bundles,
            rest: tail.clone().unwrap_or_default(),
            tail,
            leaves: Vec::new(),
            torn_bytes: 0,
            checkpoint,
            damage,
            tree: Tree::default(),
            tiles: Vec::new(),
        };
        let (leaves, whole) = bundle::leaves(&survey.rest);
        survey.torn_bytes = survey.rest.len() - whole;
        survey.rest.truncate(whole);
        survey.leaves = leaves;
        survey.take_the_partial_bundle_if_it_has_more()?;
        Ok(survey)
    }

    /// The entries of a closed log's end are in its partial bundle; so are those that a tail lost.
    fn take_the_partial_bundle_if_it_has_more(&mut self) -> Result<(), DiskError> {
        let Some((size, _)) = self.checkpoint else { return Ok(()) };
        let width = usize::try_from(size % BUNDLE).unwrap_or(0);
        if size / BUNDLE != self.bundles || width <= self.leaves.len() {
            return Ok(());
        }
        let path = self.folder.join(Tile::Entries.partial_path(self.bundles, width));
        if let Some(bytes) = disk::read(&path, BUNDLE_BYTES_MAX)? {
            let (leaves, whole) = bundle::leaves(&bytes);
            if leaves.len() == width && whole == bytes.len() {
                self.rest = bytes;
                self.leaves = leaves;
            }
        }
        Ok(())
    }

    /// Computes the tree of all entries there are, and compares it with the checkpoint.
    fn grow(&mut self) -> Result<(), DiskError> {
        let Some((size, root)) = self.checkpoint else { return self.grow_from_entries() };
        if self.bundles * BUNDLE + self.leaves.len() as u64 >= size
            && let Some(tree) = self.tree_by_tiles(size)?
            && self.grow_past_checkpoint(tree, size, root)?
        {
            return Ok(());
        }
        self.grow_from_entries()
    }

    /// The tree at the last full bundle before the checkpoint, by its tiles; `None` if one is missing.
    fn tree_by_tiles(&self, size: u64) -> Result<Option<Tree>, DiskError> {
        let mut above = Vec::new();
        for level in 0_u8..7 {
            let hashes = size >> (8 * u32::from(level));
            if hashes == 0 {
                break;
            }
            for number in 0..hashes / BUNDLE {
                if !disk::is_file(&self.folder.join(Tile::Hashes(level).path(number))) {
                    return Ok(None);
                }
            }
            if level > 0 {
                let width = usize::try_from(hashes % BUNDLE).unwrap_or(0);
                let Some(row) = self.partial_tile(level, hashes / BUNDLE, width)? else {
                    return Ok(None);
                };
                above.push(row);
            }
        }
        Ok(Some(Tree::resumed(size - size % BUNDLE, above)))
    }

    fn partial_tile(
        &self,
        level: u8,
        number: u64,
        width: usize,
    ) -> Result<Option<Vec<Hash>>, DiskError> {
        if width == 0 {
            return Ok(Some(Vec::new()));
        }
        let path = self.folder.join(Tile::Hashes(level).partial_path(number, width));
        let bytes = disk::read(&path, TILE_WIDTH as u64 * 32)?.unwrap_or_default();
        Ok((bytes.len() == width * 32).then(|| read_hashes(&bytes)))
    }

    /// Adds to `tree` what comes after it. `false` if it does not lead to the checkpoint's root hash.
    fn grow_past_checkpoint(
        &mut self,
        mut tree: Tree,
        size: u64,
        root: Hash,
    ) -> Result<bool, DiskError> {
        let mut reached = tree.size() == size && tree.root() == root;
        for number in tree.size() / BUNDLE..=self.bundles {
            let Some(leaves) = self.leaves_of(number)? else { return Ok(false) };
            for leaf in leaves {
                tree.push(leaf);
                if tree.size() == size {
                    reached = tree.root() == root;
                }
            }
            if !reached {
                return Ok(false);
            }
            self.keep_full_tiles(&mut tree)?;
        }
        self.tree = tree;
        Ok(reached)
    }

    fn grow_from_entries(&mut self) -> Result<(), DiskError> {
        let mut tree = Tree::default();
        self.tiles.clear();
        let mut reached = self.checkpoint.is_some_and(|(size, _)| size == 0);
        for number in 0..=self.bundles {
            let Some(leaves) = self.leaves_of(number)? else {
                self.damage = self.damage.or(Some(Damage::Unreadable { bundle: number }));
                break;
            };
            for leaf in leaves {
                tree.push(leaf);
                if let Some((size, root)) = self.checkpoint
                    && tree.size() == size
                {
                    reached = true;
                    if tree.root() != root {
                        self.damage = self.damage.or(Some(Damage::Altered));
                    }
                }
            }
            self.keep_full_tiles(&mut tree)?;
        }
        if !reached {
            self.damage = self.damage.or(Some(Damage::Missing));
        }
        self.tree = tree;
        Ok(())
    }

    /// The leaves of a full bundle, or after the last those of the rest. `None` if it is not as it should be.
    fn leaves_of(&self, number: u64) -> Result<Option<Vec<Hash>>, DiskError> {
        if number == self.bundles {
            return Ok(Some(self.leaves.clone()));
        }
        let Some(bytes) = read_bundle(&self.folder, number)? else { return Ok(None) };
        let (leaves, whole) = bundle::leaves(&bytes);
        Ok((leaves.len() == TILE_WIDTH && whole == bytes.len()).then_some(leaves))
    }

    /// Keeps those full tiles that are not on the disk as they should be.
    fn keep_full_tiles(&mut self, tree: &mut Tree) -> Result<(), DiskError> {
        while let Some(tile) = tree.full_tile() {
            let path = self.folder.join(Tile::Hashes(tile.level).path(tile.number));
            let found = disk::read(&path, TILE_WIDTH as u64 * 32);
            if !found.is_ok_and(|found| found == Some(hashes(&tile.hashes))) {
                self.tiles.push(tile.clone());
            }
            tree.full_tile_is_written();
        }
        Ok(())
    }

    /// Brings the files to where a log that lost its sidecar is left: everything in tiles, and the tail whole.
    fn mend(&self, disk: &Disk, top: &Path) -> Result<(), DiskError> {
        for tile in &self.tiles {
            let path = self.folder.join(Tile::Hashes(tile.level).path(tile.number));
            disk.put(top, &path, &hashes(&tile.hashes))?;
        }
        if self.leaves.len() == TILE_WIDTH {
            let bundle = self.folder.join(Tile::Entries.path(self.bundles));
            disk.put(top, &bundle, &self.rest)?;
            disk.put(top, &self.folder.join(TAIL), &[])?;
        } else if self.tail.as_ref().is_some_and(|tail| *tail != self.rest) {
            disk.put(top, &self.folder.join(TAIL), &self.rest)?;
        }
        for tile in self.tree.partial_tiles() {
            let width = tile.hashes.len();
            let path = self.folder.join(Tile::Hashes(tile.level).partial_path(tile.number, width));
            if !disk::is_file(&path) {
                disk.put(top, &path, &hashes(tile.hashes))?;
            }
            let path = self.folder.join(Tile::Entries.partial_path(tile.number, width));
            if tile.level == 0 && !disk::is_file(&path) {
                disk.put(top, &path, &self.rest)?;
            }
        }
        self.remove_old_partials(disk);
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
