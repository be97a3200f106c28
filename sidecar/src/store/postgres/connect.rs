//! Makes connections and runs looks and changes over them, within their time.
//!
//! Depends on the settings, on the files that they name, and on `error.rs` for what a failure means. Every wait has an
//! end: for a connection, for a statement (on the server), for the whole (here: a server that a network has swallowed
//! does not even answer that its time is up). What `PG*` variables of the environment say is overridden; the one that
//! cannot be, `PGOPTIONS`, is refused (`options_of_the_environment_are_refused`). `PGSSLCERT` with `PGSSLKEY` would
//! present a client certificate: the driver reads them and lets nobody forbid it.

use std::path::Path;

use sqlx::pool::{CloseEvent, PoolConnection};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection, PgPool, Postgres};
use zeroize::Zeroizing;

use super::{PostgresSettings, PostgresTls, error};
use crate::store::StoreError;
use crate::store::fault::Fault;

/// How often a change is tried that the server took back for another's sake.
const ATTEMPTS_MAX: u32 = 5;

/// How a statement's time is bounded on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// By the setting.
    Usual,
    /// Not at all: a migration of a large table takes its time. The wait for locks is bounded.
    Long,
}

/// The connections of one store.
pub(super) struct Connections {
    pub(super) settings: PostgresSettings,
    pool: PgPool,
}

impl Connections {
    /// Makes the pool. Connections are made when they are needed.
    pub(super) async fn new(settings: PostgresSettings) -> Result<Self, Fault> {
        let options = options(&settings, Patience::Usual).await?;
        let pool = pool(&settings, settings.connections_max).connect_lazy_with(options);
        Ok(Self { settings, pool })
    }

    /// Ends when the store is closed.
    pub(super) fn closing(&self) -> CloseEvent {
        self.pool.close_event()
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// A connection that works. After a refused login, the files are read again: the password may be a new one.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, Fault> {
        acquire(&self.pool, &self.settings).await
    }

    /// Runs `work` within the time that a look or a change may take in all.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let limit = self.settings.timeout.saturating_mul(2);
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(error::silent()))
    }
}

/// Whether a look is tried again: once, if its connection broke.
pub(super) fn can_look_again(attempt: u32, fault: &Fault) -> bool {
    attempt == 1 && error::broke_connection(fault) && !error::is_silent(fault)
}

/// Whether a change is tried again: if the server took it back for another's sake.
pub(super) fn can_change_again(attempt: u32, fault: &Fault) -> bool {
    attempt < ATTEMPTS_MAX && error::was_taken_back(fault)
}

/// Runs a look over a connection of the pool. A macro, because a closure that lends out a connection across an
/// `await` cannot be seen to be `Send`.
macro_rules! look {
    ($connections:expr, $connection:ident => $look:expr) => {{
        let connections: &Connections = &$connections;
        let mut attempt = 1;
        loop {
            let done = async {
                let mut held = connections.acquire().await?;
                let $connection = &mut *held;
                let done = connections.in_time($look).await;
                connect::give_up_if_useless(&mut held, &done);
                done
            };
            match done.await {
                Err(fault) if connect::can_look_again(attempt, &fault) => attempt += 1,
                done => break done,
            }
        }
    }};
}
pub(super) use look;

/// Runs a change in a transaction and commits it. See the page of [`super`] for what is known after an error.
macro_rules! change {
    ($connections:expr, $tx:ident => $change:expr) => {{
        let connections: &Connections = &$connections;
        let mut attempt = 1;
        loop {
            let done = async {
                let mut held = connections.acquire().await?;
                let mut committing = false;
                let work = async {
                    let mut tx = held.begin().await?;
                    let $tx = &mut *tx;
                    let value = $change.await?;
                    committing = true;
                    tx.commit().await?;
                    Ok(value)
                };
                let done = connections.in_time(work).await;
                connect::give_up_if_useless(&mut held, &done);
                match done {
                    Err(fault) if committing && error::broke_connection(&fault) => {
                        Err(error::commit_unanswered(&connections.settings))
                    }
                    done => done,
                }
            };
            match done.await {
                Err(fault) if connect::can_change_again(attempt, &fault) => attempt += 1,
                done => break done,
            }
        }
    }};
}
pub(super) use change;

/// A connection of `pool` that works.
pub(super) async fn acquire(
    pool: &PgPool,
    settings: &PostgresSettings,
) -> Result<PoolConnection<Postgres>, Fault> {
    match pool.acquire().await {
        Err(error) if error::may_be_mended_by_files(&error) => {
            pool.set_connect_options(options(settings, Patience::Usual).await?);
            Ok(pool.acquire().await?)
        }
        done => Ok(done?),
    }
}

