//! What has been used, by name: of those with limits of their own for ever, of the others as many as there is room for.
//!
//! Nobody can push out what another has used up by making up names: what is worth a limit of its own has a place of its
//! own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;

use quick_cache::sync::Cache;

/// Of those without limits of their own. One that is forgotten starts anew.
const REMEMBERED_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Uses<K, V> {
    own: HashMap<K, Arc<V>>,
    others: Cache<K, Arc<V>>,
}

impl<K: Clone + Eq + Hash, V> Uses<K, V> {
    pub(super) fn new(own: impl Iterator<Item = (K, V)>) -> Self {
        let own = own.map(|(name, value)| (name, Arc::new(value))).collect();
        Self { own, others: Cache::new(REMEMBERED_MAX) }
    }

    /// What is under `name`, or what `fresh` makes.
    pub(super) fn get(&self, name: &K, fresh: impl FnOnce() -> V) -> Arc<V> {
        if let Some(own) = self.own.get(name) {
            return Arc::clone(own);
        }
        let kept = self.others.get_or_insert_with(name, || Ok::<_, Infallible>(Arc::new(fresh())));
        let Ok(kept) = kept;
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_made_up_push_out_no_limit_of_its_own_and_take_bounded_memory() {
        let uses = Uses::new([(0, "own")].into_iter());
        let own = uses.get(&0, || unreachable!());
        for number in 1..3 * REMEMBERED_MAX {
            uses.get(&number, || "other");
        }
        assert!(Arc::ptr_eq(&own, &uses.get(&0, || unreachable!())));
        assert!(uses.others.len() <= REMEMBERED_MAX);
    }
}
