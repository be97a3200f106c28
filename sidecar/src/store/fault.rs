//! What stops an operation on SQL rows, before it is known of which database to speak.
//!
//! Depends on [`StoreError`] alone. Each store over SQL makes a [`StoreError`] of it in its own `error.rs`.

use super::StoreError;
use super::rows::Damaged;

/// What stopped an operation.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database or the pool refused.
    Sql(sqlx::Error),
    /// A row cannot be what Keypod wrote; says which and why.
    Damaged(String),
    /// The contract's own answer: exists, missing, conflict, refused.
    Answer(StoreError),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Answer(error)
    }
}

impl From<Damaged> for Fault {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged.0)
    }
}
