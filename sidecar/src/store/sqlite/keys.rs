//! Writes keys and versions; reads them.
//!
//! Depends on `rows.rs`. Each function that writes runs inside a transaction that holds the write lock from its
//! start (`BEGIN IMMEDIATE`), so what it reads is still so when it writes; the transaction is the caller's.

use sqlx::{SqliteConnection, SqlitePool};

use super::error::Fault;
use super::rows::{Columns, keys, of_one_key, select_keys, to_column};
use super::scrub;
use crate::names::{KeyId, KeyName, KeyRef, KeyVersion};
use crate::store::{KeyRecord, StoreError, VersionChange, VersionRecord, VersionState, Wrapping};

pub(super) async fn by_name(pool: &SqlitePool, name: &KeyName) -> Result<Option<KeyRecord>, Fault> {
    let query = sqlx::query(select_keys!("WHERE k.name = ?1")).bind(name.as_str());
    Ok(keys(&query.fetch_all(pool).await?)?.pop())
}

pub(super) async fn by_id(pool: &SqlitePool, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    let query = sqlx::query(select_keys!("WHERE k.id = ?1")).bind(id.as_bytes().as_slice());
    Ok(keys(&query.fetch_all(pool).await?)?.pop())
}

/// All keys but those whose rows are damaged: one bad row must not take the others out of sight.
pub(super) async fn list(pool: &SqlitePool) -> Result<Vec<KeyRecord>, Fault> {
    let rows = sqlx::query(select_keys!("")).fetch_all(pool).await?;
    let mut listed = Vec::new();
    for rows_of_one in rows.chunk_by(of_one_key) {
        match keys(rows_of_one) {
            Ok(mut key) => listed.append(&mut key),
            Err(Fault::Damaged(what)) => {
                tracing::error!(
                    what,
                    "a damaged key is left out of the list: restore the file from a backup"
                );
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(listed)
}

pub(super) async fn insert(tx: &mut SqliteConnection, key: &KeyRecord) -> Result<(), Fault> {
    let numbers = || key.versions.iter().map(|version| version.version);
    if numbers().next_back() != Some(key.primary) || !numbers().is_sorted_by(|a, b| a < b) {
        let what = "a key's versions ascend and end with its primary one";
        return Err(StoreError::Invalid { what }.into());
    }
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
    if expected_primary.next() != Some(version.version) {
        let what = "a new version is numbered one above the primary one";
        return Err(StoreError::Invalid { what }.into());
    }
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
    if version.wrappings.is_empty() != (version.state == VersionState::Destroyed) {
        let what = "a version has wrappings exactly if it is not destroyed";
        return Err(StoreError::Invalid { what }.into());
    }
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
        let root = &wrapping.root;
        if wrappings.iter().filter(|other| other.root == *root).count() > 1 {
            let what = "a version has one wrapping under each root";
            return Err(StoreError::Invalid { what }.into());
        }
        sqlx::query(
            "INSERT INTO wrappings (key_id, version, position, root, wrapped) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(key.id.as_bytes().as_slice())
        .bind(key.version.number())
        .bind(position)
        .bind(root.as_str())
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
    let row = sqlx::query(
        "SELECT state, destroy_at, revision FROM versions WHERE key_id = ?1 AND version = ?2",
    )
    .bind(id)
    .bind(number)
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(StoreError::Missing)?;
    let columns = Columns::new(&row, "a version");
    let (state, destroy_at) = (columns.state("state")?, columns.time_or_null("destroy_at")?);
    if columns.number("revision")? != expected_revision || state == VersionState::Destroyed {
        return Err(StoreError::Conflict.into());
    }
    let (state, destroy_at) = match change {
        VersionChange::State(VersionState::Destroyed) => {
            let what = "a version is destroyed by VersionChange::Destroy only";
            return Err(StoreError::Invalid { what }.into());
        }
        VersionChange::State(state) => (*state, destroy_at),
        VersionChange::ScheduleDestroy(at) => (VersionState::Disabled, Some(*at)),
        VersionChange::CancelDestroy => (state, None),
        VersionChange::Destroy => (VersionState::Destroyed, None),
        VersionChange::Wrappings(_) => (state, destroy_at),
    };
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
        VersionChange::Wrappings(wrappings) if wrappings.is_empty() => {
            let what = "a version that is not destroyed keeps at least one wrapping";
            Err(StoreError::Invalid { what }.into())
        }
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
