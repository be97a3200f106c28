//! New versions: one at a time, whoever asks, and none that does not open.

use std::sync::atomic::Ordering;

use super::*;

#[tokio::test]
async fn rotations_at_once_make_one_version() {
    let world = Arc::new(World::new().await);
    let key = world.key("a").await;
    let other = world.another();
    let wraps = world.root.wraps.load(Ordering::SeqCst);
    world.root.gate.shut();
    let rotations: Vec<_> = (0..40)
        .map(|number| {
            let keyring = if number % 2 == 0 { world.keyring.clone() } else { other.clone() };
            let now = world.now();
            tokio::spawn(async move { keyring.rotate(&permit(Action::Rotate, "a"), now).await })
        })
        .collect();
    let wrapping = || world.root.wraps.load(Ordering::SeqCst) - wraps;
    until("both sidecars wrap", || wrapping() == 2).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    world.root.gate.open();
    for rotation in rotations {
        assert_eq!(rotation.await.unwrap().unwrap().primary.number(), 2);
    }
    let stored = world.store.inner.key_by_id(key.id).await.unwrap().unwrap();
    assert_eq!((stored.versions.len(), wrapping()), (2, 2), "one wrapping for each sidecar");
}

#[tokio::test]
async fn of_two_sidecars_that_rotate_at_once_one_makes_the_version_that_both_answer() {
    let world = Arc::new(World::new().await);
    let key = world.key("a").await;
    let other = world.another();
    world.root.gate.shut();
    let before = world.root.wraps.load(Ordering::SeqCst);
    let rotate = |keyring: Keyring| {
        let now = world.now();
        tokio::spawn(async move { keyring.rotate(&permit(Action::Rotate, "a"), now).await })
    };
    let both = [rotate(world.keyring.clone()), rotate(other.clone())];
    until("both wrap", || world.root.wraps.load(Ordering::SeqCst) == before + 2).await;
    world.root.gate.open();
    for rotated in both {
        assert_eq!(rotated.await.unwrap().unwrap().primary.number(), 2);
    }
    let sealed_here = world.seal("a").await.unwrap();
    let sealed_there = world.seal_with(&other, "a").await.unwrap();
    assert_eq!(sealed_here.version(), sealed_there.version());
    assert_eq!(
        sealed_here.data_key.expose_bytes(),
        sealed_there.data_key.expose_bytes(),
        "the loser has not kept the key that it drew"
    );
    assert_eq!(world.open(&key, 2).await.unwrap().version().number(), 2);
}

#[tokio::test]
async fn old_versions_open_after_a_rotation_and_a_rewrap_is_recommended() {
    let world = World::new().await;
    let key = world.key("a").await;
    let before = world.seal("a").await.unwrap();
    world.keyring.rotate(&permit(Action::Rotate, "a"), world.now()).await.unwrap();
    let old = world.open(&key, 1).await.unwrap();
    assert!(old.rewrap_recommended());
    assert_eq!(old.data_key.expose_bytes(), before.data_key.expose_bytes());
    assert!(!world.open(&key, 2).await.unwrap().rewrap_recommended());
    let after = world.seal("a").await.unwrap();
    assert_ne!(after.data_key.expose_bytes(), before.data_key.expose_bytes());
}

#[tokio::test]
async fn a_rotation_goes_on_when_nobody_waits_for_it_any_more() {
    let world = Arc::new(World::new().await);
    let key = world.key("a").await;
    world.root.gate.shut();
    let rotating = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.keyring.rotate(&permit(Action::Rotate, "a"), world.now()).await }
    });
    until("it wraps", || world.root.wraps.load(Ordering::SeqCst) == 2).await;
    rotating.abort();
    assert!(rotating.await.unwrap_err().is_cancelled());
    world.root.gate.open();
    let primary = || world.keyring.0.cache.key(&KeyLookup::Id(key.id)).unwrap().record.primary;
    until("the new version is there", || primary().number() == 2).await;
    assert_eq!(world.seal("a").await.unwrap().version().number(), 2);
}

