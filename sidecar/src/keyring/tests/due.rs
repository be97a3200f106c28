//! What is due by the clock, and clocks that are wrong.

use super::*;
use crate::clock::UnixSeconds;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

async fn primary(world: &World, key: &KeyRecord) -> u32 {
    world.store.inner.key_by_id(key.id).await.unwrap().unwrap().primary.number()
}

fn back(time: UnixSeconds, by: Duration) -> UnixSeconds {
    UnixSeconds(time.0 - by.as_secs())
}

async fn hourly(world: &World) -> KeyRecord {
    let new = NewKey { rotation_period_s: Some(3600), ..NewKey::default() };
    world.key_with("hourly", new).await
}

async fn rotate_if_due(
    world: &World,
    keyring: &Keyring,
) -> Result<Option<(KeyRecord, RotationDue)>, KeyringError> {
    keyring.rotate_if_due(&permit(Action::Rotate, "hourly"), world.now()).await
}

#[tokio::test]
async fn a_jump_of_the_wall_clock_rotates_nothing_for_its_age_for_an_hour() {
    let world = World::new().await;
    let new = NewKey { rotation_period_s: Some(30 * 24 * 3600), ..NewKey::default() };
    let key = world.key_with("monthly", new).await;
    world.pass(MINUTE).await;
    world.clock.jump_wall(world.now().wall.after(YEAR));
    for _ in 0..59 {
        world.pass(MINUTE).await;
    }
    assert_eq!(primary(&world, &key).await, 1);
    world.pass(2 * MINUTE).await;
    assert_eq!(primary(&world, &key).await, 2, "a clock that stays there is believed");
}

#[tokio::test]
async fn a_clock_set_back_a_year_stops_no_rotation() {
    let world = World::new().await;
    let key = hourly(&world).await;
    world.pass(MINUTE).await;
    world.clock.jump_wall(back(world.now().wall, YEAR));
    for _ in 0..59 {
        world.pass(MINUTE).await;
    }
    assert_eq!(primary(&world, &key).await, 1);
    world.pass(2 * MINUTE).await;
    assert_eq!(primary(&world, &key).await, 2, "it was the primary version for an hour");
}

#[tokio::test]
async fn two_sidecars_whose_clocks_differ_by_a_year_do_not_rotate_in_turns() {
    let world = World::new().await;
    let key = hourly(&world).await;
    let other = world.another();
    for _ in 0..50 {
        world.clock.advance(MINUTE);
        world.keyring.maintain(world.now()).await;
        let ahead = Now { wall: world.now().wall.after(YEAR), ..world.now() };
        other.maintain(ahead).await;
    }
    assert_eq!(primary(&world, &key).await, 2, "once, for the clock that is ahead");
}

#[tokio::test]
async fn a_clock_that_the_store_contradicts_destroys_and_rotates_nothing() {
    let world = World::with(|settings| settings.destroy_delay = HOUR).await;
    let (key, doomed) = (hourly(&world).await, world.key("doomed").await);
    let destroy = permit(Action::Destroy, "doomed");
    world.keyring.destroy(&destroy, KeyVersion::FIRST, world.now()).await.unwrap();
    let right = world.now().wall;
    // The machine starts with a wrong clock: nothing here has seen it jump.
    world.clock.jump_wall(right.after(YEAR));
    *world.store.time.lock().unwrap() = Some(right);
    let started = world.another();
    started.maintain(world.now()).await;
    assert_eq!(primary(&world, &key).await, 1);
    assert_eq!(world.stored(&doomed, 1).await.state, VersionState::Disabled);
    let asked = rotate_if_due(&world, &started).await;
    assert!(matches!(asked, Err(KeyringError::Conflict(_))), "{asked:?}");
    *world.store.time.lock().unwrap() = Some(world.now().wall);
    started.maintain(world.now().later(MINUTE)).await;
    assert_eq!(primary(&world, &key).await, 2);
    assert_eq!(world.stored(&doomed, 1).await.state, VersionState::Destroyed);
}

#[tokio::test]
async fn what_is_due_is_rotated_when_asked_once_and_says_why() {
    let world = World::new().await;
    hourly(&world).await;
    assert!(rotate_if_due(&world, &world.keyring).await.unwrap().is_none());
    world.clock.advance(HOUR);
    let (key, due) = rotate_if_due(&world, &world.keyring).await.unwrap().unwrap();
    assert_eq!((key.primary.number(), due), (2, RotationDue::Period));
    assert!(rotate_if_due(&world, &world.keyring).await.unwrap().is_none());
    // Another sidecar, whose clock was a year ahead, had made a version.
    world.clock.jump_wall(back(world.now().wall, YEAR));
    let (key, due) = rotate_if_due(&world, &world.another()).await.unwrap().unwrap();
    assert_eq!((key.primary.number(), due), (3, RotationDue::DatedInFuture));
}

#[tokio::test]
async fn a_key_whose_newest_version_is_disabled_or_destroyed_is_rotated_only_when_that_is_said() {
    let world = World::with(|settings| settings.destroy_delay = Duration::ZERO).await;
    let key = world.key("a").await;
    let rotate = permit(Action::Rotate, "a");
    world.set_state(&world.keyring, &key, VersionState::Disabled).await;
    let refused = world.keyring.rotate(&rotate, world.now()).await;
    assert!(matches!(refused, Err(KeyringError::NewestDisabled)), "{refused:?}");
    let destroy = permit(Action::Destroy, "a");
    world.keyring.destroy(&destroy, KeyVersion::FIRST, world.now()).await.unwrap();
    let refused = world.keyring.rotate(&rotate, world.now()).await;
    assert!(matches!(refused, Err(KeyringError::NewestDestroyed)), "{refused:?}");
    assert_eq!(primary(&world, &key).await, 1);
    let rotated = world.keyring.rotate_in_any_state(&rotate, world.now()).await.unwrap();
    assert_eq!(rotated.primary.number(), 2);
    assert_eq!(world.seal("a").await.unwrap().version().number(), 2);
}
