//! What is counted, reserved, given back, and lost in a crash.

use super::*;
use crate::store::Usage;

async fn counted(world: &World, key: &KeyRecord, version: u32) -> (u64, u64) {
    let stored = world.stored(key, version).await;
    (stored.messages_used, stored.bytes_used)
}

#[tokio::test]
async fn a_crash_over_counts_and_never_under_counts() {
    let world = World::new().await;
    let key = world.key("a").await;
    let mut sealed = 0;
    for crash in 1..=3 {
        let keyring = world.another();
        for _ in 0..10 {
            world.seal_with(&keyring, "a").await.unwrap();
            sealed += 1;
            assert!(counted(&world, &key, 1).await.0 >= sealed, "reserved before it is used");
        }
        // The crash: nobody closes the keyring.
        drop(keyring);
        let (messages, bytes) = counted(&world, &key, 1).await;
        assert!((sealed..=sealed + crash * (1 << 17)).contains(&messages), "{messages}");
        assert!((sealed * 10..=sealed * 10 + crash * (1 << 33)).contains(&bytes), "{bytes}");
    }
    let (messages, bytes) = counted(&world, &key, 1).await;
    let keyring = world.another();
    world.seal_with(&keyring, "a").await.unwrap();
    keyring.close().await;
    assert_eq!(
        counted(&world, &key, 1).await,
        (messages + 1, bytes + 10),
        "an end in order is exact"
    );
}

#[tokio::test]
async fn what_is_shown_is_what_was_used_and_not_what_is_reserved() {
    let world = World::new().await;
    let key = world.key("a").await;
    for _ in 0..7 {
        world.seal("a").await.unwrap();
    }
    let shown = world.keyring.show(&permit(Action::ReadKey, "a"), world.now()).await.unwrap();
    let used = world.keyring.used(&shown, KeyVersion::FIRST);
    assert_eq!(used, Usage { messages: 7, bytes: 70 });
    assert!(counted(&world, &key, 1).await.0 > 7);
}

#[tokio::test]
async fn a_version_that_is_used_up_makes_way_for_one_next_version_whoever_notices() {
    let world = Arc::new(World::new().await);
    let new = NewKey { messages_max: Some(10), ..NewKey::default() };
    let key = world.key_with("a", new).await;
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.seal("a").await.unwrap().version().number() })
        })
        .collect();
    let mut per_version = std::collections::BTreeMap::<u32, u64>::new();
    for request in requests {
        *per_version.entry(request.await.unwrap()).or_default() += 1;
    }
    assert_eq!(per_version.values().sum::<u64>(), 100);
    assert!(per_version.values().all(|sealed| *sealed <= 10), "{per_version:?}");
    let versions = *per_version.keys().max().unwrap();
    assert_eq!(versions, 10, "no version was skipped while it had room: {per_version:?}");
    let wraps = world.root.wraps.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(wraps, 10, "each version was made once");
    assert_eq!(counted(&world, &key, 3).await.0, 10);
}

#[tokio::test]
async fn a_request_larger_than_a_whole_version_is_refused_and_makes_no_versions() {
    let world = World::new().await;
    let new = NewKey { messages_max: Some(10), bytes_max: Some(1000), ..NewKey::default() };
    let key = world.key_with("a", new).await;
    for (messages, bytes) in [(11, 10), (1, 1001)] {
        let permit = permit(Action::Encrypt, "a");
        let sealing = world.keyring.sealing_key(&permit, messages, bytes, world.now()).await;
        assert!(matches!(sealing, Err(KeyringError::LimitTooSmall)), "{sealing:?}");
    }
    let record = world.store.inner.key_by_id(key.id).await.unwrap().unwrap();
    assert_eq!(record.primary, KeyVersion::FIRST);
    let permit = permit(Action::Encrypt, "a");
    assert!(world.keyring.sealing_key(&permit, 10, 1000, world.now()).await.is_ok());
}

#[tokio::test]
async fn a_stream_ends_at_the_limit_of_its_version() {
    let world = World::new().await;
    let new = NewKey { bytes_max: Some(1000), ..NewKey::default() };
    let key = world.key_with("a", new).await;
    let permit = permit(Action::Encrypt, "a");
    let sealing = world.keyring.sealing_key(&permit, 1, 0, world.now()).await.unwrap();
    for _ in 0..10 {
        assert!(world.keyring.charge_stream(&sealing, 100, world.now()).await.unwrap());
    }
    assert!(!world.keyring.charge_stream(&sealing, 1, world.now()).await.unwrap());
    assert_eq!(counted(&world, &key, 1).await.1, 1000);
}

#[tokio::test]
async fn the_counter_that_has_room_is_not_reserved_again_with_the_one_that_has_not() {
    let world = World::new().await;
    let new = NewKey { bytes_max: Some(1 << 20), ..NewKey::default() };
    let key = world.key_with("a", new).await;
    let permit = permit(Action::Encrypt, "a");
    let sealing = world.keyring.sealing_key(&permit, 1, 0, world.now()).await.unwrap();
    for _ in 0..100 {
        assert!(world.keyring.charge_stream(&sealing, 10_000, world.now()).await.unwrap());
    }
    let (messages, _) = counted(&world, &key, 1).await;
    assert_eq!(messages, 1 << 17, "one block, however many blocks of bytes");
}

#[tokio::test]
async fn sealing_goes_on_without_the_store_while_its_reservation_lasts() {
    let world = World::new().await;
    let new = NewKey { messages_max: Some(256 * 20), ..NewKey::default() };
    world.key_with("a", new).await;
    world.seal("a").await.unwrap();
    world.store.fail(true);
    for _ in 0..19 {
        world.seal("a").await.unwrap();
    }
    let error = world.seal("a").await.unwrap_err();
    assert!(is_store_unavailable(&error), "{error:?}");
    world.store.fail(false);
    assert!(world.seal("a").await.is_ok());
}

#[tokio::test]
async fn reservations_that_cannot_be_given_back_stay_counted() {
    let world = World::new().await;
    let key = world.key("a").await;
    world.seal("a").await.unwrap();
    let reserved = counted(&world, &key, 1).await;
    world.store.fail(true);
    world.keyring.close().await;
    assert_eq!(counted(&world, &key, 1).await, reserved);
}

#[tokio::test]
async fn the_last_of_a_limit_is_shared_by_two_sidecars_and_never_passed() {
    let world = World::new().await;
    let new = NewKey { messages_max: Some(30), ..NewKey::default() };
    let key = world.key_with("a", new).await;
    let other = world.another();
    let mut first_version = 0;
    for turn in 0..60 {
        let keyring = if turn % 2 == 0 { &world.keyring } else { &other };
        let sealing = world.seal_with(keyring, "a").await.unwrap();
        first_version += u64::from(sealing.version() == KeyVersion::FIRST);
    }
    assert!(first_version <= 30, "{first_version}");
    assert_eq!(counted(&world, &key, 1).await.0, 30);
}
