//! Counts requests that were turned away before anybody knew what they wanted: whoever sends them could fill the disk
//! with an entry for each.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::entry::ENTRY_BYTES_MAX;

/// Pairs of a code and who: what comes on top is counted as of others.
const KINDS_MAX: usize = 256;
/// As whose the rest is counted: no caller can have this name.
const OTHERS: &str = "(others)";
/// Bytes of who it was that are shown, as many as a caller's name can have.
const WHO_BYTES_MAX: usize = 512;
/// Bytes of counts in one entry, with room for what else it says.
const PART_BYTES_MAX: usize = ENTRY_BYTES_MAX - (4 << 10);

/// What was turned away, by code and by who.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<(&'static str, String), u64>);

impl Counts {
    fn add(&mut self, code: &'static str, who: &str, count: u64) {
        let who = if who.len() > WHO_BYTES_MAX { OTHERS } else { who };
        let known = self.0.contains_key(&(code, who.to_owned()));
        let who = if known || self.0.len() < KINDS_MAX { who } else { OTHERS };
        *self.0.entry((code, who.to_owned())).or_default() += count;
    }

    /// The same in as many parts as it takes for each to fit into an entry.
    pub(super) fn in_parts(self) -> Vec<Self> {
        let mut parts = vec![Self::default()];
        let mut bytes = 0;
        for (kind, count) in self.0 {
            let more = bytes_of(&kind);
            if bytes + more > PART_BYTES_MAX {
                parts.push(Self::default());
                bytes = 0;
            }
            bytes += more;
            if let Some(part) = parts.last_mut() {
                part.0.insert(kind, count);
            }
        }
        parts
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

/// Bytes that a count of this kind takes at most, as JSON: its code too, though kinds of one code share that.
fn bytes_of((code, who): &(&'static str, String)) -> usize {
    let around = r#""":{},"":18446744073709551615,"#.len();
    around + code.len() + json!(who).to_string().len()
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
        assert!(refusals.take().is_none());
    }

    #[test]
    fn counts_of_the_longest_names_fit_into_entries_and_none_is_lost() {
        let refusals = Refusals::default();
        let names: Vec<_> =
            (0..KINDS_MAX).map(|number| format!("{number:~>width$}", width = 512)).collect();
        for name in &names {
            assert!(name.parse::<crate::names::CallerName>().is_ok(), "the longest that there are");
            refusals.count("unsupported_media_type", name);
            refusals.count("unsupported_media_type", name);
        }
        refusals.count("unsupported_media_type", &"\u{1}".repeat(100_000));
        let counts = refusals.take().unwrap();
        assert!(counts.to_json().to_string().len() > ENTRY_BYTES_MAX, "too much for one entry");
        let parts = counts.in_parts();
        let mut found = BTreeMap::new();
        for part in &parts {
            assert!(part.to_json().to_string().len() <= PART_BYTES_MAX);
            assert!(!part.0.is_empty());
            found.extend(part.0.iter().map(|((_, who), count)| (who.clone(), *count)));
        }
        assert_eq!(found.remove(OTHERS), Some(1));
        assert_eq!(found, names.into_iter().map(|name| (name, 2)).collect());
    }

    #[test]
    fn the_rest_is_counted_as_nobody_s_who_could_be_a_caller() {
        assert!(OTHERS.parse::<crate::names::CallerName>().is_err());
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
