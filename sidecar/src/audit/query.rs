//! Finds entries: by who, what, which key, what came of it, when, and by the hashes that stand for people.
//!
//! Depends on [`super::verify`], which reads the log and hands the entries over: what is found is verified on the way.

use std::borrow::Cow;

use super::verify::{Entry, Gather, Item, Place};

/// What an entry must be like. What is `None` may be anything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Who.
    pub caller: Option<String>,
    /// Which key, by name.
    pub key: Option<String>,
    /// What was asked.
    pub operation: Option<String>,
    /// What came of it; of a batch, of one of its items.
    pub outcome: Option<String>,
    /// Why not.
    pub code: Option<String>,
    /// `V:H` of the subject, or `H` alone for any version.
    pub subject: Option<String>,
    /// `V:H` of the whole context, or `H` alone.
    pub context: Option<String>,
    /// The hash of the ciphertext's header.
    pub ciphertext: Option<String>,
    /// The request's id.
    pub request: Option<String>,
    /// At this time or later, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Before this time.
    pub until_ms: Option<u64>,
}

impl Filter {
    /// Whether `entry` is what is looked for.
    #[must_use]
    pub fn matches(&self, entry: &Entry<'_>) -> bool {
        let time = self.since_ms.is_none_or(|since| entry.time_ms >= since)
            && self.until_ms.is_none_or(|until| entry.time_ms < until);
        let whole = is(self.caller.as_deref(), entry.caller.as_deref())
            && is(self.operation.as_deref(), Some(&entry.operation))
            && is(self.request.as_deref(), entry.request.as_deref());
        if !time || !whole {
            return false;
        }
        self.matches_item(entry, &entry.whole)
            || entry.items.iter().any(|item| self.matches_item(entry, item))
    }

    /// Whether an item of a batch is; what it does not say itself, its entry says. Of a rewrap, what was moved counts, and
    /// where it moved to.
    fn matches_item(&self, entry: &Entry<'_>, item: &Item<'_>) -> bool {
        let outcome = item.outcome.as_deref().unwrap_or(&entry.outcome);
        let subjects = [
            either(&item.subject, &entry.whole.subject),
            either(&item.new_subject, &entry.whole.new_subject),
        ];
        let contexts = [
            either(&item.context, &entry.whole.context),
            either(&item.new_context, &entry.whole.new_context),
        ];
        let moved = item.from.as_ref().or(entry.whole.from.as_ref());
        let moved = moved.and_then(|moved| moved.ciphertext.as_deref());
        let ciphertexts = [either(&item.ciphertext, &entry.whole.ciphertext), moved];
        is(self.outcome.as_deref(), Some(outcome))
            && is(self.code.as_deref(), either(&item.code, &entry.whole.code))
            && is(self.key.as_deref(), either(&item.key, &entry.whole.key))
            && subjects.iter().any(|there| is_hash(self.subject.as_deref(), *there))
            && contexts.iter().any(|there| is_hash(self.context.as_deref(), *there))
            && ciphertexts.iter().any(|there| is(self.ciphertext.as_deref(), *there))
    }
}

/// What an item says, or else its entry.
#[allow(clippy::ref_option, reason = "as the fields are")]
fn either<'b>(item: &'b Option<Cow<'_, str>>, entry: &'b Option<Cow<'_, str>>) -> Option<&'b str> {
    item.as_deref().or(entry.as_deref())
}

fn is(wanted: Option<&str>, there: Option<&str>) -> bool {
    wanted.is_none() || wanted == there
}

/// `V:H` as a whole, or `H` of any version.
fn is_hash(wanted: Option<&str>, there: Option<&str>) -> bool {
    let Some(wanted) = wanted else { return true };
    let Some(there) = there else { return false };
    let hash = there.split_once(':').map_or(there, |(_, hash)| hash);
    wanted == there || wanted == hash
}

/// An entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Where it is.
    pub place: Place,
    /// Its bytes.
    pub raw: Vec<u8>,
}

/// Hands what matches to somebody, in its order, up to a limit.
#[derive(Debug)]
pub struct Query<F> {
    filter: Filter,
    limit: u64,
    found: u64,
    is_over: bool,
    take: F,
}

impl<F: FnMut(Match) -> bool + Sync> Query<F> {
    /// Finds at most `limit` entries; `take` says whether it wants more.
    pub fn new(filter: Filter, limit: Option<u64>, take: F) -> Self {
        Self { filter, limit: limit.unwrap_or(u64::MAX), found: 0, is_over: false, take }
    }

