//! From what PostgreSQL and the driver report to a [`StoreError`] that an operator can act on.
//!
//! Depends on [`StoreError`], [`Fault`] and the settings' names alone. No bound value ever reaches a message:
//! PostgreSQL's primary texts name roles, tables, columns and constraints; its details, which have values, are left out
//! (`nothing_of_the_password_is_in_any_message`).

use std::error::Error as _;
use std::io;

use sqlx::migrate::MigrateError;

use super::{PostgresSettings, PostgresTls};
use crate::store::StoreError;
use crate::store::fault::Fault;

/// The database, in words for an operator.
pub(super) fn place(settings: &PostgresSettings) -> String {
    let PostgresSettings { host, port, database, schema, .. } = settings;
    format!("PostgreSQL at {host}, port {port}, database {database}, schema {schema}")
}

/// [`StoreError::Unavailable`] for this database.
pub(super) fn unavailable(settings: &PostgresSettings, what: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable { reason: format!("{}: {what}", place(settings)) }
}

/// [`StoreError::Corrupt`] for this database; `what` says what to do.
pub(super) fn corrupt(settings: &PostgresSettings, what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { reason: format!("{}: {what}", place(settings)) }
}

/// The server did not answer, not even that its time is up.
pub(super) fn silent() -> Fault {
    Fault::Sql(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))
}

/// COMMIT was sent and its answer is lost.
pub(super) fn commit_unanswered(settings: &PostgresSettings) -> Fault {
    let what = "the connection was lost while a change was committed: it is in the database whole or not at all; \
                look at the key again before asking again";
    unavailable(settings, what).into()
}

fn code(error: &sqlx::Error) -> Option<String> {
    let database = error.as_database_error()?;
    database.code().map(std::borrow::Cow::into_owned)
}

fn code_of(fault: &Fault) -> Option<String> {
    match fault {
        Fault::Sql(error) => code(error),
        _ => None,
    }
}

/// Whether the server took the change back for another's sake (serialization, deadlock): it can be tried again.
pub(super) fn was_taken_back(fault: &Fault) -> bool {
    matches!(code_of(fault).as_deref(), Some("40001" | "40P01"))
}

/// Whether the server refused to write because it is a replica now.
pub(super) fn is_of_replica(fault: &Fault) -> bool {
    code_of(fault).as_deref() == Some("25006")
}

/// Whether the connection cannot be used any more, and what was sent last may be unanswered.
pub(super) fn broke_connection(fault: &Fault) -> bool {
    match fault {
        Fault::Sql(sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed) => {
            true
        }
        Fault::Sql(sqlx::Error::Database(_)) => {
            code_of(fault).is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
        }
        _ => false,
    }
}

/// Whether the server gave no answer in time.
pub(super) fn is_silent(fault: &Fault) -> bool {
    matches!(fault, Fault::Sql(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::TimedOut)
}

/// Whether another password or certificate may help: the files are to be read again.
pub(super) fn may_be_mended_by_files(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some("28P01" | "28000")) || tls_cause(error).is_some()
}

/// What TLS found, if it was TLS.
fn tls_cause(error: &sqlx::Error) -> Option<&rustls::Error> {
    match error {
        sqlx::Error::Io(error) => error.get_ref()?.downcast_ref(),
        sqlx::Error::Tls(error) => error.downcast_ref(),
        _ => None,
    }
}

impl Fault {
    /// The error to return, about this database.
    pub(super) fn about(self, settings: &PostgresSettings) -> StoreError {
        match self {
            Self::Answer(error) => error,
            Self::Damaged(what) => corrupt(
                settings,
                format_args!("{what}; mend the row by hand or restore it from a backup"),
            ),
            Self::Sql(error) => from_sqlx(settings, &error),
        }
    }
}

