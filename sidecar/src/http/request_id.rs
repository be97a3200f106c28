//! The id of one request: taken over from the client if it is a sane token, made otherwise.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that it comes and goes in.
pub(super) static HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// A made id has 24 digits, from 12 of these bytes.
const RANDOM_BYTES: usize = 16;
/// As many ids are drawn at a time, by each thread.
const DRAWN_AHEAD: usize = 64;

/// 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The client's id, if there is exactly one and it is sane; a new one otherwise.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(&HEADER).iter();
        match (given.next(), given.next()) {
            (Some(value), None) if is_sane(value.as_bytes()) => Self(value.clone()),
            _ => Self::random(),
        }
    }

    fn random() -> Self {
        let number = u128::from_be_bytes(drawn()) >> 32;
        let text = format!("{number:024x}");
        Self(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("none")))
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("none")
    }

    pub(super) fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Random bytes that were drawn ahead, since a call to the operating system for each request would show. Without
/// random bytes they are all zero: an id is for finding a line in the log, no more.
fn drawn() -> [u8; RANDOM_BYTES] {
    thread_local! {
        static AHEAD: RefCell<Vec<[u8; RANDOM_BYTES]>> = const { RefCell::new(Vec::new()) };
    }
    let drawn = AHEAD.try_with(|ahead| {
        let mut ahead = ahead.try_borrow_mut().ok()?;
        if ahead.is_empty() {
            ahead.resize(DRAWN_AHEAD, [0; RANDOM_BYTES]);
            let _ = getrandom::fill(ahead.as_flattened_mut());
        }
        ahead.pop()
    });
    drawn.ok().flatten().unwrap_or_default()
}

fn is_sane(bytes: &[u8]) -> bool {
    (1..=64).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&HEADER, HeaderValue::from_static(value));
        }
        RequestId::of(&headers).as_str().to_owned()
    }

    #[test]
    fn a_sane_id_is_taken_over_and_any_other_replaced() {
        assert_eq!(of(&["a-B_9.x"]), "a-B_9.x");
        for bad in [vec![], vec![""], vec!["a b"], vec!["a\"b"], vec!["one", "two"]] {
            let made = of(&bad);
            assert_eq!(made.len(), 24, "{bad:?}");
            assert!(is_sane(made.as_bytes()));
        }
        assert_ne!(of(&[]), of(&[]));
    }
}
