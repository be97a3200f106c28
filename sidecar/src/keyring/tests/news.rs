//! What a store tells of other sidecars' changes, and what becomes of it.

use tokio::task::JoinHandle;

use super::*;
use crate::store::StoreEvent;

/// A sidecar that follows its store.
async fn following() -> (Arc<World>, JoinHandle<()>) {
    let world = Arc::new(World::new().await);
    let task = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.keyring.follow(&world.clock).await }
    });
    until("it follows", || world.store.events.receiver_count() > 0).await;
    (world, task)
}

/// Has the store tell of `event`, a moment after whatever was before.
fn tell(world: &World, event: StoreEvent) {
    world.clock.advance(Duration::from_millis(1));
    world.store.events.send(event).unwrap();
}

#[tokio::test]
async fn a_version_that_another_sidecar_disables_is_wiped_as_soon_as_the_store_tells() {
    let (world, _task) = following().await;
    let key = world.key("a").await;
    let with_key = world.arena.slots_used();
    world.set_state(&world.another(), &key, VersionState::Disabled).await;
    tell(&world, StoreEvent::Changed(key.id));
    until("it is wiped", || world.arena.slots_used() < with_key).await;
    assert!(matches!(world.open(&key, 1).await, Err(KeyringError::VersionDisabled)));
}

#[tokio::test]
async fn a_version_that_another_sidecar_makes_is_in_memory_before_it_is_asked_for() {
    let (world, _task) = following().await;
    let key = world.key("a").await;
    world.another().rotate(&permit(Action::Rotate, "a"), world.now()).await.unwrap();
    tell(&world, StoreEvent::Changed(key.id));
    until("it is there", || world.keyring.status(world.now()).cached.len() == 2).await;
    world.root.set(Mood::Unavailable);
    assert_eq!(world.seal("a").await.unwrap().version().number(), 2);
}

#[tokio::test]
async fn after_a_gap_in_what_the_store_tells_every_row_is_read_again() {
    let (world, _task) = following().await;
    let (first, second) = (world.key("a").await, world.key("b").await);
    let empty = world.arena.slots_used() - 2;
    for key in [&first, &second] {
        world.set_state(&world.another(), key, VersionState::Disabled).await;
    }
    tell(&world, StoreEvent::Resumed);
    let heard = || world.keyring.0.news.last() > 0;
    until("it is heard", heard).await;
    world.keyring.refresh(world.now()).await;
    assert_eq!(world.arena.slots_used(), empty, "both are wiped");
}

#[tokio::test]
async fn news_of_keys_that_are_not_in_memory_make_no_load() {
    let (world, task) = following().await;
    let key = world.key("a").await;
    let lookups = world.store.lookups();
    for byte in 1..=16 {
        world.store.events.send(StoreEvent::Changed(KeyId::from_bytes([byte; 8]))).unwrap();
        tokio::task::yield_now().await;
    }
    tell(&world, StoreEvent::Changed(key.id));
    until("the last one is heeded", || world.store.lookups() > lookups).await;
    assert_eq!(world.store.lookups(), lookups + 1);
    assert!(!task.is_finished(), "it follows until the store is closed");
}

#[tokio::test]
async fn news_during_a_look_that_may_have_read_what_was_before_makes_another_look() {
    let (world, _task) = following().await;
    let key = world.key("a").await;
    world.set_state(&world.another(), &key, VersionState::Disabled).await;
    let slow = beside(&world.settings, &world.root, &world.store).1;
    let following = tokio::spawn({
        let (slow, clock) = (slow.clone(), SystemClock);
        async move { slow.follow(&clock).await }
    });
    until("it follows", || world.store.events.receiver_count() == 2).await;
    world.set_state(&world.another(), &key, VersionState::Enabled).await;
    let lookups = world.store.lookups();
    world.store.gate.shut();
    let opening = tokio::spawn({
        let (slow, key, now) = (slow.clone(), key.clone(), world.now());
        async move {
            let key_ref = KeyRef { id: key.id, version: KeyVersion::FIRST };
            slow.opening_key(&permit(Action::Decrypt, "a"), key_ref, now).await.map(drop)
        }
    });
    until("the row has been read", || world.store.lookups() > lookups).await;
    let record = world.stored(&key, 1).await;
    let change = crate::store::VersionChange::State(VersionState::Disabled);
    let key_ref = KeyRef { id: key.id, version: KeyVersion::FIRST };
    world.store.inner.update_version(key_ref, record.revision, &change).await.unwrap();
    tell(&world, StoreEvent::Changed(key.id));
    until("the news is heard", || slow.0.news.last() > 0).await;
    world.store.gate.open();
    opening.await.unwrap().unwrap();
    slow.refresh(world.now()).await;
    assert_eq!(slow.status(world.now()).cached.len(), 0, "the next tick has found it out");
    following.abort();
}

#[tokio::test]
async fn news_that_could_not_be_looked_into_is_looked_into_at_the_next_tick() {
    let (world, _task) = following().await;
    let key = world.key("a").await;
    world.set_state(&world.another(), &key, VersionState::Disabled).await;
    world.store.fail(true);
    let lookups = world.store.lookups();
    tell(&world, StoreEvent::Changed(key.id));
    until("it was tried", || world.store.lookups() > lookups).await;
    world.store.fail(false);
    until("the next ticks find it out", || {
        world.clock.advance(Duration::from_millis(1));
        world.keyring.0.cache.keys().iter().any(|key| key.refresh.is_now(world.now()))
    })
    .await;
    world.keyring.refresh(world.now()).await;
    assert!(matches!(world.open(&key, 1).await, Err(KeyringError::VersionDisabled)));
}
