//! Versions that move from root to root.

use super::*;
use crate::names::RootName;
use crate::store::VersionChange;

/// Roots `old` and `new`, and a store with three keys, of which one has two versions, that `old` wrapped.
struct Move {
    world: World,
    old: Arc<FakeRoot>,
    new: Arc<FakeRoot>,
}

fn root(name: &str) -> RootName {
    name.parse().unwrap()
}

fn adding(name: &str) -> RootChange {
    RootChange::Add(root(name))
}

fn removing(name: &str) -> RootChange {
    RootChange::Remove(root(name))
}

fn moving(from: &str, to: &str) -> RootChange {
    RootChange::Move(root(from), root(to))
}

impl Move {
    async fn new() -> Self {
        let world = World::new().await;
        let old = Arc::new(FakeRoot::new(world._folder.path(), "old"));
        let new = Arc::new(FakeRoot::new(world._folder.path(), "new"));
        let this = Self { world, old, new };
        let keyring = this.keyring(&[&this.old]);
        for name in ["a", "b", "c"] {
            let permit = permit(Action::CreateKey, name);
            keyring.create(&permit, NewKey::default(), this.world.now()).await.unwrap();
        }
        keyring.rotate(&permit(Action::Rotate, "a"), this.world.now()).await.unwrap();
        this
    }

    fn roots(roots: &[&Arc<FakeRoot>]) -> Roots {
        Roots::new(roots.iter().map(|root| Arc::clone(root) as _).collect())
    }

    fn store(&self) -> Arc<dyn KeyStore> {
        Arc::clone(&self.world.store) as _
    }

    fn keyring(&self, roots: &[&Arc<FakeRoot>]) -> Keyring {
        let settings = self.world.settings.clone();
        Keyring::new(settings, Self::roots(roots), self.store(), self.world.arena.clone())
    }

    async fn apply(&self, roots: &[&Arc<FakeRoot>], change: &RootChange) -> RootsChanged {
        let changer = RootChanger::new(Self::roots(roots), self.store(), "test".to_owned());
        changer.apply(change, false, |_| {}).await.unwrap()
    }

    /// Which roots wrap each version, in the order of the keys.
    async fn wrapped(&self) -> Vec<String> {
        let keys = self.world.store.inner.list_keys().await.unwrap();
        let versions = keys.iter().flat_map(|key| &key.versions);
        let names = versions.map(|version| {
            let mut names: Vec<_> =
                version.wrappings.iter().map(|wrapping| wrapping.root.as_str()).collect();
            names.sort_unstable();
            names.join("+")
        });
        names.collect()
    }

    /// Whether a cold sidecar with these roots opens every version.
    async fn all_open(&self, roots: &[&Arc<FakeRoot>]) -> bool {
        let keyring = self.keyring(roots);
        for key in self.world.store.inner.list_keys().await.unwrap() {
            for version in &key.versions {
                let key_ref = KeyRef { id: key.id, version: version.version };
                let permit = permit(Action::Decrypt, key.name.as_str());
                let opened = keyring.opening_key(&permit, key_ref, self.world.now()).await;
                if opened.is_err() {
                    return false;
                }
            }
        }
        true
    }
}

#[tokio::test]
async fn every_version_moves_from_one_root_to_another() {
    let this = Move::new().await;
    let both = [&this.old, &this.new];
    let moved = this.apply(&both, &moving("old", "new")).await;
    assert_eq!((moved.versions, moved.changed, moved.failed.len()), (4, 4, 0));
    assert_eq!(this.wrapped().await, ["new"; 4]);
    assert!(this.all_open(&[&this.new]).await && !this.all_open(&[&this.old]).await);
    let again = this.apply(&both, &moving("old", "new")).await;
    assert_eq!((again.changed, again.as_they_were), (0, 4), "it can be run again");
}

#[tokio::test]
async fn a_root_is_added_and_the_old_one_goes_later() {
    let this = Move::new().await;
    let both = [&this.old, &this.new];
    assert_eq!(this.apply(&both, &adding("new")).await.changed, 4);
    assert_eq!(this.wrapped().await, ["new+old"; 4]);
    assert!(this.all_open(&[&this.new]).await && this.all_open(&[&this.old]).await);
    assert_eq!(this.apply(&[&this.new], &removing("old")).await.changed, 4);
    assert_eq!(this.wrapped().await, ["new"; 4], "the old root need not be there any more");
}

#[tokio::test]
async fn no_wrapping_goes_that_nothing_else_opens() {
    let this = Move::new().await;
    let both = [&this.old, &this.new];
    let alone = this.apply(&both, &removing("old")).await;
    assert_eq!((alone.changed, alone.failed.len()), (0, 4));
    assert!(alone.failed[0].2.contains("keypod root add"), "{:?}", alone.failed);

    this.apply(&both, &adding("new")).await;
    // Whichever is preferred: a root is not compared with itself.
    for roots in [[&this.old, &this.new], [&this.new, &this.old]] {
        for mood in [Mood::Corrupt, Mood::Unavailable, Mood::Denied, Mood::Lies] {
            this.new.set(mood);
            for change in [removing("old"), moving("old", "new")] {
                let kept = this.apply(&roots, &change).await;
                assert_eq!((kept.changed, kept.failed.len()), (0, 4), "{mood:?} {change:?}");
            }
        }
    }
    this.new.set(Mood::Works);
    assert_eq!(this.wrapped().await, ["new+old"; 4]);
    assert!(this.all_open(&[&this.old]).await);
}

