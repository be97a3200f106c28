//! Looks whose tables the schema has and at which version, and makes them when asked to.
//!
//! Depends on the migrations in `migrations/postgres`, whose checksums tell Keypod's tables from another program's. A
//! sidecar only looks; nothing but [`migrate`] alters a table
//! (`a_sidecar_s_role_reads_and_writes_rows_and_nothing_else`).

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::connect::{Patience, one};
use super::error::{corrupt, unavailable};
use super::{Migrated, PostgresSettings};
use crate::clock::UnixSeconds;
use crate::store::StoreError;
use crate::store::fault::Fault;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// The version that the migrations lead to.
pub(super) const VERSION: i64 = 1;

/// The oldest server that is supported: 14.
const SERVER_MIN: i32 = 140_000;

/// Everything that the newest version has.
const TABLES: [&str; 6] =
    ["_sqlx_migrations", "approvals", "health", "keys", "versions", "wrappings"];

/// What a schema holds.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// There is no such schema.
    NoSchema,
    /// It is empty.
    Nothing,
    /// Keypod's tables, at this version.
    Tables(i64),
}

/// Sees that the tables are there and of this version.
pub(super) async fn verify(settings: &PostgresSettings) -> Result<(), Fault> {
    let mut connection = one(settings, Patience::Usual).await?;
    look_at_server(&mut connection, settings).await?;
    let found = look(&mut connection, settings).await?;
    connection.close().await?;
    let problem = match found {
        Found::Tables(VERSION) => return Ok(()),
        Found::Tables(version) => format!(
            "its tables are of an older Keypod (schema version {version}, this one needs {VERSION}): run `keypod store migrate`"
        ),
        Found::Nothing => "it has no tables yet: run `keypod store migrate`".to_owned(),
        Found::NoSchema => "there is no such schema yet: run `keypod store migrate`".to_owned(),
    };
    Err(unavailable(settings, problem).into())
}

async fn look_at_server(
    connection: &mut PgConnection,
    settings: &PostgresSettings,
) -> Result<(), Fault> {
    let (version, replica, fsync): (i32, bool, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('fsync')",
    )
    .fetch_one(connection)
    .await?;
    if version < SERVER_MIN {
        let what = "the server is older than PostgreSQL 14: update it";
        return Err(unavailable(settings, what).into());
    }
    if replica {
        let what = "it is a replica: set store.postgres.host to the primary server";
        return Err(unavailable(settings, what).into());
    }
    if fsync != "on" {
        tracing::warn!(
            "PostgreSQL does not flush to its disk (fsync is off): a crash there loses keys"
        );
    }
    Ok(())
}

/// Whose tables there are, and at which version.
async fn look(connection: &mut PgConnection, settings: &PostgresSettings) -> Result<Found, Fault> {
    let usable: Option<bool> = sqlx::query_scalar(
        "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1",
    )
    .bind(&settings.schema)
    .fetch_optional(&mut *connection)
    .await?;
    match usable {
        None => return Ok(Found::NoSchema),
        Some(true) => {}
        Some(false) => {
            let what = format!(
                "the role {:?} may not use this schema: run what `keypod store roles` prints as an admin (psql -f)",
                settings.user
            );
            return Err(unavailable(settings, what).into());
        }
    }
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) \
         AND relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY relname",
    )
    .bind(&settings.schema)
    .fetch_all(&mut *connection)
    .await?;
    if tables.is_empty() {
        return Ok(Found::Nothing);
    }
    if !tables.iter().any(|table| table == "_sqlx_migrations") {
        return Err(foreign(settings, &tables));
    }
    let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version",
    )
    .fetch_all(connection)
    .await?;
    let Some((newest, _)) = applied.last() else {
        return if tables.len() == 1 {
            Ok(Found::Nothing)
        } else {
            Err(foreign(settings, &tables))
        };
    };
    let ours = MIGRATIONS.iter().filter(|ours| ours.version <= *newest).all(|ours| {
        applied.iter().any(|(version, sum)| *version == ours.version && **sum == *ours.checksum)
    });
    if !ours {
        return Err(foreign(settings, &tables));
    }
    if *newest > VERSION {
        let what = format!(
            "this Keypod is older than the database (schema version {newest}, this one knows {VERSION}): run a newer \
             Keypod, or restore a backup from before the migration"
        );
        return Err(unavailable(settings, what).into());
    }
    let gone: Vec<&str> =
        TABLES.into_iter().filter(|table| !tables.iter().any(|there| there == table)).collect();
    if *newest == VERSION && !gone.is_empty() {
        let what = format!("tables are gone ({}): restore them from a backup", gone.join(", "));
        return Err(corrupt(settings, what).into());
    }
    Ok(Found::Tables(*newest))
}

fn foreign(settings: &PostgresSettings, tables: &[String]) -> Fault {
    let some: Vec<&str> = tables.iter().take(3).map(String::as_str).collect();
    let what = format!(
        "the schema holds tables of another program ({}): set store.postgres.schema to one of its own",
        some.join(", ")
    );
    corrupt(settings, what).into()
}

/// Makes the schema and its tables, or brings them to this version.
pub(super) async fn migrate(settings: &PostgresSettings) -> Result<Migrated, Fault> {
    let mut connection = one(settings, Patience::Long).await?;
    look_at_server(&mut connection, settings).await?;
    // Held until this connection ends: many that migrate at once take turns, from the first look on.
    sqlx::query("SELECT pg_advisory_lock(hashtextextended('keypod store ' || $1, 0))")
        .bind(&settings.schema)
        .execute(&mut connection)
        .await?;
    let from = match look(&mut connection, settings).await? {
        Found::Tables(version) => version,
        Found::Nothing => 0,
        Found::NoSchema => {
            // Of a-z, 0-9 and _ alone, says the configuration; quoted all the same.
            let name = settings.schema.replace('"', "\"\"");
            let create = AssertSqlSafe(format!("CREATE SCHEMA \"{name}\""));
            sqlx::query(create).execute(&mut connection).await?;
            0
        }
    };
    if from < VERSION {
        // As `run` does, whose future the compiler cannot see to be `Send`.
        MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(sqlx::Error::from)?;
    }
    connection.close().await?;
    Ok(Migrated { from, to: VERSION })
}

/// Asks to write, in the caller's transaction, and writes nothing: for the health check. A replica or a read-only server
/// refuses even that; and hundreds of sidecars that ask every few seconds do not queue for one row, nor flush the log.
pub(super) async fn probe(tx: &mut PgConnection) -> Result<(), Fault> {
    sqlx::query("UPDATE health SET probe = NOT probe WHERE false").execute(&mut *tx).await?;
    let row: Option<bool> =
        sqlx::query_scalar("SELECT probe FROM health").fetch_optional(tx).await?;
    if row.is_some() {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        reason: "the table health has no row: INSERT INTO health (id, probe) VALUES (1, false)"
            .to_owned(),
    }
    .into())
}

/// What the server says the time is.
pub(super) async fn time(connection: &mut PgConnection) -> Result<UnixSeconds, Fault> {
    let seconds: i64 = sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp())::bigint")
        .fetch_one(connection)
        .await?;
    Ok(UnixSeconds(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_lead_to_the_version() {
        assert_eq!(MIGRATIONS.iter().map(|migration| migration.version).max(), Some(VERSION));
    }
}
