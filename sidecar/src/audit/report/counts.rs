//! Counts under names, of which there are at most so many.

use std::collections::BTreeMap;

/// Names that are counted one by one; others share one count.
pub(super) const NAMES_MAX: usize = 2000;
/// Longest name that is kept.
const NAME_BYTES_MAX: usize = 200;

/// What adds up.
pub(super) trait Sum: Default {
    fn add(&mut self, other: Self);
}

impl Sum for u64 {
    fn add(&mut self, other: Self) {
        *self = self.saturating_add(other);
    }
}

/// Counts under names.
#[derive(Clone, Debug)]
pub(super) struct Counts<K, V> {
    pub(super) known: BTreeMap<K, V>,
    /// What came under names for which there was no more room.
    pub(super) others: V,
    pub(super) has_others: bool,
}

impl<K: Ord, V: Default> Default for Counts<K, V> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), others: V::default(), has_others: false }
    }
}

impl<K: Ord + Clone, V: Sum> Counts<K, V> {
    /// Adds `value` under `name`.
    pub(super) fn add(&mut self, name: K, value: V) {
        if let Some(there) = self.known.get_mut(&name) {
            there.add(value);
        } else if self.known.len() < NAMES_MAX {
            self.known.insert(name, value);
        } else {
            self.others.add(value);
            self.has_others = true;
        }
    }

    /// Adds all that `other` has.
    pub(super) fn append(&mut self, other: Self) {
        for (name, value) in other.known {
            self.add(name, value);
        }
        if other.has_others {
            self.others.add(other.others);
            self.has_others = true;
        }
    }
}

/// A name as it is kept: not longer than a bound.
pub(super) fn name(text: &str) -> String {
    if text.len() <= NAME_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = NAME_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}
