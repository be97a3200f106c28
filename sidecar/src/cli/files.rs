//! Encrypts, decrypts and rewraps files, folders and standard input.
//!
//! Depends on [`super::client`], [`super::context`] and [`super::output`]. [`plan`] says what goes where before
//! anything is sent; [`transfer`] moves one input through the sidecar in constant memory; [`sink`] lets a result
//! appear under its final name whole or not at all (`an_answer_that_breaks_off_leaves_no_file`).

mod input;
mod plan;
mod progress;
mod sink;
mod transfer;

use std::path::PathBuf;

use serde_json::json;

use super::client::{Client, EndpointArgs, Problem};
use super::context::{EncryptionContext, Pair};
use super::failure::{self, Failure};
use super::{output, runtime};
use crate::names::KeyName;
use plan::{Job, Plan};
use progress::Progress;
use transfer::{Done, Work};

const ENCRYPT_HELP: &str = "\
FILE is written beside itself as FILE.kp1, a folder file by file. Symbolic links in folders are skipped.

Examples:
  keypod encrypt --key patients --context tenant=clinic-7 record.pdf
  keypod encrypt --key patients records/ --output encrypted/
  pg_dump app | keypod encrypt --key backups --output app.dump.kp1
  echo -n secret | keypod encrypt --key patients --text";

const DECRYPT_HELP: &str = "\
FILE.kp1 is written beside itself as FILE, readable for its owner alone.
Text form (kp1.) is recognised. What goes to standard output before a failure is
incomplete: mind the exit code.

Examples:
  keypod decrypt --context tenant=clinic-7 record.pdf.kp1
  keypod decrypt encrypted/ --output records/
  keypod decrypt app.dump.kp1 --output - | psql app";

const REWRAP_HELP: &str = "\
Files are replaced in place, each whole or not at all. Text form (kp1.) is recognised.

Examples:
  keypod rewrap --context tenant=clinic-7 encrypted/
  keypod rewrap --context tenant=a --new-context tenant=b record.pdf.kp1";

/// What the three commands share.
#[derive(Debug, clap::Args)]
struct FileArgs {
    /// Files and folders; `-` or none is standard input
    #[arg(value_name = "FILE|FOLDER|-")]
    paths: Vec<PathBuf>,
    /// Where the result goes: a file, a folder for several, `-` for standard output
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// A pair of the encryption context; it must be given again to decrypt
    #[arg(long, value_name = "NAME=VALUE")]
    context: Vec<Pair>,
    /// A JSON object with pairs of the encryption context
    #[arg(long, value_name = "FILE")]
    context_file: Option<PathBuf>,
    /// Text form (kp1.) instead of bytes: for small inputs
    #[arg(long)]
    text: bool,
    /// Replace files that exist; write bytes to a terminal
    #[arg(long)]
    force: bool,
    /// Print one JSON object a file on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    endpoint: EndpointArgs,
}

/// What `keypod encrypt` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = ENCRYPT_HELP)]
pub(super) struct EncryptArgs {
    /// The key
    #[arg(long, value_name = "NAME")]
    key: KeyName,
    #[command(flatten)]
    files: FileArgs,
}

/// What `keypod decrypt` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = DECRYPT_HELP)]
pub(super) struct DecryptArgs {
    /// Refuse what was encrypted with another key; the ciphertext itself names its key
    #[arg(long, value_name = "NAME")]
    key: Option<KeyName>,
    #[command(flatten)]
    files: FileArgs,
}

/// What `keypod rewrap` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = REWRAP_HELP)]
pub(super) struct RewrapArgs {
    /// A pair of the context that replaces the present one
    #[arg(long, value_name = "NAME=VALUE")]
    new_context: Vec<Pair>,
    /// A JSON object with pairs of the context that replaces the present one
    #[arg(long, value_name = "FILE")]
    new_context_file: Option<PathBuf>,
    #[command(flatten)]
    files: FileArgs,
}

