//! What is done with entries while they are verified: looked at on any thread, kept in their order.
//!
//! Depends on [`super::entry`].

use super::entry::Entry;

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the log in the chain.
    pub log: u64,
    /// The number of the entry in the log.
    pub entry: u64,
}

/// Takes something from each entry.
pub trait Gather: Sync {
    /// What is taken from the entries of one bundle.
    type Found: Send + Default;

    /// Looks at one entry, whose bytes are `raw`. Bundles are looked at in any order, on several threads.
    fn look(&self, place: Place, entry: &Entry<'_>, raw: &[u8], found: &mut Self::Found);

    /// Keeps what was found, bundle by bundle in their order.
    fn keep(&mut self, found: Self::Found);

    /// Whether it needs no more entries. A verification goes on all the same.
    fn has_enough(&self) -> bool {
        false
    }
}

/// Takes nothing.
impl Gather for () {
    type Found = ();

    fn look(&self, _: Place, _: &Entry<'_>, _: &[u8], (): &mut ()) {}

    fn keep(&mut self, (): ()) {}
}
