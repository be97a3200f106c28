//! States, destruction and its second person, and what a permit is good for.

use super::*;
use crate::clock::UnixSeconds;
use crate::store::Approval;

async fn destroy(world: &World, who: &str) -> Result<KeyRecord, KeyringError> {
    let permit = permit_of(who, Action::Destroy, "a");
    world.keyring.destroy(&permit, KeyVersion::FIRST, world.now()).await
}

async fn request(world: &World, who: &str) -> Result<Approval, KeyringError> {
    let permit = permit_if_approved(who, "a");
    world.keyring.request_destruction(&permit, KeyVersion::FIRST, world.now()).await
}

async fn approve(world: &World, who: &str, key: &str, id: &str) -> Result<KeyRecord, KeyringError> {
    world.keyring.approve(&permit_if_approved(who, key), id, world.now()).await
}

async fn state(world: &World, key: &KeyRecord) -> VersionState {
    world.stored(key, 1).await.state
}

#[tokio::test]
async fn a_destruction_becomes_final_after_its_delay_and_not_before() {
    let world = World::new().await;
    let key = world.key("a").await;
    let with_key = world.arena.slots_used();
    let ordered = destroy(&world, "alice").await.unwrap();
    assert!(ordered.versions[0].destroy_at.is_some());
    assert_eq!(world.arena.slots_used(), with_key - 1, "it is out of use at once");
    assert!(matches!(world.open(&key, 1).await, Err(KeyringError::VersionDisabled)));
    assert!(matches!(destroy(&world, "alice").await, Err(KeyringError::Conflict(_))));
    let set = permit(Action::SetState, "a");
    let enabled = VersionState::Enabled;
    let enabling = world.keyring.set_state(&set, KeyVersion::FIRST, enabled, world.now()).await;
    assert!(matches!(enabling, Err(KeyringError::Conflict(_))), "cancel it first");

    world.pass(7 * 24 * HOUR - MINUTE).await;
    assert_eq!(state(&world, &key).await, VersionState::Disabled);
    world.pass(MINUTE).await;
    assert_eq!(state(&world, &key).await, VersionState::Destroyed);
    assert!(world.stored(&key, 1).await.wrappings.is_empty());
    assert!(matches!(world.open(&key, 1).await, Err(KeyringError::VersionDestroyed)));
    assert!(matches!(world.seal("a").await, Err(KeyringError::VersionDestroyed)));
    let cancelled = cancel(&world).await;
    assert!(matches!(cancelled, Err(KeyringError::VersionDestroyed)), "nothing brings it back");
    let rotate = permit(Action::Rotate, "a");
    world.keyring.rotate_in_any_state(&rotate, world.now()).await.unwrap();
    assert_eq!(world.seal("a").await.unwrap().version().number(), 2);
}

async fn cancel(world: &World) -> Result<KeyRecord, KeyringError> {
    let permit = permit_if_approved("bob", "a");
    world.keyring.cancel_destruction(&permit, KeyVersion::FIRST, world.now()).await
}

#[tokio::test]
async fn a_destruction_can_be_taken_back_while_its_delay_runs() {
    let world = World::new().await;
    let key = world.key("a").await;
    assert!(matches!(cancel(&world).await, Err(KeyringError::Conflict(_))), "none is under way");
    destroy(&world, "alice").await.unwrap();
    world.pass(6 * 24 * HOUR).await;
    let cancelled = cancel(&world).await.unwrap();
    assert_eq!(cancelled.versions[0].destroy_at, None);
    world.pass(30 * 24 * HOUR).await;
    assert_eq!(state(&world, &key).await, VersionState::Disabled, "it stays disabled");
    world.set_state(&world.keyring, &key, VersionState::Enabled).await;
    assert!(world.seal("a").await.is_ok() && world.open(&key, 1).await.is_ok());
}

