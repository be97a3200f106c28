//! Remembers decisions for equal inputs. It belongs to one loaded set of policies and goes with it, so no decision
//! outlives a change; what a decision depends on beside the set is in its key.

use std::cell::RefCell;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Bytes of keys and bookkeeping that a memo holds at most.
const MEMO_BYTES_MAX: u64 = 4 << 20;
/// What an entry takes beside its key, about.
const ENTRY_BYTES: u64 = 128;
/// A longer key is not remembered: one request must not push out thousands of others.
const KEY_BYTES_MAX: usize = 4 << 10;

/// What was decided, and by which policies.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) allowed: bool,
    pub(super) by: Arc<[Arc<str>]>,
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Box<[u8]>, Arc<Decision>> for Bytes {
    fn weight(&self, key: &Box<[u8]>, _: &Arc<Decision>) -> u64 {
        key.len() as u64 + ENTRY_BYTES
    }
}

/// The decisions of one set.
#[derive(Debug)]
pub(super) struct Memo(Cache<Box<[u8]>, Arc<Decision>, Bytes>);

thread_local! {
    /// Where keys are put together: no allocation for a decision that is remembered.
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Memo {
    pub(super) fn new() -> Self {
        let entries = usize::try_from(MEMO_BYTES_MAX / (ENTRY_BYTES * 2)).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(entries, MEMO_BYTES_MAX, Bytes))
    }

    /// The decision for the key that `write` writes, made by `decide` if it is not remembered.
    pub(super) fn get_or_decide(
        &self,
        write: impl FnOnce(&mut Vec<u8>),
        decide: impl FnOnce() -> Decision,
    ) -> Arc<Decision> {
        KEY.with_borrow_mut(|key| {
            key.clear();
            write(key);
            if let Some(known) = self.0.get(key.as_slice()) {
                return known;
            }
            let decision = Arc::new(decide());
            if key.len() <= KEY_BYTES_MAX {
                self.0.insert(key.as_slice().into(), Arc::clone(&decision));
            } else {
                key.shrink_to(KEY_BYTES_MAX);
            }
            decision
        })
    }

    /// Decisions in it.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes of it, about.
    pub(super) fn bytes(&self) -> u64 {
        self.0.weight()
    }
}

/// Puts one field of a key down so that no two lists of fields read the same.
pub(super) fn put(key: &mut Vec<u8>, field: &str) {
    key.extend_from_slice(&(field.len() as u64).to_le_bytes());
    key.extend_from_slice(field.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(memo: &Memo, fields: &[&str], allowed: bool) -> (bool, bool) {
        let mut asked = false;
        let decision = memo.get_or_decide(
            |key| fields.iter().for_each(|field| put(key, field)),
            || {
                asked = true;
                Decision { allowed, by: Arc::new([]) }
            },
        );
        (decision.allowed, asked)
    }

    #[test]
    fn equal_inputs_are_decided_once_and_no_two_inputs_are_taken_for_equal() {
        let memo = Memo::new();
        assert_eq!(ask(&memo, &["a", "bc"], true), (true, true));
        assert_eq!(ask(&memo, &["a", "bc"], false), (true, false));
        for other in [&["ab", "c"][..], &["abc"], &["a", "b", "c"], &["a", "bc", ""], &[]] {
            assert_eq!(ask(&memo, other, false), (false, true), "{other:?}");
        }
    }

    #[test]
    fn it_never_holds_more_than_its_bytes_and_nothing_that_is_huge() {
        let memo = Memo::new();
        for number in 0..60_000_u32 {
            ask(&memo, &[&format!("{number:064}")], true);
        }
        assert!(memo.bytes() <= MEMO_BYTES_MAX && memo.len() > 1_000, "{}", memo.bytes());
        let huge = "x".repeat(KEY_BYTES_MAX);
        assert_eq!(ask(&memo, &[&huge], true), (true, true));
        assert_eq!(ask(&memo, &[&huge], true), (true, true));
    }
}
