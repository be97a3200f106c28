//! Hands out and takes back use of a version.
//!
//! Depends on `rows.rs`. Runs inside a transaction that holds the write lock from its start, so nobody counts
//! between its look and its write.

use sqlx::SqliteConnection;

use super::error::Fault;
use super::rows::{Columns, to_column};
use crate::names::KeyRef;
use crate::store::{StoreError, Usage};

/// Adds what is granted of `block` and returns it; writes nothing if that is nothing.
pub(super) async fn reserve(
    tx: &mut SqliteConnection,
    key: KeyRef,
    block: Usage,
    limit: Usage,
) -> Result<Usage, Fault> {
    let used = used(tx, key).await?;
    let granted = Usage {
        messages: grant(used.messages, block.messages, limit.messages),
        bytes: grant(used.bytes, block.bytes, limit.bytes),
    };
    if granted != (Usage { messages: 0, bytes: 0 }) {
        let now_used = Usage {
            messages: used.messages.saturating_add(granted.messages),
            bytes: used.bytes.saturating_add(granted.bytes),
        };
        set(tx, key, now_used).await?;
    }
    Ok(granted)
}

/// What a column can still take is a limit too: the counter stops there and never wraps.
fn grant(used: u64, block: u64, limit: u64) -> u64 {
    block.min(limit.min(i64::MAX.unsigned_abs()).saturating_sub(used))
}

/// Takes `unused` off again.
pub(super) async fn give_back(
    tx: &mut SqliteConnection,
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

async fn used(tx: &mut SqliteConnection, key: KeyRef) -> Result<Usage, Fault> {
    let row = sqlx::query(
        "SELECT messages_used, bytes_used FROM versions WHERE key_id = ?1 AND version = ?2",
    )
    .bind(key.id.as_bytes().as_slice())
    .bind(key.version.number())
    .fetch_optional(tx)
    .await?
    .ok_or(StoreError::Missing)?;
    let columns = Columns::new(&row, "a version");
    Ok(Usage { messages: columns.number("messages_used")?, bytes: columns.number("bytes_used")? })
}

async fn set(tx: &mut SqliteConnection, key: KeyRef, used: Usage) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE versions SET messages_used = ?3, bytes_used = ?4 WHERE key_id = ?1 AND version = ?2",
    )
    .bind(key.id.as_bytes().as_slice())
    .bind(key.version.number())
    .bind(to_column(used.messages, "messages_used is too large")?)
    .bind(to_column(used.bytes, "bytes_used is too large")?)
    .execute(tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_never_passes_the_limit_nor_what_a_column_holds() {
        assert_eq!(grant(0, 10, 100), 10);
        assert_eq!(grant(95, 10, 100), 5);
        assert_eq!(grant(100, 10, 100), 0);
        assert_eq!(grant(200, 10, 100), 0, "the limit was lowered");
        assert_eq!(grant(0, u64::MAX, u64::MAX), i64::MAX as u64);
        assert_eq!(grant(i64::MAX as u64 - 1, u64::MAX, u64::MAX), 1);
    }
}