#[tokio::test]
async fn a_request_that_waits_can_be_withdrawn_and_is_worth_nothing_after_that() {
    let world = World::new().await;
    let (key, other) = (world.key("a").await, world.key("b").await);
    let permit_b = permit_if_approved("alice", "b");
    let version = KeyVersion::FIRST;
    let of_b = world.keyring.request_destruction(&permit_b, version, world.now()).await.unwrap();
    let approval = request(&world, "alice").await.unwrap();
    let withdrawn = cancel(&world).await.unwrap();
    assert_eq!(withdrawn, world.store.inner.key_by_id(key.id).await.unwrap().unwrap());
    assert_eq!(withdrawn.versions[0].state, VersionState::Enabled, "it never was disabled");
    let late = approve(&world, "bob", "a", &approval.id).await;
    assert!(matches!(late, Err(KeyringError::NoSuchApproval)), "{late:?}");
    assert!(matches!(cancel(&world).await, Err(KeyringError::Conflict(_))), "nothing is left");
    let waiting = world.keyring.approvals(world.now()).await.unwrap();
    let waiting: Vec<_> = waiting.into_iter().map(|(approval, _)| approval).collect();
    assert_eq!(waiting, [of_b], "of this version alone: {other:?}");
    // It can be asked for again, and what is asked for after that is another request.
    let again = request(&world, "alice").await.unwrap();
    assert!(again.id != approval.id && approve(&world, "bob", "a", &again.id).await.is_ok());
}

