//! Hands out and takes back use of a version.
//!
//! Depends on [`crate::store::rules`] for what is granted. Runs inside the caller's transaction and locks the version's
//! row before it looks at it, so nobody counts between its look and its write.

use sqlx::PgConnection;

use crate::names::KeyRef;
use crate::store::fault::Fault;
use crate::store::rows::UsageRow;
use crate::store::rules::{self, to_column};
use crate::store::{StoreError, Usage};

/// Adds what is granted of `block` and returns it; writes nothing if that is nothing.
pub(super) async fn reserve(
    tx: &mut PgConnection,
    key: KeyRef,
    block: Usage,
    limit: Usage,
) -> Result<Usage, Fault> {
    let used = used(tx, key).await?;
    let granted = rules::grant(used, block, limit);
    if granted != (Usage { messages: 0, bytes: 0 }) {
        let now_used = Usage {
            messages: used.messages.saturating_add(granted.messages),
            bytes: used.bytes.saturating_add(granted.bytes),
        };
        set(tx, key, now_used).await?;
    }
    Ok(granted)
}

/// Takes `unused` off again.
pub(super) async fn give_back(
    tx: &mut PgConnection,
    key: KeyRef,
    unused: Usage,
) -> Result<(), Fault> {
    let used = used(tx, key).await?;
    let still_used = Usage {
        messages: used.messages.saturating_sub(unused.messages),
        bytes: used.bytes.saturating_sub(unused.bytes),
    };
    set(tx, key, still_used).await
}

async fn used(tx: &mut PgConnection, key: KeyRef) -> Result<Usage, Fault> {
    let row: UsageRow = sqlx::query_as(
        "SELECT messages_used, bytes_used FROM versions WHERE key_id = $1 AND version = $2 \
         FOR NO KEY UPDATE",
    )
    .bind(key.id.as_bytes().as_slice())
    .bind(i64::from(key.version.number()))
    .fetch_optional(tx)
    .await?
    .ok_or(StoreError::Missing)?;
    Ok(row.read()?)
}

async fn set(tx: &mut PgConnection, key: KeyRef, used: Usage) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE versions SET messages_used = $3, bytes_used = $4 WHERE key_id = $1 AND version = $2",
    )
    .bind(key.id.as_bytes().as_slice())
    .bind(i64::from(key.version.number()))
    .bind(to_column(used.messages, "messages_used is too large")?)
    .bind(to_column(used.bytes, "bytes_used is too large")?)
    .execute(tx)
    .await?;
    Ok(())
}