fn from_sqlx(settings: &PostgresSettings, error: &sqlx::Error) -> StoreError {
    if let Some(cause) = tls_cause(error) {
        return unavailable(settings, from_tls(settings, cause));
    }
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            from_code(settings, &code, database.message())
        }
        sqlx::Error::Migrate(migrate) => match &**migrate {
            MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
                from_sqlx(settings, cause)
            }
            other => corrupt(settings, format_args!("{other}: restore the schema from a backup")),
        },
        sqlx::Error::PoolClosed => unavailable(settings, "the store is closed"),
        sqlx::Error::PoolTimedOut => unavailable(
            settings,
            format_args!(
                "no connection within {}: see that the server runs, can be reached from here and has free \
                 connections (max_connections)",
                humantime::format_duration(settings.timeout)
            ),
        ),
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => unavailable(
            settings,
            "it does not answer: see that it runs and can be reached from here",
        ),
        sqlx::Error::Io(error) => unavailable(
            settings,
            format_args!(
                "it cannot be reached ({error}): see that it runs, and store.postgres.host and port"
            ),
        ),
        sqlx::Error::Tls(cause) if cause.to_string().contains("does not support TLS") => {
            unavailable(
                settings,
                "the server has no TLS, so nothing was sent to it: set ssl = on there, with a certificate",
            )
        }
        sqlx::Error::ColumnDecode { index, .. } => corrupt(
            settings,
            format_args!(
                "the column {index} has another type than Keypod gave it: restore the schema from a backup"
            ),
        ),
        other => unavailable(
            settings,
            other.source().map_or_else(|| other.to_string(), |cause| format!("{other}: {cause}")),
        ),
    }
}

fn from_tls(settings: &PostgresSettings, cause: &rustls::Error) -> String {
    use rustls::CertificateError as Certificate;
    let host = &settings.host;
    match cause {
        rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => format!(
            "its certificate is not for {host:?}: set store.postgres.host to a name that is in the certificate"
        ),
        rustls::Error::InvalidCertificate(
            Certificate::UnknownIssuer | Certificate::BadSignature,
        ) => {
            let known = match (&settings.ca_file, settings.tls) {
                (Some(path), PostgresTls::VerifyFull) => format!("that of {}", path.display()),
                _ => "one of the web's".to_owned(),
            };
            format!(
                "its certificate is signed by an authority that is not {known}: set store.postgres.ca_file to the \
                 certificate of the authority that signed it"
            )
        }
        rustls::Error::InvalidCertificate(
            Certificate::Expired | Certificate::ExpiredContext { .. },
        ) => "its certificate has expired: renew it on the server".to_owned(),
        other => format!("TLS failed ({other}): see the server's certificate and log"),
    }
}

/// By the codes of the manual's appendix A, "PostgreSQL Error Codes".
fn from_code(settings: &PostgresSettings, code: &str, message: &str) -> StoreError {
    let say = |what: &dyn std::fmt::Display| unavailable(settings, what);
    let user = &settings.user;
    match code {
        "23505" => StoreError::Exists,
        "23503" => StoreError::Missing,
        "23502" | "23514" => StoreError::Invalid { what: "a constraint of the tables forbids it" },
        "40001" | "40P01" => say(&"other changes were in the way again and again: try again"),
        "28P01" => say(&format_args!(
            "the server refused the password of the role {user:?}: put the right one into the file of \
             store.postgres.password_file"
        )),
        "28000" => say(&format_args!(
            "the server does not let the role {user:?} in ({message}): see store.postgres.user, and pg_hba.conf there"
        )),
        "3D000" => say(&"there is no such database: see store.postgres.database, or create it"),
        "42501" => say(&format_args!(
            "the role {user:?} may not do this ({message}): run what `keypod store roles` prints as an admin (psql -f), again after each \
             `keypod store migrate`"
        )),
        "42P01" | "3F000" | "42703" => {
            say(&format_args!("tables are missing ({message}): run `keypod store migrate`"))
        }
        "25006" => say(
            &"it cannot be written: it is a replica or set to read-only; set store.postgres.host to the primary server",
        ),
        "53100" => say(&"the server's disk is full: free some space or enlarge its volume"),
        "53300" => say(
            &"it has no free connections: raise max_connections there, or lower store.postgres.connections_max",
        ),
        "55P03" | "57014" => say(&format_args!(
            "not done within {}: another session holds the rows locked (see pg_stat_activity), or the server is \
             overloaded",
            humantime::format_duration(settings.timeout)
        )),
        "XX001" | "XX002" => corrupt(
            settings,
            format_args!("PostgreSQL finds its files damaged ({message}): restore a backup"),
        ),
        code if code.starts_with("57P") || code.starts_with("08") => {
            say(&format_args!("the server ended the connection ({message})"))
        }
        _ => say(&format_args!("{message} (code {code})")),
    }
}
