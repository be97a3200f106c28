//! Keeps the rows in PostgreSQL, for many sidecars.
//!
//! Depends on [`super::KeyStore`], [`crate::names`] and [`crate::clock::UnixSeconds`]; never sees a key or a plaintext,
//! never makes or alters a table but in [`PostgresStore::migrate`], and reads no `.pgpass`. Each change is one
//! transaction at READ COMMITTED: it locks the rows it compares, so of writers at once, in one process or in many, the
//! first wins and the others see what it did (`postgres_keeps_the_contract`,
//! `several_sidecars_that_write_at_once_lose_and_double_nothing`). A look is one statement, and so one moment.
//!
//! # When the server goes away
//!
//! A connection is tested before it is used; a look whose connection breaks all the same is tried once more over a new
//! one. A change is not, unless the server itself took it back for another's sake (deadlock, serialization), and fails
//! with [`StoreError::Unavailable`]. Lost before COMMIT was sent, the change is not in the database and never will be.
//!
//! **When COMMIT's answer is lost**, the change is in the database whole or not at all, and this process does not know
//! which: the error says so. Whoever asked looks again, and if the server did not even answer that, again later: a
//! COMMIT may still be on its way. To repeat the call is safe: a change of a version that went in has moved the
//! revision ([`StoreError::Conflict`]), a key or an approval that went in is there ([`StoreError::Exists`]), a
//! version that went in has moved the primary one ([`StoreError::Conflict`]). Usage that was reserved counts as used:
//! too much rather than too little. Usage that was to be given back may be given back twice if that is repeated, so
//! nobody repeats it. An approval that was taken is gone and approves nothing: it is asked for again
//! (`a_restart_under_load_loses_and_doubles_nothing`).
//!
//! What a write returned is on the server's disk (`synchronous_commit = on`, whatever the database's default), and on
//! a synchronous standby's, where there is one. On an asynchronous standby it may be missing after a failover: the
//! sidecars look at everything again then, and a lost destruction is to be asked for again.
//!
//! Sidecars speak to the server itself, or through a pooler that keeps a session for a connection: one that pools
//! transactions loses LISTEN and the session's settings.
//!
//! # What deletion promises here
//!
//! When [`KeyStore::update_version`] returns from a destruction, the wrapped secret is in no row that a query can
//! see. Its bytes stay in the table's file until VACUUM (autovacuum comes for them, or `VACUUM wrappings`) and after
//! that until the page is used again; `VACUUM FULL wrappings` writes the file anew. They stay in the write-ahead log
//! until it is recycled, in its archive for as long as that is kept, in replicas until they have replayed the
//! deletion and vacuumed, in logical subscribers as those please, and in dumps, base backups and snapshots of the
//! volume made before. All of it is wrapped: without the root key it stays closed. To be rid of the bytes for good,
//! let the old backups and the archived log expire, or retire the root key.
//!
//! # Passwords and certificates
//!
//! `password_file` and `ca_file` are read at the start, and again whenever the server refuses the login or the TLS
//! handshake fails: a password that was rotated works at the next connection
//! (`a_rotated_password_works_without_a_restart`). Connections that are open stay. The driver keeps the password in
//! ordinary memory. With a `ca_file` the web's authorities are trusted as well: that is how the driver does it.

mod approvals;
mod connect;
mod error;
mod keys;
mod schema;
mod usage;
mod watch;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use sqlx::Connection as _;

use super::fault::Fault;
use super::{
    Approval, KeyRecord, KeyStore, StoreError, StoreEvent, Usage, VersionChange, VersionRecord,
    rows,
};
use crate::clock::UnixSeconds;
use crate::names::{KeyId, KeyName, KeyRef, KeyVersion};
use connect::{Connections, change, look};

/// Which database, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSettings {
    /// A host name, an IP address, or the folder of a Unix socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// The file with the role's password; `None` where the server asks for none.
    pub password_file: Option<PathBuf>,
    /// The schema that holds the tables: 1 to 63 of a-z, 0-9 and _.
    pub schema: String,
    /// How the connection is protected.
    pub tls: PostgresTls,
    /// Certificates, in PEM, that the server's may be signed by besides those of the web's authorities.
    pub ca_file: Option<PathBuf>,
    /// Connections of this sidecar, without the one that listens for changes.
    pub connections_max: u32,
    /// How long a statement, and the wait for a connection, may take.
    pub timeout: Duration,
}

/// How a connection to PostgreSQL is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// TLS 1.2 or newer, with a certificate for that host from a known authority.
    VerifyFull,
    /// In the clear: on a Unix socket or on loopback only.
    Off,
}

/// From which version of the schema to which a migration went; both are the same if there was nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version before: 0 where there were no tables.
    pub from: i64,
    /// The version now.
    pub to: i64,
}

/// A key store in a schema of a PostgreSQL database. See the module's page for its promises.
pub struct PostgresStore {
    connections: Connections,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PostgresStore")
            .field("place", &self.place())
            .finish_non_exhaustive()
    }
}

