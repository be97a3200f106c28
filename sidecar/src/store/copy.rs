//! Copies all rows of one store into another, whole or with a reason why not.
//!
//! Depends on [`KeyStore`] alone. No sidecar may use either store meanwhile: a change in the source that comes while
//! its key is copied is noticed at the end, and nothing else. Versions go over with states, wrappings, usage and
//! revisions, each key in one transaction; what is there already and the same is left, so a copy that was killed is
//! started again. Invariants: nothing is written unless everything can be
//! (`a_copy_that_would_mix_keys_writes_nothing`), the key of the audit log's hashes that a target has made is neither
//! replaced nor joined by another (`the_audit_key_of_a_target_is_not_replaced`), and a damaged key, which a list leaves out, is never left behind in
//! silence (`a_damaged_key_stops_the_copy_and_is_named`).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::{Approval, KeyRecord, KeyStore, StoreError};
use crate::clock::UnixSeconds;
use crate::names::{KeyId, KeyName};

/// How far a copy has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Keys that were copied.
    pub keys: u64,
    /// Their versions.
    pub versions: u64,
    /// Keys that were there already, and the same.
    pub skipped: u64,
}

/// Why a copy was not begun or did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The source cannot be read.
    #[error("the source cannot be read")]
    Source(#[source] StoreError),
    /// The target cannot be read or written.
    #[error("the target cannot be read or written: run the copy again, it goes on where it was")]
    Target(#[source] StoreError),
    /// The source holds keys that cannot be copied.
    #[error("nothing was copied: the source has damaged keys, mend them first: {}", what.join("; "))]
    Damaged {
        /// Each of them, and what is wrong with it.
        what: Vec<String>,
    },
    /// The target holds damaged keys, so what it has cannot be compared.
    #[error("nothing was copied: the target has damaged keys, mend them first: {}", what.join("; "))]
    TargetDamaged {
        /// Each of them, and what is wrong with it.
        what: Vec<String>,
    },
    /// The target has a key of that name with another id.
    #[error(
        "nothing was copied: the target has another key of the name {name}, with the id {there}: copy into a store without it"
    )]
    OtherKey {
        /// The name.
        name: KeyName,
        /// The id that it has in the target.
        there: KeyId,
    },
    /// A sidecar has started on the target, which has made its own key of the audit log's hashes. Neither key can stand for
    /// the other: entries that are in logs already have hashes of each.
    #[error(
        "nothing was copied: the target has a {} of its own ({there}), because a sidecar has started on it, and the audit logs of both stores have hashes that only their own key can make again: copy into an empty store before the first sidecar starts on it",
        KeyName::audit()
    )]
    OtherAuditKey {
        /// The id that it has in the target.
        there: KeyId,
    },
    /// The target has that key, with other content.
    #[error(
        "nothing was copied: the target has the key {name} ({id}) with other content: it was used or changed since; copy into an empty store, or delete that key there if it is of no worth"
    )]
    Differs {
        /// The key's name in the source.
        name: KeyName,
        /// Its id.
        id: KeyId,
    },
    /// The target has another approval for the same version, or under the same id.
    #[error(
        "nothing was copied: the target has another approval than {id} waiting: let it expire or take it there"
    )]
    OtherApproval {
        /// The id of the source's.
        id: String,
    },
    /// A key does not keep the contract's rules, so the target does not take it.
    #[error("the key {name} cannot be copied")]
    Refused {
        /// Its name.
        name: KeyName,
        /// The target's reason.
        #[source]
        source: StoreError,
    },
    /// After the copy the stores are not the same.
    #[error(
        "after the copy {what} is not the same in both stores: a sidecar still used one of them; stop it and copy into an empty store"
    )]
    Changed {
        /// What differs.
        what: String,
    },
}