#[tokio::test]
async fn an_approval_and_a_withdrawal_at_once_never_both_hold() {
    for _ in 0..20 {
        let world = World::new().await;
        let key = world.key("a").await;
        let approval = request(&world, "alice").await.unwrap();
        let (approved, cancelled) =
            tokio::join!(approve(&world, "bob", "a", &approval.id), cancel(&world));
        let destroy_at = world.stored(&key, 1).await.destroy_at;
        match (&approved, &cancelled) {
            // Withdrawn first, or approved first and then taken back.
            (_, Ok(_)) => assert_eq!(destroy_at, None, "{approved:?}"),
            (Ok(_), Err(KeyringError::Conflict(_))) => assert!(destroy_at.is_some()),
            other => panic!("{other:?}"),
        }
        assert_eq!(world.keyring.approvals(world.now()).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_request_that_waits_while_a_destruction_is_under_way_goes_with_it() {
    let world = World::new().await;
    let key = world.key("a").await;
    let approval = request(&world, "alice").await.unwrap();
    // Policies have changed in between: one person is enough now.
    destroy(&world, "bob").await.unwrap();
    assert_eq!(cancel(&world).await.unwrap().versions[0].destroy_at, None);
    let approved = approve(&world, "bob", "a", &approval.id).await;
    assert!(matches!(approved, Err(KeyringError::NoSuchApproval)), "{approved:?}");
    assert_eq!(world.stored(&key, 1).await.destroy_at, None);
}

#[tokio::test]
async fn without_a_delay_it_is_final_at_once() {
    let world = World::with(|settings| settings.destroy_delay = Duration::ZERO).await;
    let key = world.key("a").await;
    destroy(&world, "alice").await.unwrap();
    assert_eq!(state(&world, &key).await, VersionState::Destroyed);
}

#[tokio::test]
async fn a_jump_of_the_wall_clock_holds_destruction_back() {
    let world = World::new().await;
    let key = world.key("a").await;
    destroy(&world, "alice").await.unwrap();
    world.pass(MINUTE).await;
    let in_a_year = world.now().wall.after(365 * 24 * HOUR);
    world.clock.jump_wall(in_a_year);
    for _ in 0..59 {
        world.pass(MINUTE).await;
        assert_eq!(state(&world, &key).await, VersionState::Disabled);
    }
    // Set right again: the delay goes on as if nothing had been.
    world.clock.jump_wall(UnixSeconds(in_a_year.0 - 365 * 24 * 3600 + 3600));
    world.pass(2 * HOUR).await;
    assert_eq!(state(&world, &key).await, VersionState::Disabled);
    world.pass(7 * 24 * HOUR).await;
    assert_eq!(state(&world, &key).await, VersionState::Destroyed);
}

#[tokio::test]
async fn a_wall_clock_that_stays_where_it_jumped_to_is_believed_after_an_hour() {
    let world = World::new().await;
    let key = world.key("a").await;
    destroy(&world, "alice").await.unwrap();
    world.pass(MINUTE).await;
    world.clock.jump_wall(world.now().wall.after(365 * 24 * HOUR));
    world.pass(MINUTE).await;
    assert_eq!(state(&world, &key).await, VersionState::Disabled);
    world.pass(HOUR).await;
    assert_eq!(state(&world, &key).await, VersionState::Destroyed);
}

#[tokio::test]
async fn a_jump_of_the_wall_clock_moves_no_cache_bound() {
    let world = World::new().await;
    let key = world.key("a").await;
    world.seal("a").await.unwrap();
    world.store.fail(true);
    world.root.set(Mood::Unavailable);
    for wall in [0, 4_000_000_000] {
        world.clock.jump_wall(UnixSeconds(wall));
        world.pass(MINUTE).await;
        assert!(world.seal("a").await.is_ok() && world.open(&key, 1).await.is_ok(), "{wall}");
    }
    world.clock.jump_wall(UnixSeconds(0));
    world.pass(HOUR).await;
    assert!(world.seal("a").await.is_err());
}

#[tokio::test]
async fn a_second_person_must_approve_and_cannot_be_the_first() {
    let world = World::new().await;
    let key = world.key("a").await;
    world.key("b").await;
    let approval = request(&world, "alice").await.unwrap();
    assert!(world.open(&key, 1).await.is_ok(), "nothing has happened yet");
    assert!(matches!(request(&world, "bob").await, Err(KeyringError::Conflict(_))));
    let same = approve(&world, "alice", "a", &approval.id).await;
    assert!(matches!(same, Err(KeyringError::SamePerson)), "{same:?}");
    let unknown = approve(&world, "bob", "a", &"0".repeat(32)).await;
    assert!(matches!(unknown, Err(KeyringError::NoSuchApproval)), "{unknown:?}");
    let other_key = approve(&world, "bob", "b", &approval.id).await;
    assert!(matches!(other_key, Err(KeyringError::WrongPermit)), "{other_key:?}");
    let waiting = world.keyring.approvals(world.now()).await.unwrap();
    assert_eq!(waiting.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["a"]);
    let approved = approve(&world, "bob", "a", &approval.id).await.unwrap();
    assert!(approved.versions[0].destroy_at.is_some());
    let again = approve(&world, "carol", "a", &approval.id).await;
    assert!(matches!(again, Err(KeyringError::NoSuchApproval)), "{again:?}");
}

#[tokio::test]
async fn a_permit_that_needs_an_approval_destroys_nothing_at_once() {
    let world = World::new().await;
    let key = world.key("a").await;
    let (version, now) = (KeyVersion::FIRST, world.now());
    let (alone, approved) =
        (permit_of("bob", Action::Destroy, "a"), permit_if_approved("bob", "a"));
    let at_once = world.keyring.destroy(&approved, version, now).await;
    assert!(matches!(at_once, Err(KeyringError::WrongPermit)), "{at_once:?}");
    // And the other way round: who may destroy alone was never asked whether they may approve.
    let waits = world.keyring.request_destruction(&alone, version, now).await;
    assert!(matches!(waits, Err(KeyringError::WrongPermit)), "{waits:?}");
    let approval = request(&world, "alice").await.unwrap();
    let given = world.keyring.approve(&alone, &approval.id, now).await;
    assert!(matches!(given, Err(KeyringError::WrongPermit)), "{given:?}");
    let cancelled = world.keyring.cancel_destruction(&alone, version, now).await;
    assert!(matches!(cancelled, Err(KeyringError::WrongPermit)), "{cancelled:?}");
    assert_eq!(state(&world, &key).await, VersionState::Enabled);
}

#[tokio::test]
async fn an_approval_does_not_move_the_end_of_a_destruction_that_is_under_way() {
    let world = World::new().await;
    world.key("a").await;
    let approval = request(&world, "alice").await.unwrap();
    // Policies have changed in between: one person is enough now.
    let ordered = destroy(&world, "bob").await.unwrap();
    world.pass(HOUR).await;
    let approved = approve(&world, "bob", "a", &approval.id).await;
    assert!(matches!(approved, Err(KeyringError::Conflict(_))), "{approved:?}");
    let show = permit(Action::ReadKey, "a");
    let shown = world.keyring.show(&show, world.now()).await.unwrap();
    assert_eq!(shown.versions[0].destroy_at, ordered.versions[0].destroy_at);
}

#[tokio::test]
async fn an_approval_that_has_expired_is_worth_nothing_and_another_can_be_asked_for() {
    let world = World::new().await;
    let key = world.key("a").await;
    let approval = request(&world, "alice").await.unwrap();
    world.pass(24 * HOUR).await;
    let late = approve(&world, "bob", "a", &approval.id).await;
    assert!(matches!(late, Err(KeyringError::NoSuchApproval)), "{late:?}");
    assert_eq!(state(&world, &key).await, VersionState::Enabled);
    assert!(request(&world, "bob").await.is_ok());
}

#[tokio::test]
async fn a_permit_is_good_for_its_action_and_key_alone() {
    let world = World::new().await;
    let key = world.key("a").await;
    world.key("b").await;
    let now = world.now();
    let first = KeyRef { id: key.id, version: KeyVersion::FIRST };
    for action in Action::ALL {
        let permit = permit(action, "a");
        let sealing = world.keyring.sealing_key(&permit, 1, 1, now).await;
        assert_eq!(sealing.is_ok(), matches!(action, Action::Encrypt | Action::Rewrap));
        let opening = world.keyring.opening_key(&permit, first, now).await;
        assert_eq!(opening.is_ok(), matches!(action, Action::Decrypt | Action::Rewrap));
        let show = world.keyring.show(&permit, now).await;
        assert_eq!(show.is_ok(), action == Action::ReadKey);
        let rotated = world.keyring.rotate(&permit, now).await;
        assert_eq!(rotated.is_ok(), action == Action::Rotate);
        let set = world.keyring.set_state(&permit, KeyVersion::FIRST, VersionState::Enabled, now);
        assert_eq!(set.await.is_ok(), action == Action::SetState);
        let approved = permit_with("alice", action, "a", true);
        for destroyed in [
            world.keyring.cancel_destruction(&approved, KeyVersion::FIRST, now).await,
            world.keyring.approve(&approved, "", now).await,
            world.keyring.destroy(&permit, KeyVersion::new(9).unwrap(), now).await,
        ] {
            let allowed = !matches!(destroyed, Err(KeyringError::WrongPermit));
            assert_eq!(allowed, action == Action::Destroy);
        }
        let created = world.keyring.create(&permit, NewKey::default(), now).await;
        let allowed = !matches!(created, Err(KeyringError::WrongPermit));
        assert_eq!(allowed, action == Action::CreateKey);
    }
    let other = world.keyring.opening_key(&permit(Action::Decrypt, "b"), first, now).await;
    assert!(matches!(other, Err(KeyringError::WrongPermit)), "{other:?}");
}

#[tokio::test]
async fn a_key_is_made_once() {
    let world = World::new().await;
    let key = world.key("a").await;
    let create = permit(Action::CreateKey, "a");
    let again = world.keyring.create(&create, NewKey::default(), world.now()).await;
    assert!(matches!(again, Err(KeyringError::KeyExists)));
    assert_eq!(world.store.inner.list_keys().await.unwrap(), [key]);
    assert!(matches!(world.seal("nowhere").await, Err(KeyringError::NoSuchKey)));
}
