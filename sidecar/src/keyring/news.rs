//! What the store has told of changes, so that a look that was under way when it told is not believed for long. Does no
//! I/O.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::names::KeyId;

/// Of more keys than this nothing is remembered: then all of them count as changed.
const KEYS_MAX: usize = 4096;

/// What was told, numbered.
#[derive(Debug, Default)]
pub(super) struct News(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    last: u64,
    of_all: u64,
    of_key: HashMap<KeyId, u64>,
}

impl News {
    /// The number of the last news, to be read before a look.
    pub(super) fn last(&self) -> u64 {
        self.lock().last
    }

    /// This key has changed.
    pub(super) fn of_key(&self, id: KeyId) {
        let mut heard = self.lock();
        heard.last += 1;
        let number = heard.last;
        if heard.of_key.len() >= KEYS_MAX {
            heard.of_key.clear();
            heard.of_all = number;
        }
        heard.of_key.insert(id, number);
    }

    /// Any key may have changed.
    pub(super) fn of_all(&self) {
        let mut heard = self.lock();
        heard.last += 1;
        heard.of_all = heard.last;
        heard.of_key.clear();
    }

    /// Whether there was news of this key after the one with this number.
    pub(super) fn since(&self, number: u64, id: KeyId) -> bool {
        let heard = self.lock();
        heard.of_all > number || heard.of_key.get(&id).is_some_and(|of_key| *of_key > number)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_one_key_is_not_news_of_another() {
        let news = News::default();
        let (one, other) = (KeyId::from_bytes([1; 8]), KeyId::from_bytes([2; 8]));
        let before = news.last();
        news.of_key(one);
        assert!(news.since(before, one) && !news.since(before, other));
        assert!(!news.since(news.last(), one));
        news.of_all();
        assert!(news.since(before, other));
    }

    #[test]
    fn more_news_than_is_remembered_is_news_of_all() {
        let news = News::default();
        let before = news.last();
        for number in 0..=u64::try_from(KEYS_MAX).unwrap() {
            news.of_key(KeyId::from_bytes(number.to_be_bytes()));
        }
        assert!(news.since(before, KeyId::from_bytes([9; 8])));
    }
}
