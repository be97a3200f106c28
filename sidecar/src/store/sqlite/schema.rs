//! Creates, verifies, upgrades and connects to a database.
//!
//! Depends on `file.rs` and on the migrations in `migrations/sqlite`. A database is verified over a read-only
//! connection before anything opens it for writing; the version it is at is `user_version`, which each migration
//! sets. Invariants: a damaged, foreign or newer database is never changed (the tests `*_is_refused_*`).

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use super::error::{damaged, foreign, unavailable};
use super::file;
use crate::store::StoreError;
use crate::store::fault::Fault;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// The version that the migrations lead to.
pub(super) const VERSION: i64 = 1;

/// Everything that the newest version has, but SQLite's own indexes.
const TABLES: [&str; 6] =
    ["_sqlx_migrations", "approvals", "health", "keys", "versions", "wrappings"];

/// How long a connection waits for a lock that another program holds, and a caller for a connection.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Connections that read. Reads are short and rare (one key on a cache miss), so few will do.
const READERS_MAX: u32 = 2;

fn options(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(WAIT_MAX)
        // What a trigger or view planted in the file could call is limited to the harmless.
        .pragma("trusted_schema", "OFF")
        // A read-only root file system has no folder for temporary files; VACUUM needs one.
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(WAIT_MAX)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // SQLite ends a transaction by itself when the disk is full, but sqlx goes on counting it as open, and
        // every later BEGIN on that connection would fail: such a connection is closed and made anew. The ping
        // waits for a rollback that is still under way
        // (`a_full_disk_is_unavailable_and_the_store_recovers`).
        .after_release(|connection, _| {
            Box::pin(async move {
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
}

/// The one connection that writes.
pub(super) async fn writer(database: &Path) -> Result<SqlitePool, StoreError> {
    let options = options(database)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("secure_delete", "ON")
        .pragma("journal_size_limit", "1048576");
    pool(1).connect_with(options).await.map_err(|error| Fault::from(error).at(database))
}

/// The connections that read, opened when they are needed.
pub(super) fn readers(database: &Path) -> SqlitePool {
    pool(READERS_MAX).connect_lazy_with(options(database).read_only(true))
}

/// Makes a database without keys at the newest version.
pub(super) async fn create(database: &Path) -> Result<(), StoreError> {
    let new = file::start_new(database)?;
    // Nothing to protect until it has its name: no journal, no flush but the one in `publish`.
    let options =
        options(&new).journal_mode(SqliteJournalMode::Memory).synchronous(SqliteSynchronous::Off);
    let build = async {
        let mut connection = options.connect().await?;
        MIGRATIONS.run(&mut connection).await.map_err(sqlx::Error::from)?;
        sqlx::query("PRAGMA journal_mode = WAL").execute(&mut connection).await?;
        connection.close().await
    };
    build.await.map_err(|error| Fault::from(error).at(&new))?;
    file::publish(&new, database)
}

/// Whether the database is whole, Keypod's and not from the future.
pub(super) async fn verify(database: &Path) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| Fault::from(error).at(database);
    let mut connection = options(database).read_only(true).connect().await.map_err(failed)?;
    let version = version(&mut connection).await.map_err(failed)?;
    if version > VERSION {
        return Err(unavailable(
            database,
            format_args!(
                "written by a newer Keypod (schema {version}, this one knows {VERSION}): run that version, or restore a backup from before the upgrade"
            ),
        ));
    }
    let objects: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .fetch_all(&mut connection)
    .await
    .map_err(failed)?;
    if let Some(stranger) = objects.iter().find(|name| !TABLES.contains(&name.as_str())) {
        return Err(foreign(
            database,
            format_args!(
                "holds {stranger:?}, which Keypod did not make: find out who has written to the file, then drop it or restore a backup"
            ),
        ));
    }
    if version == VERSION && objects.len() < TABLES.len() {
        return Err(damaged(database, "some of Keypod's tables are gone"));
    }
    let finding: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    if finding != "ok" {
        // SQLite's finding has several lines; a message has one.
        let finding = finding.replace('\n', " ");
        return Err(damaged(database, &format!("SQLite finds the file damaged ({finding})")));
    }
    connection.close().await.map_err(failed)
}

/// Brings a verified database to the newest version, if it is behind.
pub(super) async fn upgrade(writer: &SqlitePool, database: &Path) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| Fault::from(error).at(database);
    let mut connection = writer.acquire().await.map_err(failed)?;
    let found = version(&mut connection).await.map_err(failed)?;
    if found < VERSION {
        MIGRATIONS.run(&mut *connection).await.map_err(|error| failed(error.into()))?;
        tracing::info!(path = %database.display(), from = found, to = VERSION, "schema upgraded");
    }
    Ok(())
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA user_version").fetch_one(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_lead_to_the_version() {
        assert_eq!(MIGRATIONS.iter().map(|migration| migration.version).max(), Some(VERSION));
    }
}
