//! Moves key versions from root to root: adds a root's wrapping to every version, takes one away, or both at once.
//!
//! It works on the store itself, beside sidecars that run, and never on data: what a version has sealed stays as it
//! is. A wrapping goes only after another root of this configuration has given back what it holds
//! (`no_wrapping_goes_that_nothing_else_opens`). Each version is one compare-and-swap, so it can be stopped at any
//! time and run again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::maintenance::CONCURRENT_MAX;
use super::{KeyringError, Roots};
use crate::error_chain::error_chain;
use crate::names::{KeyId, KeyName, KeyRef, KeyVersion, RootName};
use crate::root::{Binding, RootDescription, RootError};
use crate::secret::KeyVersionSecret;
use crate::store::{KeyStore, StoreError, VersionChange, VersionRecord, Wrapping};

/// A version that others change at the same time, or whose root is away for a moment, is tried this often.
const TRIES_MAX: u32 = 5;
/// Versions that others make meanwhile are changed in a further pass, of so many.
const PASSES_MAX: u32 = 5;
/// How long a root that is away is waited for before the next try, where it does not say.
const WAIT_FOR_ROOT: Duration = Duration::from_millis(200);
/// And at most.
const WAIT_FOR_ROOT_MAX: Duration = Duration::from_secs(5);

/// What is to become of the wrappings of every version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootChange {
    /// This root wraps it too.
    Add(RootName),
    /// This root's wrapping goes. It need not be in the configuration any more.
    Remove(RootName),
    /// The second wraps it, and the first one's wrapping goes.
    Move(RootName, RootName),
    /// This root wraps it anew where it has wrapped it: after its key was rotated.
    Renew(RootName),
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
    /// Keys whose rows are damaged: nothing is known of their wrappings.
    pub damaged: Vec<String>,
}

