use std::num::NonZeroU32;
use std::sync::OnceLock;

use super::*;
use crate::clock::{Clock as _, SystemClock};

fn rate(requests: u32, bytes: u32) -> RateSizes {
    RateSizes {
        requests_per_second: NonZeroU32::new(requests).unwrap(),
        bytes_per_second: NonZeroU32::new(bytes).unwrap(),
    }
}

fn small() -> LimitSizes {
    LimitSizes {
        batch_items_max: 4,
        taken_bytes_max: 1000,
        in_flight_max: 3,
        body_memory_bytes_max: 100,
        caller: CallerSizes { rate: rate(1, 10), in_flight_max: 2, body_memory_bytes_max: 75 },
        callers: HashMap::new(),
        key: rate(1, 10),
        keys: HashMap::new(),
    }
}

/// One moment for all that a test does, and this many seconds after it.
fn at(seconds: u64) -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(|| SystemClock.now().monotonic) + Duration::from_secs(seconds)
}

fn now() -> Instant {
    at(0)
}

fn caller(name: &str) -> CallerName {
    name.parse().unwrap()
}

fn key(name: &str) -> KeyName {
    name.parse().unwrap()
}

fn many(requests: usize) -> Amount {
    Amount { requests, bytes: 0 }
}

#[test]
fn a_caller_past_its_rate_is_told_when_to_come_again_and_harms_no_other() {
    let limits = Limits::new(small());
    let (greedy, other) = (caller("greedy"), caller("other"));
    limits.admit(&greedy, many(4), now()).unwrap();
    let refused = limits.admit(&greedy, many(1), now()).unwrap_err();
    assert_eq!(refused.limit, Limit::CallerRequests);
    assert!(refused.retry_after > Duration::ZERO && refused.retry_after <= Duration::from_secs(1));
    limits.admit(&other, many(1), now()).unwrap();
}

#[test]
fn bytes_have_a_rate_of_their_own_and_the_largest_message_always_fits() {
    let limits = Limits::new(small());
    let name = caller("greedy");
    limits.admit(&name, Amount::one(1000), now()).unwrap();
    let refused = limits.admit(&name, Amount::one(500), now()).unwrap_err();
    assert_eq!(refused.limit, Limit::CallerBytes);
    // At ten bytes a second.
    assert!(refused.retry_after > Duration::from_secs(45), "{:?}", refused.retry_after);
    limits.admit(&name, many(1), now()).unwrap();
}

#[test]
fn what_is_larger_than_any_bucket_is_refused_and_costs_nobody_anything() {
    let limits = Limits::new(small());
    let name = caller("greedy");
    assert!(limits.admit(&name, many(5), now()).is_err());
    assert!(limits.admit(&name, many(usize::MAX), now()).is_err());
    limits.admit(&name, many(4), now()).unwrap();
}

#[test]
fn a_key_has_rates_whoever_uses_it() {
    let limits = Limits::new(small());
    limits.admit_key(&key("hot"), many(4), now()).unwrap();
    assert_eq!(
        limits.admit_key(&key("hot"), many(1), now()).unwrap_err().limit,
        Limit::KeyRequests
    );
    limits.admit_key(&key("cold"), Amount::one(1000), now()).unwrap();
    assert_eq!(
        limits.admit_key(&key("cold"), Amount::one(9), now()).unwrap_err().limit,
        Limit::KeyBytes
    );
}

#[test]
fn callers_and_keys_with_limits_of_their_own_have_those() {
    let mut sizes = small();
    let own = CallerSizes { rate: rate(50, 5000), in_flight_max: 1, body_memory_bytes_max: 9 };
    sizes.callers.insert(caller("export"), own);
    sizes.keys.insert(key("hot"), rate(50, 5000));
    let limits = Limits::new(sizes);
    limits.admit(&caller("export"), Amount { requests: 50, bytes: 5000 }, now()).unwrap();
    limits.admit_key(&key("hot"), Amount { requests: 50, bytes: 5000 }, now()).unwrap();
    let _only = limits.enter(&caller("export"), at(1)).unwrap();
    let refused = limits.enter(&caller("export"), at(1)).unwrap_err();
    assert!(matches!(refused, Refused::OfItsCaller(own) if own.limit == Limit::CallerInFlight));
}

