//! Keeps the rows in PostgreSQL, for many sidecars.

use std::path::PathBuf;
use std::time::Duration;

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
    /// The schema that holds the tables.
    pub schema: String,
    /// How the connection is protected.
    pub tls: PostgresTls,
    /// The certificates that the server's must be signed by, in PEM; `None`: those of the web's authorities.
    pub ca_file: Option<PathBuf>,
    /// Connections of this sidecar, without the one that listens for changes.
    pub connections_max: u32,
    /// How long a statement, and the wait for a connection, may take.
    pub timeout: Duration,
}

/// How a connection to PostgreSQL is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// TLS, with a certificate for that host from a known authority.
    VerifyFull,
    /// In the clear: on a Unix socket or on loopback only.
    Off,
}
