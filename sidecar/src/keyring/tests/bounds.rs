//! The outage contract: how long a cached key serves, what ends it at once, and what refreshes it ahead.

use super::*;

/// Nothing leaves memory for being idle: what is looked at here is staleness.
fn never_idle(settings: &mut KeyringSettings) {
    settings.idle_evict = 1000 * HOUR;
}

#[tokio::test]
async fn a_failed_refresh_never_extends_a_bound() {
    let world = World::with(never_idle).await;
    let key = world.key("a").await;
    world.seal("a").await.unwrap();
    world.store.fail(true);
    world.root.set(Mood::Unavailable);
    for _ in 0..6 {
        assert!(world.seal("a").await.is_ok());
        world.pass(10 * MINUTE).await;
    }
    assert!(world.seal("a").await.is_ok(), "the bound itself is still within it");
    let (lookups, unwraps) = (world.store.lookups(), world.root.unwraps());
    assert!(lookups > 5 && unwraps > 2, "it was tried: {lookups} {unwraps}");
    world.pass(Duration::from_secs(1)).await;
    let error = world.seal("a").await.unwrap_err();
    assert!(is_store_unavailable(&error), "{error:?}");
    assert!(world.open(&key, 1).await.is_ok(), "decrypting has a longer bound");

    world.pass(23 * HOUR - Duration::from_secs(1)).await;
    assert!(world.open(&key, 1).await.is_ok());
    world.pass(Duration::from_secs(1)).await;
    let error = world.open(&key, 1).await.unwrap_err();
    assert!(is_store_unavailable(&error), "{error:?}");

    world.store.fail(false);
    let error = world.open(&key, 1).await.unwrap_err();
    assert!(is_root_error(&error, |error| matches!(error, RootError::Unavailable { .. })));
    world.root.set(Mood::Works);
    assert!(world.open(&key, 1).await.is_ok() && world.seal("a").await.is_ok());
}

#[tokio::test]
async fn a_root_that_is_away_or_throttles_is_served_through_until_the_bound_of_each_use() {
    for mood in [Mood::Unavailable, Mood::Throttled] {
        let world = World::with(never_idle).await;
        let key = world.key("a").await;
        world.root.set(mood);
        world.pass(59 * MINUTE).await;
        assert!(world.seal("a").await.is_ok() && world.open(&key, 1).await.is_ok(), "{mood:?}");
        world.pass(2 * MINUTE).await;
        let error = world.seal("a").await.unwrap_err();
        let passes = |error: &RootError| {
            matches!(error, RootError::Unavailable { .. } | RootError::Throttled { .. })
        };
        assert!(is_root_error(&error, passes), "{mood:?}: {error:?}");
        assert!(world.open(&key, 1).await.is_ok(), "{mood:?}");
        world.root.set(Mood::Works);
        world.pass(Duration::from_secs(1)).await;
        assert!(world.seal("a").await.is_ok(), "{mood:?}");
    }
}

#[tokio::test]
async fn a_root_that_refuses_ends_the_key_at_the_next_recheck() {
    for mood in [Mood::Denied, Mood::KeyGone, Mood::Unusable, Mood::Corrupt] {
        let world = World::new().await;
        let key = world.key("a").await;
        let empty = world.arena.slots_used() - 1;
        world.root.set(mood);
        assert!(world.open(&key, 1).await.is_ok(), "{mood:?}: nobody has asked the root yet");
        world.pass(16 * MINUTE).await;
        assert_eq!(world.arena.slots_used(), empty, "{mood:?}: the key is wiped");
        let error = world.open(&key, 1).await.unwrap_err();
        let refuses = |error: &RootError| {
            !matches!(error, RootError::Unavailable { .. } | RootError::Throttled { .. })
        };
        assert!(is_root_error(&error, refuses), "{mood:?}: {error:?}");
        assert!(world.seal("a").await.is_err(), "{mood:?}");
    }
}

