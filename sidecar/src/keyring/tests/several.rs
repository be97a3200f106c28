//! Versions that several roots wrap.

use super::*;
use crate::names::RootName;

/// A keyring over these roots, the preferred first, on the store of `world`.
fn over(world: &World, roots: &[&Arc<FakeRoot>]) -> Keyring {
    let roots = Roots::new(roots.iter().map(|root| Arc::clone(root) as _).collect());
    let store = Arc::clone(&world.store) as Arc<dyn KeyStore>;
    Keyring::new(world.settings.clone(), roots, store, world.arena.clone())
}

struct Two {
    world: World,
    near: Arc<FakeRoot>,
    far: Arc<FakeRoot>,
    keyring: Keyring,
    key: KeyRecord,
}

impl Two {
    async fn new() -> Self {
        let world = World::new().await;
        let folder = world._folder.path();
        let near = Arc::new(FakeRoot::new(folder, "near"));
        let far = Arc::new(FakeRoot::new(folder, "far"));
        let keyring = over(&world, &[&near, &far]);
        let permit = permit(Action::CreateKey, "a");
        let key = keyring.create(&permit, NewKey::default(), world.now()).await.unwrap();
        Self { world, near, far, keyring, key }
    }

    /// Whether a cold sidecar with both roots opens the key.
    async fn opens_cold(&self) -> Result<(), KeyringError> {
        self.opens(&over(&self.world, &[&self.near, &self.far])).await
    }

    async fn opens(&self, keyring: &Keyring) -> Result<(), KeyringError> {
        let key_ref = KeyRef { id: self.key.id, version: KeyVersion::FIRST };
        let permit = permit(Action::Decrypt, "a");
        keyring.opening_key(&permit, key_ref, self.world.now()).await.map(drop)
    }
}

#[tokio::test]
async fn a_new_version_is_wrapped_by_every_root() {
    let two = Two::new().await;
    let wrappings = &two.key.versions[0].wrappings;
    let mut names: Vec<_> = wrappings.iter().map(|wrapping| wrapping.root.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["far", "near"]);
    for root in [&two.near, &two.far] {
        two.opens(&over(&two.world, &[root])).await.unwrap();
    }
}

#[tokio::test]
async fn no_version_is_made_that_one_of_the_roots_did_not_wrap() {
    let two = Two::new().await;
    for mood in [Mood::Unavailable, Mood::Denied, Mood::Lies] {
        two.far.set(mood);
        let rotate = permit(Action::Rotate, "a");
        assert!(two.keyring.rotate(&rotate, two.world.now()).await.is_err(), "{mood:?}");
    }
    let stored = two.world.store.inner.key_by_id(two.key.id).await.unwrap().unwrap();
    assert_eq!(stored.primary, KeyVersion::FIRST);
}

#[tokio::test]
async fn the_preferred_root_is_asked_first_and_the_next_one_when_it_fails() {
    let two = Two::new().await;
    let asked = || (two.near.unwraps(), two.far.unwraps());
    let (near, far) = asked();
    two.opens_cold().await.unwrap();
    assert_eq!(asked(), (near + 1, far), "the far one is left alone");
    let moods = [Mood::Unavailable, Mood::Throttled, Mood::Denied, Mood::KeyGone, Mood::Corrupt];
    for mood in moods {
        two.near.set(mood);
        let (_, far) = asked();
        two.opens_cold().await.unwrap();
        assert_eq!(asked().1, far + 1, "{mood:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_at_every_root_ends_and_one_that_is_revoked_at_one_does_not() {
    let two = Two::new().await;
    two.near.set(Mood::Denied);
    let recheck = async || {
        two.world.clock.advance(16 * MINUTE);
        two.keyring.maintain(two.world.now()).await;
        two.opens(&two.keyring).await
    };
    recheck().await.unwrap();
    two.far.set(Mood::Denied);
    let error = recheck().await.unwrap_err();
    assert!(is_root_error(&error, |error| matches!(error, RootError::Denied { .. })));
}

#[tokio::test]
async fn a_refusal_counts_for_more_than_a_root_that_is_away() {
    for (near, far) in [(Mood::Denied, Mood::Unavailable), (Mood::Unavailable, Mood::Denied)] {
        let two = Two::new().await;
        let with_key = two.world.arena.slots_used();
        two.near.set(near);
        two.far.set(far);
        two.world.clock.advance(16 * MINUTE);
        two.keyring.maintain(two.world.now()).await;
        assert_eq!(two.world.arena.slots_used(), with_key - 1, "{near:?} {far:?}: it is wiped");
        let error = two.opens(&two.keyring).await.unwrap_err();
        assert!(is_root_error(&error, |error| matches!(error, RootError::Denied { .. })));
    }
}

#[tokio::test]
async fn a_version_that_no_root_of_this_sidecar_wrapped_says_which_roots_it_has() {
    let two = Two::new().await;
    let other = Arc::new(FakeRoot::new(two.world._folder.path(), "other"));
    let error = two.opens(&over(&two.world, &[&other])).await.unwrap_err();
    assert!(matches!(error, KeyringError::WrappedElsewhere { .. }) && error.says_another_root());
    assert!(error.to_string().contains("other"), "{error}");
}

#[tokio::test]
async fn the_status_says_how_each_root_is() {
    let two = Two::new().await;
    two.near.set(Mood::Unavailable);
    two.opens(&over(&two.world, &[&two.near, &two.far])).await.unwrap();
    let keyring = over(&two.world, &[&two.near, &two.far]);
    two.opens(&keyring).await.unwrap();
    let status = keyring.status(two.world.now()).roots;
    let well: Vec<_> = status
        .iter()
        .map(|root| (root.root.name.as_str(), root.problem.is_none(), root.unwrap_failures))
        .collect();
    assert_eq!(well, [("near", false, 1), ("far", true, 0)]);
    let names: Vec<RootName> = keyring.0.roots.names().cloned().collect();
    assert_eq!(names, ["near".parse().unwrap(), "far".parse().unwrap()]);
}