/// A connection that broke, that hangs, or whose server has become a replica is closed and not used again.
pub(super) fn give_up_if_useless<T>(held: &mut PoolConnection<Postgres>, done: &Result<T, Fault>) {
    if let Err(fault) = done
        && (error::broke_connection(fault) || error::is_of_replica(fault))
    {
        held.close_on_drop();
    }
}

/// A pool like the store's.
pub(super) fn pool(settings: &PostgresSettings, connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .min_connections(0)
        .acquire_timeout(settings.timeout)
        .test_before_acquire(true)
}

/// One connection outside of the pool, for a start or a migration: its failure is told as it is, not as a timeout.
pub(super) async fn one(
    settings: &PostgresSettings,
    patience: Patience,
) -> Result<PgConnection, Fault> {
    let options = options(settings, patience).await?;
    let connected = tokio::time::timeout(settings.timeout, options.connect()).await;
    Ok(connected.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
}

/// How to connect, with password and certificates as the files have them now.
pub(super) async fn options(
    settings: &PostgresSettings,
    patience: Patience,
) -> Result<PgConnectOptions, Fault> {
    let base = without_environment(PgConnectOptions::new_without_pgpass())?;
    let password = match &settings.password_file {
        Some(path) => password(path).await?,
        None => Zeroizing::new(String::new()),
    };
    let authorities = match &settings.ca_file {
        Some(path) => authorities(path).await?,
        None => Vec::new(),
    };
    let timeout_ms = settings.timeout.as_millis().max(1);
    let (statement_ms, lock_ms) = match patience {
        Patience::Usual => (timeout_ms, timeout_ms),
        Patience::Long => (0, 60_000),
    };
    let options = base
        .host(&settings.host)
        .port(settings.port)
        .database(&settings.database)
        .username(&settings.user)
        .password(&password)
        .ssl_mode(match settings.tls {
            PostgresTls::VerifyFull => PgSslMode::VerifyFull,
            PostgresTls::Off => PgSslMode::Disable,
        })
        .ssl_root_cert_from_pem(authorities)
        .application_name("keypod")
        .options([
            // Temporary tables last: without this they come first, before the store's own.
            ("search_path", format!("{},pg_temp", settings.schema)),
            ("statement_timeout", statement_ms.to_string()),
            ("lock_timeout", lock_ms.to_string()),
            // A sidecar that vanished in the middle of a change holds its locks no longer than this.
            ("idle_in_transaction_session_timeout", timeout_ms.saturating_mul(2).to_string()),
            ("default_transaction_isolation", "read committed".to_owned()),
            ("synchronous_commit", "on".to_owned()),
        ]);
    Ok(options.disable_statement_logging())
}

/// Refuses options of the environment: they would come before ours, and some cannot be overridden.
fn without_environment(base: PgConnectOptions) -> Result<PgConnectOptions, StoreError> {
    if base.get_options().is_some_and(|options| !options.is_empty()) {
        let reason = "PGOPTIONS is set in the environment and would change what is asked of PostgreSQL: unset it";
        return Err(StoreError::Unavailable { reason: reason.to_owned() });
    }
    Ok(base)
}

/// The password in a file, without one line break at its end.
async fn password(path: &Path) -> Result<Zeroizing<String>, StoreError> {
    let unusable = |what: &dyn std::fmt::Display| StoreError::Unavailable {
        reason: format!("store.postgres.password_file, {}: {what}", path.display()),
    };
    let bytes = tokio::fs::read(path).await.map_err(|error| unusable(&error))?;
    let bytes = Zeroizing::new(bytes);
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| unusable(&"not UTF-8 text"))?;
    if text.is_empty() {
        return Err(unusable(&"empty: put the role's password in it"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// The certificates in a file, which must be some.
async fn authorities(path: &Path) -> Result<Vec<u8>, StoreError> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let unusable = |what: &dyn std::fmt::Display| StoreError::Unavailable {
        reason: format!("store.postgres.ca_file, {}: {what}", path.display()),
    };
    let pem = tokio::fs::read(path).await.map_err(|error| unusable(&error))?;
    let mut certificates = CertificateDer::pem_slice_iter(&pem);
    if !matches!(certificates.next(), Some(Ok(_))) || certificates.any(|one| one.is_err()) {
        return Err(unusable(&"not certificates in PEM: put the authority's certificate in it"));
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_environment_are_refused() {
        let bare = PgConnectOptions::new_without_pgpass();
        let refused = without_environment(bare.options([("role", "postgres")])).unwrap_err();
        assert!(refused.to_string().contains("PGOPTIONS"), "{refused}");
    }
}
