//! Opens the roots and the store that the configuration names: the only file that knows their concrete types.

use std::sync::Arc;

use super::StartError;
use crate::clock::SystemClock;
use crate::config::{Config, LocalRootSettings, RootKind, StoreSettings};
use crate::keyring::Roots;
use crate::root::Root;
use crate::root::aws_kms::AwsKmsRoot;
use crate::root::local::LocalRoot;
use crate::root::retrying::{Patience, RetryingRoot};
use crate::root::vault::VaultRoot;
use crate::secret::Arena;
use crate::store::KeyStore;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;

/// Every root of the configuration, the preferred first. None of them is asked anything yet.
pub(super) async fn open_roots(config: &Config, arena: &Arena) -> Result<Roots, StartError> {
    let patience = Patience {
        attempt_timeout: config.root.attempt_timeout,
        call_timeout: config.root.call_timeout,
        retry_interval: config.root.retry_interval,
    };
    let patiently = |root: Arc<dyn Root>| -> Arc<dyn Root> {
        Arc::new(RetryingRoot::new(root, patience, Arc::new(SystemClock)))
    };
    let mut roots: Vec<Arc<dyn Root>> = Vec::new();
    for kind in &config.root.roots {
        roots.push(match kind {
            RootKind::Local(settings) => Arc::new(open_local(settings, arena)?),
            RootKind::AwsKms(settings) => {
                let opened = AwsKmsRoot::open(settings, patience.attempt_timeout, arena).await;
                let root = opened
                    .map_err(|source| StartError::AwsKms { root: settings.name.clone(), source })?;
                patiently(Arc::new(root))
            }
            RootKind::Vault(settings) => {
                let opened = VaultRoot::open(settings, patience.attempt_timeout, arena);
                let root = opened.map_err(|source| StartError::Vault {
                    root: settings.name.clone(),
                    source: Box::new(source),
                })?;
                patiently(Arc::new(root))
            }
        });
    }
    Ok(Roots::new(roots))
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
