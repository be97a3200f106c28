//! A root and a store that do as they are told. Behind them are the real local root and a real SQLite file.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::{broadcast, watch};

use super::*;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::clock::UnixSeconds;
use crate::names::RootName;
use crate::root::local::LocalRoot;
use crate::root::{Binding, Root, RootDescription};
use crate::secret::{KeyVersionSecret, WrappedKey};
use crate::store::sqlite::SqliteStore;
use crate::store::{Approval, StoreEvent, Usage, VersionChange};

/// A gate that callers wait before while it is shut.
#[derive(Debug)]
pub(super) struct Gate(watch::Sender<bool>);

impl Gate {
    fn new() -> Self {
        Self(watch::channel(true).0)
    }

    pub(super) fn shut(&self) {
        self.0.send_replace(false);
    }

    pub(super) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        self.0.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

/// How the root answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Works,
    Unavailable,
    Throttled,
    Denied,
    KeyGone,
    Unusable,
    Corrupt,
    /// It gives back other bytes than it was given.
    Lies,
}

#[derive(Debug)]
pub(super) struct FakeRoot {
    inner: LocalRoot,
    name: RootName,
    arena: Arena,
    mood: Mutex<Mood>,
    pub(super) gate: Gate,
    pub(super) wraps: AtomicUsize,
    pub(super) unwraps: AtomicUsize,
    inside: AtomicUsize,
    /// The most calls that were inside at once.
    pub(super) most_inside: AtomicUsize,
}

impl FakeRoot {
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        let arena = Arena::with_protection_at_most(Protection::Heap).unwrap();
        let file = folder.join(name);
        LocalRoot::create_key_file(&file).unwrap();
        Self {
            name: name.parse().unwrap(),
            inner: LocalRoot::from_key_file(&file, &arena).unwrap(),
            arena,
            mood: Mutex::new(Mood::Works),
            gate: Gate::new(),
            wraps: AtomicUsize::new(0),
            unwraps: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            most_inside: AtomicUsize::new(0),
        }
    }

    pub(super) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(super) fn unwraps(&self) -> usize {
        self.unwraps.load(Ordering::SeqCst)
    }

    async fn answer(&self) -> Result<Mood, RootError> {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_inside.fetch_max(inside, Ordering::SeqCst);
        self.gate.pass().await;
        self.inside.fetch_sub(1, Ordering::SeqCst);
        let mood = *self.mood.lock().unwrap();
        let (root, reason) = (self.name.clone(), "told".to_owned());
        match mood {
            Mood::Works | Mood::Lies => Ok(mood),
            Mood::Unavailable => Err(RootError::Unavailable { root, reason, retry_after: None }),
            Mood::Throttled => Err(RootError::Throttled { root, retry_after: None }),
            Mood::Denied => Err(RootError::Denied { root, reason }),
            Mood::KeyGone => Err(RootError::KeyGone { root, reason }),
            Mood::Unusable => Err(RootError::Unusable { root, reason }),
            Mood::Corrupt => Err(RootError::Corrupt { root }),
        }
    }
}

#[async_trait]
impl Root for FakeRoot {
    async fn wrap(
        &self,
        secret: &KeyVersionSecret,
        binding: Binding<'_>,
    ) -> Result<WrappedKey, RootError> {
        self.wraps.fetch_add(1, Ordering::SeqCst);
        self.answer().await?;
        self.inner.wrap(secret, binding).await
    }

    async fn unwrap_key(
        &self,
        wrapped: &WrappedKey,
        binding: Binding<'_>,
    ) -> Result<KeyVersionSecret, RootError> {
        self.unwraps.fetch_add(1, Ordering::SeqCst);
        match self.answer().await? {
            Mood::Lies => Ok(KeyVersionSecret::fill(&self.arena, |bytes| {
                bytes.fill(7);
                Ok::<_, std::convert::Infallible>(())
            })
            .unwrap()),
            _ => self.inner.unwrap_key(wrapped, binding).await,
        }
    }

    async fn check(&self, domain: &str) -> Result<Vec<String>, RootError> {
        self.answer().await?;
        self.inner.check(domain).await
    }

