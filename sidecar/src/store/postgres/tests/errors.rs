//! What an operator is told when something is wrong: the thing, the mend, and never a password.

use super::*;

/// The refusal of an opening, which must be unavailable unless `corrupt`.
async fn refusal(settings: &PostgresSettings, corrupt: bool) -> String {
    let refused = PostgresStore::open(settings).await.unwrap_err();
    assert_eq!(matches!(refused, StoreError::Corrupt { .. }), corrupt, "{refused:?}");
    assert_eq!(matches!(refused, StoreError::Unavailable { .. }), !corrupt, "{refused:?}");
    let told = format!("{refused} {refused:?}");
    assert!(!told.contains("canary") && !told.contains(PASSWORD), "{told}");
    told
}

fn assert_told(told: &str, words: &[&str]) {
    for word in words {
        assert!(told.contains(word), "{word:?} is not in: {told}");
    }
}

#[tokio::test]
async fn each_wrong_setting_is_told_with_its_mend() {
    let database = Database::new("wrong_settings");
    let good = database.set_up("keypod").await;
    let wrong = Password::new("canary-of-a-wrong-password");
    let empty = Password::new("");
    let cases: [(PostgresSettings, &[&str]); 11] = [
        (
            PostgresSettings { password_file: Some(wrong.path()), ..good.clone() },
            &["keypod_sidecar", "password", "password_file"],
        ),
        (PostgresSettings { password_file: None, ..good.clone() }, &["password_file"]),
        (
            PostgresSettings { password_file: Some(empty.path()), ..good.clone() },
            &["password_file", "empty"],
        ),
        (
            PostgresSettings { password_file: Some("/nowhere/at/all".into()), ..good.clone() },
            &["password_file", "/nowhere/at/all"],
        ),
        (
            PostgresSettings { user: "nobody_here".to_owned(), ..good.clone() },
            &["nobody_here", "password"],
        ),
        (
            PostgresSettings { database: "not_there".to_owned(), ..good.clone() },
            &["not_there", "store.postgres.database"],
        ),
        (
            PostgresSettings { ca_file: Some(database.server.other_ca_file()), ..good.clone() },
            &["other-ca.pem", "store.postgres.ca_file"],
        ),
        (
            PostgresSettings { ca_file: None, ..good.clone() },
            &["one of the web's", "store.postgres.ca_file"],
        ),
        (
            PostgresSettings { ca_file: Some(wrong.path()), ..good.clone() },
            &["ca_file", "not certificates"],
        ),
        (
            PostgresSettings {
                host: database.server.host_without_certificate().to_owned(),
                ..good.clone()
            },
            &["127.0.0.2", "store.postgres.host"],
        ),
        (PostgresSettings { port: 1, ..good.clone() }, &["port 1", "cannot be reached"]),
    ];
    for (settings, words) in cases {
        assert_told(&refusal(&settings, false).await, words);
    }
}

#[tokio::test]
async fn missing_older_newer_and_foreign_tables_are_told_apart() {
    let database = Database::new("schema_versions");
    let settings = database.settings();
    database.roles("elsewhere");
    let migrate = "keypod store migrate";
    assert_told(&refusal(&settings, false).await, &["no such schema", migrate]);
    database.sql("CREATE SCHEMA keypod");
    assert_told(
        &refusal(&settings, false).await,
        &["may not use this schema", "keypod store roles"],
    );
    database.sql("GRANT USAGE ON SCHEMA keypod TO keypod_sidecar");
    assert_told(&refusal(&settings, false).await, &["no tables", migrate]);
    database.sql("CREATE TABLE keypod.patients (id int)");
    assert_told(&refusal(&settings, true).await, &["patients", "another program"]);
    database.sql("GRANT USAGE ON SCHEMA keypod TO keypod_owner");
    let foreign = PostgresStore::migrate(&database.owner()).await.unwrap_err();
    assert!(matches!(foreign, StoreError::Corrupt { .. }), "{foreign}");
    assert_eq!(
        database.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'keypod'::regnamespace"),
        "1"
    );
    database.sql("DROP SCHEMA keypod CASCADE");

    // Made, and no rights granted on it yet.
    database.roles("keypod");
    PostgresStore::migrate(&database.owner()).await.unwrap();
    assert_told(&refusal(&settings, false).await, &["_sqlx_migrations", "keypod store roles"]);
    database.roles("keypod");
    PostgresStore::open(&settings).await.unwrap().close().await;

    database.sql(
        "INSERT INTO keypod._sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'later', true, 'x', 0)",
    );
    assert_told(&refusal(&settings, false).await, &["older than the database", "99"]);
    let newer = PostgresStore::migrate(&database.owner()).await.unwrap_err().to_string();
    assert_told(&newer, &["older than the database"]);
    database.sql("DELETE FROM keypod._sqlx_migrations WHERE version = 99");

    database.sql("ALTER TABLE keypod.approvals RENAME TO gone");
    assert_told(&refusal(&settings, true).await, &["approvals", "backup"]);
    database.sql("ALTER TABLE keypod.gone RENAME TO approvals");

    database.sql("UPDATE keypod._sqlx_migrations SET checksum = 'another program''s'");
    assert_told(&refusal(&settings, true).await, &["another program", "store.postgres.schema"]);
}

