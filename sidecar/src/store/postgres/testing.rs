//! Databases on a real server for tests, set up as an operator does: roles, migration, roles.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use keypod_test_servers::PostgresServer;
use tempfile::TempDir;

use super::*;

/// Nowhere else, so that a leak is seen.
pub(crate) const PASSWORD: &str = "canary-5c1f-of-the-sidecar";
const OWNER_PASSWORD: &str = "canary-77aa-of-the-owner";

/// A folder with a password in a file.
#[derive(Debug)]
pub(crate) struct Password {
    folder: TempDir,
}

impl Password {
    pub(crate) fn new(password: &str) -> Self {
        let made = Self { folder: TempDir::new().unwrap() };
        made.set(password);
        made
    }

    /// With a line break at its end, as editors leave it.
    pub(crate) fn set(&self, password: &str) {
        std::fs::write(self.path(), format!("{password}\n")).unwrap();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("password")
    }
}

/// The passwords of owner and sidecar, on every server the same.
fn passwords() -> &'static (Password, Password) {
    static PASSWORDS: OnceLock<(Password, Password)> = OnceLock::new();
    PASSWORDS.get_or_init(|| (Password::new(OWNER_PASSWORD), Password::new(PASSWORD)))
}

/// A database of one test.
pub(crate) struct Database<'a> {
    pub(crate) server: &'a PostgresServer,
    pub(crate) name: String,
}

impl Database<'static> {
    /// An empty one on the server of all tests.
    pub(crate) fn new(name: &str) -> Self {
        Self::on(PostgresServer::shared(), name)
    }
}

impl<'a> Database<'a> {
    pub(crate) fn on(server: &'a PostgresServer, name: &str) -> Self {
        let _one_at_a_time = roles_are_shared();
        server.database(name);
        Self { server, name: name.to_owned() }
    }

    /// How a sidecar connects.
    pub(crate) fn settings(&self) -> PostgresSettings {
        PostgresSettings {
            host: self.server.host().to_owned(),
            port: self.server.port(),
            database: self.name.clone(),
            user: "keypod_sidecar".to_owned(),
            password_file: Some(passwords().1.path()),
            schema: "keypod".to_owned(),
            tls: PostgresTls::VerifyFull,
            ca_file: Some(self.server.ca_file()),
            connections_max: 4,
            timeout: Duration::from_secs(10),
        }
    }

    /// How `keypod store migrate` connects.
    pub(crate) fn owner(&self) -> PostgresSettings {
        let password_file = Some(passwords().0.path());
        PostgresSettings { user: "keypod_owner".to_owned(), password_file, ..self.settings() }
    }

    /// Runs the roles file, as the admin, and gives the roles their passwords.
    pub(crate) fn roles(&self, schema: &str) -> String {
        let _one_at_a_time = roles_are_shared();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres-roles.sql");
        let printed = self.server.script(&self.name, &file, &[("schema", schema)]);
        let passwords = format!(
            "ALTER ROLE keypod_owner PASSWORD '{OWNER_PASSWORD}'; ALTER ROLE keypod_sidecar PASSWORD '{PASSWORD}'"
        );
        self.server.sql(&self.name, &passwords);
        printed
    }

    /// Makes the tables of `schema`, as an operator does.
    pub(crate) async fn set_up(&self, schema: &str) -> PostgresSettings {
        self.roles(schema);
        let schema_of = |settings| PostgresSettings { schema: schema.to_owned(), ..settings };
        PostgresStore::migrate(&schema_of(self.owner())).await.unwrap();
        self.roles(schema);
        schema_of(self.settings())
    }

    /// Makes the tables and opens them as a sidecar does.
    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::open(&self.set_up("keypod").await).await.unwrap()
    }

    /// Runs SQL as the admin.
    pub(crate) fn sql(&self, statements: &str) -> String {
        self.server.sql(&self.name, statements)
    }
}

fn roles_are_shared() -> std::sync::MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
