//! The key of the audit log's hashes.

use super::*;
use crate::audit::AuditHashKey;

impl World {
    async fn hash_key(&self) -> Result<Arc<AuditHashKey>, KeyringError> {
        self.keyring.audit_hash_key(self.now()).await
    }

    async fn audit_key(&self) -> KeyRecord {
        self.store.inner.key_by_name(&KeyName::audit()).await.unwrap().unwrap()
    }

    async fn rotate_audit_key(&self, keyring: &Keyring) -> KeyVersion {
        let rotated = keyring.rotate(&permit(Action::Rotate, "keypod.audit"), self.now()).await;
        rotated.unwrap().primary
    }

    async fn set_audit_state(&self, keyring: &Keyring, version: u32, state: VersionState) {
        let permit = permit(Action::SetState, "keypod.audit");
        let version = KeyVersion::new(version).unwrap();
        keyring.set_state(&permit, version, state, self.now()).await.unwrap();
    }

    async fn destroy_audit_version(&self, keyring: &Keyring, version: u32) {
        let permit = permit(Action::Destroy, "keypod.audit");
        let version = KeyVersion::new(version).unwrap();
        keyring.destroy(&permit, version, self.now()).await.unwrap();
    }
}

fn number(key: &AuditHashKey) -> u32 {
    key.version().number()
}

#[tokio::test]
async fn the_key_is_made_when_it_is_first_asked_for_and_is_the_same_after_a_restart() {
    let world = World::new().await;
    assert!(world.store.inner.key_by_name(&KeyName::audit()).await.unwrap().is_none());
    let hash = world.hash_key().await.unwrap().subject("patient-4711");
    let world = world.cold();
    let key = world.hash_key().await.unwrap();
    assert_eq!((key.subject("patient-4711"), number(&key)), (hash, 1));
    assert_eq!(world.audit_key().await.versions.len(), 1);
}

#[tokio::test]
async fn many_sidecars_make_one_audit_key() {
    let world = Arc::new(World::new().await);
    let asked: Vec<_> = (0..16)
        .map(|_| {
            let (keyring, now) = (world.another(), world.now());
            tokio::spawn(async move {
                keyring.audit_hash_key(now).await.unwrap().subject("patient-4711")
            })
        })
        .collect();
    let mut hashes = std::collections::HashSet::new();
    for asked in asked {
        hashes.insert(asked.await.unwrap());
    }
    assert_eq!(hashes.len(), 1);
}

#[tokio::test]
async fn many_requests_of_one_sidecar_make_one_key_and_one_unwrap() {
    let world = Arc::new(World::new().await);
    let ask = |world: &Arc<World>| {
        let world = Arc::clone(world);
        tokio::spawn(async move { number(&world.hash_key().await.unwrap()) })
    };
    for asked in (0..100).map(|_| ask(&world)).collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap(), 1);
    }
    assert_eq!(world.root.wraps.load(std::sync::atomic::Ordering::SeqCst), 1);
    let before = (world.root.unwraps(), world.store.lookups());
    for _ in 0..100 {
        world.hash_key().await.unwrap();
    }
    assert_eq!((world.root.unwraps(), world.store.lookups()), before, "it is in memory");
}

#[tokio::test]
async fn a_reserved_key_seals_and_opens_nothing() {
    let world = World::new().await;
    world.hash_key().await.unwrap();
    let key = world.audit_key().await;
    for name in ["keypod.audit", "keypod.other"] {
        for action in [Action::Encrypt, Action::Rewrap] {
            let permit = permit(action, name);
            let sealed = world.keyring.sealing_key(&permit, 1, 10, world.now()).await;
            assert!(matches!(sealed, Err(KeyringError::Reserved)), "{name}: {sealed:?}");
        }
        for action in [Action::Decrypt, Action::Rewrap] {
            let permit = permit(action, name);
            let key_ref = KeyRef { id: key.id, version: KeyVersion::FIRST };
            let opened = world.keyring.opening_key(&permit, key_ref, world.now()).await;
            assert!(matches!(opened, Err(KeyringError::Reserved)), "{name}: {opened:?}");
        }
        let permit = permit(Action::CreateKey, name);
        let made = world.keyring.create(&permit, NewKey::default(), world.now()).await;
        assert!(matches!(made, Err(KeyringError::Reserved)), "{name}: {made:?}");
    }
    // A key of the caller's own does not lend itself to a message for a reserved one either.
    let own = world.key("a").await;
    let (sealing, opening) = (world.seal("a").await.unwrap(), world.open(&own, 1).await.unwrap());
    for action in [Action::Encrypt, Action::Decrypt, Action::Rewrap] {
        let permit = permit(action, "keypod.audit");
        assert!(sealing.for_message(&permit).is_err() && opening.for_message(&permit).is_err());
    }
}

#[tokio::test]
async fn a_reserved_key_is_looked_after_like_any_other() {
    let world = World::new().await;
    world.hash_key().await.unwrap();
    let shown = world.keyring.show(&permit(Action::ReadKey, "keypod.audit"), world.now()).await;
    assert_eq!(shown.unwrap().versions.len(), 1);
    let listed = world.keyring.list().await.unwrap();
    assert!(listed.iter().any(|key| key.name == KeyName::audit()));
    assert_eq!(world.rotate_audit_key(&world.keyring).await.number(), 2);
    world.set_audit_state(&world.keyring, 1, VersionState::DecryptOnly).await;
    world.destroy_audit_version(&world.keyring, 1).await;
    assert!(world.audit_key().await.versions[0].destroy_at.is_some());
}

