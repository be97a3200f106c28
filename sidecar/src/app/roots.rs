//! Changes which roots wrap the key versions of a store: the work behind `keypod root`. It opens roots and store by
//! itself, beside the sidecars that run or, where a store serves one process, in the place of the one that does.

use std::sync::Arc;

use super::StartError;
use super::parts::{open_roots, open_store};
use crate::config::{Config, RootKind};
use crate::keyring::{RootChange, RootChanger, RootSurvey, RootsChanged};
use crate::names::RootName;
use crate::root::{RootDescription, RootError};
use crate::secret::Arena;
use crate::store::{KeyStore, StoreError};

/// What is known of the roots of a configuration and of a store.
#[derive(Debug)]
pub struct RootReport {
    /// The roots of the configuration, the preferred first, each with what it answered.
    pub configured: Vec<(RootDescription, Result<Vec<String>, RootError>)>,
    /// Which roots have wrapped the versions of the store.
    pub survey: RootSurvey,
}

/// Asks every root, and counts what each has wrapped.
///
/// # Errors
/// [`StartError`].
pub async fn survey_roots(config: &Config) -> Result<RootReport, StartError> {
    let arena = Arena::new(config.memory_require)?;
    let (changer, store) = open(config, &arena).await?;
    let configured = changer.check_roots().await;
    let survey = closing(&*store, changer.survey().await).await?;
    Ok(RootReport { configured, survey })
}

/// Changes which roots wrap every version, and tells `seen` how far it is.
///
/// # Errors
/// [`StartError`]; what fails for one version is in the result.
pub async fn change_roots(
    config: &Config,
    change: &RootChange,
    dry_run: bool,
    seen: impl Fn(&RootsChanged),
) -> Result<RootsChanged, StartError> {
    let known = || config.root.roots.iter().map(RootKind::name);
    if let Some(root) = change.wraps().filter(|root| !known().any(|name| name == **root)) {
        return Err(StartError::no_such_root(root, known()));
    }
    let arena = Arena::new(config.memory_require)?;
    let (changer, store) = open(config, &arena).await?;
    let survey = match changer.survey().await {
        Ok(survey) => survey,
        Err(error) => return closing(&*store, Err(error)).await,
    };
    let wrapped = || survey.wrapped.iter().map(|(name, _)| name.clone());
    let unknown = |root: &&RootName| !known().chain(wrapped()).any(|name| name == **root);
    if let Some(root) = change.removes().filter(unknown) {
        store.close().await;
        return Err(StartError::no_such_root(root, known().chain(wrapped())));
    }
    closing(&*store, changer.apply(change, dry_run, seen).await).await
}

async fn open(
    config: &Config,
    arena: &Arena,
) -> Result<(RootChanger, Arc<dyn KeyStore>), StartError> {
    let roots = open_roots(config, arena).await?;
    let store = open_store(&config.store).await?;
    let domain = config.root.domain.clone();
    Ok((RootChanger::new(roots, Arc::clone(&store), domain), store))
}

/// Closes `store`, whatever was done with it.
async fn closing<T>(store: &dyn KeyStore, done: Result<T, StoreError>) -> Result<T, StartError> {
    let place = store.place();
    store.close().await;
    done.map_err(|source| StartError::Store { place, source })
}

impl RootReport {
    /// How many versions `root` has wrapped.
    #[must_use]
    pub fn wrapped(&self, root: &RootName) -> u64 {
        let counts = self.survey.wrapped.iter();
        counts.filter(|(name, _)| name == root).map(|(_, count)| count).sum()
    }

    /// Roots that have wrapped versions of the store and are not in the configuration, and how many.
    pub fn not_configured(&self) -> impl Iterator<Item = &(RootName, u64)> {
        let known = |name: &RootName| self.configured.iter().any(|(root, _)| root.name == *name);
        self.survey.wrapped.iter().filter(move |(name, _)| !known(name))
    }
}
