//! Copies between stores of both kinds, and what must stop them.

use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

use super::*;
use crate::names::{KeyRef, KeyVersion};
use crate::store::conformance::{first, sample_key, sample_version, sample_wrapping};
use crate::store::postgres::testing::Database;
use crate::store::sqlite::SqliteStore;
use crate::store::{Usage, VersionChange, VersionRecord, VersionState};

fn ignore(_: Copied) {}

async fn open(folder: &TempDir, name: &str) -> SqliteStore {
    SqliteStore::open(&folder.path().join(name)).await.unwrap()
}

/// Keys with all that a key can have: states, usage, revisions, a planned destruction, a gap, an approval.
async fn fill(store: &dyn KeyStore) {
    for seed in 0..5 {
        let mut key = sample_key(&format!("key-{seed}"), seed);
        key.versions[0].revision = 7;
        key.versions[0].state = VersionState::DecryptOnly;
        key.versions.push(VersionRecord {
            state: VersionState::Destroyed,
            wrappings: Vec::new(),
            ..sample_version(3, seed)
        });
        key.versions.push(VersionRecord {
            destroy_at: Some(UnixSeconds(2_000_000_000)),
            state: VersionState::Disabled,
            ..sample_version(4, seed)
        });
        key.primary = KeyVersion::new(4).unwrap();
        store.insert_key(&key).await.unwrap();
        let block = Usage { messages: 3 + u64::from(seed), bytes: 400 };
        store.reserve_usage(first(&key), block, block).await.unwrap();
        let rewrapped = VersionChange::Wrappings(vec![sample_wrapping("new", seed)]);
        store.update_version(first(&key), 7, &rewrapped).await.unwrap();
    }
    let approval = Approval {
        id: "0123456789abcdef".repeat(2),
        key: KeyRef { id: KeyId::from_bytes([1; 8]), version: KeyVersion::FIRST },
        requested_by: "uid:1000/ops@clinic".parse().unwrap(),
        requested_at: UnixSeconds(1000),
        expires_at: UnixSeconds(2000),
    };
    store.insert_approval(&approval, UnixSeconds(1000)).await.unwrap();
}

async fn all(store: &dyn KeyStore) -> (Vec<KeyRecord>, Vec<Approval>) {
    (store.list_keys().await.unwrap(), store.list_approvals(UnixSeconds(0)).await.unwrap())
}

async fn everything_comes_over(from: &dyn KeyStore, to: &dyn KeyStore) {
    fill(from).await;
    let bystander = sample_key("bystander", 99);
    to.insert_key(&bystander).await.unwrap();
    let told = Mutex::new(Vec::new());
    let copied = copy(from, to, |copied| told.lock().unwrap().push(copied)).await.unwrap();
    assert_eq!(copied, Copied { keys: 5, versions: 15, skipped: 0 });
    assert_eq!(told.lock().unwrap().len(), 5);
    let (keys, approvals) = all(to).await;
    assert_eq!(keys[0], bystander);
    assert_eq!((keys[1..].to_vec(), approvals), all(from).await);

    let again = copy(from, to, ignore).await.unwrap();
    assert_eq!(again, Copied { keys: 0, versions: 0, skipped: 5 });
}

