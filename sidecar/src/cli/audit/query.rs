//! `keypod audit query`
//!
//! Depends on [`crate::audit::query`] and [`crate::audit::verify`]. Entries are written as they are found, the verdict
//! comes after them: only a whole log can be verified.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};

use super::trust::{self, TrustArgs};
use super::verify::Bar;
use crate::audit::query::{Filter, Match, Query};
use crate::audit::verify::{Entry, Verdict, Verification, read_unverified, rfc3339, verify};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::table::Table;
use crate::clock::UnixSeconds;

/// Rows of a table, unless --limit says otherwise: it is laid out as a whole.
const ROWS: u64 = 1000;

pub(super) const AFTER_HELP: &str = "\
The log is verified while it is read, and a tampered one is said after what was
found, with exit code 1. To find a person's entries, ask `keypod audit hash` for
the hash of the subject; H without its version finds it under any.

Examples:
  keypod audit query audit --authority authorities.txt --caller billing --outcome denied
  keypod audit query audit --key patients --since 2026-11-01 --until 2026-12-01 --json
  keypod audit query audit --subject 3:Zm9vYmFyYmF6cXV1eGFi --json --no-verify";

/// What `keypod audit query` takes.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// The folder of logs
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Of this caller
    #[arg(long)]
    caller: Option<String>,
    /// Of this key
    #[arg(long)]
    key: Option<String>,
    /// Of this operation: encrypt, decrypt_batch, rotate, start, ...
    #[arg(long)]
    operation: Option<String>,
    /// With this outcome: ok, denied, failed, cancelled or begun
    #[arg(long)]
    outcome: Option<String>,
    /// With this code: forbidden, decryption_failed, ...
    #[arg(long)]
    code: Option<String>,
    /// About this subject
    #[arg(long, value_name = "HASH")]
    subject: Option<String>,
    /// In this context
    #[arg(long, value_name = "HASH")]
    context: Option<String>,
    /// Of this ciphertext
    #[arg(long, value_name = "HASH")]
    ciphertext: Option<String>,
    /// Of this request
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// At this time or later: 2026-11-25 or 2026-11-25T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<u64>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<u64>,
    /// At most so many entries  [default: 1000 in a table, all with --json]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Do not verify: faster, and what is found may be anything
    #[arg(long, conflicts_with_all = ["authority", "witness_key", "origin", "checkpoint", "expect"])]
    no_verify: bool,
    /// Print JSON, an entry a line, with the numbers of its log and of itself
    #[arg(long)]
    json: bool,
}

/// Milliseconds since 1970.
fn time(text: &str) -> Result<u64, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let time = UnixSeconds::parse(&whole);
    let time = time.ok_or("a time is 2026-11-25 or 2026-11-25T08:00:00Z, in UTC")?;
    Ok(time.0.saturating_mul(1000))
}

/// `keypod audit query`
pub(super) fn run(args: QueryArgs) -> anyhow::Result<()> {
    let trust = args.trust.read()?;
    let filter = Filter {
        caller: args.caller,
        key: args.key,
        operation: args.operation,
        outcome: args.outcome,
        code: args.code,
        subject: args.subject,
        context: args.context,
        ciphertext: args.ciphertext,
        request: args.request,
        since_ms: args.since,
        until_ms: args.until,
    };
    let mut table =
        Table::of_text(&["LOG", "ENTRY", "TIME", "OPERATION", "OUTCOME", "CALLER", "KEY", "CODE"]);
    let mut written = Ok(());
    let limit = if args.json { args.limit } else { Some(args.limit.unwrap_or(ROWS)) };
    let mut query = Query::new(filter, limit, |found: Match| {
        if args.json {
            written = write(&found);
        } else {
            table.row(row(&found));
        }
        written.is_ok()
    });
    let verification = if args.no_verify {
        read_unverified(&args.folder, &mut query).map_err(|error| {
            Failure::usage(format!("cannot read the audit logs: {:#}", anyhow::Error::from(error)))
        })?;
        None
    } else {
        // On a terminal, the bar would stand between the lines.
        let bar = if args.json && output::is_terminal() { Bar::hidden() } else { Bar::new() };
        let verified = verify(&args.folder, &trust, &mut query, &mut |progress| bar.show(progress));
        bar.finish();
        Some(verified.map_err(trust::unreadable)?)
    };
    let found = query.found();
    written?;
    if !args.json {
        output::line(&table.render())?;
        if args.limit.is_none() && found == ROWS {
            output::note(&format!("keypod: these are the first {ROWS}: --limit N shows more"));
        }
    }
    verification.map_or(Ok(()), |verification| judge(&verification))
}

fn judge(verification: &Verification) -> anyhow::Result<()> {
    if verification.trusts_itself {
        trust::warn_of_own_authorities();
    }
    if verification.verdict != Verdict::Tampered {
        return Ok(());
    }
    output::note("keypod: the log was tampered with: what was found may not be what was written");
    for problem in &verification.problems {
        output::note(&format!("WRONG  {problem}"));
    }
    Err(Failure::Reported.into())
}

fn write(found: &Match) -> anyhow::Result<()> {
    let Match { place, raw } = found;
    let known = [("log", place.log), ("entry", place.entry)];
    let read: Map<String, Value> = serde_json::from_slice(raw)?;
    let mut all: Map<String, Value> =
        known.into_iter().map(|(name, number)| (name.to_owned(), number.into())).collect();
    // An entry of a later version may have fields of these names: the place is what is asked for.
    all.extend(read.into_iter().filter(|(name, _)| name != "log" && name != "entry"));
    output::json(&Value::Object(all))
}

fn row(found: &Match) -> Vec<String> {
    let entry = Entry::parse(&found.raw).unwrap_or_default();
    let cell = |text: Option<&str>| one_line(text.unwrap_or("-"));
    vec![
        found.place.log.to_string(),
        found.place.entry.to_string(),
        rfc3339(entry.time_ms),
        one_line(&entry.operation),
        one_line(&entry.outcome),
        cell(entry.caller.as_deref()),
        cell(entry.whole.key.as_deref()),
        cell(entry.whole.code.as_deref()),
    ]
}

/// Text of an entry in a table: its line ends are not the table's.
fn one_line(text: &str) -> String {
    text.replace('\n', "\u{fffd}")
}
