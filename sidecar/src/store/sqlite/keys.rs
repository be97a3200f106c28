//! Writes keys and versions; reads them.
//!
//! Depends on [`crate::store::rows`] and [`crate::store::rules`]. Each function that writes runs inside a transaction
//! that holds the write lock from its
//! start (`BEGIN IMMEDIATE`), so what it reads is still so when it writes; the transaction is the caller's.

use sqlx::{SqliteConnection, SqlitePool};

use super::scrub;
use crate::names::{KeyId, KeyName, KeyRef, KeyVersion};
use crate::store::fault::Fault;
use crate::store::rows::{self, Damaged, KeyRow, StateRow, one_key, select_keys};
use crate::store::rules::{self, to_column};
use crate::store::{KeyRecord, StoreError, VersionChange, VersionRecord, VersionState, Wrapping};

pub(super) async fn by_name(pool: &SqlitePool, name: &KeyName) -> Result<Option<KeyRecord>, Fault> {
    let query = sqlx::query_as(select_keys!("WHERE k.name = ?1")).bind(name.as_str());
    Ok(one_key(&query.fetch_all(pool).await?)?)
}

pub(super) async fn by_id(pool: &SqlitePool, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    let query = sqlx::query_as(select_keys!("WHERE k.id = ?1")).bind(id.as_bytes().as_slice());
    Ok(one_key(&query.fetch_all(pool).await?)?)
}

/// All keys, each for itself: one bad row must not take the others out of sight.
pub(super) async fn list(pool: &SqlitePool) -> Result<Vec<Result<KeyRecord, Damaged>>, Fault> {
    let rows: Vec<KeyRow> = sqlx::query_as(select_keys!("")).fetch_all(pool).await?;
    Ok(rows::keys(&rows).collect())
}

pub(super) async fn insert(tx: &mut SqliteConnection, key: &KeyRecord) -> Result<(), Fault> {
    rules::key(key)?;
    let period = key.settings.rotation_period_s;
    sqlx::query(
        "INSERT INTO keys (id, name, created_at, rotation_period_s, messages_max, bytes_max, primary_version) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(key.id.as_bytes().as_slice())
    .bind(key.name.as_str())
    .bind(to_column(key.created_at.0, "created_at is too large")?)
    .bind(period.map(|period| to_column(period, "rotation_period_s is too large")).transpose()?)
    .bind(to_column(key.settings.messages_max, "messages_max is too large")?)
    .bind(to_column(key.settings.bytes_max, "bytes_max is too large")?)
    .bind(key.primary.number())
    .execute(&mut *tx)
    .await?;
    for version in &key.versions {
        insert_row(tx, KeyRef { id: key.id, version: version.version }, version).await?;
    }
    Ok(())
}

pub(super) async fn insert_version(
    tx: &mut SqliteConnection,
    key: KeyId,
    expected_primary: KeyVersion,
    version: &VersionRecord,
) -> Result<(), Fault> {
    rules::next_version(expected_primary, version)?;
    let moved =
        sqlx::query("UPDATE keys SET primary_version = ?1 WHERE id = ?2 AND primary_version = ?3")
            .bind(version.version.number())
            .bind(key.as_bytes().as_slice())
            .bind(expected_primary.number())
            .execute(&mut *tx)
            .await?;
    if moved.rows_affected() == 0 {
        let there: Option<i64> = sqlx::query_scalar("SELECT 1 FROM keys WHERE id = ?1")
            .bind(key.as_bytes().as_slice())
            .fetch_optional(&mut *tx)
            .await?;
        let answer = if there.is_some() { StoreError::Conflict } else { StoreError::Missing };
        return Err(answer.into());
    }
    insert_row(tx, KeyRef { id: key, version: version.version }, version).await
}

async fn insert_row(
    tx: &mut SqliteConnection,
    key: KeyRef,
    version: &VersionRecord,
) -> Result<(), Fault> {
    rules::version(version)?;
    let destroy_at = version.destroy_at;
    sqlx::query(
        "INSERT INTO versions \
         (key_id, version, state, created_at, destroy_at, messages_used, bytes_used, revision) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(key.id.as_bytes().as_slice())
    .bind(key.version.number())
    .bind(version.state.as_str())
    .bind(to_column(version.created_at.0, "created_at is too large")?)
    .bind(destroy_at.map(|at| to_column(at.0, "destroy_at is too large")).transpose()?)
    .bind(to_column(version.messages_used, "messages_used is too large")?)
    .bind(to_column(version.bytes_used, "bytes_used is too large")?)
    .bind(to_column(version.revision, "revision is too large")?)
    .execute(&mut *tx)
    .await?;
    insert_wrappings(tx, key, &version.wrappings).await
}

async fn insert_wrappings(
    tx: &mut SqliteConnection,
    key: KeyRef,
    wrappings: &[Wrapping],
) -> Result<(), Fault> {
    for (position, wrapping) in (0_i64..).zip(wrappings) {
        sqlx::query(
            "INSERT INTO wrappings (key_id, version, position, root, wrapped) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(key.id.as_bytes().as_slice())
        .bind(key.version.number())
        .bind(position)
        .bind(wrapping.root.as_str())
        .bind(wrapping.wrapped.as_bytes())
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

pub(super) async fn update_version(
    tx: &mut SqliteConnection,
    key: KeyRef,
    expected_revision: u64,
    change: &VersionChange,
) -> Result<(), Fault> {
    let (id, number) = (key.id.as_bytes().as_slice(), key.version.number());
    let row: StateRow = sqlx::query_as(
        "SELECT state, destroy_at, revision FROM versions WHERE key_id = ?1 AND version = ?2",
    )
    .bind(id)
    .bind(number)
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(StoreError::Missing)?;
    let (state, destroy_at, revision) = row.read()?;
    if revision != expected_revision || state == VersionState::Destroyed {
        return Err(StoreError::Conflict.into());
    }
    let (state, destroy_at) = rules::after(change, state, destroy_at)?;
    sqlx::query(
        "UPDATE versions SET state = ?3, destroy_at = ?4, revision = revision + 1 \
         WHERE key_id = ?1 AND version = ?2",
    )
    .bind(id)
    .bind(number)
    .bind(state.as_str())
    .bind(destroy_at.map(|at| to_column(at.0, "destroy_at is too large")).transpose()?)
    .execute(&mut *tx)
    .await?;
    match change {
        VersionChange::Destroy => replace_wrappings(tx, key, &[]).await,
        VersionChange::Wrappings(wrappings) => replace_wrappings(tx, key, wrappings).await,
        _ => Ok(()),
    }
}

/// Deletes the version's wrappings, notes that their bytes are to be scrubbed, and inserts `wrappings`.
async fn replace_wrappings(
    tx: &mut SqliteConnection,
    key: KeyRef,
    wrappings: &[Wrapping],
) -> Result<(), Fault> {
    sqlx::query("DELETE FROM wrappings WHERE key_id = ?1 AND version = ?2")
        .bind(key.id.as_bytes().as_slice())
        .bind(key.version.number())
        .execute(&mut *tx)
        .await?;
    scrub::mark_due(tx).await?;
    insert_wrappings(tx, key, wrappings).await
}
