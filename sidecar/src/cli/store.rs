//! Prepares key stores: makes the tables, copies rows from one store to another, shows the SQL for the database's roles.
//!
//! Depends on [`crate::app`], which opens the stores. It sees counts, never a row.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{output, runtime, serve};
use crate::app::{self, Migrator};

const AFTER_HELP: &str = "\
A PostgreSQL store, from nothing:
  createdb keypod
  keypod store roles > roles.sql
  psql -d keypod -f roles.sql
  psql -d keypod -c '\\password keypod_owner' -c '\\password keypod_sidecar'
  keypod store migrate --user keypod_owner --password-file owner-password
  psql -d keypod -f roles.sql                   again: now there are tables to grant rights on

From SQLite to PostgreSQL: stop the sidecar, copy, start it with the new configuration:
  keypod store copy --from old.toml --to new.toml
Copy before the first sidecar starts on the new store: it makes a key keypod.audit of its own there, if there is none, for
the hashes of its audit log. Such a store is refused, because no hash of one key can be looked for with another; take an
empty one. What that sidecar has recorded meanwhile can be searched for people as long as the store is kept.";

/// What `keypod store` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum StoreCommand {
    /// Make the tables of a PostgreSQL store, or bring them to this version
    Migrate {
        /// The configuration with the store
        #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
        config: PathBuf,
        /// The role that owns the tables, in the place of the sidecar's
        #[arg(long, value_name = "ROLE")]
        user: Option<String>,
        /// The file with its password
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Copy every row from one store to another, and compare both; stop the sidecars of both first
    ///
    /// The target is one on which no sidecar has started: a sidecar makes a key keypod.audit of its own, which a copy
    /// neither replaces nor merges, because hashes in its audit log depend on it.
    Copy {
        /// A configuration with the store to read
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// A configuration with the store to write
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Print the SQL that makes the roles of a PostgreSQL store, each with the least rights
    Roles,
}

/// `keypod store`
pub(super) fn run(args: StoreArgs) -> anyhow::Result<()> {
    match args.command {
        StoreCommand::Migrate { config, user, password_file } => {
            migrate(&config, Migrator { user, password_file }, args.json)
        }
        StoreCommand::Copy { from, to } => copy(&from, &to, args.json),
        StoreCommand::Roles => output::write(app::POSTGRES_ROLES.as_bytes()),
    }
}

fn migrate(config: &std::path::Path, migrator: Migrator, json: bool) -> anyhow::Result<()> {
    let (config, _) = serve::load_hardened(config)?;
    let migrated = runtime::run_here(async {
        app::migrate_store(&config, migrator).await.map_err(serve::failed_start)
    })?;
    let (from, to) = migrated.map_or((None, None), |done| (Some(done.from), Some(done.to)));
    if json {
        return output::json(&json!({ "from": from, "to": to }));
    }
    output::line(&match (from, to) {
        (Some(from), Some(to)) if from == to => format!("the tables are those of version {to}"),
        (Some(from), Some(to)) => format!("the tables were brought from version {from} to {to}"),
        _ => "an SQLite store makes its tables by itself: nothing to do".to_owned(),
    })
}

fn copy(from: &std::path::Path, to: &std::path::Path, json: bool) -> anyhow::Result<()> {
    let (from, _) = serve::load_hardened(from)?;
    let (to, _) = serve::load_hardened(to)?;
    let copied = runtime::run_here(async {
        let bar = progress();
        let seen = |so_far: app::Copied| bar.set_position(so_far.keys + so_far.skipped);
        let copied = app::copy_store(&from, &to, seen).await;
        bar.finish_and_clear();
        copied.map_err(serve::failed_start)
    })?;
    let app::Copied { keys, versions, skipped } = copied;
    if json {
        return output::json(&json!({ "keys": keys, "versions": versions, "skipped": skipped }));
    }
    let done = format!("{keys} keys with {versions} versions copied, {skipped} were there already");
    output::line(&format!("{done}; both stores hold the same"))
}

/// A count on standard error, if that is a terminal.
fn progress() -> ProgressBar {
    let bar = ProgressBar::no_length();
    match ProgressStyle::with_template("{spinner} {pos} keys {per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => ProgressBar::hidden(),
    }
}
