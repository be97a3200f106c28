//! One call for all who wait, and no more calls than that.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_cold_requests_make_one_unwrap() {
    let world = World::new().await;
    let key = world.key("a").await;
    let cold = world.cold();
    let (lookups, unwraps) = (cold.store.lookups(), cold.root.unwraps());
    cold.root.gate.shut();
    let requests: Vec<_> = (0..3000)
        .map(|number| {
            let (cold, key) = (Arc::clone(&cold), key.clone());
            tokio::spawn(async move {
                if number % 2 == 0 {
                    cold.seal("a").await.map(|sealing| sealing.version())
                } else {
                    cold.open(&key, 1).await.map(|opening| opening.version())
                }
            })
        })
        .collect();
    until("all have missed", || cold.keyring.status(cold.now()).misses >= 3000).await;
    cold.root.gate.open();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap(), KeyVersion::FIRST);
    }
    assert_eq!(cold.root.unwraps() - unwraps, 1);
    // By name and by id: two questions to the store.
    assert!(cold.store.lookups() - lookups <= 2, "{}", cold.store.lookups() - lookups);
}

#[tokio::test]
async fn a_waiter_that_goes_away_harms_no_other() {
    let world = World::new().await;
    world.key("a").await;
    let cold = world.cold();
    let unwraps = cold.root.unwraps();
    cold.root.gate.shut();
    let ask = || {
        let cold = Arc::clone(&cold);
        tokio::spawn(async move { cold.seal("a").await.map(drop) })
    };
    let (first, second) = (ask(), ask());
    until("both wait", || cold.keyring.status(cold.now()).misses == 2).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    cold.root.gate.open();
    second.await.unwrap().unwrap();
    assert_eq!(cold.root.unwraps() - unwraps, 1);
}

#[tokio::test]
async fn all_who_wait_get_the_error_of_the_one_call_and_the_next_call_is_a_new_one() {
    let world = World::new().await;
    world.key("a").await;
    let cold = world.cold();
    let unwraps = cold.root.unwraps();
    cold.root.set(Mood::Unavailable);
    cold.root.gate.shut();
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let cold = Arc::clone(&cold);
            tokio::spawn(async move { cold.seal("a").await.map(drop) })
        })
        .collect();
    until("all wait", || cold.keyring.status(cold.now()).misses == 50).await;
    cold.root.gate.open();
    for request in requests {
        let error = request.await.unwrap().unwrap_err();
        assert!(is_root_error(&error, |error| matches!(error, RootError::Unavailable { .. })));
    }
    assert_eq!(cold.root.unwraps() - unwraps, 1);
    cold.root.set(Mood::Works);
    assert!(cold.seal("a").await.is_ok());
}

#[tokio::test]
async fn a_version_that_another_sidecar_has_just_made_opens_at_once() {
    let world = World::new().await;
    let key = world.key("a").await;
    let lookups = world.store.lookups();
    world.another().rotate(&permit(Action::Rotate, "a"), world.now()).await.unwrap();
    assert!(world.open(&key, 2).await.is_ok(), "the cached row does not know it");
    assert!(world.store.lookups() > lookups);
}

#[tokio::test]
async fn forged_versions_make_at_most_one_look_each_tenth_of_a_second() {
    let world = World::new().await;
    let key = world.key("a").await;
    let lookups = world.store.lookups();
    for _ in 0..3 {
        let opened = join_all((0..100).map(|_| world.open(&key, 99))).await;
        assert!(opened.iter().all(|opened| matches!(opened, Err(KeyringError::NoSuchVersion))));
        world.clock.advance(Duration::from_millis(100));
    }
    assert!(world.store.lookups() <= lookups + 4, "{}", world.store.lookups() - lookups);
}

#[tokio::test]
async fn who_needs_a_fresh_row_does_not_make_do_with_a_look_that_began_before() {
    let world = Arc::new(World::new().await);
    world.key("a").await;
    let roots = Roots::new(vec![Arc::clone(&world.root) as _]);
    let store = Arc::clone(&world.store.inner) as Arc<dyn KeyStore>;
    let other = Keyring::new(world.settings.clone(), roots, store, world.arena.clone());
    world.clock.advance(2 * HOUR);
    let lookups = world.store.lookups();
    world.store.gate.shut();
    let slow = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.seal("a").await.map(drop) }
    });
    until("the row has been read", || world.store.lookups() > lookups).await;
    // What it has read is old by now, when somebody asks who needs it as it is.
    other.rotate(&permit(Action::Rotate, "a"), world.now()).await.unwrap();
    world.clock.advance(MINUTE);
    let rotating = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.keyring.rotate(&permit(Action::Rotate, "a"), world.now()).await }
    });
    tokio::task::yield_now().await;
    world.store.gate.open();
    slow.await.unwrap().unwrap();
    assert_eq!(rotating.await.unwrap().unwrap().primary.number(), 3, "one more, as it was told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preloading_asks_for_several_keys_at_once_and_not_for_all() {
    let world = World::new().await;
    let mut names = Vec::new();
    for number in 0..40 {
        names.push(world.key(&format!("k{number}")).await.name);
    }
    let cold = world.cold();
    let unwraps = cold.root.unwraps();
    cold.root.most_inside.store(0, Ordering::SeqCst);
    cold.root.gate.shut();
    let preloading = tokio::spawn({
        let (cold, names) = (Arc::clone(&cold), names.clone());
        async move { cold.keyring.preload(&names, cold.now()).await }
    });
    until("as many as may ask", || cold.root.unwraps() - unwraps == maintenance::CONCURRENT_MAX)
        .await;
    cold.root.gate.open();
    preloading.await.unwrap().unwrap();
    assert_eq!(cold.root.unwraps() - unwraps, 40);
    assert_eq!(cold.root.most_inside.load(Ordering::SeqCst), maintenance::CONCURRENT_MAX);
    assert_eq!(cold.keyring.status(cold.now()).cached.len(), 40);
    for name in &names {
        cold.seal(name.as_str()).await.unwrap();
    }
    assert_eq!(cold.root.unwraps() - unwraps, 40, "their first use waits for nobody");
}

#[tokio::test]
async fn preloading_names_the_key_that_cannot_be_had() {
    let world = World::new().await;
    let there = world.key("there").await.name;
    let names = [there.clone(), "nowhere".parse().unwrap()];
    let (name, error) = world.another().preload(&names, world.now()).await.unwrap_err();
    assert_eq!(name.as_str(), "nowhere");
    assert!(matches!(error, KeyringError::NoSuchKey));
    world.root.set(Mood::Unavailable);
    let (name, error) = world.another().preload(&names[..1], world.now()).await.unwrap_err();
    assert_eq!(name, there);
    assert!(is_root_error(&error, |error| matches!(error, RootError::Unavailable { .. })));
}
