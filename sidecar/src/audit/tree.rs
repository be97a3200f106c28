//! The Merkle tree of a log (RFC 6962, section 2.1), as far as its next entry and its root hash need it.
//!
//! It keeps the hashes of the tile that is not full yet on each level, so it takes some 8 KiB a level and no more,
//! however long the log is. Full tiles are handed over to be written. Depends on `tlog_tiles` for the hashing.
//! Invariant: it agrees with `tlog_tiles` on every size (`the_root_is_that_of_rfc_6962_at_every_size`).

use tlog_tiles::{EMPTY_HASH, Hash, node_hash};

use super::layout::TILE_WIDTH;

/// A tree that grows.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    size: u64,
    /// Of each level, the hashes of its last tile; 255 at most.
    levels: Vec<Vec<Hash>>,
    full: Vec<FullTile>,
}

/// A tile that has got its last hash.
#[derive(Clone, Debug)]
pub(super) struct FullTile {
    pub(super) level: u8,
    pub(super) number: u64,
    pub(super) hashes: Vec<Hash>,
}

/// A tile that is not full.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartialTile<'a> {
    pub(super) level: u8,
    pub(super) number: u64,
    pub(super) hashes: &'a [Hash],
}

impl Tree {
    /// A tree of `size` entries, of which a whole number of bundles, with the hashes of its partial tiles from level 1 on.
    pub(super) fn resumed(size: u64, above_leaves: Vec<Vec<Hash>>) -> Self {
        let mut levels = vec![Vec::new()];
        levels.extend(above_leaves);
        Self { size, levels, full: Vec::new() }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Adds the hash of a leaf.
    pub(super) fn push(&mut self, leaf: Hash) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0_u8.. {
            let place = usize::from(level);
            if self.levels.len() <= place {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(place) else { return };
            hashes.push(hash);
            if hashes.len() < TILE_WIDTH {
                return;
            }
            let hashes = std::mem::take(hashes);
            hash = subtree(&hashes);
            let number = self.size.checked_shr(shift(level + 1)).unwrap_or(1) - 1;
            self.full.push(FullTile { level, number, hashes });
        }
    }

    /// A full tile that nobody has written yet, the lowest first.
    pub(super) fn full_tile(&self) -> Option<&FullTile> {
        self.full.first()
    }

    /// The tile of [`Self::full_tile`] is written.
    pub(super) fn full_tile_is_written(&mut self) {
        if !self.full.is_empty() {
            self.full.remove(0);
        }
    }

    /// The tiles that are begun and not full, from level 0.
    pub(super) fn partial_tiles(&self) -> impl Iterator<Item = PartialTile<'_>> {
        self.levels.iter().zip(0_u8..).filter(|(hashes, _)| !hashes.is_empty()).map(
            |(hashes, level)| {
                let number = self.size.checked_shr(shift(level + 1)).unwrap_or(0);
                PartialTile { level, number, hashes }
            },
        )
    }

    /// The root hash.
    pub(super) fn root(&self) -> Hash {
        let mut root: Option<Hash> = None;
        // From the right: the small subtrees are on the low levels and at the end of each.
        for hashes in &self.levels {
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let width = 1_usize << rest.len().trailing_zeros();
                let (before, last) = rest.split_at(rest.len() - width);
                let hash = subtree(last);
                root = Some(root.map_or(hash, |right| node_hash(hash, right)));
                rest = before;
            }
        }
        root.unwrap_or(EMPTY_HASH)
    }
}

/// How many bits of an entry's number a hash of `level` covers.
fn shift(level: u8) -> u32 {
    8 * u32::from(level)
}

/// The hash over `hashes`, which are a power of two many.
fn subtree(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let pairs = row.chunks_exact(2);
        row = pairs
            .filter_map(|pair| {
                let [left, right] = pair else { return None };
                Some(node_hash(*left, *right))
            })
            .collect();
    }
    row.first().copied().unwrap_or(EMPTY_HASH)
}

#[cfg(test)]
mod tests {
    use tlog_tiles::{Error, check_tree};
    use tlog_tiles::{
        HashReader, prove_tree, record_hash, stored_hashes_for_record_hash, tree_hash,
    };

    use super::*;

    struct Stored(Vec<Hash>);

    impl HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
            Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
        }
    }

    #[test]
    fn the_root_is_that_of_rfc_6962_at_every_size() {
        let mut tree = Tree::default();
        let mut stored = Stored(Vec::new());
        assert_eq!(tree.root(), tree_hash(0, &stored).unwrap());
        let mut roots = vec![tree.root()];
        for number in 0..1_000_u64 {
            let leaf = record_hash(format!("entry {number}").as_bytes());
            let hashes = stored_hashes_for_record_hash(number, leaf, &stored).unwrap();
            stored.0.extend(hashes);
            tree.push(leaf);
            assert_eq!(tree.size(), number + 1);
            assert_eq!(tree.root(), tree_hash(number + 1, &stored).unwrap(), "{number}");
            roots.push(tree.root());
        }
        for size in [1, 2, 255, 256, 257, 511, 512, 999] {
            let proof = prove_tree(1_000, size, &stored).unwrap();
            let earlier = roots[usize::try_from(size).unwrap()];
            check_tree(&proof, 1_000, tree.root(), size, earlier).unwrap();
        }
    }

    /// The leaves and the roots of the test suite of Certificate Transparency.
    #[test]
    fn the_known_roots_of_certificate_transparency_come_out() {
        let leaves = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect()
        };
        let mut tree = Tree::default();
        for (leaf, root) in leaves.iter().zip(roots) {
            tree.push(record_hash(&bytes(leaf)));
            assert_eq!(tree.root().0.to_vec(), bytes(root));
        }
    }

    #[test]
    fn full_tiles_are_handed_over_and_memory_stays_flat() {
        let mut tree = Tree::default();
        let mut written = Vec::new();
        for number in 0..70_000_u64 {
            tree.push(record_hash(&number.to_be_bytes()));
            while let Some(tile) = tree.full_tile() {
                assert_eq!(tile.hashes.len(), 256);
                written.push((tile.level, tile.number));
                tree.full_tile_is_written();
            }
        }
        assert_eq!(written.iter().filter(|(level, _)| *level == 0).count(), 273);
        assert!(written.contains(&(0, 272)) && written.contains(&(1, 0)));
        // The example of C2SP tlog-tiles.
        let partial: Vec<_> =
            tree.partial_tiles().map(|tile| (tile.level, tile.number, tile.hashes.len())).collect();
        assert_eq!(partial, [(0, 273, 112), (1, 1, 17), (2, 0, 1)]);
    }
}