impl PostgresSettings {
    /// Which database and schema at which host, in words for an operator.
    #[must_use]
    pub fn place(&self) -> String {
        error::place(self)
    }
}

impl PostgresStore {
    /// The least-privilege roles, as a file for psql: an operator runs it before and after [`Self::migrate`].
    pub const ROLES: &str = include_str!("../../migrations/postgres-roles.sql");

    /// Connects to the database and sees that its tables are those of this Keypod. Needs no right to alter them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database cannot be reached or used, or its tables are missing, older or
    /// newer; [`StoreError::Corrupt`] if the schema holds something else.
    pub async fn open(settings: &PostgresSettings) -> Result<Self, StoreError> {
        schema::verify(settings).await.map_err(|fault| fault.about(settings))?;
        let connections = Connections::new(settings.clone()).await;
        Ok(Self { connections: connections.map_err(|fault| fault.about(settings))? })
    }

    /// Makes the tables, or brings them to this version. Many at once are safe: they take turns. The role must own the
    /// schema, or be allowed to make it.
    ///
    /// # Errors
    /// As [`Self::open`], and if the role may not make the schema or its tables.
    pub async fn migrate(settings: &PostgresSettings) -> Result<Migrated, StoreError> {
        schema::migrate(settings).await.map_err(|fault| fault.about(settings))
    }

    fn failed(&self, fault: Fault) -> StoreError {
        fault.about(&self.connections.settings)
    }
}

#[async_trait]
impl KeyStore for PostgresStore {
    async fn insert_key(&self, key: &KeyRecord) -> Result<(), StoreError> {
        let done = change!(self.connections, tx => keys::insert(tx, key));
        done.map_err(|fault| self.failed(fault))
    }

    async fn key_by_name(&self, name: &KeyName) -> Result<Option<KeyRecord>, StoreError> {
        let found = look!(self.connections, connection => keys::by_name(connection, name));
        found.map_err(|fault| self.failed(fault))
    }

    async fn key_by_id(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let found = look!(self.connections, connection => keys::by_id(connection, id));
        found.map_err(|fault| self.failed(fault))
    }

    async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let keys = look!(self.connections, connection => keys::list(connection));
        let keys = keys.map_err(|fault| self.failed(fault))?;
        Ok(rows::sound(keys, "mend its rows by hand or restore them from a backup"))
    }

    async fn damaged_keys(&self) -> Result<Vec<String>, StoreError> {
        let keys = look!(self.connections, connection => keys::list(connection));
        Ok(rows::damaged(keys.map_err(|fault| self.failed(fault))?))
    }

    async fn insert_version(
        &self,
        key: KeyId,
        expected_primary: KeyVersion,
        version: &VersionRecord,
    ) -> Result<(), StoreError> {
        let done = change!(self.connections, tx => keys::insert_version(tx, key, expected_primary, version));
        done.map_err(|fault| self.failed(fault))
    }

    async fn update_version(
        &self,
        key: KeyRef,
        expected_revision: u64,
        change: &VersionChange,
    ) -> Result<(), StoreError> {
        let done = change!(self.connections, tx => keys::update_version(tx, key, expected_revision, change));
        done.map_err(|fault| self.failed(fault))
    }

    async fn reserve_usage(
        &self,
        key: KeyRef,
        block: Usage,
        limit: Usage,
    ) -> Result<Usage, StoreError> {
        let done = change!(self.connections, tx => usage::reserve(tx, key, block, limit));
        done.map_err(|fault| self.failed(fault))
    }

    async fn return_usage(&self, key: KeyRef, unused: Usage) -> Result<(), StoreError> {
        let done = change!(self.connections, tx => usage::give_back(tx, key, unused));
        done.map_err(|fault| self.failed(fault))
    }

    async fn insert_approval(
        &self,
        approval: &Approval,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        let done = change!(self.connections, tx => approvals::insert(tx, approval, now));
        done.map_err(|fault| self.failed(fault))
    }

    async fn list_approvals(&self, now: UnixSeconds) -> Result<Vec<Approval>, StoreError> {
        let found = look!(self.connections, connection => approvals::list(connection, now));
        found.map_err(|fault| self.failed(fault))
    }

    async fn take_approval(&self, id: &str) -> Result<Option<Approval>, StoreError> {
        let done = change!(self.connections, tx => approvals::take(tx, id));
        done.map_err(|fault| self.failed(fault))
    }

    fn watch(&self) -> BoxStream<'static, StoreEvent> {
        watch::events(self.connections.settings.clone(), self.connections.closing())
    }

    /// Writes one row and commits it: only a write shows a full disk, or that the server has become a replica.
    async fn check(&self) -> Result<(), StoreError> {
        let done = change!(self.connections, tx => schema::probe(tx));
        done.map_err(|fault| self.failed(fault))
    }

    async fn time(&self) -> Result<Option<UnixSeconds>, StoreError> {
        let told = look!(self.connections, connection => schema::time(connection));
        told.map(Some).map_err(|fault| self.failed(fault))
    }

    async fn close(&self) {
        self.connections.close().await;
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn place(&self) -> String {
        error::place(&self.connections.settings)
    }
}