#[tokio::test]
async fn a_recheck_never_comes_later_than_its_setting_says() {
    // The maintenance does not come when the bound passes, but somewhat before and after.
    let bound = MAINTAIN_EVERY * 11 / 2;
    let short = |settings: &mut KeyringSettings| {
        (settings.root_recheck, settings.refresh_after) = (bound, bound);
    };
    let world = World::with(short).await;
    world.key("a").await;
    let seen = || (world.root.unwraps(), world.store.lookups());
    let (mut known, mut looks) = (seen(), [world.now(); 2]);
    for _ in 0..500 {
        world.pass(MAINTAIN_EVERY).await;
        let (unwraps, lookups) = seen();
        for (look, has_come) in looks.iter_mut().zip([unwraps > known.0, lookups > known.1]) {
            let waited = world.now().since(look.monotonic);
            assert!(waited <= bound, "{waited:?}");
            if has_come {
                *look = world.now();
            }
        }
        known = (unwraps, lookups);
    }
    assert!(known.0 > 100 && known.0 < 300, "it was rechecked, and not at every turn: {known:?}");
}

#[tokio::test]
async fn a_disabled_version_is_wiped() {
    let world = World::new().await;
    let key = world.key("a").await;
    let with_key = world.arena.slots_used();
    let other = world.another();
    world.set_state(&other, &key, VersionState::Disabled).await;
    assert!(world.open(&key, 1).await.is_ok(), "another sidecar's change is seen at the next look");
    world.pass(5 * MINUTE).await;
    assert_eq!(world.arena.slots_used(), with_key - 1);
    assert!(matches!(world.open(&key, 1).await, Err(KeyringError::VersionDisabled)));
    assert!(matches!(world.seal("a").await, Err(KeyringError::VersionDisabled)));

    world.set_state(&world.keyring, &key, VersionState::DecryptOnly).await;
    assert!(world.open(&key, 1).await.is_ok());
    assert!(matches!(world.seal("a").await, Err(KeyringError::VersionDisabled)));
    world.set_state(&world.keyring, &key, VersionState::Disabled).await;
    assert_eq!(world.arena.slots_used(), with_key - 1, "this sidecar's own change wipes at once");
}

#[tokio::test]
async fn a_version_that_is_disabled_while_it_is_unwrapped_does_not_stay_in_memory() {
    let world = World::new().await;
    let key = world.key("a").await;
    let cold = world.cold();
    let without = cold.arena.slots_used();
    cold.root.gate.shut();
    let opening = tokio::spawn({
        let (cold, key) = (Arc::clone(&cold), key.clone());
        async move { cold.open(&key, 1).await.map(drop) }
    });
    until("the unwrap is under way", || cold.root.unwraps() == 2).await;
    cold.set_state(&cold.keyring, &key, VersionState::Disabled).await;
    cold.root.gate.open();
    // Who asked before the change may still be served; nobody after.
    let _ = opening.await.unwrap();
    assert_eq!(cold.keyring.status(cold.now()).cached.len(), 0);
    assert!(matches!(cold.open(&key, 1).await, Err(KeyringError::VersionDisabled)));
    assert_eq!(cold.arena.slots_used(), without);
}

#[tokio::test]
async fn what_nobody_uses_leaves_memory() {
    let world = World::new().await;
    let (used, idle) = (world.key("used").await, world.key("idle").await);
    let both = world.arena.slots_used();
    for _ in 0..3 {
        world.pass(10 * MINUTE - Duration::from_secs(1)).await;
        assert!(world.open(&used, 1).await.is_ok());
    }
    assert_eq!(world.arena.slots_used(), both);
    world.pass(MINUTE).await;
    assert_eq!(world.arena.slots_used(), both - 1);
    let cached = world.keyring.status(world.now()).cached;
    assert_eq!(cached.iter().map(|cached| cached.name.as_str()).collect::<Vec<_>>(), ["used"]);
    assert_eq!(world.keyring.status(world.now()).evictions, 1);
    assert!(world.open(&idle, 1).await.is_ok(), "it comes back when it is asked for");
}

#[tokio::test]
async fn traffic_does_not_wait_for_a_refresh() {
    let world = Arc::new(World::new().await);
    let key = world.key("a").await;
    let (lookups, unwraps) = (world.store.lookups(), world.root.unwraps());
    world.clock.advance(16 * MINUTE);
    world.store.gate.shut();
    world.root.gate.shut();
    let (keyring, now) = (world.keyring.clone(), world.now());
    let maintained = tokio::spawn(async move { keyring.maintain(now).await });
    until("the refresh is under way", || world.store.lookups() > lookups).await;
    assert!(world.seal("a").await.is_ok() && world.open(&key, 1).await.is_ok());
    world.store.gate.open();
    until("the recheck is under way", || world.root.unwraps() > unwraps).await;
    assert!(world.seal("a").await.is_ok() && world.open(&key, 1).await.is_ok());
    world.root.gate.open();
    maintained.await.unwrap();
    assert_eq!((world.store.lookups(), world.root.unwraps()), (lookups + 1, unwraps + 1));
    let status = world.keyring.status(world.now());
    assert_eq!(status.cached[0].row_age.max(status.cached[0].unwrap_age), Duration::ZERO);
}

