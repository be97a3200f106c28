//! Remembers tokens that were checked, by their SHA-256: whose they are, and until when.
//!
//! An entry holds as long as both clocks say that it may, and the keys that checked it are those that are used: a wall
//! clock that is set back does not lengthen it. What was refused is not remembered. Tests:
//! `a_remembered_token_ends_with_its_expiry_on_either_clock`, `remembered_tokens_end_when_the_keys_change`.

use std::sync::Arc;
use std::time::Instant;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Proven;
use crate::clock::{Now, UnixSeconds};

/// Tokens that are remembered.
const TOKENS_MAX: u64 = 4096;
/// Bytes that they take, about.
const BYTES_MAX: u64 = 4 << 20;
/// What an entry takes beside its texts, about.
const ENTRY_BYTES: u64 = 256;
/// What a role takes beside its text, about.
const ROLE_BYTES: u64 = 32;

/// SHA-256 of a token.
pub(super) type TokenDigest = [u8; 32];

/// A checked token.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) proven: Proven,
    /// The issuer, by its place among them.
    pub(super) provider: usize,
    /// Of the keys that checked it.
    pub(super) generation: u64,
    /// The last moment is before this one, on the wall clock,
    pub(super) until: UnixSeconds,
    /// and before this one on the monotonic clock.
    pub(super) deadline: Instant,
}

impl Known {
    fn holds(&self, now: Now) -> bool {
        now.wall < self.until && now.monotonic < self.deadline
    }
}

/// No entry is lighter than its share: so the bound on bytes is one on the number too.
#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<TokenDigest, Arc<Known>> for Bytes {
    fn weight(&self, _: &TokenDigest, known: &Arc<Known>) -> u64 {
        let identity = &known.proven.identity;
        let roles = identity.roles().iter().map(|role| role.as_str().len() as u64 + ROLE_BYTES);
        let texts = identity.name().as_str().len() as u64 + roles.sum::<u64>();
        (ENTRY_BYTES + texts).max(BYTES_MAX / TOKENS_MAX)
    }
}

/// The tokens of all issuers.
#[derive(Debug)]
pub(super) struct Remembered(Cache<TokenDigest, Arc<Known>, Bytes>);

impl Remembered {
    pub(super) fn new() -> Self {
        let entries = usize::try_from(TOKENS_MAX).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(entries, BYTES_MAX, Bytes))
    }

    /// Whose token this is, if it is known and holds. `generation` says which keys an issuer uses now.
    pub(super) fn get(
        &self,
        digest: &TokenDigest,
        now: Now,
        generation: impl FnOnce(usize) -> Option<u64>,
    ) -> Option<Arc<Known>> {
        let known = self.0.get(digest)?;
        if known.holds(now) && generation(known.provider) == Some(known.generation) {
            return Some(known);
        }
        self.0.remove(digest);
        None
    }

    pub(super) fn remember(&self, digest: TokenDigest, known: Known) {
        self.0.insert(digest, Arc::new(known));
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }

    /// Tokens in it, and bytes of it, about.
    pub(super) fn size(&self) -> (usize, u64) {
        (self.0.len(), self.0.weight())
    }
}
