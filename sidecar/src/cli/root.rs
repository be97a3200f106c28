//! Shows which roots wrap the key versions, and moves them from root to root.
//!
//! Depends on [`crate::app`], which opens roots and store: these commands work on the store itself, as the
//! configuration's owner, and not through a running sidecar. They see names and counts, never a key.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::failure::Failure;
use super::table::Table;
use super::{output, runtime, serve};
use crate::app::{self, RootReport};
use crate::config::Config;
use crate::keyring::{RootChange, RootsChanged};
use crate::names::RootName;

const AFTER_HELP: &str = "\
To move from one root to another without a pause:
  1. add the new root to the configuration of every sidecar, beside the old one, and restart them
  2. keypod root add NEW              every key version is now wrapped by both
  3. take the old root out of the configuration of every sidecar, and restart them
  4. keypod root remove OLD           the old root opens nothing any more

An SQLite store serves one process at a time: stop its sidecar first. With PostgreSQL the sidecars go on.
All of it can be stopped at any time and run again.

Examples:
  keypod root list
  keypod root rewrap --from local --to frankfurt --dry-run
  keypod root rewrap --from frankfurt --to frankfurt      wrap anew, after the root's key was rotated";

/// What `keypod root` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RootArgs {
    #[command(subcommand)]
    command: RootCommand,
    /// The configuration with the roots and the store
    #[arg(long, global = true, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
    config: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum RootCommand {
    /// List the roots, whether they can be used, and how many key versions each has wrapped
    List,
    /// Have a root wrap every key version, beside the roots that do already
    Add {
        /// The root's name in the configuration
        name: RootName,
        /// Count, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a root's wrappings away, where another root is proven to open the version
    Remove {
        /// The root's name; it need not be in the configuration any more
        name: RootName,
        /// Count, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Move every key version from one root to another, or wrap anew with the same
    Rewrap {
        /// The root whose wrappings go
        #[arg(long, value_name = "NAME")]
        from: RootName,
        /// The root that wraps from now on
        #[arg(long, value_name = "NAME")]
        to: RootName,
        /// Count, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// `keypod root`
pub(super) fn run(args: RootArgs) -> anyhow::Result<()> {
    let (config, _) = serve::load_hardened(&args.config)?;
    let json = args.json;
    let (change, dry_run) = match args.command {
        RootCommand::List => return list(config, json),
        RootCommand::Add { name, dry_run } => (RootChange::Add(name), dry_run),
        RootCommand::Remove { name, dry_run } => (RootChange::Remove(name), dry_run),
        RootCommand::Rewrap { from, to, dry_run } if from == to => (RootChange::Renew(to), dry_run),
        RootCommand::Rewrap { from, to, dry_run } => (RootChange::Move(from, to), dry_run),
    };
    let changed = runtime::run_here(async {
        let bar = progress();
        let seen = |so_far: &RootsChanged| {
            bar.set_length(so_far.versions);
            bar.set_position(so_far.done());
        };
        let changed = app::change_roots(&config, &change, dry_run, seen).await;
        bar.finish_and_clear();
        changed.map_err(serve::failed_start)
    })?;
    report(&changed, dry_run, json)
}

/// A bar on standard error, if that is a terminal.
fn progress() -> ProgressBar {
    let bar = ProgressBar::no_length();
    match ProgressStyle::with_template("{bar:40} {pos}/{len} versions {per_sec} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => ProgressBar::hidden(),
    }
}

fn report(changed: &RootsChanged, dry_run: bool, json: bool) -> anyhow::Result<()> {
    let failed = changed.failed.iter();
    if json {
        let failed = failed.map(|(key, version, problem)| {
            json!({"key": key.as_str(), "version": version.number(), "problem": problem})
        });
        output::json(&json!({
            "versions": changed.versions,
            "changed": changed.changed,
            "as_they_were": changed.as_they_were,
            "failed": failed.collect::<Vec<_>>(),
            "damaged": changed.damaged,
            "dry_run": dry_run,
        }))?;
    } else {
        for (key, version, problem) in failed {
            output::note(&format!("{key}/{version}: {problem}"));
        }
        for damaged in &changed.damaged {
            output::note(&format!("damaged, and left as it is: {damaged}"));
        }
        let verb = if dry_run { "to change" } else { "changed" };
        output::line(&format!(
            "{} versions: {} {verb}, {} as they were, {} failed",
            changed.versions,
            changed.changed,
            changed.as_they_were,
            changed.failed.len(),
        ))?;
    }
    match changed.failed.is_empty() && changed.damaged.is_empty() {
        true => Ok(()),
        false => Err(Failure::Reported.into()),
    }
}

fn list(config: Config, json: bool) -> anyhow::Result<()> {
    let report =
        runtime::run_here(async { app::survey_roots(&config).await.map_err(serve::failed_start) })?;
    if json { output::json(&in_json(&report)) } else { output::line(&in_words(&report)) }
}

fn in_json(report: &RootReport) -> Value {
    let configured = report.configured.iter().map(|(root, checked)| {
        json!({
            "name": root.name.as_str(),
            "kind": root.kind,
            "place": root.place,
            "wrapped": report.wrapped(&root.name),
            "usable": checked.is_ok(),
            "problem": checked.as_ref().err().map(ToString::to_string),
            "notes": checked.as_ref().ok(),
        })
    });
    let elsewhere = report.not_configured();
    json!({
        "versions": report.survey.versions,
        "damaged": report.survey.damaged,
        "roots": configured.collect::<Vec<_>>(),
        "not_configured": elsewhere
            .map(|(name, count)| json!({"name": name.as_str(), "wrapped": count}))
            .collect::<Vec<_>>(),
    })
}

fn in_words(report: &RootReport) -> String {
    let mut table = Table::of_text(&["root", "kind", "place", "wrapped", "state"]);
    let of = report.survey.versions;
    for (root, checked) in &report.configured {
        let state = match checked {
            Ok(_) => "usable".to_owned(),
            Err(error) => error.to_string(),
        };
        let wrapped = format!("{} of {of}", report.wrapped(&root.name));
        let name = root.name.to_string();
        table.row(vec![name, root.kind.to_owned(), root.place.clone(), wrapped, state]);
    }
    for (name, count) in report.not_configured() {
        let (wrapped, state) = (format!("{count} of {of}"), "not in the configuration".to_owned());
        table.row(vec![name.to_string(), String::new(), String::new(), wrapped, state]);
    }
    let damaged = report.survey.damaged.iter().map(|what| format!("\ndamaged: {what}"));
    table.render() + &damaged.collect::<String>()
}
