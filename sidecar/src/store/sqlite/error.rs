//! From what SQLite reports to a [`StoreError`] that an operator can act on.
//!
//! Depends on [`StoreError`] and [`Fault`] alone. No bound value ever reaches a message: SQLite's texts name tables,
//! columns and files, never contents.

use std::path::Path;

use sqlx::migrate::MigrateError;

use crate::store::StoreError;
use crate::store::fault::Fault;

impl Fault {
    /// The error to return, about the database at `path`.
    pub(in crate::store) fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Answer(error) => error,
            Self::Damaged(what) => damaged(path, &what),
            Self::Sql(error) => from_sqlx(path, &error),
        }
    }
}

/// [`StoreError::Unavailable`] for this path.
pub(super) fn unavailable(path: &Path, what: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable { reason: format!("{}: {what}", path.display()) }
}

/// [`StoreError::Corrupt`] for damage at this path.
pub(super) fn damaged(path: &Path, what: &str) -> StoreError {
    let path = path.display();
    StoreError::Corrupt { reason: format!("{path}: {what}; restore the file from a backup") }
}

/// [`StoreError::Corrupt`] for a file that is something else; `what` says what to do.
pub(super) fn foreign(path: &Path, what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { reason: format!("{}: {what}", path.display()) }
}

/// [`StoreError::Unavailable`] for want of space at this path.
pub(super) fn full(path: &Path) -> StoreError {
    unavailable(path, "the disk is full: free some space or enlarge the volume")
}

fn from_sqlx(path: &Path, error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse().ok()).unwrap_or(0);
            from_code(path, code, database.message())
        }
        sqlx::Error::Migrate(migrate) => match &**migrate {
            MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
                from_sqlx(path, cause)
            }
            other => unavailable(path, other),
        },
        sqlx::Error::PoolClosed => unavailable(path, "the store is closed"),
        sqlx::Error::PoolTimedOut => unavailable(
            path,
            "other changes did not end in time: another program holds it locked, or its disk does not answer",
        ),
        sqlx::Error::WorkerCrashed => unavailable(path, "the database thread has ended"),
        sqlx::Error::ColumnDecode { index, .. } => {
            damaged(path, &format!("the column {index} holds a value of another type"))
        }
        other => unavailable(path, other),
    }
}

/// By the result codes of <https://www.sqlite.org/rescode.html>; the low byte is the primary one.
fn from_code(path: &Path, code: u32, message: &str) -> StoreError {
    const CONSTRAINT_FOREIGN_KEY: u32 = 787;
    const CONSTRAINT_PRIMARY_KEY: u32 = 1555;
    const CONSTRAINT_UNIQUE: u32 = 2067;
    match code {
        CONSTRAINT_UNIQUE | CONSTRAINT_PRIMARY_KEY => return StoreError::Exists,
        CONSTRAINT_FOREIGN_KEY => return StoreError::Missing,
        _ => {}
    }
    match code & 0xff {
        5 | 6 => unavailable(
            path,
            "another program holds it locked: end that program's transaction (a backup, an sqlite3 shell)",
        ),
        8 => unavailable(
            path,
            format_args!(
                "cannot be written ({message}): check the permissions of file and folder, and that the volume is not mounted read-only"
            ),
        ),
        10 => unavailable(
            path,
            format_args!(
                "reading or writing failed ({message}, code {code}): check the volume and the kernel's log"
            ),
        ),
        13 => full(path),
        3 | 14 => unavailable(
            path,
            format_args!(
                "cannot be opened ({message}): check that file and folder are there and writable for this user"
            ),
        ),
        11 => damaged(path, &format!("SQLite finds the file damaged ({message})")),
        26 => damaged(path, "not an SQLite database"),
        _ => unavailable(path, format_args!("{message} (code {code})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_codes_become_errors_an_operator_can_act_on() {
        let reason = |code| match from_code(Path::new("/data/keys.db"), code, "text") {
            StoreError::Unavailable { reason } | StoreError::Corrupt { reason } => reason,
            other => other.to_string(),
        };
        for (code, word) in [
            (5, "locked"),
            (517, "locked"),
            (8, "read-only"),
            (778, "kernel"),
            (13, "full"),
            (14, "opened"),
            (11, "backup"),
            (26, "not an SQLite database"),
            (1, "code 1"),
        ] {
            let reason = reason(code);
            assert!(reason.contains(word) && reason.contains("/data/keys.db"), "{code}: {reason}");
        }
        assert!(matches!(from_code(Path::new(""), 2067, ""), StoreError::Exists));
        assert!(matches!(from_code(Path::new(""), 787, ""), StoreError::Missing));
    }
}
