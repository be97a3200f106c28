//! From rows to records and back: the only file that knows how a value is spelt in a column.
//!
//! Depends on [`crate::names`] and the records of [`crate::store`]. A value that Keypod cannot have written is
//! damage and is reported with the row and column it stands in, never repaired or used
//! (`a_row_that_keypod_cannot_have_written_is_reported_not_used`).

use std::str::FromStr;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::error::Fault;
use crate::clock::UnixSeconds;
use crate::names::{KeyId, KeyRef, KeyVersion};
use crate::secret::WrappedKey;
use crate::store::{
    Approval, KeyRecord, KeySettings, StoreError, VersionRecord, VersionState, Wrapping,
};

/// `value` as SQL holds it.
pub(super) fn to_column(value: u64, what: &'static str) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Invalid { what })
}

/// One reader of one row; `of` names the row in a complaint.
pub(super) struct Columns<'r> {
    row: &'r SqliteRow,
    of: &'r str,
}

impl<'r> Columns<'r> {
    pub(super) fn new(row: &'r SqliteRow, of: &'r str) -> Self {
        Self { row, of }
    }

    fn damaged(&self, column: &str) -> Fault {
        Fault::Damaged(format!("the column {column} of {} holds what Keypod never writes", self.of))
    }

    pub(super) fn number(&self, column: &str) -> Result<u64, Fault> {
        self.row.try_get::<i64, _>(column)?.try_into().map_err(|_| self.damaged(column))
    }

    fn number_or_null(&self, column: &str) -> Result<Option<u64>, Fault> {
        let number: Option<i64> = self.row.try_get(column)?;
        number.map(u64::try_from).transpose().map_err(|_| self.damaged(column))
    }

    pub(super) fn time_or_null(&self, column: &str) -> Result<Option<UnixSeconds>, Fault> {
        Ok(self.number_or_null(column)?.map(UnixSeconds))
    }

    fn time(&self, column: &str) -> Result<UnixSeconds, Fault> {
        self.number(column).map(UnixSeconds)
    }

    fn parsed<T: FromStr>(&self, column: &str) -> Result<T, Fault> {
        self.row.try_get::<&str, _>(column)?.parse().map_err(|_| self.damaged(column))
    }

    fn key_id(&self, column: &str) -> Result<KeyId, Fault> {
        let bytes: &[u8] = self.row.try_get(column)?;
        bytes.try_into().map(KeyId::from_bytes).map_err(|_| self.damaged(column))
    }

    fn version(&self, column: &str) -> Result<KeyVersion, Fault> {
        let number = u32::try_from(self.number(column)?).ok();
        number.and_then(|number| KeyVersion::new(number).ok()).ok_or_else(|| self.damaged(column))
    }

    pub(super) fn state(&self, column: &str) -> Result<VersionState, Fault> {
        VersionState::from_text(self.row.try_get(column)?).ok_or_else(|| self.damaged(column))
    }
}

/// The columns of [`keys`], joined; a caller appends a condition. Rows come by name, version and position.
macro_rules! select_keys {
    ($condition:literal) => {
        concat!(
            "SELECT k.id, k.name, k.created_at, k.rotation_period_s, k.messages_max, k.bytes_max, \
             k.primary_version, v.version, v.state, v.created_at AS version_created_at, v.destroy_at, \
             v.messages_used, v.bytes_used, v.revision, w.root, w.wrapped \
             FROM keys k LEFT JOIN versions v ON v.key_id = k.id \
             LEFT JOIN wrappings w ON w.key_id = v.key_id AND w.version = v.version ",
            $condition,
            " ORDER BY k.name, v.version, w.position"
        )
    };
}
pub(super) use select_keys;

/// Whether two rows of [`select_keys`] belong to one key.
pub(super) fn of_one_key(one: &SqliteRow, other: &SqliteRow) -> bool {
    let id = |row: &SqliteRow| row.try_get::<Vec<u8>, _>("id").ok();
    id(one) == id(other)
}

/// The keys in rows of [`select_keys`]: one row for each wrapping, or for a version without any.
pub(super) fn keys(rows: &[SqliteRow]) -> Result<Vec<KeyRecord>, Fault> {
    let mut keys: Vec<KeyRecord> = Vec::new();
    for row in rows {
        let id = Columns::new(row, "a key").key_id("id")?;
        let of = format!("the key {id}");
        let columns = Columns::new(row, &of);
        if keys.last().is_none_or(|key| key.id != id) {
            keys.push(key(&columns, id)?);
        }
        if row.try_get::<Option<i64>, _>("version")?.is_none() {
            continue;
        }
        let number = columns.version("version")?;
        let Some(key) = keys.last_mut() else { continue };
        if key.versions.last().is_none_or(|version| version.version != number) {
            key.versions.push(version(&columns, number)?);
        }
        let wrapped: Option<Vec<u8>> = row.try_get("wrapped")?;
        if let (Some(wrapped), Some(version)) = (wrapped, key.versions.last_mut()) {
            let wrapped = WrappedKey::from_bytes(wrapped);
            version.wrappings.push(Wrapping { root: columns.parsed("root")?, wrapped });
        }
    }
    for key in &keys {
        if key.versions.last().map(|version| version.version) != Some(key.primary) {
            return Err(Fault::Damaged(format!(
                "the primary version {} of the key {} is not its highest one",
                key.primary, key.id
            )));
        }
    }
    Ok(keys)
}

fn key(columns: &Columns<'_>, id: KeyId) -> Result<KeyRecord, Fault> {
    Ok(KeyRecord {
        id,
        name: columns.parsed("name")?,
        created_at: columns.time("created_at")?,
        settings: KeySettings {
            rotation_period_s: columns.number_or_null("rotation_period_s")?,
            messages_max: columns.number("messages_max")?,
            bytes_max: columns.number("bytes_max")?,
        },
        primary: columns.version("primary_version")?,
        versions: Vec::new(),
    })
}

fn version(columns: &Columns<'_>, version: KeyVersion) -> Result<VersionRecord, Fault> {
    Ok(VersionRecord {
        version,
        state: columns.state("state")?,
        created_at: columns.time("version_created_at")?,
        destroy_at: columns.time_or_null("destroy_at")?,
        wrappings: Vec::new(),
        messages_used: columns.number("messages_used")?,
        bytes_used: columns.number("bytes_used")?,
        revision: columns.number("revision")?,
    })
}

/// The approval in a row of the table `approvals`.
pub(super) fn approval(row: &SqliteRow) -> Result<Approval, Fault> {
    let columns = Columns::new(row, "an approval");
    Ok(Approval {
        id: row.try_get("id")?,
        key: KeyRef { id: columns.key_id("key_id")?, version: columns.version("version")? },
        requested_by: columns.parsed("requested_by")?,
        requested_at: columns.time("requested_at")?,
        expires_at: columns.time("expires_at")?,
    })
}