/// Copies everything that `from` holds into `to`, tells `progress` after each key, compares all of it again, and
/// returns the counts. Expired approvals go over too.
///
/// # Errors
/// [`CopyError`]; those that say so have written nothing.
pub async fn copy(
    from: &dyn KeyStore,
    to: &dyn KeyStore,
    progress: impl Fn(Copied),
) -> Result<Copied, CopyError> {
    let source = Content::of(from).await.map_err(CopyError::Source)?;
    let target = Content::of(to).await.map_err(CopyError::Target)?;
    source.fits(&target)?;
    let mut copied = Copied::default();
    for (id, key) in &source.keys {
        if target.keys.contains_key(id) {
            copied.skipped += 1;
        } else {
            insert(to, key).await?;
            copied.keys += 1;
            copied.versions += u64::try_from(key.versions.len()).unwrap_or(u64::MAX);
        }
        progress(copied);
    }
    for (id, approval) in &source.approvals {
        if !target.approvals.contains_key(id) {
            // At the beginning of time nothing has expired, so nothing is replaced.
            let inserted = to.insert_approval(approval, UnixSeconds(0)).await;
            inserted.map_err(CopyError::Target)?;
        }
    }
    let source = Content::of(from).await.map_err(CopyError::Source)?;
    let target = Content::of(to).await.map_err(CopyError::Target)?;
    source.is_in(&target)?;
    Ok(copied)
}

async fn insert(to: &dyn KeyStore, key: &KeyRecord) -> Result<(), CopyError> {
    to.insert_key(key).await.map_err(|source| match source {
        StoreError::Invalid { .. } | StoreError::Exists => {
            CopyError::Refused { name: key.name.clone(), source }
        }
        other => CopyError::Target(other),
    })
}

/// All that a store holds.
struct Content {
    keys: BTreeMap<KeyId, KeyRecord>,
    approvals: BTreeMap<String, Approval>,
    damaged: Vec<String>,
}

impl Content {
    async fn of(store: &dyn KeyStore) -> Result<Self, StoreError> {
        let keys = store.list_keys().await?;
        // After the list: a key that was damaged in between would be in neither.
        let damaged = store.damaged_keys().await?;
        let approvals = store.list_approvals(UnixSeconds(0)).await?;
        Ok(Self {
            keys: keys.into_iter().map(|key| (key.id, key)).collect(),
            approvals: approvals.into_iter().map(|one| (one.id.clone(), one)).collect(),
            damaged,
        })
    }

    /// Whether all of this can go into a store that holds `target`.
    fn fits(&self, target: &Self) -> Result<(), CopyError> {
        if !self.damaged.is_empty() {
            return Err(CopyError::Damaged { what: self.damaged.clone() });
        }
        if !target.damaged.is_empty() {
            return Err(CopyError::TargetDamaged { what: target.damaged.clone() });
        }
        let names: BTreeMap<&KeyName, KeyId> =
            target.keys.values().map(|key| (&key.name, key.id)).collect();
        for (id, key) in &self.keys {
            if let Some(there) = names.get(&key.name).copied().filter(|there| there != id) {
                return Err(match key.name == KeyName::audit() {
                    true => CopyError::OtherAuditKey { there },
                    false => CopyError::OtherKey { name: key.name.clone(), there },
                });
            }
            if target.keys.get(id).is_some_and(|there| there != key) {
                return Err(CopyError::Differs { name: key.name.clone(), id: *id });
            }
        }
        for approval in self.approvals.values() {
            let mut others = target.approvals.values().filter(|there| *there != approval);
            if others.any(|there| there.id == approval.id || there.key == approval.key) {
                return Err(CopyError::OtherApproval { id: approval.id.clone() });
            }
        }
        Ok(())
    }

    /// Whether all of this is in a store that holds `target`.
    fn is_in(&self, target: &Self) -> Result<(), CopyError> {
        if let Some(damaged) = self.damaged.iter().chain(&target.damaged).next() {
            return Err(CopyError::Changed { what: damaged.clone() });
        }
        for (id, key) in &self.keys {
            if target.keys.get(id) != Some(key) {
                return Err(CopyError::Changed { what: format!("the key {} ({id})", key.name) });
            }
        }
        for (id, approval) in &self.approvals {
            if target.approvals.get(id) != Some(approval) {
                return Err(CopyError::Changed { what: format!("the approval {id}") });
            }
        }
        Ok(())
    }
}
