//! Opens the root and the store that the configuration names: the only file that knows their concrete types.

use std::sync::Arc;

use super::StartError;
use crate::config::{Config, LocalRootSettings, RootKind, StoreSettings};
use crate::root::Root;
use crate::root::local::LocalRoot;
use crate::secret::Arena;
use crate::store::sqlite::SqliteStore;
use crate::store::{KeyStore, StoreError};

pub(super) fn open_root(config: &Config, arena: &Arena) -> Result<Arc<dyn Root>, StartError> {
    let root = match &*config.root.roots {
        [RootKind::Local(LocalRootSettings::KeyFile(path))] => {
            LocalRoot::from_key_file(path, arena)?
        }
        [RootKind::Local(LocalRootSettings::Passphrase { passphrase_file, salt_file })] => {
            LocalRoot::from_passphrase(passphrase_file, salt_file, arena)?
        }
        _ => return Err(StartError::NoSuchRoot),
    };
    Ok(Arc::new(root))
}

pub(super) async fn open_store(config: &Config) -> Result<Arc<dyn KeyStore>, StartError> {
    match &config.store {
        StoreSettings::Sqlite(path) => match SqliteStore::open(path).await {
            Ok(store) => Ok(Arc::new(store)),
            Err(source) => Err(StartError::Store { place: path.display().to_string(), source }),
        },
        StoreSettings::Postgres(settings) => {
            let reason = "this build has the SQLite store only".to_owned();
            let source = StoreError::Unavailable { reason };
            Err(StartError::Store { place: settings.host.clone(), source })
        }
    }
}
