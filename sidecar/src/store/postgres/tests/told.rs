//! What a watch tells, and what it does not.

use futures_util::StreamExt;

use super::*;
use crate::store::VersionState;

const PATIENCE: Duration = Duration::from_secs(60);

async fn next(watch: &mut BoxStream<'static, StoreEvent>) -> StoreEvent {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("told in time").expect("open")
}

/// Every event up to one of `mark`, a key that is changed to see that nothing else is to come.
async fn until(watch: &mut BoxStream<'static, StoreEvent>, mark: KeyId) -> Vec<StoreEvent> {
    let mut events = Vec::new();
    loop {
        match next(watch).await {
            StoreEvent::Changed(key) if key == mark => return events,
            event => events.push(event),
        }
    }
}

fn mark() -> KeyRecord {
    sample_key("mark", 0xee)
}

/// Makes the mark's event.
async fn flip(store: &PostgresStore) {
    let key = mark();
    let revision = store.key_by_id(key.id).await.unwrap().unwrap().versions[0].revision;
    store.update_version(first(&key), revision, &VersionChange::CancelDestroy).await.unwrap();
}

#[tokio::test]
async fn every_change_by_another_sidecar_or_by_hand_is_told() {
    let database = Database::new("told");
    let (store, key) = (database.open().await, sample_key("watched", 0xab));
    let other = PostgresStore::open(&database.settings()).await.unwrap();
    other.insert_key(&mark()).await.unwrap();
    let mut watch = store.watch();
    assert_eq!(next(&mut watch).await, StoreEvent::Resumed);
    let told = [StoreEvent::Changed(key.id)];

    other.insert_key(&key).await.unwrap();
    flip(&other).await;
    assert_eq!(until(&mut watch, mark().id).await, told, "insert");
    other.insert_version(key.id, KeyVersion::FIRST, &sample_version(2, 1)).await.unwrap();
    flip(&other).await;
    assert_eq!(until(&mut watch, mark().id).await, told, "version");
    for (revision, change) in (0..).zip([
        VersionChange::State(VersionState::DecryptOnly),
        VersionChange::ScheduleDestroy(UnixSeconds(2_000_000_000)),
        VersionChange::CancelDestroy,
        VersionChange::Wrappings(vec![sample_wrapping("new", 1)]),
        VersionChange::Destroy,
    ]) {
        other.update_version(first(&key), revision, &change).await.unwrap();
        flip(&other).await;
        assert_eq!(until(&mut watch, mark().id).await, told, "{change:?}");
    }
    let id = "'\\xabababababababab'";
    for sql in [
        format!("UPDATE keypod.keys SET messages_max = 5 WHERE id = {id}"),
        format!("UPDATE keypod.versions SET destroy_at = 7 WHERE key_id = {id} AND version = 2"),
        format!(
            "UPDATE keypod.versions SET state = 'disabled' WHERE key_id = {id} AND version = 2"
        ),
        format!("UPDATE keypod.wrappings SET wrapped = 'x' WHERE key_id = {id} AND position = 0"),
        format!("DELETE FROM keypod.wrappings WHERE key_id = {id}"),
        format!("DELETE FROM keypod.versions WHERE key_id = {id}"),
        format!("DELETE FROM keypod.keys WHERE id = {id}"),
    ] {
        database.sql(&sql);
        flip(&other).await;
        let events = until(&mut watch, mark().id).await;
        assert!(
            !events.is_empty() && events.iter().all(|event| *event == told[0]),
            "{sql}: {events:?}"
        );
    }
    database.sql("TRUNCATE keypod.wrappings");
    assert_eq!(next(&mut watch).await, StoreEvent::Resumed);
}

#[tokio::test]
async fn usage_makes_no_event() {
    let database = Database::new("untold");
    let (store, key) = (database.open().await, sample_key("used", 1));
    for key in [&key, &mark()] {
        store.insert_key(key).await.unwrap();
    }
    let mut watch = store.watch();
    assert_eq!(next(&mut watch).await, StoreEvent::Resumed);
    let block = Usage { messages: 2, bytes: 2 };
    let limit = Usage { messages: 100, bytes: 100 };
    for _ in 0..5 {
        store.reserve_usage(first(&key), block, limit).await.unwrap();
        store.return_usage(first(&key), Usage { messages: 1, bytes: 1 }).await.unwrap();
        store.check().await.unwrap();
    }
    flip(&store).await;
    assert_eq!(until(&mut watch, mark().id).await, []);
}

#[tokio::test]
async fn another_schema_is_not_heard_and_nonsense_means_look_at_everything() {
    let database = Database::new("channels");
    let store = database.open().await;
    let neighbour = PostgresStore::open(&database.set_up("neighbour").await).await.unwrap();
    store.insert_key(&mark()).await.unwrap();
    let mut watch = store.watch();
    assert_eq!(next(&mut watch).await, StoreEvent::Resumed);
    neighbour.insert_key(&sample_key("elsewhere", 5)).await.unwrap();
    flip(&store).await;
    assert_eq!(until(&mut watch, mark().id).await, []);

    let channel = database
        .sql("SELECT 'keypod_' || left(encode(sha256(convert_to('keypod', 'UTF8')), 'hex'), 32)");
    for nonsense in ["", "zz", "ABABABABABABABAB", "abababababababab "] {
        database.sql(&format!("SELECT pg_notify('{channel}', '{nonsense}')"));
        assert_eq!(next(&mut watch).await, StoreEvent::Resumed, "{nonsense:?}");
    }
}

#[tokio::test]
async fn a_watch_ends_when_its_store_is_closed() {
    let database = Database::new("closed_watch");
    let store = database.open().await;
    let mut watch = store.watch();
    assert_eq!(next(&mut watch).await, StoreEvent::Resumed);
    let ended = tokio::spawn(async move { watch.next().await });
    store.close().await;
    assert_eq!(tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap(), None);
    let mut late = store.watch();
    assert_eq!(tokio::time::timeout(PATIENCE, late.next()).await.unwrap(), None);
}

#[tokio::test]
async fn a_watch_resumes_after_a_restart_and_sees_what_comes_then() {
    let server = keypod_test_servers::PostgresServer::start();
    let database = Database::on(&server, "resumed");
    let store = database.open().await;
    store.insert_key(&mark()).await.unwrap();
    let mut watch = store.watch();
    assert_eq!(next(&mut watch).await, StoreEvent::Resumed);
    for stopped_for in [Duration::ZERO, Duration::from_millis(300)] {
        server.stop();
        tokio::time::sleep(stopped_for).await;
        server.start_again();
        assert_eq!(next(&mut watch).await, StoreEvent::Resumed);
        flip(&store).await;
        assert_eq!(until(&mut watch, mark().id).await, []);
    }
    // Only its own connection is cut, as a proxy or an operator may.
    server.sql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'",
    );
    assert_eq!(next(&mut watch).await, StoreEvent::Resumed);
}
