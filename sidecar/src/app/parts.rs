//! Opens the roots and the store that the configuration names: the only file that knows their concrete types.

use std::sync::Arc;

use super::StartError;
use crate::clock::SystemClock;
use crate::config::{Config, LocalRootSettings, RootKind, StoreSettings};
use crate::keyring::Roots;
use crate::root::Root;
use crate::root::authority::Authority;
use crate::root::aws_kms::AwsKmsRoot;
use crate::root::local::LocalRoot;
use crate::root::retrying::{Patience, RetryingAuthority, RetryingRoot};
use crate::root::vault::VaultRoot;
use crate::secret::Arena;
use crate::store::KeyStore;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;

/// What signs the certificates of audit logs, the preferred first: a root that has no key for it is left out.
pub(super) type Authorities = Vec<Arc<dyn Authority>>;

/// Every root of the configuration, the preferred first. None of them is asked anything yet.
pub(super) async fn open_roots(config: &Config, arena: &Arena) -> Result<Roots, StartError> {
    open_roots_and_authorities(config, arena).await.map(|(roots, _authorities)| roots)
}

/// Every root of the configuration, and their authorities, both in the same order.
pub(super) async fn open_roots_and_authorities(
    config: &Config,
    arena: &Arena,
) -> Result<(Roots, Authorities), StartError> {
    let patience = Patience {
        attempt_timeout: config.root.attempt_timeout,
        call_timeout: config.root.call_timeout,
        retry_interval: config.root.retry_interval,
    };
    let patiently = |root: Arc<dyn Root>| -> Arc<dyn Root> {
        Arc::new(RetryingRoot::new(root, patience, Arc::new(SystemClock)))
    };
    let patient = |authority: Arc<dyn Authority>| -> Arc<dyn Authority> {
        Arc::new(RetryingAuthority::new(authority, patience, Arc::new(SystemClock)))
    };
    let mut roots: Vec<Arc<dyn Root>> = Vec::new();
    let mut authorities: Authorities = Vec::new();
    for kind in &config.root.roots {
        match kind {
            RootKind::Local(settings) => {
                let root = open_local(settings, arena)?;
                authorities.push(Arc::new(root.authority()?));
                roots.push(Arc::new(root));
            }
            RootKind::AwsKms(settings) => {
                let opened = AwsKmsRoot::open(settings, patience.attempt_timeout, arena).await;
                let root = opened
                    .map_err(|source| StartError::AwsKms { root: settings.name.clone(), source })?;
                authorities.extend(root.authority().map(|found| patient(Arc::new(found))));
                roots.push(patiently(Arc::new(root)));
            }
            RootKind::Vault(settings) => {
                let opened = VaultRoot::open(settings, patience.attempt_timeout, arena);
                let root = opened.map_err(|source| StartError::Vault {
                    root: settings.name.clone(),
                    source: Box::new(source),
                })?;
                authorities.extend(root.authority().map(|found| patient(Arc::new(found))));
                roots.push(patiently(Arc::new(root)));
            }
        }
    }
    if let Some(path) = &config.audit.authority_key_file {
        authorities.push(Arc::new(LocalRoot::from_key_file(path, arena)?.authority()?));
    }
    Ok((Roots::new(roots), authorities))
}

fn open_local(settings: &LocalRootSettings, arena: &Arena) -> Result<LocalRoot, StartError> {
    Ok(match settings {
        LocalRootSettings::KeyFile(path) => LocalRoot::from_key_file(path, arena)?,
        LocalRootSettings::Passphrase { passphrase_file, salt_file } => {
            LocalRoot::from_passphrase(passphrase_file, salt_file, arena)?
        }
    })
}

pub(super) async fn open_store(settings: &StoreSettings) -> Result<Arc<dyn KeyStore>, StartError> {
    match settings {
        StoreSettings::Sqlite(path) => match SqliteStore::open(path).await {
            Ok(store) => Ok(Arc::new(store)),
            Err(source) => Err(StartError::Store { place: path.display().to_string(), source }),
        },
        StoreSettings::Postgres(settings) => match PostgresStore::open(settings).await {
            Ok(store) => Ok(Arc::new(store)),
            Err(source) => Err(StartError::Store { place: settings.place(), source }),
        },
    }
}
