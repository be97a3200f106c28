//! Makes deleted wrappings illegible in the files that SQLite keeps.
//!
//! Depends on the writer's connection alone. `secure_delete` overwrites a deleted row where it stood last, but
//! not the copies that stay behind when a page is split or joined, nor the frames of the write-ahead log. So the
//! transaction that deletes sets a mark; then VACUUM writes the file anew, and a truncating checkpoint empties
//! the log; then the mark is taken off. A process killed in between finds the mark at its next start.
//! Invariant: `nothing_of_a_destroyed_wrapping_stays_in_the_files`.

use sqlx::pool::PoolConnection;
use sqlx::{Row, Sqlite, SqliteConnection};

use crate::store::StoreError;
use crate::store::fault::Fault;

/// Notes, in the transaction that deletes, that there is something to scrub.
pub(super) async fn mark_due(tx: &mut SqliteConnection) -> Result<(), Fault> {
    sqlx::query("UPDATE health SET scrub_due = 1").execute(tx).await?;
    Ok(())
}

/// Whether there is something to scrub.
pub(super) async fn is_due(connection: &mut SqliteConnection) -> Result<bool, Fault> {
    let due: Option<bool> =
        sqlx::query_scalar("SELECT scrub_due FROM health").fetch_optional(connection).await?;
    due.ok_or_else(|| Fault::Damaged("the table health has no row".to_owned()))
}

/// Scrubs. Holds the one connection that writes throughout, so that no deletion comes between and loses its
/// mark.
pub(super) async fn run(connection: &mut PoolConnection<Sqlite>) -> Result<(), Fault> {
    sqlx::query("VACUUM").execute(&mut **connection).await?;
    empty_log(connection).await?;
    sqlx::query("UPDATE health SET scrub_due = 0").execute(&mut **connection).await?;
    Ok(())
}

/// Moves the write-ahead log into the database and truncates it.
pub(super) async fn empty_log(connection: &mut SqliteConnection) -> Result<(), Fault> {
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await?;
    if row.try_get::<i64, _>(0)? == 0 {
        return Ok(());
    }
    let reason = "another program reads the key store and so keeps its log: end that program";
    Err(StoreError::Unavailable { reason: reason.to_owned() }.into())
}