#[tokio::test]
async fn a_period_that_has_passed_rotates_by_the_wall_clock_also_what_nobody_uses() {
    let world = World::new().await;
    let new = NewKey { rotation_period_s: Some(3600), ..NewKey::default() };
    let (due, never) = (world.key_with("due", new).await, world.key("never").await);
    let versions = async |key: &KeyRecord| {
        world.store.inner.key_by_id(key.id).await.unwrap().unwrap().primary.number()
    };
    world.pass(59 * MINUTE).await;
    assert_eq!(versions(&due).await, 1);
    world.pass(MINUTE).await;
    assert_eq!(versions(&due).await, 2);
    world.pass(59 * MINUTE).await;
    assert_eq!(versions(&due).await, 2);
    world.pass(MINUTE).await;
    assert_eq!((versions(&due).await, versions(&never).await), (3, 1));
}

#[tokio::test]
async fn a_root_that_does_not_give_back_what_it_was_given_makes_no_version_and_no_key() {
    let world = World::new().await;
    let key = world.key("a").await;
    for mood in [Mood::Lies, Mood::Unavailable, Mood::Denied] {
        world.root.set(mood);
        let rotated = world.keyring.rotate(&permit(Action::Rotate, "a"), world.now()).await;
        assert!(rotated.is_err(), "{mood:?}");
        if mood == Mood::Lies {
            assert!(matches!(rotated, Err(KeyringError::RootLies)), "{rotated:?}");
        }
        let create = permit(Action::CreateKey, "b");
        assert!(world.keyring.create(&create, NewKey::default(), world.now()).await.is_err());
    }
    world.root.set(Mood::Works);
    assert_eq!(world.store.inner.list_keys().await.unwrap(), [key]);
    let rotated = world.keyring.rotate(&permit(Action::Rotate, "a"), world.now()).await.unwrap();
    assert_eq!(rotated.primary.number(), 2);
}

#[tokio::test]
async fn a_store_that_fails_makes_no_version_and_what_was_there_goes_on() {
    let world = World::new().await;
    world.key("a").await;
    world.store.fail(true);
    let rotated = world.keyring.rotate(&permit(Action::Rotate, "a"), world.now()).await;
    assert!(is_store_unavailable(&rotated.unwrap_err()));
    world.store.fail(false);
    assert_eq!(world.seal("a").await.unwrap().version(), KeyVersion::FIRST);
}

#[tokio::test]
async fn another_root_key_is_noticed_and_one_damaged_key_is_not_taken_for_it() {
    let world = World::new().await;
    let probe = async |keyring: &Keyring| keyring.probe_root(&[]).await;
    assert_eq!(probe(&world.keyring).await.unwrap(), Probed::Empty);
    let key = world.key("a").await;
    assert_eq!(probe(&world.keyring).await.unwrap(), Probed::Opens);
    let is_corrupt = |probed: Result<Probed, KeyringError>| {
        let error = probed.unwrap_err();
        assert!(is_root_error(&error, |error| matches!(error, RootError::Corrupt { .. })));
        assert!(error.says_another_root());
    };
    world.root.set(Mood::Corrupt);
    is_corrupt(probe(&world.keyring).await);
    for mood in [Mood::Unavailable, Mood::Throttled, Mood::Denied, Mood::KeyGone] {
        world.root.set(mood);
        let error = probe(&world.keyring).await.unwrap_err();
        assert!(!error.says_another_root(), "{mood:?} says nothing of whose root it is");
    }
    world.root.set(Mood::Works);
    let mut settings = world.settings.clone();
    settings.domain = "other".to_owned();
    let (_, elsewhere) = beside(&settings, &world.root, &world.store);
    is_corrupt(probe(&elsewhere).await);
    let create = permit(Action::CreateKey, "b");
    elsewhere.create(&create, NewKey::default(), world.now()).await.unwrap();
    probe(&elsewhere).await.unwrap();
    assert!(world.open(&key, 1).await.is_ok());
}

#[tokio::test]
async fn rotations_of_many_sidecars_together_make_one_version() {
    let world = World::new().await;
    world.key("a").await;
    let rotate = async |keyring: &Keyring| {
        let rotated = keyring.rotate(&permit(Action::Rotate, "a"), world.now()).await.unwrap();
        rotated.primary.number()
    };
    assert_eq!(rotate(&world.keyring).await, 2);
    for _ in 0..20 {
        assert_eq!(rotate(&world.another()).await, 2, "the one that has just been made");
    }
    assert_eq!(rotate(&world.keyring).await, 3, "who made it and asks again wants another");
    world.clock.advance(MINUTE);
    assert_eq!(rotate(&world.another()).await, 4, "it is no longer together");
}

