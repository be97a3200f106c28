//! From SQL rows to records: the only file that knows how a value is spelt in a column, in every store over SQL.
//!
//! Depends on [`crate::names`] and the records of [`super`]. A value that Keypod cannot have written is damage and is
//! reported with the row and column it stands in, never repaired or used
//! (`a_row_that_keypod_cannot_have_written_is_reported_not_used`, `hand_edited_rows_are_named_and_hide_no_other`).

use std::str::FromStr;

use super::{Approval, KeyRecord, KeySettings, Usage, VersionRecord, VersionState, Wrapping};
use crate::clock::UnixSeconds;
use crate::names::{KeyId, KeyRef, KeyVersion};
use crate::secret::WrappedKey;

/// A row cannot be what Keypod wrote; says which and why.
#[derive(Debug)]
pub(super) struct Damaged(pub(super) String);

/// The columns of [`KeyRow`], joined; a caller appends a condition. Rows come by name, version and position.
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

/// A row of [`select_keys`]: one for each wrapping, for a version without any, and for a key without versions.
#[derive(sqlx::FromRow)]
pub(super) struct KeyRow {
    id: Vec<u8>,
    name: String,
    created_at: i64,
    rotation_period_s: Option<i64>,
    messages_max: i64,
    bytes_max: i64,
    primary_version: i64,
    version: Option<i64>,
    state: Option<String>,
    version_created_at: Option<i64>,
    destroy_at: Option<i64>,
    messages_used: Option<i64>,
    bytes_used: Option<i64>,
    revision: Option<i64>,
    root: Option<String>,
    wrapped: Option<Vec<u8>>,
}

/// What compare-and-swap looks at.
#[derive(sqlx::FromRow)]
pub(super) struct StateRow {
    state: String,
    destroy_at: Option<i64>,
    revision: i64,
}

impl StateRow {
    /// State, end and revision.
    pub(super) fn read(&self) -> Result<(VersionState, Option<UnixSeconds>, u64), Damaged> {
        let of = Of("a version");
        Ok((
            of.state("state", Some(&self.state))?,
            of.time_or_null("destroy_at", self.destroy_at)?,
            of.number("revision", Some(self.revision))?,
        ))
    }
}

/// What was used of a version.
#[derive(sqlx::FromRow)]
pub(super) struct UsageRow {
    messages_used: i64,
    bytes_used: i64,
}

impl UsageRow {
    /// Both counters.
    pub(super) fn read(&self) -> Result<Usage, Damaged> {
        let of = Of("a version");
        Ok(Usage {
            messages: of.number("messages_used", Some(self.messages_used))?,
            bytes: of.number("bytes_used", Some(self.bytes_used))?,
        })
    }
}

/// A row of the table `approvals`.
#[derive(sqlx::FromRow)]
pub(super) struct ApprovalRow {
    id: String,
    key_id: Vec<u8>,
    version: i64,
    requested_by: String,
    requested_at: i64,
    expires_at: i64,
}

impl ApprovalRow {
    /// The approval.
    pub(super) fn read(&self) -> Result<Approval, Damaged> {
        let of = Of("an approval");
        Ok(Approval {
            id: self.id.clone(),
            key: KeyRef {
                id: of.key_id("key_id", &self.key_id)?,
                version: of.version("version", Some(self.version))?,
            },
            requested_by: of.parsed("requested_by", Some(&self.requested_by))?,
            requested_at: UnixSeconds(of.number("requested_at", Some(self.requested_at))?),
            expires_at: UnixSeconds(of.number("expires_at", Some(self.expires_at))?),
        })
    }
}

/// Reads values; names the row in a complaint.
struct Of<'a>(&'a str);

impl Of<'_> {
    fn damaged(&self, column: &str) -> Damaged {
        Damaged(format!("the column {column} of {} holds what Keypod never writes", self.0))
    }

    fn number(&self, column: &str, value: Option<i64>) -> Result<u64, Damaged> {
        value.and_then(|value| u64::try_from(value).ok()).ok_or_else(|| self.damaged(column))
    }

    fn number_or_null(&self, column: &str, value: Option<i64>) -> Result<Option<u64>, Damaged> {
        value.map(|value| self.number(column, Some(value))).transpose()
    }

    fn time_or_null(
        &self,
        column: &str,
        value: Option<i64>,
    ) -> Result<Option<UnixSeconds>, Damaged> {
        Ok(self.number_or_null(column, value)?.map(UnixSeconds))
    }

    fn parsed<T: FromStr>(&self, column: &str, value: Option<&str>) -> Result<T, Damaged> {
        value.and_then(|value| value.parse().ok()).ok_or_else(|| self.damaged(column))
    }

    fn key_id(&self, column: &str, value: &[u8]) -> Result<KeyId, Damaged> {
        value.try_into().map(KeyId::from_bytes).map_err(|_| self.damaged(column))
    }

    fn version(&self, column: &str, value: Option<i64>) -> Result<KeyVersion, Damaged> {
        let number = u32::try_from(self.number(column, value)?).ok();
        number.and_then(|number| KeyVersion::new(number).ok()).ok_or_else(|| self.damaged(column))
    }

    fn state(&self, column: &str, value: Option<&str>) -> Result<VersionState, Damaged> {
        value.and_then(VersionState::from_text).ok_or_else(|| self.damaged(column))
    }
}