#[tokio::test]
async fn a_rotation_is_followed_here_at_once_and_elsewhere_at_the_refresh() {
    let world = World::new().await;
    world.hash_key().await.unwrap();
    let another = world.another();
    another.audit_hash_key(world.now()).await.unwrap();
    world.rotate_audit_key(&world.keyring).await;
    assert_eq!(number(&world.hash_key().await.unwrap()), 2);
    assert_eq!(number(&another.audit_hash_key(world.now()).await.unwrap()), 1);
    world.clock.advance(world.settings.refresh_after);
    another.maintain(world.now()).await;
    // It begins the unwrap, and hashes on with the old one until it has the new one.
    another.audit_hash_key(world.now()).await.unwrap();
    let newest = async || number(&another.audit_hash_key(world.now()).await.unwrap());
    for _ in 0..1000 {
        if newest().await == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(newest().await, 2);
}

#[tokio::test]
async fn hashes_are_to_be_had_while_store_and_root_are_away() {
    let world = World::new().await;
    let hash = world.hash_key().await.unwrap().subject("a");
    world.root.set(Mood::Unavailable);
    world.store.fail(true);
    for _ in 0..50 {
        world.pass(HOUR).await;
        assert_eq!(world.hash_key().await.unwrap().subject("a"), hash);
    }
}

#[tokio::test]
async fn a_root_that_hangs_after_a_rotation_holds_up_no_hash() {
    let world = Arc::new(World::new().await);
    world.hash_key().await.unwrap();
    let another = world.another();
    another.audit_hash_key(world.now()).await.unwrap();
    world.rotate_audit_key(&another).await;
    world.root.gate.shut();
    world.clock.advance(world.settings.refresh_after);
    world.keyring.refresh(world.now()).await;
    for _ in 0..10 {
        assert_eq!(number(&world.hash_key().await.unwrap()), 1);
    }
    world.root.gate.open();
    let waited = tokio::time::timeout(WAIT_MAX, async {
        while number(&world.hash_key().await.unwrap()) != 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.unwrap();
}

#[tokio::test]
async fn a_cold_start_without_store_or_root_says_so() {
    let world = World::new().await;
    world.hash_key().await.unwrap();
    let world = world.cold();
    world.root.set(Mood::Unavailable);
    let error = world.hash_key().await.unwrap_err();
    assert!(is_root_error(&error, RootError::may_pass), "{error:?}");
    world.store.fail(true);
    let cold = world.another().audit_hash_key(world.now()).await;
    assert!(is_store_unavailable(&cold.unwrap_err()));
}

#[tokio::test]
async fn a_hash_key_whose_version_is_taken_away_is_wiped() {
    for destroyed in [false, true] {
        let world = World::with(|settings| settings.destroy_delay = Duration::ZERO).await;
        let before = world.arena.slots_used();
        let hash = world.hash_key().await.unwrap().subject("a");
        assert!(world.arena.slots_used() > before);
        let another = world.another();
        match destroyed {
            true => world.destroy_audit_version(&another, 1).await,
            false => world.set_audit_state(&another, 1, VersionState::Disabled).await,
        }
        world.pass(world.settings.refresh_after).await;
        assert_eq!(
            world.arena.slots_used(),
            before,
            "neither its data key nor its hash key is left"
        );
        // The next one takes its place, whoever asks.
        let next = world.hash_key().await.unwrap();
        assert_eq!(number(&next), 2);
        assert_ne!(next.subject("a"), hash);
    }
}

#[tokio::test]
async fn the_newest_enabled_version_hashes() {
    let world = World::new().await;
    world.hash_key().await.unwrap();
    world.rotate_audit_key(&world.keyring).await;
    assert_eq!(number(&world.hash_key().await.unwrap()), 2);
    world.set_audit_state(&world.keyring, 2, VersionState::DecryptOnly).await;
    assert_eq!(number(&world.hash_key().await.unwrap()), 1);
    world.set_audit_state(&world.keyring, 2, VersionState::Enabled).await;
    assert_eq!(number(&world.hash_key().await.unwrap()), 2);
}

#[tokio::test]
async fn every_version_that_may_open_is_searched_with_and_the_rest_is_named() {
    let world = World::with(|settings| settings.destroy_delay = Duration::ZERO).await;
    let first = world.hash_key().await.unwrap().subject("a");
    for _ in 0..4 {
        world.rotate_audit_key(&world.keyring).await;
    }
    world.destroy_audit_version(&world.keyring, 2).await;
    world.set_audit_state(&world.keyring, 3, VersionState::Disabled).await;
    world.set_audit_state(&world.keyring, 4, VersionState::DecryptOnly).await;
    let world = world.cold();
    let found = world.keyring.audit_hash_keys(world.now()).await.unwrap();
    let numbers: Vec<_> = found.keys.iter().map(|key| number(key)).collect();
    assert_eq!(numbers, [5, 4, 1]);
    assert_eq!(found.keys[2].subject("a"), first);
    assert_eq!(found.disabled, [KeyVersion::new(3).unwrap()]);
    world.store.fail(true);
    world.clock.advance(Duration::from_secs(1));
    let error = world.keyring.audit_hash_keys(world.now()).await.unwrap_err();
    assert!(is_store_unavailable(&error), "an answer that may be old is none: {error:?}");
}

#[tokio::test]
async fn to_search_a_store_without_the_key_makes_it() {
    let world = World::new().await;
    let found = world.keyring.audit_hash_keys(world.now()).await.unwrap();
    assert_eq!(found.keys.len(), 1);
    assert_eq!(found.keys[0].subject("a"), world.hash_key().await.unwrap().subject("a"));
}

#[tokio::test]
async fn a_closed_keyring_has_wiped_it() {
    let world = World::new().await;
    let before = world.arena.slots_used();
    drop(world.hash_key().await.unwrap());
    world.keyring.close().await;
    assert_eq!(world.arena.slots_used(), before);
}
