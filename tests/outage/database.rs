//! A PostgreSQL server of one's own, with Keypod's tables, for the sidecars of a figure.

use keypod::store::postgres::{PostgresSettings, PostgresStore, PostgresTls};
use keypod_test_servers::PostgresServer;
use tempfile::TempDir;

const NAME: &str = "keypod";

/// A server that a figure may stop.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) server: PostgresServer,
    folder: TempDir,
}

impl Database {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let database = Self { server: PostgresServer::start(), folder: tempfile::tempdir()? };
        std::fs::write(database.password_file(), database.server.admin_password())?;
        database.server.database(NAME);
        let settings = PostgresSettings {
            host: database.server.host().to_owned(),
            port: database.server.port(),
            database: NAME.to_owned(),
            user: database.server.admin_user().to_owned(),
            password_file: Some(database.password_file()),
            schema: NAME.to_owned(),
            tls: PostgresTls::Off,
            ca_file: None,
            connections_max: 1,
            timeout: std::time::Duration::from_secs(5),
        };
        PostgresStore::migrate(&settings).await?;
        Ok(database)
    }

    /// The `[store]` of a sidecar that shares it.
    pub(crate) fn store(&self) -> String {
        format!(
            "[store.postgres]\nhost = \"{}\"\nport = {}\ndatabase = \"{NAME}\"\nuser = \"{}\"\n\
             password_file = \"{}\"\nschema = \"{NAME}\"\ntls = \"off\"",
            self.server.host(),
            self.server.port(),
            self.server.admin_user(),
            self.password_file().display(),
        )
    }

    fn password_file(&self) -> std::path::PathBuf {
        self.folder.path().join("password")
    }
}