#[tokio::test]
async fn a_root_that_never_answers_does_not_keep_rows_from_being_looked_at() {
    let world = World::with(never_idle).await;
    let key = world.key("a").await;
    world.root.gate.shut();
    world.pass(16 * MINUTE).await;
    let other = world.another();
    world.set_state(&other, &key, VersionState::Disabled).await;
    world.pass(5 * MINUTE).await;
    assert!(matches!(world.open(&key, 1).await, Err(KeyringError::VersionDisabled)));
}

#[tokio::test]
async fn a_change_shows_in_its_own_answer_whatever_the_times_of_others() {
    let world = World::new().await;
    let key = world.key("a").await;
    let earlier = world.now();
    world.clock.advance(Duration::from_secs(1));
    let show = permit(Action::ReadKey, "a");
    world.keyring.show(&show, world.now()).await.unwrap();
    // Its request came before that look, and changes the row after it.
    let rotated = world.keyring.rotate(&permit(Action::Rotate, "a"), earlier).await.unwrap();
    assert_eq!(rotated.primary.number(), 2);
    let set = permit(Action::SetState, "a");
    let state = VersionState::Disabled;
    let changed = world.keyring.set_state(&set, KeyVersion::FIRST, state, earlier).await.unwrap();
    assert_eq!(changed.version(KeyVersion::FIRST).unwrap().state, state);
    assert!(matches!(world.open(&key, 1).await, Err(KeyringError::VersionDisabled)));
    let cached = world.keyring.status(world.now()).cached;
    assert_eq!(cached[0].row_age, Duration::ZERO, "the later look's time stands");
}

#[tokio::test]
async fn a_look_that_began_earlier_and_comes_late_undoes_nothing() {
    let world = World::new().await;
    let key = world.key("a").await;
    let cache = &world.keyring.0.cache;
    let (early, late) = (cache.next_look(), cache.next_look());
    let row = |look, state| {
        let mut record = key.clone();
        record.versions[0].state = state;
        let (looked_at, used) = (world.now().monotonic, cache::LastUse::at(world.now()));
        CachedKey { record, look, looked_at, refresh: cache::Due::at(looked_at), used }
    };
    cache.put_key(row(late, VersionState::Disabled));
    let kept = cache.put_key(row(early, VersionState::Enabled));
    assert_eq!(kept.record.versions[0].state, VersionState::Disabled);
    assert!(matches!(world.open(&key, 1).await, Err(KeyringError::VersionDisabled)));
}

#[tokio::test]
async fn a_key_that_the_store_no_longer_has_is_wiped() {
    let world = World::new().await;
    let key = world.key("a").await;
    let with_key = world.arena.slots_used();
    let missing = Arc::new(World::new().await);
    // The same keyring over a store that was restored from before the key was made.
    let keyring = Keyring::new(
        world.settings.clone(),
        Roots::new(vec![Arc::clone(&world.root) as _]),
        Arc::clone(&missing.store) as Arc<dyn KeyStore>,
        world.arena.clone(),
    );
    let shown = keyring.show(&permit(Action::ReadKey, "a"), world.now()).await;
    assert!(matches!(shown, Err(KeyringError::NoSuchKey)));
    keyring.0.cache.put_key(CachedKey {
        record: key.clone(),
        look: keyring.0.cache.next_look(),
        looked_at: world.now().monotonic,
        refresh: cache::Due::at(world.now().monotonic),
        used: cache::LastUse::at(world.now()),
    });
    world.clock.advance(Duration::from_secs(1));
    keyring.maintain(world.now()).await;
    assert!(keyring.0.cache.key(&KeyLookup::Id(key.id)).is_none());
    assert_eq!(world.arena.slots_used(), with_key);
}

