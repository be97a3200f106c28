//! Moves key versions from root to root: adds a root's wrapping to every version, takes one away, or both at once.
//!
//! It works on the store itself, beside sidecars that run, and never on data: what a version has sealed stays as it
//! is. A wrapping goes only after another root of this configuration has given back the same secret
//! (`no_wrapping_goes_that_nothing_else_opens`). Each version is one compare-and-swap, so it can be stopped at any
//! time and run again.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use subtle::ConstantTimeEq;

use super::maintenance::CONCURRENT_MAX;
use super::{KeyringError, Roots};
use crate::error_chain::error_chain;
use crate::names::{KeyId, KeyName, KeyRef, KeyVersion, RootName};
use crate::root::Binding;
use crate::secret::KeyVersionSecret;
use crate::store::{KeyStore, StoreError, VersionChange, VersionRecord, Wrapping};

/// A version that others change at the same time is tried this often.
const TRIES_MAX: u32 = 10;

/// What is to become of the wrappings of every version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootChange {
    /// The root that is to wrap each version.
    pub add: Option<RootName>,
    /// Whether it is to wrap those anew that it has wrapped before: after its key was rotated.
    pub renew: bool,
    /// The root whose wrappings are to go. It need not be in the configuration any more.
    pub remove: Option<RootName>,
}

/// How far a change has come.
#[derive(Clone, Debug, Default)]
pub struct RootsChanged {
    /// Versions that have a secret.
    pub versions: u64,
    /// Of those, how many were changed.
    pub changed: u64,
    /// How many were so already.
    pub as_they_were: u64,
    /// Which could not be changed, and why. They are as they were.
    pub failed: Vec<(KeyName, KeyVersion, String)>,
}

/// Which root has wrapped how many versions.
#[derive(Clone, Debug, Default)]
pub struct RootSurvey {
    /// Versions that have a secret.
    pub versions: u64,
    /// For each root that has wrapped any, by name.
    pub wrapped: Vec<(RootName, u64)>,
}

/// The roots and the store of a configuration, without a cache.
#[derive(Debug)]
pub struct RootChanger {
    roots: Roots,
    store: Arc<dyn KeyStore>,
    domain: String,
}

/// Why one version is as it was.
#[derive(Debug, thiserror::Error)]
enum ChangeError {
    #[error(
        "no other root of this configuration opens it, so its wrapping stays: run `keypod root add` first"
    )]
    NothingElseOpens,
    #[error("the root {0} is not in the configuration")]
    NotConfigured(RootName),
    #[error("others go on changing it: run this again")]
    Busy,
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

impl RootsChanged {
    /// How many versions have been looked at.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.changed + self.as_they_were + self.failed.len() as u64
    }
}

enum Done {
    Changed,
    AsItWas,
}

impl RootChanger {
    /// For the versions of `store`, which `roots` wrapped for `domain`.
    #[must_use]
    pub fn new(roots: Roots, store: Arc<dyn KeyStore>, domain: String) -> Self {
        Self { roots, store, domain }
    }

