//! Logs that went by the retention rule, and the entries that say so.
//!
//! Depends on [`super::entry`] and [`super::notes`].

use super::entry::Entry;
use super::notes::{TreeHead, root_hash};

/// What a `prune` entry says of the log that was deleted. What is missing or malformed in it is `None`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prune {
    pub(super) number: Option<u64>,
    pub(super) origin: Option<String>,
    pub(super) head: Option<TreeHead>,
}

impl Prune {
    pub(super) fn of(entry: &Entry<'_>) -> Self {
        let size = entry.detail_number("size");
        let root = entry.detail_text("root").and_then(root_hash);
        Self {
            number: entry.detail_number("number"),
            origin: entry.detail_text("origin").map(str::to_owned),
            head: size.zip(root).map(|(size, root)| TreeHead { size, root }),
        }
    }

    /// Whether it speaks of the log with this origin, whose states were `heads`.
    pub(super) fn is_of(&self, origin: Option<&str>, heads: &[Option<TreeHead>]) -> bool {
        self.origin.as_deref() == origin && self.head.is_some() && heads.contains(&self.head)
    }
}