    /// How many were found, up to the limit.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.found
    }
}

impl<F: FnMut(Match) -> bool + Sync> Gather for Query<F> {
    type Found = Vec<Match>;

    fn look(&self, place: Place, entry: &Entry<'_>, raw: &[u8], found: &mut Vec<Match>) {
        if !self.is_over && self.filter.matches(entry) {
            found.push(Match { place, raw: raw.to_vec() });
        }
    }

    fn keep(&mut self, found: Vec<Match>) {
        for matched in found {
            if self.found >= self.limit || self.is_over {
                break;
            }
            self.found = self.found.saturating_add(1);
            self.is_over = !(self.take)(matched);
        }
        self.is_over |= self.found >= self.limit;
    }

    fn has_enough(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: &str = r#"{"time":"2026-11-25T08:00:00.000Z","operation":"decrypt_batch","outcome":"ok","caller":"billing","key":"cards","request":"r1","items":[{"subject":"1:aaa"},{"outcome":"failed","code":"decryption_failed","subject":"2:bbb","ciphertext":"ccc"}]}"#;

    fn finds(filter: Filter) -> bool {
        filter.matches(&Entry::parse(BATCH.as_bytes()).unwrap())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn an_item_of_a_batch_is_found_with_what_its_entry_says() {
        assert!(finds(Filter::default()));
        assert!(finds(Filter { caller: some("billing"), key: some("cards"), ..Filter::default() }));
        assert!(finds(Filter { outcome: some("failed"), key: some("cards"), ..Filter::default() }));
        assert!(finds(Filter { outcome: some("ok"), subject: some("aaa"), ..Filter::default() }));
        assert!(finds(Filter {
            subject: some("2:bbb"),
            ciphertext: some("ccc"),
            ..Filter::default()
        }));
        let one_item =
            Filter { outcome: some("failed"), subject: some("aaa"), ..Filter::default() };
        assert!(!finds(one_item), "two items are not one");
        assert!(!finds(Filter { subject: some("1:bbb"), ..Filter::default() }));
        assert!(!finds(Filter { caller: some("intake"), ..Filter::default() }));
    }

    #[test]
    fn a_rewrap_is_found_by_what_it_moved_and_by_where_it_moved_it() {
        let rewrap = r#"{"time":"2026-11-25T08:00:00.000Z","operation":"rewrap","outcome":"ok","subject":"1:aaa","new_subject":"1:bbb","ciphertext":"new","from":{"version":1,"ciphertext":"old"}}"#;
        let entry = Entry::parse(rewrap.as_bytes()).unwrap();
        let of_subject = |hash| Filter { subject: some(hash), ..Filter::default() }.matches(&entry);
        let of_ciphertext =
            |hash| Filter { ciphertext: some(hash), ..Filter::default() }.matches(&entry);
        assert!(of_subject("aaa") && of_subject("1:bbb") && !of_subject("ccc"));
        assert!(of_ciphertext("old") && of_ciphertext("new") && !of_ciphertext("other"));
    }

    #[test]
    fn times_are_from_and_before() {
        let at = Entry::parse(BATCH.as_bytes()).unwrap().time_ms;
        let between = |since, until| {
            finds(Filter { since_ms: Some(since), until_ms: Some(until), ..Filter::default() })
        };
        assert!(between(at, at + 1));
        assert!(!between(at + 1, at + 2));
        assert!(!between(at - 1, at));
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let mut taken = Vec::new();
        let place = |entry| Place { log: 1, entry };
        let mut query = Query::new(Filter::default(), Some(3), |found: Match| {
            taken.push(found.place.entry);
            true
        });
        let entry = Entry::parse(BATCH.as_bytes()).unwrap();
        let mut found = Vec::new();
        (0..2).for_each(|at| query.look(place(at), &entry, BATCH.as_bytes(), &mut found));
        query.keep(std::mem::take(&mut found));
        assert!(!query.has_enough());
        (2..9).for_each(|at| query.look(place(at), &entry, BATCH.as_bytes(), &mut found));
        query.keep(std::mem::take(&mut found));
        assert!(query.has_enough());
        query.look(place(9), &entry, BATCH.as_bytes(), &mut found);
        assert!(found.is_empty());
        assert_eq!(query.found(), 3);
        assert_eq!(taken, [0, 1, 2]);
    }
}
