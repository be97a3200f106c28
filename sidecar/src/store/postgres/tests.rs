//! What only PostgreSQL must do; over TLS, as the least-privilege role, on a real server. The rest is the conformance
//! suite.

mod errors;
mod outage;
mod roles;
mod told;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use super::testing::{Database, PASSWORD, Password};
use super::*;
use crate::store::conformance::{
    every_store_keeps_the_contract, first, sample_key, sample_version, sample_wrapping,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_keeps_the_contract() {
    let database = Database::new("contract");
    let made = Mutex::new(HashSet::new());
    every_store_keeps_the_contract(async |place| {
        let schema = place.replace('-', "_");
        let is_new = made.lock().unwrap().insert(place);
        let settings = if is_new {
            database.set_up(&schema).await
        } else {
            PostgresSettings { schema, ..database.settings() }
        };
        Arc::new(PostgresStore::open(&settings).await.unwrap()) as Arc<dyn KeyStore>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_sidecars_that_write_at_once_lose_and_double_nothing() {
    let database = Database::new("several");
    let settings = database.set_up("keypod").await;
    let mut stores = Vec::new();
    for _ in 0..6 {
        stores.push(Arc::new(PostgresStore::open(&settings).await.unwrap()));
    }
    let key = sample_key("shared", 1);
    stores[0].insert_key(&key).await.unwrap();
    let limit = Usage { messages: 500, bytes: 5000 };
    let tasks = stores.iter().map(|store| {
        let (store, key) = (Arc::clone(store), first(&key));
        tokio::spawn(async move {
            let (mut changes, mut versions, mut used) = (0, 0, 0);
            for round in 0..30_u8 {
                let stored = store.key_by_id(key.id).await.unwrap().unwrap();
                let revision = stored.version(key.version).unwrap().revision;
                let change = VersionChange::Wrappings(vec![sample_wrapping("local", round)]);
                match store.update_version(key, revision, &change).await {
                    Ok(()) => changes += 1,
                    Err(StoreError::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
                let next = sample_version(stored.primary.number() + 1, round);
                match store.insert_version(key.id, stored.primary, &next).await {
                    Ok(()) => versions += 1,
                    Err(StoreError::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
                let block = Usage { messages: 7, bytes: 1 };
                used += store.reserve_usage(key, block, limit).await.unwrap().messages;
            }
            (changes, versions, used)
        })
    });
    let (mut changes, mut versions, mut used) = (0, 0, 0);
    for task in tasks.collect::<Vec<_>>() {
        let done = task.await.unwrap();
        changes += done.0;
        versions += done.1;
        used += done.2;
    }
    let stored = stores[0].key_by_id(key.id).await.unwrap().unwrap();
    assert_eq!(stored.versions.len(), 1 + versions);
    assert_eq!(stored.primary.number() as usize, 1 + versions);
    assert_eq!((stored.versions[0].revision, stored.versions[0].messages_used), (changes, used));
    assert_eq!(used, 500);
    assert!(changes >= 30 && versions >= 30, "{changes} {versions}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_that_migrate_at_once_one_makes_the_tables() {
    let database = Database::new("migrated");
    let printed = database.roles("keypod");
    assert!(printed.contains("run \"keypod store migrate\" as the owner"), "{printed}");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let owner = database.owner();
            tokio::spawn(async move { PostgresStore::migrate(&owner).await })
        })
        .collect();
    let mut made = Vec::new();
    for task in tasks {
        made.push(task.await.unwrap().unwrap());
    }
    made.sort_by_key(|migrated| migrated.from);
    assert_eq!(made[0], Migrated { from: 0, to: schema::VERSION });
    for later in &made[1..] {
        assert_eq!(*later, Migrated { from: schema::VERSION, to: schema::VERSION });
    }
    database.roles("keypod");
    PostgresStore::open(&database.settings()).await.unwrap();
}

#[tokio::test]
async fn the_admin_alone_may_make_the_schema_and_two_schemas_are_apart() {
    let database = Database::new("schemas");
    let password = Password::new(database.server.admin_password());
    let admin = |schema: &str| PostgresSettings {
        user: database.server.admin_user().to_owned(),
        password_file: Some(password.path()),
        schema: schema.to_owned(),
        ..database.settings()
    };
    for schema in ["one", "2_user"] {
        let migrated = PostgresStore::migrate(&admin(schema)).await.unwrap();
        assert_eq!(migrated, Migrated { from: 0, to: schema::VERSION });
    }
    let one = PostgresStore::open(&admin("one")).await.unwrap();
    let two = PostgresStore::open(&admin("2_user")).await.unwrap();
    one.insert_key(&sample_key("only", 1)).await.unwrap();
    assert_eq!(two.list_keys().await.unwrap(), []);
    assert_eq!(database.sql("SELECT count(*) FROM one._sqlx_migrations"), "1");
}

#[tokio::test]
async fn a_unix_socket_works_without_tls() {
    let database = Database::new("socket");
    let settings = database.set_up("keypod").await;
    let socket = PostgresSettings {
        host: database.server.socket_folder().display().to_string(),
        tls: PostgresTls::Off,
        ca_file: None,
        ..settings
    };
    let store = PostgresStore::open(&socket).await.unwrap();
    store.check().await.unwrap();
    let (kind, place) = (store.kind(), store.place());
    assert!(kind == "postgres" && place.contains("database socket"), "{kind} {place}");
}

#[tokio::test]
async fn a_connection_is_protected_named_and_bounded() {
    let database = Database::new("session");
    let store = database.open().await;
    let mut held = store.connections.acquire().await.unwrap();
    let session: (bool, String, String, String, String) = sqlx::query_as(
        "SELECT ssl, current_setting('application_name'), current_setting('search_path'), \
         current_setting('statement_timeout'), current_setting('lock_timeout') \
         FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    )
    .fetch_one(&mut *held)
    .await
    .unwrap();
    let expected = (true, "keypod", "keypod,pg_temp", "10s", "10s");
    assert_eq!(session.0, expected.0);
    assert_eq!(
        [&*session.1, &session.2, &session.3, &session.4],
        [expected.1, expected.2, expected.3, expected.4]
    );
}

#[tokio::test]
async fn a_destroyed_wrapping_is_gone_from_what_vacuum_leaves() {
    let database = Database::new("destroyed");
    let store = database.open().await;
    let mut key = sample_key("doomed", 1);
    let mark = b"a-mark-that-is-found-nowhere-else".to_vec();
    key.versions[0].wrappings[0].wrapped = crate::secret::WrappedKey::from_bytes(mark.clone());
    store.insert_key(&key).await.unwrap();
    let file = database.sql("CHECKPOINT; SELECT pg_relation_filepath('keypod.wrappings')");
    let contains = |relative: &str| {
        let path = database.server.socket_folder().join("data").join(relative);
        std::fs::read(path).unwrap().windows(mark.len()).any(|run| run == mark)
    };
    assert!(contains(&file), "it was never there");
    store.update_version(first(&key), 0, &VersionChange::Destroy).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM keypod.wrappings"), "0");
    database.sql("VACUUM FULL keypod.wrappings");
    let file = database.sql("CHECKPOINT; SELECT pg_relation_filepath('keypod.wrappings')");
    assert!(!contains(&file), "it is still there");
}