/// What happens to each input.
#[derive(Clone, Debug)]
enum Operation {
    Encrypt { key: KeyName },
    Decrypt { key: Option<KeyName> },
    Rewrap { new_context: Option<EncryptionContext> },
}

impl Operation {
    fn past_tense(&self) -> &'static str {
        match self {
            Self::Encrypt { .. } => "encrypted",
            Self::Decrypt { .. } => "decrypted",
            Self::Rewrap { .. } => "rewrapped",
        }
    }
}

/// `keypod encrypt`
pub(super) fn encrypt(args: EncryptArgs) -> anyhow::Result<()> {
    runtime::run(run(Operation::Encrypt { key: args.key }, args.files))
}

/// `keypod decrypt`
pub(super) fn decrypt(args: DecryptArgs) -> anyhow::Result<()> {
    runtime::run(run(Operation::Decrypt { key: args.key }, args.files))
}

/// `keypod rewrap`
pub(super) fn rewrap(args: RewrapArgs) -> anyhow::Result<()> {
    let new_context = EncryptionContext::read(&args.new_context, args.new_context_file.as_ref())?;
    runtime::run(run(Operation::Rewrap { new_context }, args.files))
}

async fn run(operation: Operation, args: FileArgs) -> anyhow::Result<()> {
    let context = EncryptionContext::read(&args.context, args.context_file.as_ref())?;
    let plan = Plan::make(&operation, &args.paths, args.output.as_deref(), args.force)?;
    if args.json && plan.writes_to_stdout() {
        return Err(Failure::usage("--json and the result cannot both go to standard output"));
    }
    let work = Work { operation, context, text: args.text, bytes_to_terminal: args.force };
    let mut client = Client::find(&args.endpoint)?;
    carry_out(&mut client, &work, plan, args.json).await
}

/// Does every job of the plan, says how each went, and fails if one did.
async fn carry_out(client: &mut Client, work: &Work, plan: Plan, json: bool) -> anyhow::Result<()> {
    let progress = Progress::of(&plan);
    let skipped = plan.skipped.to_string();
    let (mut done, mut failed) = (0_usize, plan.unreadable.len());
    let alone = plan.jobs.len() + failed == 1;
    for error in &plan.unreadable {
        output::note(&format!("keypod: {error}"));
    }
    for job in &plan.jobs {
        match transfer::transfer(client, work, job, &progress).await {
            Ok(result) => {
                done += 1;
                if json {
                    output::json(&success_line(job, &result))?;
                }
            }
            Err(error) => {
                failed += 1;
                if json {
                    output::json(&failure_line(job, &error))?;
                }
                let error = error.context(job.source.to_string());
                let concerns_every_request =
                    error.downcast_ref().is_some_and(Problem::concerns_every_request);
                if alone || failure::ends_everything(&error) || concerns_every_request {
                    progress.finish();
                    return Err(error);
                }
                progress.suspend(|| output::note(&format!("keypod: {error:#}")));
            }
        }
    }
    progress.finish();
    if !skipped.is_empty() {
        output::note(&format!("skipped: {skipped}"));
    }
    if !alone {
        output::note(&format!("{done} {}, {failed} failed", work.operation.past_tense()));
    }
    if failed > 0 { Err(Failure::Reported.into()) } else { Ok(()) }
}

fn success_line(job: &Job, done: &Done) -> serde_json::Value {
    json!({
        "source": job.source.to_string(),
        "output": job.destination.to_string(),
        "bytes": done.bytes_written,
        "key": done.key,
        "key_version": done.key_version,
    })
}

fn failure_line(job: &Job, error: &anyhow::Error) -> serde_json::Value {
    let code = error.downcast_ref().map(Problem::code);
    json!({
        "source": job.source.to_string(),
        "error": { "code": code, "message": format!("{error:#}") },
    })
}

#[cfg(test)]
mod tests;