#[tokio::test]
async fn a_server_without_tls_gets_no_password() {
    let server = keypod_test_servers::PostgresServer::start();
    let database = Database::on(&server, "no_tls");
    database.sql("ALTER SYSTEM SET ssl = off");
    server.restart();
    let told = refusal(&database.settings(), false).await;
    assert_told(&told, &["no TLS", "ssl = on"]);
}

#[tokio::test]
async fn hand_edited_rows_are_named_and_hide_no_other() {
    let database = Database::new("edited");
    let store = database.open().await;
    let drop_checks = "DO $$ DECLARE c record; BEGIN FOR c IN SELECT conname, conrelid::regclass AS t \
         FROM pg_constraint WHERE connamespace = 'keypod'::regnamespace AND contype IN ('c', 'f') \
         LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname); END LOOP; END $$";
    for (sql, named) in [
        ("UPDATE versions SET state = 'Enabled'", "state of version 1"),
        ("UPDATE versions SET revision = -1", "revision of version 1"),
        ("UPDATE versions SET messages_used = -5", "messages_used"),
        ("UPDATE versions SET version = 0", "version"),
        ("UPDATE wrappings SET wrapped = ''", "wrapped of version 1"),
        ("UPDATE wrappings SET root = '' WHERE position = 0", "root"),
        ("UPDATE keys SET name = 'Not A Name'", "name"),
        ("UPDATE keys SET primary_version = 2", "primary version 2"),
        ("UPDATE keys SET id = '\\x00'", "id of the key key-0"),
        ("DELETE FROM versions", "primary version 1"),
    ] {
        database.sql(
            "DELETE FROM keypod.wrappings; DELETE FROM keypod.versions; DELETE FROM keypod.keys",
        );
        let key = sample_key("key-0", 0);
        store.insert_key(&key).await.unwrap();
        if named.starts_with("state") {
            let kept = store.update_version(first(&key), 0, &VersionChange::CancelDestroy).await;
            kept.unwrap();
            let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                database.sql(&format!("SET search_path = keypod; {sql}"));
            }));
            assert!(refused.is_err(), "the tables take a state that is none");
            database.sql(drop_checks);
        }
        database.sql(&format!("SET search_path = keypod; {sql}"));
        let found = store.key_by_name(&key.name).await;
        let found = found.and(store.key_by_id(key.id).await);
        // Its id or name may be no longer what is asked for.
        if let Err(found) = found {
            assert!(matches!(found, StoreError::Corrupt { .. }), "{sql}: {found:?}");
            assert_told(&found.to_string(), &[named, "restore it from a backup"]);
        }
        let sound = sample_key("sound", 77);
        store.insert_key(&sound).await.unwrap();
        assert_eq!(store.list_keys().await.unwrap(), [sound], "{sql}");
        let damaged = store.damaged_keys().await.unwrap();
        assert!(damaged.len() == 1 && damaged[0].contains(named), "{sql}: {damaged:?}");
    }
}

#[tokio::test]
async fn nothing_of_the_password_is_in_any_message() {
    let database = Database::new("no_password");
    let store = database.open().await;
    let texts =
        format!("{store:?} {:?} {} {}", store.connections.settings, store.place(), store.kind());
    assert!(!texts.contains("canary"), "{texts}");
    store.close().await;
    let closed = store.check().await.unwrap_err();
    assert!(!format!("{closed} {closed:?}").contains("canary"), "{closed}");
    // What a statement was about is in PostgreSQL's details, which are not passed on.
    let invalid = PostgresStore::open(&database.settings()).await.unwrap();
    let key = sample_key("named", 1);
    invalid.insert_key(&key).await.unwrap();
    let again = invalid.insert_key(&key).await.unwrap_err();
    assert!(!format!("{again} {again:?}").contains("named"), "{again:?}");
}

#[tokio::test]
async fn a_row_that_another_session_holds_is_told_within_the_time() {
    let database = Database::new("locked");
    let settings = database.set_up("keypod").await;
    let settings = PostgresSettings { connections_max: 1, ..settings };
    let store = PostgresStore::open(&settings).await.unwrap();
    let impatient = sqlx::query("SET lock_timeout = '100ms'");
    impatient.execute(&mut *store.connections.acquire().await.unwrap()).await.unwrap();
    let key = sample_key("held", 1);
    store.insert_key(&key).await.unwrap();
    let other = PostgresStore::open(&database.settings()).await.unwrap();
    let mut held = other.connections.acquire().await.unwrap();
    let mut tx = held.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM versions FOR UPDATE").execute(&mut *tx).await.unwrap();
    let state = VersionChange::State(crate::store::VersionState::Disabled);
    let late = store.update_version(first(&key), 0, &state).await.unwrap_err();
    assert!(
        matches!(&late, StoreError::Unavailable { reason } if reason.contains("locked")),
        "{late}"
    );
    assert_eq!(store.list_keys().await.unwrap().len(), 1);
    tx.rollback().await.unwrap();
    store.update_version(first(&key), 0, &state).await.unwrap();
}
