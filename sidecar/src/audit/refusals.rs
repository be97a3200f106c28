//! Counts requests that were turned away before anybody knew what they wanted: whoever sends them could fill the disk
//! with an entry for each.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

/// Pairs of a code and who: what comes on top is counted as of others.
const KINDS_MAX: usize = 256;
const OTHERS: &str = "others";

/// What was turned away, by code and by who.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<(&'static str, String), u64>);

impl Counts {
    fn add(&mut self, code: &'static str, who: &str, count: u64) {
        let known = self.0.contains_key(&(code, who.to_owned()));
        let who = if known || self.0.len() < KINDS_MAX { who } else { OTHERS };
        *self.0.entry((code, who.to_owned())).or_default() += count;
    }

    /// `{"unauthenticated": {"uid 1000": 3}}`.
    pub(super) fn to_json(&self) -> Value {
        let mut by_code = BTreeMap::<_, BTreeMap<_, _>>::new();
        for ((code, who), count) in &self.0 {
            by_code.entry(code).or_default().insert(who, count);
        }
        json!(by_code)
    }
}

/// What was turned away and is not recorded yet.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Counts>);

impl Refusals {
    pub(super) fn count(&self, code: &'static str, who: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(code, who, 1);
    }

    /// What there is, if there is anything.
    pub(super) fn take(&self) -> Option<Counts> {
        let taken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        (!taken.0.is_empty()).then_some(taken)
    }

    pub(super) fn put_back(&self, counts: Counts) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((code, who), count) in counts.0 {
            now.add(code, &who, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_code_and_by_who() {
        let refusals = Refusals::default();
        assert!(refusals.take().is_none());
        refusals.count("unauthenticated", "uid 7");
        refusals.count("unauthenticated", "uid 7");
        refusals.count("rate_limited", "billing");
        let counts = refusals.take().unwrap();
        let expected = json!({"unauthenticated": {"uid 7": 2}, "rate_limited": {"billing": 1}});
        assert_eq!(counts.to_json(), expected);
        refusals.count("rate_limited", "billing");
        refusals.put_back(counts);
        assert_eq!(refusals.take().unwrap().to_json()["rate_limited"]["billing"], 2);
        assert!(refusals.take().is_none());
    }

    #[test]
    fn a_crowd_of_sources_takes_a_bounded_room() {
        let refusals = Refusals::default();
        (0..10_000).for_each(|uid| refusals.count("unauthenticated", &format!("uid {uid}")));
        let counts = refusals.take().unwrap();
        assert!(counts.0.len() <= KINDS_MAX + 1);
        assert_eq!(counts.0.values().sum::<u64>(), 10_000);
    }
}
