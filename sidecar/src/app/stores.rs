//! Prepares stores: the work behind `keypod store`. It opens them by itself; no root is needed, because rows stay
//! wrapped.

use super::StartError;
use super::parts::open_store;
use crate::config::{Config, StoreSettings};
use crate::store::copy::{Copied, copy};
use crate::store::postgres::{Migrated, PostgresStore};

/// SQL for `psql` that makes the roles of a PostgreSQL store, each with the least rights.
pub const POSTGRES_ROLES: &str = PostgresStore::ROLES;

/// Whose rights a migration runs with, where the configuration's do not do.
#[derive(Clone, Debug, Default)]
pub struct Migrator {
    /// The role.
    pub user: Option<String>,
    /// The file with its password.
    pub password_file: Option<std::path::PathBuf>,
}

/// Brings the tables of the configuration's database to this version; `None` for a store that does so by itself.
///
/// # Errors
/// [`StartError::Store`].
pub async fn migrate_store(
    config: &Config,
    migrator: Migrator,
) -> Result<Option<Migrated>, StartError> {
    let StoreSettings::Postgres(settings) = &config.store else { return Ok(None) };
    let mut settings = settings.clone();
    if migrator.user.is_some() || migrator.password_file.is_some() {
        settings.password_file = migrator.password_file;
    }
    if let Some(user) = migrator.user {
        settings.user = user;
    }
    let migrated = PostgresStore::migrate(&settings).await;
    let place = settings.place();
    migrated.map(Some).map_err(|source| StartError::Store { place, source })
}

/// Copies every row from the store of one configuration to that of another, and tells `seen` how far it is.
///
/// # Errors
/// [`StartError`].
pub async fn copy_store(
    from: &Config,
    to: &Config,
    seen: impl Fn(Copied),
) -> Result<Copied, StartError> {
    if from.store == to.store {
        return Err(StartError::SameStore);
    }
    let source = open_store(&from.store).await?;
    let target = match open_store(&to.store).await {
        Ok(target) => target,
        Err(error) => {
            source.close().await;
            return Err(error);
        }
    };
    let copied = copy(&*source, &*target, seen).await;
    source.close().await;
    target.close().await;
    Ok(copied?)
}