/// The keys in rows of [`select_keys`], each for itself: a damaged one takes no other with it.
pub(super) fn keys(rows: &[KeyRow]) -> impl Iterator<Item = Result<KeyRecord, Damaged>> {
    rows.chunk_by(|one, other| one.id == other.id).filter_map(key)
}

/// The sound ones of [`keys`]. The others are logged, with what to do.
pub(super) fn sound(keys: Vec<Result<KeyRecord, Damaged>>, mend: &str) -> Vec<KeyRecord> {
    let mut sound = Vec::with_capacity(keys.len());
    for key in keys {
        match key {
            Ok(key) => sound.push(key),
            Err(Damaged(what)) => {
                tracing::error!(what, "a damaged key is left out of the list: {mend}");
            }
        }
    }
    sound
}

/// What is the matter with those that [`sound`] leaves out.
pub(super) fn damaged(keys: Vec<Result<KeyRecord, Damaged>>) -> Vec<String> {
    keys.into_iter().filter_map(|key| key.err().map(|Damaged(what)| what)).collect()
}

/// The one key in rows of [`select_keys`], if there is one.
pub(super) fn one_key(rows: &[KeyRow]) -> Result<Option<KeyRecord>, Damaged> {
    keys(rows).next().transpose()
}

/// The key in rows that have one `id`; `None` if there are none.
fn key(rows: &[KeyRow]) -> Option<Result<KeyRecord, Damaged>> {
    let row = rows.first()?;
    let read = || {
        // By its name, until it is known that the id is one.
        let name = Of("a key").parsed::<crate::names::KeyName>("name", Some(&row.name));
        let id = match &name {
            Ok(name) => Of(&format!("the key {name}")).key_id("id", &row.id)?,
            Err(_) => Of("a key").key_id("id", &row.id)?,
        };
        let named = format!("the key {id}");
        let of = Of(&named);
        let mut key = KeyRecord {
            id,
            name: of.parsed("name", Some(&row.name))?,
            created_at: UnixSeconds(of.number("created_at", Some(row.created_at))?),
            settings: KeySettings {
                rotation_period_s: of.number_or_null("rotation_period_s", row.rotation_period_s)?,
                messages_max: of.number("messages_max", Some(row.messages_max))?,
                bytes_max: of.number("bytes_max", Some(row.bytes_max))?,
            },
            primary: of.version("primary_version", Some(row.primary_version))?,
            versions: Vec::new(),
        };
        for rows in rows.chunk_by(|one, other| one.version == other.version) {
            key.versions.extend(version(id, rows)?);
        }
        if key.versions.last().map(|version| version.version) != Some(key.primary) {
            let primary = key.primary;
            let what =
                format!("the primary version {primary} of the key {id} is not its highest one");
            return Err(Damaged(what));
        }
        Ok(key)
    };
    Some(read())
}

/// The version in rows that have one `id` and `version`; `None` if the key has none.
fn version(id: KeyId, rows: &[KeyRow]) -> Result<Option<VersionRecord>, Damaged> {
    let Some(row) = rows.first().filter(|row| row.version.is_some()) else { return Ok(None) };
    let number = Of(&format!("a version of the key {id}")).version("version", row.version)?;
    let named = format!("version {number} of the key {id}");
    let of = Of(&named);
    let mut version = VersionRecord {
        version: number,
        state: of.state("state", row.state.as_deref())?,
        created_at: UnixSeconds(of.number("created_at", row.version_created_at)?),
        destroy_at: of.time_or_null("destroy_at", row.destroy_at)?,
        wrappings: Vec::new(),
        messages_used: of.number("messages_used", row.messages_used)?,
        bytes_used: of.number("bytes_used", row.bytes_used)?,
        revision: of.number("revision", row.revision)?,
    };
    for row in rows {
        let Some(wrapped) = &row.wrapped else { continue };
        if wrapped.is_empty() {
            return Err(of.damaged("wrapped"));
        }
        let wrapped = WrappedKey::from_bytes(wrapped.clone());
        version.wrappings.push(Wrapping { root: of.parsed("root", row.root.as_deref())?, wrapped });
    }
    Ok(Some(version))
}