    /// Which root has wrapped how many versions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn survey(&self) -> Result<RootSurvey, StoreError> {
        let keys = self.store.list_keys().await?;
        let mut survey = RootSurvey::default();
        for version in keys.iter().flat_map(|key| &key.versions) {
            survey.versions += u64::from(!version.wrappings.is_empty());
            for wrapping in &version.wrappings {
                match survey.wrapped.iter_mut().find(|(root, _)| *root == wrapping.root) {
                    Some((_, count)) => *count += 1,
                    None => survey.wrapped.push((wrapping.root.clone(), 1)),
                }
            }
        }
        survey.wrapped.sort();
        Ok(survey)
    }

    /// Changes every version, and tells `seen` how far it is. With `dry_run` it only says what would be changed.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be listed. What fails for one version is in the result.
    pub async fn apply(
        &self,
        change: &RootChange,
        dry_run: bool,
        seen: impl Fn(&RootsChanged),
    ) -> Result<RootsChanged, StoreError> {
        let mut all = Vec::new();
        for key in self.store.list_keys().await? {
            let versions = key.versions.into_iter();
            let versions = versions.filter(|version| !version.wrappings.is_empty());
            all.extend(versions.map(|version| (key.name.clone(), key.id, version)));
        }
        let mut so_far = RootsChanged { versions: all.len() as u64, ..RootsChanged::default() };
        let mut running = stream::iter(all)
            .map(|(name, id, version)| async move {
                let number = version.version;
                let done = match dry_run {
                    true if change.is_done(&version) => Ok(Done::AsItWas),
                    true => Ok(Done::Changed),
                    false => self.change(id, version, change).await,
                };
                (name, number, done)
            })
            .buffer_unordered(CONCURRENT_MAX);
        while let Some((name, version, done)) = running.next().await {
            match done {
                Ok(Done::Changed) => so_far.changed += 1,
                Ok(Done::AsItWas) => so_far.as_they_were += 1,
                Err(error) => so_far.failed.push((name, version, error_chain(&error))),
            }
            seen(&so_far);
        }
        so_far.failed.sort();
        Ok(so_far)
    }

    /// Changes one version, and reads it again where somebody else was faster.
    async fn change(
        &self,
        id: KeyId,
        mut record: VersionRecord,
        change: &RootChange,
    ) -> Result<Done, ChangeError> {
        let key_ref = KeyRef { id, version: record.version };
        for _ in 0..TRIES_MAX {
            if record.wrappings.is_empty() || change.is_done(&record) {
                return Ok(Done::AsItWas);
            }
            let wrappings = self.changed(key_ref, &record.wrappings, change).await?;
            let change = VersionChange::Wrappings(wrappings);
            match self.store.update_version(key_ref, record.revision, &change).await {
                Ok(()) => return Ok(Done::Changed),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(KeyringError::from(error).into()),
            }
            let found = self.store.key_by_id(id).await.map_err(KeyringError::from)?;
            match found.as_ref().and_then(|key| key.version(key_ref.version)) {
                Some(found) => record = found.clone(),
                None => return Ok(Done::AsItWas),
            }
        }
        Err(ChangeError::Busy)
    }

    /// The wrappings that a version is to have, each of those that open it proven before another one goes.
    async fn changed(
        &self,
        key_ref: KeyRef,
        wrappings: &[Wrapping],
        change: &RootChange,
    ) -> Result<Vec<Wrapping>, ChangeError> {
        let binding = Binding { key: key_ref, domain: &self.domain };
        let secret = self.roots.unwrap_key(wrappings, binding).await?;
        let goes = |root: &RootName| change.remove.as_ref() == Some(root);
        let mut kept: Vec<_> =
            wrappings.iter().filter(|wrapping| !goes(&wrapping.root)).cloned().collect();
        let mut proven = false;
        if let Some(add) = &change.add
            && (change.renew || !kept.iter().any(|wrapping| wrapping.root == *add))
        {
            let wrapped = self.roots.wrap_with(add, &secret, binding).await;
            let wrapped = wrapped.ok_or_else(|| ChangeError::NotConfigured(add.clone()))??;
            kept.retain(|wrapping| wrapping.root != *add);
            kept.push(wrapped);
            proven = true;
        }
        if change.remove.is_none() || proven || self.one_opens(&kept, &secret, binding).await {
            Ok(kept)
        } else {
            Err(ChangeError::NothingElseOpens)
        }
    }

    /// Whether a root of this configuration gives `secret` back from one of `wrappings`.
    async fn one_opens(
        &self,
        wrappings: &[Wrapping],
        secret: &KeyVersionSecret,
        binding: Binding<'_>,
    ) -> bool {
        for wrapping in wrappings {
            if let Some(Ok(opened)) = self.roots.unwrap_one(wrapping, binding).await
                && bool::from(opened.expose_bytes().ct_eq(secret.expose_bytes()))
            {
                return true;
            }
        }
        false
    }
}

impl RootChange {
    /// Whether there is nothing to do for `version`.
    fn is_done(&self, version: &VersionRecord) -> bool {
        let has = |root: &RootName| version.wrappings.iter().any(|wrapping| wrapping.root == *root);
        let added = self.add.as_ref().is_none_or(|add| has(add) && !self.renew);
        added && !self.remove.as_ref().is_some_and(has)
    }
}