    fn describe(&self) -> RootDescription {
        RootDescription { name: self.name.clone(), ..self.inner.describe() }
    }
}

#[derive(Debug)]
pub(super) struct FakeStore {
    pub(super) inner: Arc<SqliteStore>,
    /// Whether every call fails, as on a full disk or without a network.
    fails: AtomicBool,
    /// What look-ups wait before with what they have read: as an answer on a slow network does.
    pub(super) gate: Gate,
    lookups: AtomicUsize,
    /// What its server says the time is.
    pub(super) time: std::sync::Mutex<Option<UnixSeconds>>,
    /// What the store tells those who watch it.
    pub(super) events: broadcast::Sender<StoreEvent>,
}

impl FakeStore {
    pub(super) async fn new(folder: &Path) -> Self {
        Self {
            inner: Arc::new(SqliteStore::open(&folder.join("keys.db")).await.unwrap()),
            fails: AtomicBool::new(false),
            gate: Gate::new(),
            lookups: AtomicUsize::new(0),
            time: std::sync::Mutex::default(),
            events: broadcast::channel(16).0,
        }
    }

    pub(super) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    pub(super) fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }

    fn answer(&self) -> Result<&SqliteStore, StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { reason: "told".to_owned() });
        }
        Ok(&self.inner)
    }

    async fn look_up<T>(
        &self,
        reads: impl AsyncFnOnce(&SqliteStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let found = match self.answer() {
            Ok(store) => reads(store).await,
            Err(error) => Err(error),
        };
        self.lookups.fetch_add(1, Ordering::SeqCst);
        self.gate.pass().await;
        found
    }
}

#[async_trait]
impl KeyStore for FakeStore {
    async fn insert_key(&self, key: &KeyRecord) -> Result<(), StoreError> {
        self.answer()?.insert_key(key).await
    }

    async fn key_by_name(&self, name: &KeyName) -> Result<Option<KeyRecord>, StoreError> {
        self.look_up(async |store| store.key_by_name(name).await).await
    }

    async fn key_by_id(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.look_up(async |store| store.key_by_id(id).await).await
    }

    async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.answer()?.list_keys().await
    }

    async fn damaged_keys(&self) -> Result<Vec<String>, StoreError> {
        self.answer()?.damaged_keys().await
    }

    async fn insert_version(
        &self,
        key: KeyId,
        expected_primary: KeyVersion,
        version: &VersionRecord,
    ) -> Result<(), StoreError> {
        self.answer()?.insert_version(key, expected_primary, version).await
    }

    async fn update_version(
        &self,
        key: KeyRef,
        expected_revision: u64,
        change: &VersionChange,
    ) -> Result<(), StoreError> {
        self.answer()?.update_version(key, expected_revision, change).await
    }

    async fn reserve_usage(
        &self,
        key: KeyRef,
        block: Usage,
        limit: Usage,
    ) -> Result<Usage, StoreError> {
        self.answer()?.reserve_usage(key, block, limit).await
    }

    async fn return_usage(&self, key: KeyRef, unused: Usage) -> Result<(), StoreError> {
        self.answer()?.return_usage(key, unused).await
    }

    async fn insert_approval(
        &self,
        approval: &Approval,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        self.answer()?.insert_approval(approval, now).await
    }

    async fn list_approvals(&self, now: UnixSeconds) -> Result<Vec<Approval>, StoreError> {
        self.answer()?.list_approvals(now).await
    }

    async fn take_approval(&self, id: &str) -> Result<Option<Approval>, StoreError> {
        self.answer()?.take_approval(id).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.answer()?.check().await
    }

    async fn time(&self) -> Result<Option<UnixSeconds>, StoreError> {
        self.answer().map(|_| *self.time.lock().unwrap())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn watch(&self) -> BoxStream<'static, StoreEvent> {
        let told = self.events.subscribe();
        let next = async |mut told: broadcast::Receiver<_>| Some((told.recv().await.ok()?, told));
        stream::unfold(told, next).boxed()
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    fn kind(&self) -> &'static str {
        "fake"
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}
