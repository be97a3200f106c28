//! The server goes away and comes back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

/// What many tasks do to one store at once.
struct Load {
    store: PostgresStore,
    /// The version whose usage all of them count.
    counted: KeyRef,
    ended: AtomicBool,
    failures: AtomicU64,
    reads: AtomicU64,
}

/// What one writer knows at the end.
struct Written {
    key: KeyRecord,
    revision: u64,
    /// Whether the change after that may have gone in.
    unsure: bool,
    granted: u64,
    granted_perhaps: u64,
}

impl Load {
    fn failed(&self, error: &StoreError) {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    async fn insert(&self, key: &KeyRecord) {
        let mut unsure = false;
        loop {
            match self.store.insert_key(key).await {
                Ok(()) => return,
                Err(StoreError::Exists) if unsure => return,
                Err(error) => self.failed(&error),
            }
            unsure = true;
        }
    }

    /// As a caller does: after a failure it does not know, so it looks, and compare-and-swap keeps it from harm.
    async fn write(self: Arc<Self>, seed: u8) -> Written {
        let key = sample_key(&format!("key-{seed}"), seed);
        self.insert(&key).await;
        let change = VersionChange::CancelDestroy;
        let one = Usage { messages: 1, bytes: 1 };
        let limit = Usage { messages: 1 << 40, bytes: 1 << 40 };
        let mut written =
            Written { key, revision: 0, unsure: false, granted: 0, granted_perhaps: 0 };
        while !self.ended.load(Ordering::Relaxed) {
            let (key, revision) = (first(&written.key), written.revision);
            match self.store.update_version(key, revision, &change).await {
                Ok(()) => (written.revision, written.unsure) = (revision + 1, false),
                Err(StoreError::Conflict) if written.unsure => {
                    (written.revision, written.unsure) = (revision + 1, false);
                }
                Err(error) => {
                    self.failed(&error);
                    written.unsure = true;
                }
            }
            if written.unsure
                && let Ok(found) = self.store.key_by_id(key.id).await
            {
                let there = found.unwrap().versions[0].revision;
                assert!(there == revision || there == revision + 1, "{there} after {revision}");
                (written.revision, written.unsure) = (there, false);
            }
            match self.store.reserve_usage(self.counted, one, limit).await {
                Ok(grant) => written.granted += grant.messages,
                Err(error) => {
                    self.failed(&error);
                    written.granted_perhaps += 1;
                }
            }
        }
        written
    }

    async fn read(self: Arc<Self>) {
        while !self.ended.load(Ordering::Relaxed) {
            match self.store.key_by_id(self.counted.id).await {
                Ok(found) => {
                    assert_eq!(found.unwrap().id, self.counted.id);
                    self.reads.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Waits until the readers have read on.
    async fn go_on(&self) {
        let before = self.reads.load(Ordering::Relaxed);
        while self.reads.load(Ordering::Relaxed) < before + 50 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What was acknowledged is there, once; what was not is there once or not at all; when the server is back, nothing
/// fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_under_load_loses_and_doubles_nothing() {
    let server = keypod_test_servers::PostgresServer::start();
    let store = Database::on(&server, "restarted").open().await;
    let counted = sample_key("counted", 250);
    store.insert_key(&counted).await.unwrap();
    let load = Arc::new(Load {
        store,
        counted: first(&counted),
        ended: AtomicBool::new(false),
        failures: AtomicU64::new(0),
        reads: AtomicU64::new(0),
    });
    let writers: Vec<_> = (0..8).map(|seed| tokio::spawn(Arc::clone(&load).write(seed))).collect();
    let readers: Vec<_> = (0..4).map(|_| tokio::spawn(Arc::clone(&load).read())).collect();
    for _ in 0..2 {
        load.go_on().await;
        tokio::task::block_in_place(|| server.restart());
        for _ in 0..8 {
            load.store.key_by_id(counted.id).await.unwrap();
        }
    }
    load.go_on().await;
    load.ended.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    let (mut granted, mut granted_perhaps) = (0, 0);
    for writer in writers {
        let written = writer.await.unwrap();
        let stored = load.store.key_by_id(written.key.id).await.unwrap();
        let revision = stored.expect("an acknowledged key is there").versions[0].revision;
        let most = written.revision + u64::from(written.unsure);
        assert!((written.revision..=most).contains(&revision), "{revision}, not {most}");
        granted += written.granted;
        granted_perhaps += written.granted_perhaps;
    }
    let used = load.store.key_by_id(counted.id).await.unwrap().unwrap().versions[0].messages_used;
    assert!((granted..=granted + granted_perhaps).contains(&used), "{granted}: {used}");
    assert!(load.failures.load(Ordering::Relaxed) > 0, "no restart was felt");
}

#[tokio::test]
async fn a_look_is_tried_again_when_its_connection_breaks_and_a_change_is_not() {
    let database = Database::new("broken");
    let settings = database.set_up("keypod").await;
    let settings = PostgresSettings { connections_max: 1, ..settings };
    let store = PostgresStore::open(&settings).await.unwrap();
    store.insert_key(&sample_key("kept", 1)).await.unwrap();
    let cut = "SELECT pg_terminate_backend(pg_backend_pid())";
    for (fails, works) in [(1, true), (2, false)] {
        let looks = AtomicU64::new(0);
        let looked: Result<u64, Fault> = look!(store.connections, connection => async {
            if looks.fetch_add(1, Ordering::Relaxed) < fails {
                sqlx::query(cut).execute(connection).await?;
            }
            Ok::<_, Fault>(looks.load(Ordering::Relaxed))
        });
        assert_eq!(looked.is_ok(), works, "{looked:?}");
        assert_eq!(looks.into_inner(), 2);
    }
    let changes = AtomicU64::new(0);
    let changed: Result<(), Fault> = change!(store.connections, tx => async {
        changes.fetch_add(1, Ordering::Relaxed);
        sqlx::query(cut).execute(tx).await?;
        Ok::<_, Fault>(())
    });
    let changed = store.failed(changed.unwrap_err());
    assert!(matches!(changed, StoreError::Unavailable { .. }), "{changed:?}");
    assert_eq!(changes.into_inner(), 1);
    store.check().await.unwrap();
}

#[tokio::test]
async fn a_change_that_the_server_took_back_is_tried_again() {
    let database = Database::new("taken_back");
    let store = database.open().await;
    let attempts = AtomicU64::new(0);
    let done: Result<u64, Fault> = change!(store.connections, tx => async {
        if attempts.fetch_add(1, Ordering::Relaxed) < 2 {
            sqlx::raw_sql("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$").execute(tx).await?;
        }
        Ok::<_, Fault>(attempts.load(Ordering::Relaxed))
    });
    assert_eq!(done.unwrap(), 3);
}

/// The answer to COMMIT is lost: a trigger that runs at COMMIT ends its own connection, before or after the server has
/// decided.
#[tokio::test]
async fn a_lost_answer_to_commit_is_said_to_be_unknown() {
    let database = Database::new("unanswered");
    let store = database.open().await;
    database.sql(
        "CREATE FUNCTION keypod.cut() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \
         'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'; \
         CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON keypod.keys DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION keypod.cut()",
    );
    let key = sample_key("unknown", 1);
    let lost = store.insert_key(&key).await.unwrap_err();
    assert!(lost.to_string().contains("whole or not at all"), "{lost}");
    assert_eq!(store.key_by_id(key.id).await.unwrap(), None);
    database.sql("DROP TRIGGER cut ON keypod.keys");
    store.insert_key(&key).await.unwrap();
}

#[tokio::test]
async fn a_rotated_password_works_without_a_restart() {
    let server = keypod_test_servers::PostgresServer::start();
    let database = Database::on(&server, "rotated");
    let password = Password::new(PASSWORD);
    let settings = database.set_up("keypod").await;
    let settings = PostgresSettings { password_file: Some(password.path()), ..settings };
    let store = PostgresStore::open(&settings).await.unwrap();
    let mut watch = store.watch();
    assert_eq!(futures_util::StreamExt::next(&mut watch).await, Some(StoreEvent::Resumed));
    store.check().await.unwrap();
    database.sql("ALTER ROLE keypod_sidecar PASSWORD 'canary-of-the-next-month'");
    let cut =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'keypod_sidecar'";
    database.sql(cut);
    let refused = store.check().await.unwrap_err().to_string();
    assert!(refused.contains("password_file") && !refused.contains("canary"), "{refused}");
    password.set("canary-of-the-next-month");
    store.check().await.unwrap();
    let resumed = futures_util::StreamExt::next(&mut watch);
    let resumed = tokio::time::timeout(Duration::from_secs(60), resumed).await.unwrap();
    assert_eq!(resumed, Some(StoreEvent::Resumed));
}

#[tokio::test]
async fn a_server_that_became_read_only_is_told_and_its_connections_are_given_up() {
    let database = Database::new("read_only");
    let store = database.open().await;
    store.check().await.unwrap();
    database.sql(
        "ALTER ROLE keypod_sidecar IN DATABASE read_only SET default_transaction_read_only = on",
    );
    let fresh = PostgresStore::open(&database.settings()).await.unwrap();
    let refused = fresh.check().await.unwrap_err().to_string();
    assert!(refused.contains("primary"), "{refused}");
    assert_eq!(fresh.list_keys().await.unwrap(), []);
    database
        .sql("ALTER ROLE keypod_sidecar IN DATABASE read_only RESET default_transaction_read_only");
    fresh.check().await.unwrap();
}