#[tokio::test]
async fn an_old_root_that_is_away_keeps_its_wrappings_until_it_is_out_of_the_configuration() {
    let this = Move::new().await;
    let both = [&this.old, &this.new];
    this.apply(&both, &adding("new")).await;
    this.old.set(Mood::Unavailable);
    let kept = this.apply(&both, &removing("old")).await;
    assert_eq!((kept.changed, kept.failed.len()), (0, 4));
    assert!(kept.failed[0].2.contains("out of the configuration"), "{:?}", kept.failed);
    assert_eq!(this.apply(&[&this.new], &removing("old")).await.changed, 4);
}

#[tokio::test]
async fn versions_that_are_made_while_the_others_move_move_too() {
    let this = Move::new().await;
    let both = [&this.old, &this.new];
    this.new.gate.shut();
    let changer = RootChanger::new(Move::roots(&both), this.store(), "test".to_owned());
    let moved =
        tokio::spawn(
            async move { changer.apply(&moving("old", "new"), false, |_| {}).await.unwrap() },
        );
    let all_wrap = || this.new.wraps.load(std::sync::atomic::Ordering::SeqCst) == 4;
    until("all wrap", all_wrap).await;
    let keyring = this.keyring(&[&this.old]);
    let create = permit(Action::CreateKey, "late");
    keyring.create(&create, NewKey::default(), this.world.now()).await.unwrap();
    this.new.gate.open();
    let moved = moved.await.unwrap();
    assert_eq!((moved.versions, moved.changed, moved.failed.len()), (5, 5, 0));
    assert_eq!(this.wrapped().await, ["new"; 5]);
}

#[tokio::test]
async fn a_root_that_lies_or_is_away_changes_nothing() {
    let this = Move::new().await;
    for mood in [Mood::Lies, Mood::Unavailable, Mood::Denied] {
        this.new.set(mood);
        let moved = this.apply(&[&this.old, &this.new], &moving("old", "new")).await;
        assert_eq!((moved.changed, moved.failed.len()), (0, 4), "{mood:?}");
    }
    assert_eq!(this.wrapped().await, ["old"; 4]);
    let moved = this.apply(&[&this.old], &moving("old", "new")).await;
    assert!(moved.failed[0].2.contains("new is not in the configuration"), "{moved:?}");
}

#[tokio::test]
async fn a_move_that_was_stopped_goes_on_where_it_was() {
    let this = Move::new().await;
    let both = [&this.old, &this.new];
    let changer = RootChanger::new(Move::roots(&both), this.store(), "test".to_owned());
    let change = moving("old", "new");
    // Two are changed, and then it is dropped in the middle.
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let stop = std::sync::Mutex::new(Some(stop));
    let seen = |so_far: &RootsChanged| {
        if so_far.changed == 2 {
            this.new.gate.shut();
            stop.lock().unwrap().take().unwrap().send(()).unwrap();
        }
    };
    tokio::select! {
        biased;
        told = stopped => told.unwrap(),
        moved = changer.apply(&change, false, seen) => panic!("it was stopped: {moved:?}"),
    }
    this.new.gate.open();
    assert!(this.wrapped().await.iter().filter(|roots| *roots == "new").count() >= 2);
    assert!(this.all_open(&both).await, "each is one or the other, and opens");
    let again = this.apply(&both, &change).await;
    assert!(again.as_they_were >= 2 && again.failed.is_empty(), "{again:?}");
    assert_eq!(this.wrapped().await, ["new"; 4]);
    assert!(this.all_open(&[&this.new]).await);
}

#[tokio::test]
async fn a_version_that_another_changes_meanwhile_is_read_again() {
    let this = Move::new().await;
    let both = [&this.old, &this.new];
    this.new.gate.shut();
    let changer = RootChanger::new(Move::roots(&both), this.store(), "test".to_owned());
    let moving =
        tokio::spawn(
            async move { changer.apply(&moving("old", "new"), false, |_| {}).await.unwrap() },
        );
    let all_wrap = || this.new.wraps.load(std::sync::atomic::Ordering::SeqCst) == 4;
    until("all wrap", all_wrap).await;
    let key = this.world.store.inner.key_by_name(&"b".parse().unwrap()).await.unwrap().unwrap();
    let key_ref = KeyRef { id: key.id, version: key.primary };
    let disable = VersionChange::State(VersionState::Disabled);
    this.world.store.inner.update_version(key_ref, 1, &disable).await.unwrap();
    this.new.gate.open();
    let moved = moving.await.unwrap();
    assert_eq!((moved.changed, moved.failed.len()), (4, 0));
    assert_eq!(this.world.stored(&key, 1).await.state, VersionState::Disabled, "and that stays");
}

#[tokio::test]
async fn a_root_wraps_anew_when_it_is_told_to() {
    let this = Move::new().await;
    let before = this.world.store.inner.list_keys().await.unwrap();
    let renew = RootChange::Renew(root("old"));
    assert_eq!(this.apply(&[&this.old], &renew).await.changed, 4);
    let after = this.world.store.inner.list_keys().await.unwrap();
    assert_ne!(before[0].versions[0].wrappings, after[0].versions[0].wrappings);
    assert_eq!(after[0].versions[0].wrappings.len(), 1);
    assert!(this.all_open(&[&this.old]).await);
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let this = Move::new().await;
    let roots = Move::roots(&[&this.old, &this.new]);
    let changer = RootChanger::new(roots, this.store(), "test".to_owned());
    let counted = changer.apply(&moving("old", "new"), true, |_| {}).await.unwrap();
    assert_eq!((counted.versions, counted.changed), (4, 4));
    assert_eq!(this.wrapped().await, ["old"; 4]);
    let survey = changer.survey().await.unwrap();
    assert_eq!((survey.versions, survey.wrapped), (4, vec![(root("old"), 4)]));
}