#[tokio::test]
async fn everything_comes_over_from_sqlite_to_sqlite() {
    let folder = TempDir::new().unwrap();
    everything_comes_over(&open(&folder, "from").await, &open(&folder, "to").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_over_from_sqlite_to_postgres_and_back() {
    let folder = TempDir::new().unwrap();
    let to = Database::new("copied").open().await;
    everything_comes_over(&open(&folder, "from").await, &to).await;
    let back = open(&folder, "back").await;
    assert_eq!(copy(&to, &back, ignore).await.unwrap().keys, 6);
    assert_eq!(all(&back).await, all(&to).await);
}

/// A target that is killed after some keys: every later write fails.
#[derive(Debug)]
struct Dying<'a> {
    store: &'a SqliteStore,
    writes_left: Mutex<u32>,
}

#[async_trait]
impl KeyStore for Dying<'_> {
    async fn insert_key(&self, key: &KeyRecord) -> Result<(), StoreError> {
        let alive = {
            let mut left = self.writes_left.lock().unwrap();
            let alive = *left > 0;
            *left = left.saturating_sub(1);
            alive
        };
        if !alive {
            return Err(StoreError::Unavailable { reason: "killed".to_owned() });
        }
        self.store.insert_key(key).await
    }
    async fn key_by_name(&self, name: &KeyName) -> Result<Option<KeyRecord>, StoreError> {
        self.store.key_by_name(name).await
    }
    async fn key_by_id(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.store.key_by_id(id).await
    }
    async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.store.list_keys().await
    }
    async fn damaged_keys(&self) -> Result<Vec<String>, StoreError> {
        self.store.damaged_keys().await
    }
    async fn insert_version(
        &self,
        key: KeyId,
        primary: KeyVersion,
        version: &VersionRecord,
    ) -> Result<(), StoreError> {
        self.store.insert_version(key, primary, version).await
    }
    async fn update_version(
        &self,
        key: KeyRef,
        revision: u64,
        change: &VersionChange,
    ) -> Result<(), StoreError> {
        self.store.update_version(key, revision, change).await
    }
    async fn reserve_usage(
        &self,
        key: KeyRef,
        block: Usage,
        limit: Usage,
    ) -> Result<Usage, StoreError> {
        self.store.reserve_usage(key, block, limit).await
    }
    async fn return_usage(&self, key: KeyRef, unused: Usage) -> Result<(), StoreError> {
        self.store.return_usage(key, unused).await
    }
    async fn insert_approval(&self, one: &Approval, now: UnixSeconds) -> Result<(), StoreError> {
        self.store.insert_approval(one, now).await
    }
    async fn list_approvals(&self, now: UnixSeconds) -> Result<Vec<Approval>, StoreError> {
        self.store.list_approvals(now).await
    }
    async fn take_approval(&self, id: &str) -> Result<Option<Approval>, StoreError> {
        self.store.take_approval(id).await
    }
    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }
    async fn close(&self) {}
    fn kind(&self) -> &'static str {
        "dying"
    }
    fn place(&self) -> String {
        self.store.place()
    }
}

#[tokio::test]
async fn a_copy_that_was_killed_goes_on_where_it_was() {
    let folder = TempDir::new().unwrap();
    let (from, to) = (open(&folder, "from").await, open(&folder, "to").await);
    fill(&from).await;
    let dying = Dying { store: &to, writes_left: Mutex::new(3) };
    let killed = copy(&from, &dying, ignore).await.unwrap_err();
    assert!(matches!(killed, CopyError::Target(StoreError::Unavailable { .. })), "{killed:?}");
    assert_eq!(to.list_keys().await.unwrap().len(), 3);
    let copied = copy(&from, &to, ignore).await.unwrap();
    assert_eq!(copied, Copied { keys: 2, versions: 6, skipped: 3 });
    assert_eq!(all(&to).await, all(&from).await);
}

#[tokio::test]
async fn a_copy_that_would_mix_keys_writes_nothing() {
    type Hinder = fn(&mut KeyRecord);
    let hindrances: [(Hinder, &str); 4] = [
        (|key| key.id = KeyId::from_bytes([77; 8]), "another key of the name key-3"),
        (|key| key.versions[0].messages_used += 1, "other content"),
        (|key| key.name = "renamed".parse().unwrap(), "other content"),
        (|key| key.versions[0].revision += 1, "other content"),
    ];
    for (number, (hinder, told)) in hindrances.into_iter().enumerate() {
        let folder = TempDir::new().unwrap();
        let (from, to) = (open(&folder, "from").await, open(&folder, "to").await);
        fill(&from).await;
        let mut key = from.key_by_name(&"key-3".parse().unwrap()).await.unwrap().unwrap();
        hinder(&mut key);
        to.insert_key(&key).await.unwrap();
        let before = all(&to).await;
        let refused = copy(&from, &to, ignore).await.unwrap_err().to_string();
        assert!(refused.contains(told) && refused.contains("nothing was copied"), "{refused}");
        assert_eq!(all(&to).await, before, "{number}");
    }
}

