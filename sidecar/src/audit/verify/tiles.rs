//! Tiles of hashes above the leaves, held against what the entries come to; and which entries were changed, as far as the
//! tiles on disk can tell.
//!
//! Depends on [`super::frontier`] and [`crate::audit::reader`].

use tlog_tiles::Hash;

use super::frontier::{Frontier, root_of};
use super::look::read_tile;
use crate::audit::reader::{LogFolder, Unread, WIDTH, tile_path};

/// Differences that are told one by one.
const DIFFERENCES_MAX: usize = 1000;
/// Height of a tile: 256 is 2 to the eighth.
const HEIGHT: u8 = 8;
/// A tree of 2 to the 52nd entries has no more levels of tiles.
const LEVELS: u8 = 7;

/// A tile that is not of the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) level: u8,
    /// The hashes that differ: the numbers of the first and the last of a run, at that level.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The tile is not to be had, and this is why.
    pub(super) unread: Option<Unread>,
}

impl Difference {
    /// The first and the last entry that it is about.
    pub(super) fn entries(&self) -> (u64, u64) {
        let shift = u32::from(HEIGHT).saturating_mul(u32::from(self.level));
        let last = self.last.saturating_add(1).checked_shl(shift).unwrap_or(u64::MAX);
        (self.first.checked_shl(shift).unwrap_or(u64::MAX), last.saturating_sub(1))
    }

    /// Whether `other` is of a level above, over some of the same entries.
    pub(super) fn is_below(&self, other: &Self) -> bool {
        let ((first, last), (its_first, its_last)) = (self.entries(), other.entries());
        self.level < other.level && first <= its_last && its_first <= last && other.unread.is_none()
    }

    /// The path of the tile, of a tree of `size` entries.
    pub(super) fn path(&self, size: u64) -> String {
        let index = self.first / WIDTH;
        let width =
            at_level(size, self.level).saturating_sub(index.saturating_mul(WIDTH)).min(WIDTH);
        tile_path(&self.level.to_string(), index, width)
    }
}

/// How many full subtrees of a level a tree of `size` entries has.
fn at_level(size: u64, level: u8) -> u64 {
    let shift = u32::from(HEIGHT).saturating_mul(u32::from(level));
    size.checked_shr(shift).unwrap_or_default()
}

/// All differences of a log, within a bound.
#[derive(Debug, Default)]
pub(super) struct Differences {
    pub(super) list: Vec<Difference>,
    pub(super) more: u64,
}

impl Differences {
    fn add(&mut self, difference: Difference) {
        // A run that goes on in the next tile is one run.
        if let Some(last) = self.list.last_mut()
            && last.level == difference.level
            && last.last.saturating_add(1) == difference.first
            && last.unread == difference.unread
            && last.unread.is_none()
        {
            last.last = difference.last;
        } else if self.list.len() < DIFFERENCES_MAX {
            self.list.push(difference);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Adds a tile that is not to be had.
    pub(super) fn unread(&mut self, level: u8, index: u64, why: Unread) {
        let first = index.saturating_mul(WIDTH);
        self.add(Difference { level, first, last: first, unread: Some(why) });
    }

    /// Adds the hashes of tile `index` that differ: `stored` on disk, `made` of the entries.
    pub(super) fn compare(&mut self, level: u8, index: u64, stored: &[Hash], made: &[Hash]) {
        let first = index.saturating_mul(WIDTH);
        for (at, hash) in (first..).zip(stored.iter().enumerate()) {
            let (position, hash) = hash;
            if made.get(position) != Some(hash) {
                self.add(Difference { level, first: at, last: at, unread: None });
            }
        }
    }
}

/// The levels above the leaves, as they are made of the entries.
#[derive(Debug, Default)]
pub(super) struct Levels(Vec<(u64, Vec<Hash>)>);

impl Levels {
    /// Takes the root over the next full bundle, and holds each tile that becomes full against the one on disk.
    pub(super) fn push(
        &mut self,
        log: &LogFolder,
        signed: u64,
        root: Hash,
        found: &mut Differences,
    ) {
        let mut hash = root;
        for level in 1..LEVELS {
            if self.0.len() < usize::from(level) {
                self.0.push((0, Vec::with_capacity(256)));
            }
            let Some((index, hashes)) = self.0.get_mut(usize::from(level).saturating_sub(1)) else {
                return;
            };
            hashes.push(hash);
            if (hashes.len() as u64) < WIDTH {
                return;
            }
            let end = index.saturating_add(1).saturating_mul(WIDTH);
            if end <= at_level(signed, level) {
                hold(log, level, *index, hashes, found);
            }
            hash = root_of(hashes);
            hashes.clear();
            *index = index.saturating_add(1);
        }
    }

    /// Holds the partial tiles of a tree of `signed` entries, which is what was pushed, against those on disk.
    pub(super) fn finish(&self, log: &LogFolder, signed: u64, found: &mut Differences) {
        for (level, (index, hashes)) in (1..LEVELS).zip(&self.0) {
            let width = at_level(signed, level) % WIDTH;
            if width > 0 && *index == at_level(signed, level) / WIDTH {
                let width = usize::try_from(width).unwrap_or_default();
                hold(log, level, *index, hashes.get(..width).unwrap_or(hashes), found);
            }
        }
    }
}

fn hold(log: &LogFolder, level: u8, index: u64, made: &[Hash], found: &mut Differences) {
    match read_tile(log, level, index, made.len() as u64) {
        Ok(stored) => found.compare(level, index, &stored, made),
        Err(why) => found.unread(level, index, why),
    }
}

/// The lowest level whose tiles on disk have `root` for a tree of `size` entries: those tiles are as they were signed.
pub(super) fn sound_level(log: &LogFolder, size: u64, root: Hash) -> Option<u8> {
    (0..LEVELS)
        .take_while(|&level| at_level(size, level) > 0)
        .find(|&level| stored_root(log, size, level).is_ok_and(|stored| stored == root))
}

/// The root that the tiles of `level` have, with the right edge of the levels below.
fn stored_root(log: &LogFolder, size: u64, level: u8) -> Result<Hash, Unread> {
    let mut frontier = Frontier::default();
    for level in (0..=level).rev() {
        let count = at_level(size, level);
        let (full, width) = (count / WIDTH, count % WIDTH);
        let height = HEIGHT.saturating_mul(level);
        // Above the right edge, a level has the hashes of all that is below it.
        let first = if frontier.size() == 0 { 0 } else { full };
        for index in first..full {
            for hash in read_tile(log, level, index, WIDTH)? {
                frontier.push(height, hash);
            }
        }
        if width > 0 {
            for hash in read_tile(log, level, full, width)? {
                frontier.push(height, hash);
            }
        }
    }
    Ok(frontier.root())
}
