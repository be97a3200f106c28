//! The right edge of a growing Merkle tree (RFC 6962): enough to say its root, whatever its size.
//!
//! Depends on the crate `tlog_tiles` for the hashes.

use tlog_tiles::tlog::{EMPTY_HASH, Hash, node_hash};

/// The roots of the full subtrees that a tree falls into, the largest first: as many as its size has binary ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// How many leaves the tree has.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a full subtree of `1 << height` leaves. The size must be a multiple of that.
    pub(crate) fn push(&mut self, height: u8, hash: Hash) {
        debug_assert!(self.size.trailing_zeros() >= u32::from(height));
        let mut hash = hash;
        let mut above = self.size >> height;
        while above & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(left, hash);
            above >>= 1;
        }
        self.peaks.push(hash);
        self.size = self.size.saturating_add(1 << height);
    }

    /// The root hash.
    pub(crate) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let last = peaks.next().copied().unwrap_or(EMPTY_HASH);
        peaks.fold(last, |right, &left| node_hash(left, right))
    }
}

/// The root over these leaves alone.
pub(crate) fn root_of(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    for &leaf in leaves {
        frontier.push(0, leaf);
    }
    frontier.root()
}

#[cfg(test)]
mod tests {
    use tlog_tiles::tlog::record_hash;

    use super::*;

    /// RFC 6962, section 2.1, as it is written there.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => EMPTY_HASH,
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(defined(left), defined(right))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_the_definition_at_every_size() {
        let leaves: Vec<_> = (0..70_u8).map(|n| record_hash(&[n])).collect();
        for size in 0..=leaves.len() {
            assert_eq!(root_of(&leaves[..size]), defined(&leaves[..size]), "{size}");
        }
    }

    #[test]
    fn subtrees_are_as_good_as_their_leaves() {
        let leaves: Vec<_> = (0..1000_u32).map(|n| record_hash(&n.to_be_bytes())).collect();
        let mut frontier = Frontier::default();
        for chunk in leaves.chunks(256) {
            if chunk.len() == 256 {
                frontier.push(8, root_of(chunk));
            } else {
                chunk.iter().for_each(|&leaf| frontier.push(0, leaf));
            }
        }
        assert_eq!((frontier.size(), frontier.root()), (1000, defined(&leaves)));
    }
}