#[tokio::test]
async fn a_new_version_that_was_disabled_does_not_count_as_the_rotation_asked_for() {
    let world = World::new().await;
    let key = world.key("a").await;
    world.keyring.rotate(&permit(Action::Rotate, "a"), world.now()).await.unwrap();
    let (permit_state, second) = (permit(Action::SetState, "a"), KeyVersion::new(2).unwrap());
    let disabled = VersionState::Disabled;
    world.keyring.set_state(&permit_state, second, disabled, world.now()).await.unwrap();
    let other = world.another();
    let permit = permit(Action::Rotate, "a");
    let rotated = other.rotate_in_any_state(&permit, world.now()).await.unwrap();
    assert_eq!((rotated.id, rotated.primary.number()), (key.id, 3));
}

#[tokio::test]
async fn a_rotation_elsewhere_does_not_stop_a_sidecar_that_the_root_does_not_answer() {
    let world = World::new().await;
    let key = world.key("a").await;
    world.another().rotate(&permit(Action::Rotate, "a"), world.now()).await.unwrap();
    world.root.set(Mood::Unavailable);
    world.pass(6 * MINUTE).await;
    assert_eq!(world.seal("a").await.unwrap().version(), KeyVersion::FIRST);
    world.set_state(&world.keyring, &key, VersionState::DecryptOnly).await;
    let error = world.seal("a").await.unwrap_err();
    assert!(is_root_error(&error, |error| matches!(error, RootError::Unavailable { .. })));
    world.set_state(&world.keyring, &key, VersionState::Enabled).await;
    assert_eq!(world.seal("a").await.unwrap().version(), KeyVersion::FIRST);
    for _ in 0..5 {
        world.pass(10 * MINUTE).await;
        assert_eq!(world.seal("a").await.unwrap().version(), KeyVersion::FIRST, "in use, not idle");
    }
    world.pass(10 * MINUTE).await;
    assert!(world.seal("a").await.is_err(), "and that within its bound");
    world.root.set(Mood::Works);
    assert_eq!(world.seal("a").await.unwrap().version().number(), 2);
}

#[tokio::test]
async fn after_a_rotation_elsewhere_traffic_does_not_wait_for_a_root_that_hangs() {
    let world = World::new().await;
    world.key("a").await;
    world.another().rotate(&permit(Action::Rotate, "a"), world.now()).await.unwrap();
    world.root.gate.shut();
    world.pass(6 * MINUTE).await;
    for _ in 0..3 {
        assert_eq!(world.seal("a").await.unwrap().version(), KeyVersion::FIRST);
    }
    world.root.gate.open();
    until("the new version is there", || world.keyring.status(world.now()).cached.len() == 2).await;
    assert_eq!(world.seal("a").await.unwrap().version().number(), 2);
}

#[tokio::test]
async fn a_rewrap_is_for_the_newest_version_or_fails() {
    let world = World::new().await;
    world.key("a").await;
    world.another().rotate(&permit(Action::Rotate, "a"), world.now()).await.unwrap();
    world.root.set(Mood::Unavailable);
    world.pass(6 * MINUTE).await;
    let rewrap = permit(Action::Rewrap, "a");
    let error = world.keyring.sealing_key(&rewrap, 1, 10, world.now()).await.unwrap_err();
    assert!(is_root_error(&error, |error| matches!(error, RootError::Unavailable { .. })));
    assert!(world.seal("a").await.is_ok());
}

#[tokio::test]
async fn a_version_that_serves_in_the_place_of_another_keeps_its_limits() {
    let world = World::new().await;
    let new = NewKey { messages_max: Some(3), ..NewKey::default() };
    world.key_with("a", new).await;
    world.another().rotate(&permit(Action::Rotate, "a"), world.now()).await.unwrap();
    world.root.set(Mood::Unavailable);
    world.pass(6 * MINUTE).await;
    for _ in 0..3 {
        assert_eq!(world.seal("a").await.unwrap().version(), KeyVersion::FIRST);
    }
    let error = world.seal("a").await.unwrap_err();
    assert!(is_root_error(&error, |error| matches!(error, RootError::Unavailable { .. })));
    world.root.set(Mood::Works);
    assert_eq!(world.seal("a").await.unwrap().version().number(), 2, "no third one was made");
}
