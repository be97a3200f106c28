use std::num::NonZeroU32;

use super::*;

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
        caller: CallerSizes { rate: rate(1, 10), in_flight_max: 2 },
        callers: HashMap::new(),
        key: rate(1, 10),
        keys: HashMap::new(),
    }
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
    limits.admit(&greedy, many(4)).unwrap();
    let refused = limits.admit(&greedy, many(1)).unwrap_err();
    assert_eq!(refused.limit, Limit::CallerRequests);
    assert!(refused.retry_after > Duration::ZERO && refused.retry_after <= Duration::from_secs(1));
    limits.admit(&other, many(1)).unwrap();
}

#[test]
fn bytes_have_a_rate_of_their_own_and_the_largest_message_always_fits() {
    let limits = Limits::new(small());
    let name = caller("greedy");
    limits.admit(&name, Amount::one(1000)).unwrap();
    let refused = limits.admit(&name, Amount::one(500)).unwrap_err();
    assert_eq!(refused.limit, Limit::CallerBytes);
    // At ten bytes a second.
    assert!(refused.retry_after > Duration::from_secs(45), "{:?}", refused.retry_after);
    limits.admit(&name, Amount::request()).unwrap();
}

#[test]
fn what_is_larger_than_any_bucket_is_refused_and_costs_nobody_anything() {
    let limits = Limits::new(small());
    let name = caller("greedy");
    assert!(limits.admit(&name, many(5)).is_err());
    assert!(limits.admit(&name, many(usize::MAX)).is_err());
    limits.admit(&name, many(4)).unwrap();
}

#[test]
fn a_key_has_rates_whoever_uses_it() {
    let limits = Limits::new(small());
    limits.admit_key(&key("hot"), many(4)).unwrap();
    assert_eq!(limits.admit_key(&key("hot"), many(1)).unwrap_err().limit, Limit::KeyRequests);
    limits.admit_key(&key("cold"), Amount::one(1000)).unwrap();
    assert_eq!(limits.admit_key(&key("cold"), Amount::one(9)).unwrap_err().limit, Limit::KeyBytes);
}

#[test]
fn callers_and_keys_with_limits_of_their_own_have_those() {
    let mut sizes = small();
    let own = CallerSizes { rate: rate(50, 5000), in_flight_max: 1 };
    sizes.callers.insert(caller("export"), own);
    sizes.keys.insert(key("hot"), rate(50, 5000));
    let limits = Limits::new(sizes);
    limits.admit(&caller("export"), Amount { requests: 50, bytes: 5000 }).unwrap();
    limits.admit_key(&key("hot"), Amount { requests: 50, bytes: 5000 }).unwrap();
    let _only = limits.enter(&caller("export")).unwrap();
    assert!(limits.enter(&caller("export")).is_err());
}

#[test]
fn a_place_in_flight_comes_back_when_its_guard_is_dropped() {
    let limits = Limits::new(small());
    let (greedy, other) = (caller("greedy"), caller("other"));
    let first = limits.enter(&greedy).unwrap();
    let _second = limits.enter(&greedy).unwrap();
    let refused = limits.enter(&greedy).unwrap_err();
    assert!(matches!(refused, NoPlace::OfItsCaller(own) if own.limit == Limit::CallerInFlight));
    assert_eq!(limits.in_flight(), 2, "a refused request gives back what it took");
    let _third = limits.enter(&other).unwrap();
    assert_eq!(limits.enter(&other).unwrap_err(), NoPlace::AtAll(Overloaded));
    drop(first);
    assert!(limits.enter(&greedy).is_ok());
}

#[tokio::test]
async fn a_stream_waits_where_a_message_would_be_refused() {
    let mut sizes = small();
    sizes.caller.rate = rate(1, 1_000_000);
    sizes.key = rate(1, 1_000_000);
    let limits = Limits::new(sizes);
    let pace = limits.pace(&caller("export"), &key("k"));
    pace.wait_for(1_000_000).await;
    assert!(limits.admit(&caller("export"), Amount::one(1000)).is_err());
    assert!(limits.admit_key(&key("k"), Amount::one(1000)).is_err());
    // A thousand bytes come in a thousandth of a second.
    pace.wait_for(1000).await;
}

#[test]
fn no_more_callers_are_remembered_than_there_is_room_for() {
    let limits = Limits::new(small());
    for number in 0..3 * REMEMBERED_MAX {
        limits.admit(&caller(&format!("caller-{number}")), Amount::request()).unwrap();
    }
    assert!(limits.callers.len() <= REMEMBERED_MAX, "{}", limits.callers.len());
}

#[test]
fn bodies_share_one_memory() {
    let limits = Limits::new(small());
    let first = limits.body_memory(80).unwrap();
    assert!(limits.body_memory(21).is_err());
    drop(first);
    assert!(limits.body_memory(100).is_ok());
    assert!(limits.body_memory(usize::MAX).is_err());
}

#[test]
fn a_body_that_grows_takes_what_it_has_and_no_more_than_there_is() {
    let limits = Limits::new(small());
    let mut growing = limits.body_memory(10).unwrap();
    limits.grow(&mut growing, 60).unwrap();
    assert!(limits.body_memory(41).is_err());
    assert!(limits.grow(&mut growing, 101).is_err());
    limits.grow(&mut growing, 5).unwrap();
    assert!(limits.body_memory(40).is_ok());
    drop(growing);
    assert!(limits.body_memory(100).is_ok());
}
