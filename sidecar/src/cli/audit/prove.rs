//! `keypod audit prove`
//!
//! Depends on [`crate::audit::prove`].

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::trust::file;
use crate::audit::prove::{CheckError, Checked, Proof, ProveError, Prover, Shown};
use crate::audit::verify::{TreeHead, Trust};
use crate::cli::failure::Failure;
use crate::cli::output;

pub(super) const AFTER_HELP: &str = "\
A proof is a text file that stands for itself: whoever has it and an authority's
key can check it, without the log and without a network. Its form is in
docs/audit-log.md; a proof of inclusion is a C2SP tlog-proof.

Examples:
  keypod audit prove inclusion audit --log 3 --entry 1017 --out entry.tlog-proof
  keypod audit prove consistency audit --log 3 --from 1000 --out growth.proof
  keypod audit prove check entry.tlog-proof --authority authorities.txt";

/// What `keypod audit prove` takes.
#[derive(Debug, Args)]
pub(super) struct ProveArgs {
    #[command(subcommand)]
    command: ProveCommand,
}

#[derive(Debug, Subcommand)]
enum ProveCommand {
    /// Prove that an entry is in a log
    Inclusion(InclusionArgs),
    /// Prove that a log at one size is the beginning of it at a later one
    Consistency(ConsistencyArgs),
    /// Check a proof, by the file and an authority's key alone
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct InclusionArgs {
    #[command(flatten)]
    of: LogArgs,
    /// Which entry, from 0
    #[arg(long, value_name = "I")]
    entry: u64,
}

#[derive(Debug, Args)]
struct ConsistencyArgs {
    #[command(flatten)]
    of: LogArgs,
    /// The earlier size, in entries
    #[arg(long, value_name = "SIZE")]
    from: u64,
    /// The later size  [default: that of the newest checkpoint]
    #[arg(long, value_name = "SIZE")]
    to: Option<u64>,
}

#[derive(Debug, Args)]
struct LogArgs {
    /// The folder of logs
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Which log, by its number
    #[arg(long, value_name = "N")]
    log: u64,
    /// Where the proof goes  [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The proof
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// The keys of the authorities that may certify a log, a line each
    #[arg(long, value_name = "FILE")]
    authority: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `keypod audit prove`
pub(super) fn run(args: ProveArgs) -> anyhow::Result<()> {
    match args.command {
        ProveCommand::Inclusion(args) => {
            let prove = |prover: Prover| prover.inclusion(args.entry);
            write(&args.of, Prover::open(&args.of.folder, args.of.log).and_then(prove))
        }
        ProveCommand::Consistency(args) => {
            let prove = |prover: Prover| prover.consistency(args.from, args.to);
            write(&args.of, Prover::open(&args.of.folder, args.of.log).and_then(prove))
        }
        ProveCommand::Check(args) => check(&args),
    }
}

fn write(of: &LogArgs, proof: Result<Proof, ProveError>) -> anyhow::Result<()> {
    let bytes = match proof {
        Ok(proof) => proof.to_bytes(),
        Err(
            error @ (ProveError::Reader(_)
            | ProveError::NoLog(_)
            | ProveError::NotSigned { .. }
            | ProveError::Sizes),
        ) => return Err(Failure::usage(format!("{:#}", anyhow::Error::from(error)))),
        Err(error) => return Err(error.into()),
    };
    match &of.out {
        None => output::write(&bytes),
        Some(path) => new_file(path, &bytes),
    }
}

/// Writes a file that must not be there yet.
pub(super) fn new_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let made = std::fs::File::create_new(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    made.map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let keys = String::from_utf8(file(&args.authority)?).ok();
    let keys = keys.and_then(|keys| Trust::parse_authorities(&keys).ok());
    let path = args.authority.display();
    let keys =
        keys.ok_or_else(|| Failure::usage(format!("{path} is no list of authorities' keys")))?;
    let proof = Proof::parse(&file(&args.proof)?)
        .map_err(|error| Failure::usage(format!("{}: {error}", args.proof.display())))?;
    match proof.check(&keys) {
        Ok(checked) => say(&checked, args.json),
        Err(error) => refuse(error, args.json),
    }
}

fn refuse(error: CheckError, json: bool) -> anyhow::Result<()> {
    if !json {
        return Err(error.into());
    }
    output::json(&json!({ "holds": false, "why": error.to_string() }))?;
    Err(Failure::Reported.into())
}

fn say(checked: &Checked, json: bool) -> anyhow::Result<()> {
    let Checked { shown, certificate, checkpoint } = checked;
    let (number, origin) = (certificate.number, &certificate.origin);
    let size = checkpoint.head.size;
    if json {
        let shown = match shown {
            Shown::Inclusion { index, entry } => {
                let entry: serde_json::Value = serde_json::from_slice(entry)?;
                json!({ "index": index, "entry": entry })
            }
            Shown::Consistency { from, to } => json!({
                "from": { "size": from.size, "root": from.root.to_string() },
                "to": { "size": to.size, "root": to.root.to_string() },
            }),
        };
        return output::json(&json!({
            "holds": true, "log": number, "origin": origin, "signed": size, "shown": shown,
        }));
    }
    output::line(&format!("holds: log {number}, {origin}, of which {size} entries are signed"))?;
    match shown {
        Shown::Inclusion { index, entry } => {
            output::line(&format!("has entry {index}: {}", String::from_utf8_lossy(entry)))
        }
        Shown::Consistency { from, to } => {
            let state =
                |head: &TreeHead| format!("{} entries with the root {}", head.size, head.root);
            output::line(&format!("had {}\nand then {}", state(from), state(to)))
        }
    }
}