#[tokio::test]
async fn a_stream_ends_when_its_version_is_disabled() {
    let world = World::new().await;
    let key = world.key("a").await;
    let (sealing, opening) = (world.seal("a").await.unwrap(), world.open(&key, 1).await.unwrap());
    assert!(world.keyring.charge_stream(&sealing, 10, world.now()).await.unwrap());
    world.keyring.confirm_stream(&opening, world.now()).await.unwrap();

    world.set_state(&world.keyring, &key, VersionState::DecryptOnly).await;
    let sealed = world.keyring.charge_stream(&sealing, 10, world.now()).await;
    assert!(matches!(sealed, Err(KeyringError::VersionDisabled)));
    world.keyring.confirm_stream(&opening, world.now()).await.unwrap();

    world.set_state(&world.keyring, &key, VersionState::Disabled).await;
    let opened = world.keyring.confirm_stream(&opening, world.now()).await;
    assert!(matches!(opened, Err(KeyringError::VersionDisabled)));
}

#[tokio::test]
async fn a_preloaded_key_stays_in_memory_unused_and_its_newest_version_comes_back() {
    let world = World::new().await;
    let key = world.key("a").await;
    world.key("b").await;
    world.keyring.preload(std::slice::from_ref(&key.name), world.now()).await.unwrap();
    let cached = || {
        let status = world.keyring.status(world.now());
        status.cached.iter().map(|cached| cached.name.to_string()).collect::<Vec<_>>()
    };
    world.pass(25 * MINUTE).await;
    world.pass(25 * MINUTE).await;
    assert_eq!(cached(), ["a"], "b was idle, and a is pinned");

    let rotated = world.another().rotate(&permit(Action::Rotate, "a"), world.now()).await.unwrap();
    assert_eq!(rotated.primary.number(), 2);
    world.pass(6 * MINUTE).await;
    let status = world.keyring.status(world.now());
    assert!(status.cached.iter().any(|cached| cached.version.number() == 2), "{status:?}");
}

#[tokio::test]
async fn a_root_that_refuses_is_not_asked_again_by_each_request() {
    let world = World::new().await;
    let key = world.key("a").await;
    world.root.set(Mood::Denied);
    world.pass(16 * MINUTE).await;
    let unwraps = world.root.unwraps();
    for _ in 0..1000 {
        assert!(world.open(&key, 1).await.is_err());
    }
    assert_eq!(world.root.unwraps(), unwraps, "the recheck has asked already");
    world.root.set(Mood::Works);
    world.pass(Duration::from_secs(5)).await;
    assert!(world.open(&key, 1).await.is_ok(), "it is asked again after a moment");
}

#[tokio::test]
async fn what_failed_is_tried_again_once_an_interval_and_not_at_each_tick() {
    let world = World::new().await;
    world.key("a").await;
    world.root.set(Mood::Unavailable);
    world.store.fail(true);
    world.pass(16 * MINUTE).await;
    let (lookups, unwraps) = (world.store.lookups(), world.root.unwraps());
    for _ in 0..60 {
        world.pass(Duration::from_secs(1)).await;
    }
    let (lookups, unwraps) = (world.store.lookups() - lookups, world.root.unwraps() - unwraps);
    assert!((12..=15).contains(&lookups), "{lookups} looks a minute");
    assert!((12..=15).contains(&unwraps), "{unwraps} unwraps a minute");
}

#[tokio::test]
async fn a_refusal_of_a_row_that_has_changed_since_does_not_wipe_the_key() {
    let world = World::new().await;
    let key = world.key("a").await;
    let wrapped = world.stored(&key, 1).await.wrappings;
    // In memory is a row with a wrapping that no longer opens; the store has a good one.
    let key_ref = KeyRef { id: key.id, version: KeyVersion::FIRST };
    let mut bad = wrapped.clone();
    let mut bytes = bad[0].wrapped.as_bytes().to_vec();
    bytes[20] ^= 1;
    bad[0].wrapped = crate::secret::WrappedKey::from_bytes(bytes);
    let change = crate::store::VersionChange::Wrappings;
    world.store.inner.update_version(key_ref, 1, &change(bad)).await.unwrap();
    world.keyring.show(&permit(Action::ReadKey, "a"), world.now()).await.unwrap();
    world.store.inner.update_version(key_ref, 2, &change(wrapped)).await.unwrap();
    world.clock.advance(16 * MINUTE);
    world.keyring.recheck(world.now()).await;
    assert_eq!(world.keyring.status(world.now()).cached.len(), 1, "it is not wiped");
    assert!(world.open(&key, 1).await.is_ok());
}
