//! The keyring under a manual clock, over a root and a store that fail, stall and lie as they are told.

mod audit_key;
mod bounds;
mod due;
mod fakes;
mod flights;
mod lifecycle;
mod news;
mod own_changes;
mod root_change;
mod rotation;
mod several;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::{Clock as _, ManualClock, SystemClock};
use crate::policy::{
    AccessRequest, Caller, CallerKind, Grant, Identity, KeyPattern, Policies, Resource, Transport,
    decide,
};
use crate::root::RootError;
use crate::secret::Protection;
use crate::store::{KeyRecord, StoreError, VersionRecord};
use fakes::{FakeRoot, FakeStore, Mood};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// No wait is longer, however slow the machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// One sidecar's keyring, and what is around it.
struct World {
    _folder: tempfile::TempDir,
    root: Arc<FakeRoot>,
    store: Arc<FakeStore>,
    clock: ManualClock,
    settings: KeyringSettings,
    arena: Arena,
    keyring: Keyring,
}

fn defaults() -> KeyringSettings {
    KeyringSettings {
        domain: "test".to_owned(),
        refresh_after: 5 * MINUTE,
        root_recheck: 15 * MINUTE,
        encrypt_stale_max: HOUR,
        decrypt_stale_max: 24 * HOUR,
        idle_evict: 30 * MINUTE,
        retry_interval: Duration::from_secs(5),
        messages_max: 1 << 32,
        bytes_max: 1 << 50,
        destroy_delay: 7 * 24 * HOUR,
        approval_expiry: 24 * HOUR,
    }
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut KeyringSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = defaults();
        change(&mut settings);
        let root = Arc::new(FakeRoot::new(folder.path(), "local"));
        let store = Arc::new(FakeStore::new(folder.path()).await);
        let clock = ManualClock::at(SystemClock.now());
        let (arena, keyring) = beside(&settings, &root, &store);
        Self { _folder: folder, root, store, clock, settings, arena, keyring }
    }

    /// The keyring of another sidecar on this store and root, or of this one's next start.
    fn another(&self) -> Keyring {
        beside(&self.settings, &self.root, &self.store).1
    }

    /// This world after a restart: nothing is in memory.
    fn cold(self) -> Arc<Self> {
        let (arena, keyring) = beside(&self.settings, &self.root, &self.store);
        Arc::new(Self { arena, keyring, ..self })
    }

    async fn key(&self, name: &str) -> KeyRecord {
        self.key_with(name, NewKey::default()).await
    }

    async fn key_with(&self, name: &str, new: NewKey) -> KeyRecord {
        let permit = permit(Action::CreateKey, name);
        self.keyring.create(&permit, new, self.now()).await.unwrap()
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.keyring.maintain(self.now()).await;
    }

    async fn seal(&self, name: &str) -> Result<SealingKey, KeyringError> {
        self.seal_with(&self.keyring, name).await
    }

    async fn seal_with(&self, keyring: &Keyring, name: &str) -> Result<SealingKey, KeyringError> {
        keyring.sealing_key(&permit(Action::Encrypt, name), 1, 10, self.now()).await
    }

    async fn open(&self, key: &KeyRecord, version: u32) -> Result<OpeningKey, KeyringError> {
        let key_ref = KeyRef { id: key.id, version: KeyVersion::new(version).unwrap() };
        let permit = permit(Action::Decrypt, key.name.as_str());
        self.keyring.opening_key(&permit, key_ref, self.now()).await
    }

    async fn stored(&self, key: &KeyRecord, version: u32) -> VersionRecord {
        let record = self.store.inner.key_by_id(key.id).await.unwrap().unwrap();
        record.version(KeyVersion::new(version).unwrap()).unwrap().clone()
    }

    async fn set_state(&self, keyring: &Keyring, key: &KeyRecord, state: VersionState) {
        let permit = permit(Action::SetState, key.name.as_str());
        let version = KeyVersion::FIRST;
        let changed = keyring.set_state(&permit, version, state, self.now()).await.unwrap();
        assert_eq!(changed.version(version).unwrap().state, state);
    }
}

fn beside(
    settings: &KeyringSettings,
    root: &Arc<FakeRoot>,
    store: &Arc<FakeStore>,
) -> (Arena, Keyring) {
    let arena = Arena::with_protection_at_most(Protection::Heap).unwrap();
    let (roots, store) = (Roots::new(vec![Arc::clone(root) as _]), Arc::clone(store));
    let keyring = Keyring::new(settings.clone(), roots, store, arena.clone());
    (arena, keyring)
}

/// The context of the messages here.
fn no_context() -> &'static Context {
    static NONE: OnceLock<Context> = OnceLock::new();
    NONE.get_or_init(Context::default)
}

fn permit(action: Action, key: &str) -> Permit<'static> {
    permit_of("alice", action, key)
}

/// As any permit: from `policy::decide`.
fn permit_of(caller: &str, action: Action, key: &str) -> Permit<'static> {
    permit_with(caller, action, key, false)
}

/// The same, as if another person had approved.
fn permit_if_approved(caller: &str, key: &str) -> Permit<'static> {
    permit_with(caller, Action::Destroy, key, true)
}

fn permit_with(caller: &str, action: Action, key: &str, approved: bool) -> Permit<'static> {
    let grant = Grant {
        caller: caller.parse().unwrap(),
        actions: vec![action],
        keys: vec![KeyPattern::parse("*").unwrap()],
    };
    let policies = Policies::load(&[], &[], &[grant]).unwrap();
    let identity = Identity::new(caller.parse().unwrap(), CallerKind::Peer, Vec::new());
    let caller = Caller { identity: identity.into(), transport: Transport::Unix, mfa: false };
    let key = key.parse().unwrap();
    let request = AccessRequest {
        caller: &caller,
        action,
        resource: Resource::Key(&key),
        context: matches!(action, Action::Encrypt | Action::Decrypt | Action::Rewrap)
            .then(no_context),
        approved,
        emergency: false,
        now: crate::clock::UnixSeconds(0),
    };
    decide(&policies, &request).unwrap()
}

fn is_root_error(error: &KeyringError, expected: fn(&RootError) -> bool) -> bool {
    matches!(error, KeyringError::Root(error) if expected(error))
}

fn is_store_unavailable(error: &KeyringError) -> bool {
    matches!(error, KeyringError::Store(error) if matches!(**error, StoreError::Unavailable { .. }))
}

/// Waits until this holds, and lets other tasks run meanwhile.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(WAIT_MAX, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain until {what}");
}

#[tokio::test]
async fn a_key_lends_itself_to_a_message_of_its_own_permit_and_to_no_other() {
    let world = World::new().await;
    let key = world.key("a").await;
    let (sealing, opening) = (world.seal("a").await.unwrap(), world.open(&key, 1).await.unwrap());
    for action in Action::ALL {
        for name in ["a", "b"] {
            let permit = permit(action, name);
            let (seals, opens) = (sealing.for_message(&permit), opening.for_message(&permit));
            let is = |actions: [Action; 2]| name == "a" && actions.contains(&action);
            assert_eq!(seals.is_ok(), is([Action::Encrypt, Action::Rewrap]), "{action:?} {name}");
            assert_eq!(opens.is_ok(), is([Action::Decrypt, Action::Rewrap]), "{action:?} {name}");
            if let Ok((_, context)) = seals {
                assert!(std::ptr::eq(context, no_context()), "the permit's own, and no copy");
            }
        }
    }
    let without_context = permit_if_approved("alice", "a");
    assert!(matches!(sealing.for_message(&without_context), Err(KeyringError::WrongPermit)));
}
