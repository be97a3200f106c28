//! A key store in PostgreSQL that several sidecars share, set up as an operator does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use keypod_test_servers::PostgresServer;
use tempfile::TempDir;

use crate::sidecar::write_private;
use crate::{SidecarBuilder, keypod};

/// A database with the tables and roles of a store, and a root key that its sidecars share.
#[derive(Debug)]
pub struct SharedStore {
    database: String,
    port: u16,
    ca_file: PathBuf,
    folder: TempDir,
}

const PASSWORD: &str = "sidecar-password-0123456789";
const OWNER_PASSWORD: &str = "owner-password-0123456789";

impl SharedStore {
    /// A store in a database of its own in `server`, by the commands of the documentation.
    ///
    /// # Panics
    /// If one of them fails.
    #[must_use]
    pub fn set_up(server: &PostgresServer) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let database = format!("suite_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let this = Self { database, port: server.port(), ca_file: server.ca_file(), folder };
        server.database(&this.database);
        let roles = this.run(&["store", "roles"], "");
        let file = this.folder.path().join("roles.sql");
        std::fs::write(&file, roles.stdout).expect("a file");
        // Roles belong to the whole server, which other tests use: names of its own.
        let (owner, sidecar) = (this.role("owner"), this.role("sidecar"));
        let variables = [("owner", owner.as_str()), ("sidecar", sidecar.as_str())];
        server.script(&this.database, &file, &variables);
        let password = |role: &str, password: &str| {
            server.sql(&this.database, &format!("ALTER ROLE \"{role}\" PASSWORD '{password}'"));
        };
        password(&owner, OWNER_PASSWORD);
        password(&sidecar, PASSWORD);
        write_private(&this.folder.path().join("password"), PASSWORD);
        write_private(&this.folder.path().join("owner-password"), OWNER_PASSWORD);
        keypod::root::local::LocalRoot::create_key_file(&this.folder.path().join("root.key"))
            .expect("a root key");
        this.migrate();
        server.script(&this.database, &file, &variables);
        this
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// A sidecar on it, with the root key that all share.
    #[must_use]
    pub fn sidecar(&self) -> SidecarBuilder {
        self.sidecar_at(self.port)
    }

    /// The same, by way of another port of 127.0.0.1.
    #[must_use]
    pub fn sidecar_at(&self, port: u16) -> SidecarBuilder {
        SidecarBuilder::new().root(&self.root()).store(&self.store_at(port))
    }

    /// `[root.local]` with the root key that all share.
    #[must_use]
    pub fn root(&self) -> String {
        format!("[root.local]\nkey_file = \"{}/root.key\"\n", self.folder.path().display())
    }

    /// `[store.postgres]` as the sidecar's role.
    #[must_use]
    pub fn store(&self) -> String {
        self.store_at(self.port)
    }

    fn store_at(&self, port: u16) -> String {
        format!(
            "[store.postgres]\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"{}\"\nuser = \"{}\"\n\
             password_file = \"{}/password\"\nca_file = \"{}\"\n",
            self.database,
            self.role("sidecar"),
            self.folder.path().display(),
            self.ca_file.display(),
        )
    }

    /// A role of this store's.
    #[must_use]
    pub fn role(&self, of: &str) -> String {
        format!("{}_{of}", self.database)
    }

    /// The file with the password of the tables' owner.
    #[must_use]
    pub fn owner_password_file(&self) -> PathBuf {
        self.folder.path().join("owner-password")
    }

    fn migrate(&self) {
        let owner = self.role("owner");
        let password = self.owner_password_file().display().to_string();
        let config = format!("{}{}", self.root(), self.store());
        let arguments =
            ["store", "migrate", "--user", &owner, "--password-file", &password, "--config"];
        let done = self.run(&arguments, &config);
        assert!(done.status.success(), "{done:?}");
    }

    /// Runs `keypod` with these arguments, and the path of a file with `config` if there is one.
    fn run(&self, arguments: &[&str], config: &str) -> Output {
        let mut command = Command::new(keypod());
        command.args(arguments);
        if !config.is_empty() {
            let file: &Path = &self.folder.path().join("migrate.toml");
            std::fs::write(file, config).expect("a file");
            command.arg(file);
        }
        command.output().expect("keypod runs")
    }
}
