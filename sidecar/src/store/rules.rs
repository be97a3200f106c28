//! The rules that every store holds its rows to before it writes them, whatever it keeps them in.
//!
//! Depends on the records of [`super`] alone. That each store asks for every rule is the conformance suite's to show
//! (`rows_that_break_a_rule_are_invalid_and_leave_no_trace`).

use super::{
    Approval, KeyRecord, StoreError, Usage, VersionChange, VersionRecord, VersionState, Wrapping,
};
use crate::clock::UnixSeconds;
use crate::names::KeyVersion;

fn invalid(what: &'static str) -> StoreError {
    StoreError::Invalid { what }
}

/// `value` as SQL holds it.
pub(super) fn to_column(value: u64, what: &'static str) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| invalid(what))
}

/// A key that may be added; its versions are looked at one by one with [`version`].
pub(super) fn key(key: &KeyRecord) -> Result<(), StoreError> {
    let numbers = || key.versions.iter().map(|version| version.version);
    if numbers().next_back() != Some(key.primary) || !numbers().is_sorted_by(|a, b| a < b) {
        return Err(invalid("a key's versions ascend and end with its primary one"));
    }
    Ok(())
}

/// A version that may be added.
pub(super) fn version(version: &VersionRecord) -> Result<(), StoreError> {
    if version.wrappings.is_empty() != (version.state == VersionState::Destroyed) {
        return Err(invalid("a version has wrappings exactly if it is not destroyed"));
    }
    wrappings(&version.wrappings)
}

/// A version that may follow `primary`.
pub(super) fn next_version(primary: KeyVersion, added: &VersionRecord) -> Result<(), StoreError> {
    if primary.next() != Some(added.version) {
        return Err(invalid("a new version is numbered one above the primary one"));
    }
    version(added)
}

fn wrappings(wrappings: &[Wrapping]) -> Result<(), StoreError> {
    for wrapping in wrappings {
        if wrappings.iter().filter(|other| other.root == wrapping.root).count() > 1 {
            return Err(invalid("a version has one wrapping under each root"));
        }
        if wrapping.wrapped.as_bytes().is_empty() {
            return Err(invalid("a wrapping is not empty"));
        }
    }
    Ok(())
}

/// What a version that is not destroyed has for state and end after `change`.
pub(super) fn after(
    change: &VersionChange,
    state: VersionState,
    destroy_at: Option<UnixSeconds>,
) -> Result<(VersionState, Option<UnixSeconds>), StoreError> {
    Ok(match change {
        VersionChange::State(VersionState::Destroyed) => {
            return Err(invalid("a version is destroyed by VersionChange::Destroy only"));
        }
        VersionChange::State(state) => (*state, destroy_at),
        VersionChange::ScheduleDestroy(at) => (VersionState::Disabled, Some(*at)),
        VersionChange::CancelDestroy => (state, None),
        VersionChange::Destroy => (VersionState::Destroyed, None),
        VersionChange::Wrappings(given) if given.is_empty() => {
            return Err(invalid("a version that is not destroyed keeps at least one wrapping"));
        }
        VersionChange::Wrappings(given) => {
            wrappings(given)?;
            (state, destroy_at)
        }
    })
}

/// An approval that may be added.
pub(super) fn approval(approval: &Approval) -> Result<(), StoreError> {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if approval.id.len() != 32 || !approval.id.bytes().all(digit) {
        return Err(invalid("an approval's id is 32 lower-case hexadecimal digits"));
    }
    Ok(())
}

/// What is granted of `block` where `used` is used already.
pub(super) fn grant(used: Usage, block: Usage, limit: Usage) -> Usage {
    Usage {
        messages: grant_of(used.messages, block.messages, limit.messages),
        bytes: grant_of(used.bytes, block.bytes, limit.bytes),
    }
}

/// What a column can still take is a limit too: the counter stops there and never wraps.
fn grant_of(used: u64, block: u64, limit: u64) -> u64 {
    block.min(limit.min(i64::MAX.unsigned_abs()).saturating_sub(used))
}

/// `now` for a comparison: nothing stored is later than the last second that a column holds.
pub(super) fn saturated(now: UnixSeconds) -> i64 {
    i64::try_from(now.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_never_passes_the_limit_nor_what_a_column_holds() {
        assert_eq!(grant_of(0, 10, 100), 10);
        assert_eq!(grant_of(95, 10, 100), 5);
        assert_eq!(grant_of(100, 10, 100), 0);
        assert_eq!(grant_of(200, 10, 100), 0, "the limit was lowered");
        assert_eq!(grant_of(0, u64::MAX, u64::MAX), i64::MAX as u64);
        assert_eq!(grant_of(i64::MAX as u64 - 1, u64::MAX, u64::MAX), 1);
    }
}