#[test]
fn a_place_in_flight_comes_back_when_its_guard_is_dropped() {
    let limits = Limits::new(small());
    let (greedy, other) = (caller("greedy"), caller("other"));
    let first = limits.enter(&greedy, now()).unwrap();
    let _second = limits.enter(&greedy, now()).unwrap();
    let refused = limits.enter(&greedy, now()).unwrap_err();
    assert!(matches!(refused, Refused::OfItsCaller(own) if own.limit == Limit::CallerInFlight));
    assert_eq!(limits.in_flight(), 2, "a refused request gives back what it took");
    let _third = limits.enter(&other, now()).unwrap();
    assert_eq!(limits.enter(&other, now()).unwrap_err(), Refused::AtAll(Overloaded));
    drop(first);
    assert!(limits.enter(&greedy, now()).is_ok());
}

#[tokio::test]
async fn a_stream_waits_where_a_message_would_be_refused() {
    let mut sizes = small();
    sizes.caller.rate = rate(1, 1_000_000);
    sizes.key = rate(1, 1_000_000);
    let limits = Limits::new(sizes);
    let pace = limits.pace(&caller("export"), &key("k"));
    let at = SystemClock.now();
    pace.wait_for(1_000_000, at).await;
    assert!(limits.admit(&caller("export"), Amount::one(1000), at.monotonic).is_err());
    assert!(limits.admit_key(&key("k"), Amount::one(1000), at.monotonic).is_err());
    // A thousand bytes come in a thousandth of a second, of each rate.
    pace.wait_for(1000, at).await;
}

#[test]
fn a_request_is_counted_before_anything_of_it_is_read() {
    let mut sizes = small();
    (sizes.batch_items_max, sizes.caller.in_flight_max) = (1, 3);
    let limits = Limits::new(sizes);
    let _first = limits.enter(&caller("greedy"), at(0)).unwrap();
    let refused = limits.enter(&caller("greedy"), at(0)).unwrap_err();
    assert!(matches!(refused, Refused::OfItsCaller(own) if own.limit == Limit::CallerRequests));
    assert_eq!(limits.in_flight(), 1, "a refused request gives its place back");
    let _second = limits.enter(&caller("greedy"), at(1)).unwrap();
}

#[test]
fn bodies_share_one_memory_and_no_caller_has_all_of_it() {
    let limits = Limits::new(small());
    let (greedy, other) = (memory_of(&limits, "greedy"), memory_of(&limits, "other"));
    let first = greedy.take(75).unwrap();
    let refused = greedy.take(1).unwrap_err();
    assert!(matches!(refused, Refused::OfItsCaller(own) if own.limit == Limit::CallerBodyMemory));
    let _others = other.take(25).unwrap();
    assert_eq!(other.take(1).unwrap_err(), Refused::AtAll(Overloaded));
    drop(first);
    assert!(other.take(50).is_ok());
    assert!(other.take(usize::MAX).is_err());
}

#[test]
fn a_body_that_grows_takes_what_it_has_and_no_more_than_there_is() {
    let limits = Limits::new(small());
    let (own, other) = (memory_of(&limits, "own"), memory_of(&limits, "other"));
    let mut growing = own.take(10).unwrap();
    own.grow(&mut growing, 60).unwrap();
    assert!(other.take(41).is_err());
    assert!(own.grow(&mut growing, 76).is_err());
    own.grow(&mut growing, 5).unwrap();
    assert!(other.take(40).is_ok());
    drop(growing);
    assert!(own.take(75).is_ok());
}

fn memory_of(limits: &Limits, name: &str) -> Memory {
    limits.enter(&caller(name), now()).unwrap().memory().clone()
}
