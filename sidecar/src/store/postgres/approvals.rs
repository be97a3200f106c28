//! Keeps the requests that wait for a second person.
//!
//! Depends on [`crate::store::rows`] and [`crate::store::rules`]. Each function that writes runs inside the caller's
//! transaction. Of two that replace one expired request at once, the unique columns let one through.

use sqlx::PgConnection;

use crate::clock::UnixSeconds;
use crate::store::Approval;
use crate::store::fault::Fault;
use crate::store::rows::ApprovalRow;
use crate::store::rules::{self, saturated, to_column};

pub(super) async fn insert(
    tx: &mut PgConnection,
    approval: &Approval,
    now: UnixSeconds,
) -> Result<(), Fault> {
    rules::approval(approval)?;
    let id = approval.key.id.as_bytes().as_slice();
    let version = i64::from(approval.key.version.number());
    // Only this version's: a clock that is ahead for a moment must not sweep away everybody's.
    sqlx::query("DELETE FROM approvals WHERE key_id = $1 AND version = $2 AND expires_at <= $3")
        .bind(id)
        .bind(version)
        .bind(saturated(now))
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO approvals (id, key_id, version, requested_by, requested_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(approval.id.as_str())
    .bind(id)
    .bind(version)
    .bind(approval.requested_by.as_str())
    .bind(to_column(approval.requested_at.0, "requested_at is too large")?)
    .bind(to_column(approval.expires_at.0, "expires_at is too large")?)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn list(
    connection: &mut PgConnection,
    now: UnixSeconds,
) -> Result<Vec<Approval>, Fault> {
    let rows: Vec<ApprovalRow> =
        sqlx::query_as("SELECT * FROM approvals WHERE expires_at > $1 ORDER BY requested_at, id")
            .bind(saturated(now))
            .fetch_all(connection)
            .await?;
    rows.iter().map(|row| Ok(row.read()?)).collect()
}

pub(super) async fn take(tx: &mut PgConnection, id: &str) -> Result<Option<Approval>, Fault> {
    let row: Option<ApprovalRow> =
        sqlx::query_as("DELETE FROM approvals WHERE id = $1 RETURNING *")
            .bind(id)
            .fetch_optional(tx)
            .await?;
    Ok(row.map(|row| row.read()).transpose()?)
}