/// Which root has wrapped how many versions.
#[derive(Clone, Debug, Default)]
pub struct RootSurvey {
    /// Versions that have a secret.
    pub versions: u64,
    /// For each root that has wrapped any, by name.
    pub wrapped: Vec<(RootName, u64)>,
    /// Keys whose rows are damaged, which are not counted.
    pub damaged: Vec<String>,
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
        "no other root of this configuration gives the same secret, so its wrapping stays: run `keypod root add` first, or again"
    )]
    NothingElseOpens,
    #[error(
        "the root {0} cannot show what its wrapping holds, so it stays: if that root is gone for good, take it out of the configuration"
    )]
    OldRoot(RootName, #[source] KeyringError),
    #[error("the root {0} is not in the configuration")]
    NotConfigured(RootName),
    #[error("others go on changing it: run this again")]
    Busy,
    #[error("a root went away before: run this again")]
    RootWentAway,
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

impl ChangeError {
    /// The error of a root that is away for now.
    fn away(&self) -> Option<&KeyringError> {
        match self {
            Self::Keyring(error) | Self::OldRoot(_, error) => Some(error).filter(|e| e.may_pass()),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Done {
    Changed,
    AsItWas,
}

impl RootsChanged {
    /// How many versions have been looked at.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.changed + self.as_they_were + self.failed.len() as u64
    }
}

impl RootChanger {
    /// For the versions of `store`, which `roots` wrapped for `domain`.
    #[must_use]
    pub fn new(roots: Roots, store: Arc<dyn KeyStore>, domain: String) -> Self {
        Self { roots, store, domain }
    }

    /// Asks each root whether this process can use it, as [`Roots::check`] does.
    pub async fn check_roots(&self) -> Vec<(RootDescription, Result<Vec<String>, RootError>)> {
        self.roots.check(&self.domain).await
    }

    /// Which root has wrapped how many versions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn survey(&self) -> Result<RootSurvey, StoreError> {
        let keys = self.store.list_keys().await?;
        let damaged = self.store.damaged_keys().await?;
        let mut survey = RootSurvey { damaged, ..RootSurvey::default() };
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

    /// Changes every version, and tells `seen` how far it is. With `dry_run` it only says what would be changed. What
    /// others make meanwhile is changed too.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be listed. What fails for one version is in the result.
    pub async fn apply(
        &self,
        change: &RootChange,
        dry_run: bool,
        seen: impl Fn(&RootsChanged),
    ) -> Result<RootsChanged, StoreError> {
        let damaged = self.store.damaged_keys().await?;
        let mut so_far = RootsChanged { damaged, ..RootsChanged::default() };
        let mut looked_at = HashSet::new();
        for _ in 0..PASSES_MAX {
            let mut found = self.versions().await?;
            found.retain(|(_, id, version)| {
                looked_at.insert(KeyRef { id: *id, version: version.version })
            });
            if found.is_empty() {
                break;
            }
            so_far.versions += found.len() as u64;
            self.pass(found, change, dry_run, &mut so_far, &seen).await;
        }
        so_far.failed.sort();
        Ok(so_far)
    }

    /// Every version that has a secret.
    async fn versions(&self) -> Result<Vec<(KeyName, KeyId, VersionRecord)>, StoreError> {
        let mut all = Vec::new();
        for key in self.store.list_keys().await? {
            let versions = key.versions.into_iter();
            let versions = versions.filter(|version| !version.wrappings.is_empty());
            all.extend(versions.map(|version| (key.name.clone(), key.id, version)));
        }
        Ok(all)
    }

    async fn pass(
        &self,
        versions: Vec<(KeyName, KeyId, VersionRecord)>,
        change: &RootChange,
        dry_run: bool,
        so_far: &mut RootsChanged,
        seen: &impl Fn(&RootsChanged),
    ) {
        let gone = &AtomicBool::new(false);
        let mut running = stream::iter(versions)
            .map(|(name, id, version)| async move {
                let number = version.version;
                let done = match dry_run {
                    true if change.is_done(&version) => Ok(Done::AsItWas),
                    true => Ok(Done::Changed),
                    false => self.change(id, version, change, gone).await,
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
            seen(so_far);
        }
    }

    /// Changes one version: reads it again where somebody else was faster, and waits for a root that is away for a
    /// moment. Once one has waited in vain, the others do not.
    async fn change(
        &self,
        id: KeyId,
        mut record: VersionRecord,
        change: &RootChange,
        gone: &AtomicBool,
    ) -> Result<Done, ChangeError> {
        let key_ref = KeyRef { id, version: record.version };
        let mut away = None;
        for _ in 0..TRIES_MAX {
            if record.wrappings.is_empty() || change.is_done(&record) {
                return Ok(Done::AsItWas);
            }
            if gone.load(Ordering::Relaxed) {
                return Err(ChangeError::RootWentAway);
            }
            match self.change_once(key_ref, &record, change).await {
                Err(ChangeError::Keyring(KeyringError::Store(error)))
                    if matches!(*error, StoreError::Conflict) =>
                {
                    away = None;
                }
                Err(error) if error.away().is_some() => {
                    tokio::time::sleep(error.away().map_or(WAIT_FOR_ROOT, wait_after)).await;
                    away = Some(error);
                    continue;
                }
                done => return done,
            }
            let found = self.store.key_by_id(id).await.map_err(KeyringError::from)?;
            match found.as_ref().and_then(|key| key.version(key_ref.version)) {
                Some(found) => record = found.clone(),
                None => return Ok(Done::AsItWas),
            }
        }
        if away.is_some() {
            gone.store(true, Ordering::Relaxed);
        }
        Err(away.unwrap_or(ChangeError::Busy))
    }

    async fn change_once(
        &self,
        key_ref: KeyRef,
        record: &VersionRecord,
        change: &RootChange,
    ) -> Result<Done, ChangeError> {
        let binding = Binding { key: key_ref, domain: &self.domain };
        let wrappings = match change {
            RootChange::Add(root) => self.added(&record.wrappings, root, binding).await?,
            RootChange::Renew(root) => self.renewed(&record.wrappings, root, binding).await?,
            RootChange::Remove(root) => self.removed(&record.wrappings, root, binding).await?,
            RootChange::Move(from, to) => {
                let both = self.added(&record.wrappings, to, binding).await?;
                self.removed(&both, from, binding).await?
            }
        };
        let change = VersionChange::Wrappings(wrappings);
        let updated = self.store.update_version(key_ref, record.revision, &change).await;
        updated.map_err(KeyringError::from)?;
        Ok(Done::Changed)
    }

    /// `wrappings` and that of `root`, if it is not there.
    async fn added(
        &self,
        wrappings: &[Wrapping],
        root: &RootName,
        binding: Binding<'_>,
    ) -> Result<Vec<Wrapping>, ChangeError> {
        let mut wrappings = wrappings.to_vec();
        if !wrappings.iter().any(|wrapping| wrapping.root == *root) {
            let secret = self.roots.unwrap_key(&wrappings, binding).await?;
            wrappings.push(self.wrap(root, &secret, binding).await?);
        }
        Ok(wrappings)
    }

    /// `wrappings` with a new one of `root` in the place of its old one, which must still give the secret.
    async fn renewed(
        &self,
        wrappings: &[Wrapping],
        root: &RootName,
        binding: Binding<'_>,
    ) -> Result<Vec<Wrapping>, ChangeError> {
        let (old, mut kept) = split(wrappings, root);
        let Some(old) = old else { return Ok(kept) };
        let opened = self.roots.unwrap_one(&old, binding).await;
        let opened = opened.ok_or_else(|| ChangeError::NotConfigured(root.clone()))?;
        let secret = opened.map_err(KeyringError::from)?;
        kept.push(self.wrap(root, &secret, binding).await?);
        Ok(kept)
    }

    /// `wrappings` without that of `root`, once another root has given what it holds. Only of a root that is no longer
    /// in the configuration is it not known what its wrapping holds; then it is enough that another one opens.
    async fn removed(
        &self,
        wrappings: &[Wrapping],
        root: &RootName,
        binding: Binding<'_>,
    ) -> Result<Vec<Wrapping>, ChangeError> {
        let (old, kept) = split(wrappings, root);
        let Some(old) = old else { return Ok(kept) };
        let held = match self.roots.unwrap_one(&old, binding).await {
            Some(Err(error)) => return Err(ChangeError::OldRoot(root.clone(), error.into())),
            Some(Ok(secret)) => Some(secret),
            None => None,
        };
        let mut away = None;
        for wrapping in &kept {
            match self.roots.unwrap_one(wrapping, binding).await {
                Some(Ok(opened)) if held.as_ref().is_none_or(|held| held.is_same_as(&opened)) => {
                    return Ok(kept);
                }
                Some(Err(error)) => away = Some(KeyringError::from(error)),
                _ => {}
            }
        }
        Err(match away.filter(KeyringError::may_pass) {
            Some(away) => ChangeError::Keyring(away),
            None => ChangeError::NothingElseOpens,
        })
    }

    async fn wrap(
        &self,
        root: &RootName,
        secret: &KeyVersionSecret,
        binding: Binding<'_>,
    ) -> Result<Wrapping, ChangeError> {
        let wrapped = self.roots.wrap_with(root, secret, binding).await;
        Ok(wrapped.ok_or_else(|| ChangeError::NotConfigured(root.clone()))??)
    }
}

/// The wrapping of `root`, and all others.
fn split(wrappings: &[Wrapping], root: &RootName) -> (Option<Wrapping>, Vec<Wrapping>) {
    let (mut of_root, others): (Vec<_>, Vec<_>) =
        wrappings.iter().cloned().partition(|wrapping| wrapping.root == *root);
    (of_root.pop(), others)
}

fn wait_after(error: &KeyringError) -> Duration {
    let KeyringError::Root(error) = error else { return WAIT_FOR_ROOT };
    error.retry_after().unwrap_or(WAIT_FOR_ROOT).min(WAIT_FOR_ROOT_MAX)
}

impl RootChange {
    /// The root that is to wrap, which must be in the configuration.
    #[must_use]
    pub fn wraps(&self) -> Option<&RootName> {
        match self {
            Self::Add(root) | Self::Renew(root) | Self::Move(_, root) => Some(root),
            Self::Remove(_) => None,
        }
    }

    /// The root whose wrappings go.
    #[must_use]
    pub fn removes(&self) -> Option<&RootName> {
        match self {
            Self::Remove(root) | Self::Move(root, _) => Some(root),
            Self::Add(_) | Self::Renew(_) => None,
        }
    }

    /// Whether there is nothing to do for `version`. A renewal is never done: who runs it again renews all again.
    fn is_done(&self, version: &VersionRecord) -> bool {
        let has = |root: &RootName| version.wrappings.iter().any(|wrapping| wrapping.root == *root);
        match self {
            Self::Add(root) => has(root),
            Self::Remove(root) => !has(root),
            Self::Move(from, to) => has(to) && !has(from),
            Self::Renew(root) => !has(root),
        }
    }
}