#[tokio::test]
async fn the_audit_key_of_a_target_is_not_replaced() {
    let folder = TempDir::new().unwrap();
    let (from, to) = (open(&folder, "from").await, open(&folder, "to").await);
    fill(&from).await;
    from.insert_key(&sample_key("keypod.audit", 60)).await.unwrap();
    // All that a sidecar makes that has started there and was asked nothing.
    to.insert_key(&sample_key("keypod.audit", 61)).await.unwrap();
    let before = all(&to).await;
    let refused = copy(&from, &to, ignore).await.unwrap_err();
    let CopyError::OtherAuditKey { there } = &refused else { panic!("{refused:?}") };
    assert_eq!(*there, before.0[0].id);
    let said = refused.to_string();
    for what in ["nothing was copied", "keypod.audit", "before the first sidecar starts"] {
        assert!(said.contains(what), "{said}");
    }
    assert_eq!(all(&to).await, before);
    // A target without one takes the source's, so that what was recorded there can still be looked for.
    let empty = open(&folder, "empty").await;
    assert_eq!(copy(&from, &empty, ignore).await.unwrap().keys, 6);
    assert_eq!(all(&empty).await, all(&from).await);
}

#[tokio::test]
async fn another_approval_for_the_same_version_stops_the_copy() {
    let folder = TempDir::new().unwrap();
    let (from, to) = (open(&folder, "from").await, open(&folder, "to").await);
    fill(&from).await;
    copy(&from, &to, ignore).await.unwrap();
    let approval = from.list_approvals(UnixSeconds(0)).await.unwrap().remove(0);
    to.take_approval(&approval.id).await.unwrap().unwrap();
    let other = Approval { id: "f".repeat(32), ..approval };
    to.insert_approval(&other, UnixSeconds(0)).await.unwrap();
    let refused = copy(&from, &to, ignore).await.unwrap_err();
    assert!(matches!(refused, CopyError::OtherApproval { .. }), "{refused:?}");
    assert_eq!(to.list_approvals(UnixSeconds(0)).await.unwrap(), [other]);
}

/// Runs SQL on a file behind its store's back.
async fn damage(path: &Path, sql: &str) {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let sql = format!("PRAGMA ignore_check_constraints = ON; {sql}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_key_stops_the_copy_and_is_named() {
    let folder = TempDir::new().unwrap();
    let (from, to) = (open(&folder, "from").await, open(&folder, "to").await);
    fill(&from).await;
    let sql = "UPDATE versions SET state = 'open' WHERE key_id = x'0303030303030303'";
    damage(&folder.path().join("from"), sql).await;
    assert_eq!(from.list_keys().await.unwrap().len(), 4);
    let refused = copy(&from, &to, ignore).await.unwrap_err();
    assert!(matches!(refused, CopyError::Damaged { .. }), "{refused:?}");
    let told = refused.to_string();
    assert!(told.contains("0303030303030303") && told.contains("state"), "{told}");
    assert_eq!(to.list_keys().await.unwrap(), []);

    let reversed = copy(&to, &from, ignore).await.unwrap_err();
    assert!(matches!(reversed, CopyError::TargetDamaged { .. }), "{reversed:?}");
}

#[tokio::test]
async fn a_version_that_has_lost_its_wrappings_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let (from, to) = (open(&folder, "from").await, open(&folder, "to").await);
    fill(&from).await;
    damage(&folder.path().join("from"), "DELETE FROM wrappings WHERE key_id = x'0000000000000000'")
        .await;
    let refused = copy(&from, &to, ignore).await.unwrap_err().to_string();
    assert!(refused.contains("key-0"), "{refused}");
}

#[tokio::test]
async fn a_change_while_it_is_copied_is_noticed_at_the_end() {
    let folder = TempDir::new().unwrap();
    let (from, to) = (open(&folder, "from").await, open(&folder, "to").await);
    fill(&from).await;
    let path = folder.path().join("from");
    let changed = copy(&from, &to, |copied| {
        if copied.keys == 5 {
            // What was read of this key is old now.
            let sql = "UPDATE versions SET messages_used = 99 WHERE key_id = x'0404040404040404'";
            std::thread::scope(|scope| {
                let other = scope.spawn(|| {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.unwrap().block_on(damage(&path, sql));
                });
                other.join().unwrap();
            });
        }
    });
    let changed = changed.await.unwrap_err();
    assert!(matches!(changed, CopyError::Changed { .. }), "{changed:?}");
    assert!(changed.to_string().contains("key-4"), "{changed}");
}
